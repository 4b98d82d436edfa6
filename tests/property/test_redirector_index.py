"""The replica index agrees with a plain dict of sets, whatever is done to both."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redirector.core.index import ReplicaIndex

LFNS = [f"/f{number}" for number in range(6)]
NODES = [1, 2, 3]

names = st.sampled_from(LFNS)
numbers = st.sampled_from(NODES)


class IndexMachine(RuleBasedStateMachine):
    """The model: per node a dict of its visible files; the slots as the head uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ReplicaIndex()
        self.model: dict[int, dict[str, int]] = {node: {} for node in NODES}
        self.slots: dict[int, list[int]] = {node: [] for node in NODES}
        self.reported: dict[int, set[str]] = {node: set() for node in NODES}

    @rule(node=numbers)
    def begin_inventory(self, node: int) -> None:
        self.slots[node].append(self.index.open_slot(node))
        self.reported[node] = set()

    @precondition(lambda self: any(self.slots.values()))
    @rule(node=numbers, lfn=names, size_bytes=st.integers(0, 2**40))
    def put(self, node: int, lfn: str, size_bytes: int) -> None:
        if self.slots[node]:
            online = any(lfn in files for files in self.model.values())
            assert self.index.put(self.slots[node][-1], lfn, size_bytes) == (not online)
            self.model[node][lfn] = size_bytes
            self.reported[node].add(lfn)

    @rule(node=numbers)
    def complete_inventory(self, node: int) -> None:
        for slot in self.slots[node][:-1]:
            self.index.close_slot(slot)
        if len(self.slots[node]) > 1:
            kept = self.reported[node]
            self.model[node] = {lfn: s for lfn, s in self.model[node].items() if lfn in kept}
        self.slots[node] = self.slots[node][-1:]

    @rule(node=numbers, lfn=names)
    def drop(self, node: int, lfn: str) -> None:
        held = self.model[node].pop(lfn, None) is not None
        assert self.index.drop(self.slots[node], lfn) == held

    @rule(node=numbers)
    def lose_node(self, node: int) -> None:
        for slot in self.slots[node]:
            self.index.close_slot(slot)
        self.slots[node] = []
        self.model[node] = {}

    @rule(limit=st.integers(1, 4))
    def sweep(self, limit: int) -> None:
        for gone in self.index.sweep(limit):
            assert gone.lfn not in self.model[gone.node]

    @invariant()
    def both_agree(self) -> None:
        self.index.check()
        columns = self.index.locate(LFNS, float)
        more = {(row, node) for row, node in columns.more}
        for row, lfn in enumerate(LFNS):
            holders = sorted(node for node in NODES if lfn in self.model[node])
            assert columns.holders[row] == (holders[0] if holders else 0)
            assert columns.sizes_bytes[row] == (self.model[holders[0]][lfn] if holders else 0)
            assert {node for at, node in more if at == row} == set(holders[1:])
        assert self.index.total == sum(map(len, self.model.values()))


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
