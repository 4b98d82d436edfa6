"""The pool's books beside a plain model, under any order of events."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from common.errors import NotFound
from dataserver.core.candidates import Candidates
from dataserver.core.groups import Groups, GroupShare
from dataserver.core.pins import Pin
from dataserver.core.policies import POLICIES
from dataserver.core.pool import Pool
from dataserver.core.purge import Goal, choose
from dataserver.core.replica import Limits, Mark, Replica

if TYPE_CHECKING:
    from dataserver.core.policies import PurgePolicy

QUOTA_BYTES = 100
NAMES = st.sampled_from(
    [f"/f{n}" for n in range(4)]
    + [f"/even/{n}" for n in range(2)]
    + [f"/odd/{n}" for n in range(2)]
)
SIZES = st.integers(0, 60)
OWNERS = st.sampled_from(["ann", "bob"])


class PoolMachine(RuleBasedStateMachine):
    """The books beside a model: sizes, opens and pins in plain dictionaries."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        shares = [GroupShare("even", ("/even/",), 0.3), GroupShare("odd", ("/odd/",), 0.3)]
        self.pool = Pool(Limits.of(QUOTA_BYTES, 5, 0.9, 0.5), Groups(shares, QUOTA_BYTES // 2))
        self.marks: dict[str, Mark] = {}
        self.kept_marks: dict[str, Mark | None] = {}
        self.now_s = 0.0
        self.sizes: dict[str, int] = {}
        self.leaving: set[str] = set()
        self.uses: list[str] = []
        self.pins: dict[str, dict[str, float]] = {}
        self.opens: dict[int, int] = {}
        self.unarchived: set[str] = set()
        self.taken = 0

    @rule(passed_s=st.floats(0.0, 5.0))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.pool.expire_pins(self.now_s)
        for owners in self.pins.values():
            for owner in [one for one, until_s in owners.items() if until_s <= self.now_s]:
                del owners[owner]

    @rule(lfn=NAMES, size_bytes=SIZES, spare_bytes=st.integers(0, 10), archived=st.booleans())
    def stage(self, lfn: str, size_bytes: int, spare_bytes: int, archived: bool) -> None:
        if lfn in self.sizes and (lfn not in self.unarchived or lfn in self.leaving):
            return
        room = sum(self.sizes.values()) + self.taken + size_bytes + spare_bytes <= QUOTA_BYTES
        files = len(self.sizes) + (1 if self.taken else 0) < 5
        assert self.pool.reserve(lfn, size_bytes + spare_bytes) == (room and files)
        if room and files:
            if lfn in self.sizes:
                self.forget(lfn)
            self.pool.publish(lfn, lfn, size_bytes, self.now_s, archived=archived)
            self.sizes[lfn] = size_bytes
            self.uses.append(lfn)
            if not archived:
                self.unarchived.add(lfn)

    @rule(lfn=NAMES, new_lfn=NAMES)
    def rename(self, lfn: str, new_lfn: str) -> None:
        if lfn not in self.sizes or lfn in self.leaving or new_lfn in self.sizes:
            return
        last_use_s = self.pool.rename(lfn, new_lfn).last_use_s
        self.sizes[new_lfn] = self.sizes.pop(lfn)
        if lfn in self.marks:
            self.marks[new_lfn] = self.marks.pop(lfn)
            self.kept_marks[new_lfn] = self.marks[new_lfn]
        if lfn in self.unarchived:
            self.unarchived.remove(lfn)
            self.unarchived.add(new_lfn)
        # Of those last used at the same time it is the last.
        self.uses.remove(lfn)
        later = [one for one in self.uses if self.last_use_s(one) > last_use_s]
        place = len(self.uses) - len(later)
        self.uses.insert(place, new_lfn)

    def last_use_s(self, lfn: str) -> float:
        replica = self.pool.get(lfn)
        assert replica is not None
        return replica.last_use_s

    @rule(lfn=NAMES)
    def archive(self, lfn: str) -> None:
        self.pool.archive(lfn)
        self.unarchived.discard(lfn)

    @rule(lfn=NAMES)
    def unarchive(self, lfn: str) -> None:
        if lfn in self.sizes and lfn not in self.leaving:
            self.pool.unarchive(lfn)
            self.unarchived.add(lfn)

    @rule(size_bytes=SIZES, more_bytes=SIZES)
    def reserve(self, size_bytes: int, more_bytes: int) -> None:
        self.pool.release("held")
        self.taken = 0
        if self.pool.reserve("held", size_bytes):
            self.taken = size_bytes
            if self.pool.extend("held", more_bytes):
                self.taken += more_bytes
            if self.taken == 0:
                self.pool.release("held")

    @rule(target=readers, lfn=NAMES)
    def open(self, lfn: str) -> Replica | None:
        if lfn not in self.sizes or lfn in self.leaving:
            with pytest.raises(NotFound):
                self.pool.open(lfn, self.now_s)
            return None
        replica = self.pool.open(lfn, self.now_s)
        self.opens[id(replica)] = self.opens.get(id(replica), 0) + 1
        self.use(lfn)
        return replica

    @rule(replica=consumes(readers))
    def close(self, replica: Replica | None) -> None:
        if replica is not None:
            self.pool.close(replica, self.now_s)
            self.opens[id(replica)] -= 1
            if self.pool.get(replica.lfn) is replica:
                self.note_use(replica.lfn)

    @rule(lfn=NAMES)
    def touch(self, lfn: str) -> None:
        self.pool.touch(lfn, self.now_s)
        if lfn in self.sizes:
            self.use(lfn)

    @rule(lfn=NAMES, mark=st.sampled_from(Mark))
    def mark(self, lfn: str, mark: Mark) -> None:
        self.pool.mark(lfn, mark)
        if lfn in self.sizes and self.marks.get(lfn) is not Mark.SOFT:
            self.marks[lfn] = mark

    @rule()
    def keep_marks(self) -> None:
        self.kept_marks.update(self.pool.take_remarked())
        kept = {lfn: self.kept_marks.get(lfn) for lfn in self.sizes}
        assert kept == {lfn: self.marks.get(lfn) for lfn in self.sizes}

    @rule(
        policy=st.sampled_from([*POLICIES.values()]),
        files=st.integers(0, 5),
        size_bytes=st.integers(0, QUOTA_BYTES),
    )
    def purge(self, policy: PurgePolicy, files: int, size_bytes: int) -> None:
        """Whatever the policy: only what is idle goes, soft evictions first, and just enough."""
        idle = {one.lfn: one for one in self.pool.idle()}
        proposals = Candidates(self.pool, policy).propose(self.now_s)
        chosen = [
            one.lfn for one in choose(self.pool, proposals, Goal(files, size_bytes), self.now_s)
        ]
        assert len(set(chosen)) == len(chosen)
        assert idle.keys() >= set(chosen)
        soft = [self.marks.get(lfn) is Mark.SOFT for lfn in chosen]
        assert soft == sorted(soft, reverse=True)
        spared_soft = {lfn for lfn in idle if self.marks.get(lfn) is Mark.SOFT} - set(chosen)
        assert all(soft) or not spared_soft
        if chosen:
            freed_before = sum(self.sizes[lfn] for lfn in chosen[:-1])
            assert len(chosen) - 1 < files or freed_before < size_bytes
        enough = len(chosen) >= files and sum(self.sizes[lfn] for lfn in chosen) >= size_bytes
        assert enough or set(chosen) == idle.keys()

    @rule(lfn=NAMES, pins=st.dictionaries(OWNERS, st.floats(0.1, 9.0)), add=st.booleans())
    def pin(self, lfn: str, pins: dict[str, float], add: bool) -> None:
        until = {owner: self.now_s + lifetime_s for owner, lifetime_s in pins.items()}
        if add:
            self.pool.add_pins(lfn, starmap(Pin, until.items()), self.now_s)
            self.pins.setdefault(lfn, {}).update(until)
        else:
            self.pool.set_pins(lfn, starmap(Pin, until.items()), self.now_s)
            self.pins[lfn] = until

    @rule(lfn=NAMES)
    def evict(self, lfn: str) -> None:
        replica = self.pool.get(lfn)
        busy = replica is None or self.opens.get(id(replica)) or self.pins.get(lfn)
        veto = self.pool.veto(lfn, self.now_s)
        assert (self.pool.unarchived.get(lfn) is not None) == (
            lfn in self.unarchived and lfn not in self.leaving
        )
        assert (veto is not None) == bool(busy or lfn in self.leaving | self.unarchived)
        if veto is None:
            self.pool.evict(lfn)
            self.leaving.add(lfn)

    @precondition(lambda self: self.leaving)
    @rule(gone=st.booleans())
    def leave(self, gone: bool) -> None:
        lfn = self.leaving.pop()
        if gone:
            self.pool.drop(lfn)
            self.forget(lfn)
        else:
            self.pool.spare(lfn)

    @rule(lfn=NAMES)
    def remove(self, lfn: str) -> None:
        if lfn in self.sizes and lfn not in self.leaving:
            self.pool.evict(lfn, by_force=True)
            self.leaving.add(lfn)

    def forget(self, lfn: str) -> None:
        del self.sizes[lfn]
        self.marks.pop(lfn, None)
        self.kept_marks.pop(lfn, None)
        self.uses.remove(lfn)
        self.unarchived.discard(lfn)

    def use(self, lfn: str) -> None:
        """A use that begins: whatever was done with is wanted again."""
        self.marks.pop(lfn, None)
        self.note_use(lfn)

    def note_use(self, lfn: str) -> None:
        self.uses.remove(lfn)
        self.uses.append(lfn)

    @invariant()
    def books_agree(self) -> None:
        self.pool.check()
        assert self.pool.used_bytes == sum(self.sizes.values())
        assert self.pool.reserved_bytes == self.taken
        assert self.pool.used_bytes + self.pool.reserved_bytes <= QUOTA_BYTES
        assert self.pool.files <= 5
        for lfn in self.sizes:
            replica = self.pool.get(lfn)
            assert replica is not None
            assert replica.mark is self.marks.get(lfn)
        idle = [one.lfn for one in self.pool.idle()]
        assert idle == [lfn for lfn in self.uses if lfn in set(idle)]
        assert set(idle) == {
            lfn
            for lfn in self.sizes
            if lfn not in self.leaving | self.unarchived
            and not self.pins.get(lfn)
            and not self.opens.get(id(self.pool.get(lfn)))
        }


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestPool = PoolMachine.TestCase
