"""Ranges against a plain set, and the ledger against a plain dictionary, in any order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from packetizer.core.ledger import Ledger
from packetizer.core.plan import Cuts
from packetizer.core.ranges import Ranges

SIZE = 40
ranges_within = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda pair: (pair[0], min(SIZE, pair[0] + pair[1]))
)


@given(st.lists(st.tuples(st.booleans(), ranges_within), max_size=60))
@settings(max_examples=300, deadline=None)
def test_ranges_are_a_set_of_entries(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    ranges = Ranges()
    model: set[int] = set()
    for adds, (start, stop) in steps:
        entries = set(range(start, stop))
        allowed = not (entries & model) if adds else entries <= model
        try:
            (ranges.add if adds else ranges.remove)(start, stop)
        except ValueError:
            assert not allowed
        else:
            assert allowed
            model = model | entries if adds else model - entries
        ranges.check()
        assert ranges.size == len(model)
        assert {entry for piece in ranges for entry in range(*piece)} == model
        assert ranges.holds(start, stop) == (entries <= model)
        assert bool(ranges) == bool(model)


class LedgerMachine(RuleBasedStateMachine):
    """Every entry's place by the ledger, against its place by a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.next_id = 0
        self.leases: dict[int, tuple[int, int]] = {}
        self.ended: list[int] = []

    @initialize(data=st.data())
    def open(self, data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.sets(st.integers(0, SIZE), min_size=2)))
        places = [data.draw(st.sampled_from(("free", "committed", "bad"))) for _ in cuts[1:]]
        pieces = list(zip(cuts, cuts[1:], places, strict=False))
        self.ledger = Ledger(
            SIZE,
            [(a, b) for a, b, place in pieces if place == "committed"],
            [(a, b) for a, b, place in pieces if place == "bad"],
        )
        self.model = dict.fromkeys(range(SIZE), "free")
        for a, b, place in pieces:
            self.model.update(dict.fromkeys(range(a, b), place))

    @rule(piece=ranges_within, again=st.booleans())
    def lease(self, piece: tuple[int, int], again: bool) -> None:
        place = "aside" if again else "free"
        self.next_id += 1
        allowed = all(self.model[entry] == place for entry in range(*piece))
        try:
            (self.ledger.lease_again if again else self.ledger.lease)(self.next_id, *piece)
        except ValueError:
            assert not allowed
        else:
            assert allowed
            self.leases[self.next_id] = piece
            self.model.update(dict.fromkeys(range(*piece), "leased"))

    @precondition(lambda self: self.leases or self.ended)
    @rule(data=st.data(), how=st.sampled_from(("commit", "give_back", "set_aside", "condemn")))
    def end(self, data: st.DataObject, how: str) -> None:
        lease_id = data.draw(st.sampled_from([*self.leases, *self.ended]))
        place = {"commit": "committed", "give_back": "free", "set_aside": "aside"}.get(how, "bad")
        ended = getattr(self.ledger, how)(lease_id)
        assert ended == self.leases.pop(lease_id, None)
        if ended:
            self.ended.append(lease_id)
            self.model.update(dict.fromkeys(range(*ended), place))

    @rule()
    def condemn_rest(self) -> None:
        given_up = {entry for piece in self.ledger.condemn_rest() for entry in range(*piece)}
        expected = {entry for entry, place in self.model.items() if place in {"free", "aside"}}
        assert given_up == expected
        self.model.update(dict.fromkeys(expected, "bad"))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "ledger"):
            return
        ledger = self.ledger
        ledger.check()
        for name in ("free", "aside", "committed", "bad"):
            place = {entry for piece in getattr(ledger, name) for entry in range(*piece)}
            assert place == {entry for entry, where in self.model.items() if where == name}, name
        assert ledger.leased == self.leases
        assert ledger.settled == (set(self.model.values()) <= {"committed", "bad"})


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(
    ends=st.sets(st.integers(1, SIZE), min_size=1).map(sorted),
    start=st.integers(0, 30),
    wanted=st.integers(-3, 2 * SIZE),
    take_tail=st.booleans(),
    data=st.data(),
)
@settings(deadline=None)
def test_a_cut_is_a_cluster_end_beyond_the_start(
    ends: list[int], start: int, wanted: int, take_tail: bool, data: st.DataObject
) -> None:
    """Starting anywhere on a boundary, packets advance, stay within, and end on boundaries."""
    boundaries = [0, *ends]
    begin = boundaries[start % (len(boundaries) - 1)]
    limit = data.draw(st.sampled_from([end for end in ends if end > begin]))
    cuts = Cuts("t", ends[-1], ends)
    stop = cuts.stop_for(begin, limit, wanted, take_tail=take_tail)
    assert begin < stop <= limit
    assert stop in ends
