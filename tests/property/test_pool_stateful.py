"""The pool, and the node around it, under any order of events.

`PoolMachine` drives the books alone beside a plain model. `NodeMachine` plays the
redirector, the disk and the stage command against a node, in any order hypothesis can
think of, and checks the design's promises after every step: purges spare what is open,
pinned or in flight (6), the quota holds (7), only verified files are visible (8), and
every recall ends (4).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from common.errors import NotFound
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.node import Node
from dataserver.core.pool import Pool
from dataserver.core.purge import Advice
from dataserver.core.replica import Found, Limits, Replica

QUOTA_BYTES = 100
NAMES = st.sampled_from([f"/f{number}" for number in range(8)])
SIZES = st.integers(0, 60)
OWNERS = st.sampled_from(["ann", "bob"])


class PoolMachine(RuleBasedStateMachine):
    """The books beside a model: sizes, opens and pins in plain dictionaries."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(Limits.of(QUOTA_BYTES, 5, 0.9, 0.5))
        self.now_s = 0.0
        self.sizes: dict[str, int] = {}
        self.leaving: set[str] = set()
        self.uses: list[str] = []
        self.pins: dict[str, dict[str, float]] = {}
        self.opens: dict[int, int] = {}
        self.taken = 0

    @rule(passed_s=st.floats(0.0, 5.0))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.pool.expire_pins(self.now_s)
        for owners in self.pins.values():
            for owner in [one for one, until_s in owners.items() if until_s <= self.now_s]:
                del owners[owner]

    @rule(lfn=NAMES, size_bytes=SIZES, spare_bytes=st.integers(0, 10))
    def stage(self, lfn: str, size_bytes: int, spare_bytes: int) -> None:
        if lfn in self.sizes:
            return
        room = sum(self.sizes.values()) + self.taken + size_bytes + spare_bytes <= QUOTA_BYTES
        files = len(self.sizes) + (1 if self.taken else 0) < 5
        assert self.pool.reserve(lfn, size_bytes + spare_bytes) == (room and files)
        if room and files:
            self.pool.publish(lfn, lfn, size_bytes, self.now_s)
            self.sizes[lfn] = size_bytes
            self.uses.append(lfn)

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
                self.use(replica.lfn)

    @rule(lfn=NAMES)
    def touch(self, lfn: str) -> None:
        self.pool.touch(lfn, self.now_s)
        if lfn in self.sizes:
            self.use(lfn)

    @rule(lfn=NAMES, pins=st.dictionaries(OWNERS, st.floats(0.1, 9.0)), add=st.booleans())
    def pin(self, lfn: str, pins: dict[str, float], add: bool) -> None:
        until = {owner: self.now_s + lifetime_s for owner, lifetime_s in pins.items()}
        if add:
            self.pool.add_pins(lfn, until.items(), self.now_s)
            self.pins.setdefault(lfn, {}).update(until)
        else:
            self.pool.set_pins(lfn, until.items(), self.now_s)
            self.pins[lfn] = until

    @rule(lfn=NAMES)
    def evict(self, lfn: str) -> None:
        replica = self.pool.get(lfn)
        busy = replica is None or self.opens.get(id(replica)) or self.pins.get(lfn)
        veto = self.pool.veto(lfn, self.now_s)
        assert (veto is not None) == bool(busy or lfn in self.leaving)
        if veto is None:
            self.pool.evict(lfn)
            self.leaving.add(lfn)

    @precondition(lambda self: self.leaving)
    @rule(gone=st.booleans())
    def leave(self, gone: bool) -> None:
        lfn = self.leaving.pop()
        if gone:
            self.pool.drop(lfn)
            del self.sizes[lfn]
            self.uses.remove(lfn)
        else:
            self.pool.spare(lfn)

    def use(self, lfn: str) -> None:
        self.uses.remove(lfn)
        self.uses.append(lfn)

    @invariant()
    def books_agree(self) -> None:
        self.pool.check()
        assert self.pool.used_bytes == sum(self.sizes.values())
        assert self.pool.reserved_bytes == self.taken
        assert self.pool.used_bytes + self.pool.reserved_bytes <= QUOTA_BYTES
        assert self.pool.files <= 5
        idle = [one.lfn for one in self.pool.idle()]
        assert idle == [lfn for lfn in self.uses if lfn in set(idle)]
        assert set(idle) == {
            lfn
            for lfn in self.sizes
            if lfn not in self.leaving
            and not self.pins.get(lfn)
            and not self.opens.get(id(self.pool.get(lfn)))
        }


class NodeMachine(RuleBasedStateMachine):
    """The world around a node: what it instructed and what is on its disk."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.last_id = 0
        self.steps: dict[str, Any] = {}  # the step under way of each recall
        self.stopping: set[str] = set()
        self.removing: list[tuple[str, ...]] = []
        self.questions = 0
        self.disk: set[str] = set()
        self.ordered: set[str] = set()
        self.ended: set[str] = set()
        self.queries: set[int] = set()
        self.readers: list[Replica] = []
        self.index: dict[str, int] | None = None  # what the redirector would know
        self.number = 0

    @initialize(
        sizes=st.lists(st.integers(0, 40), max_size=4),
        asks=st.booleans(),
        examines=st.booleans(),
        checked=st.booleans(),
        max_files=st.sampled_from([0, 4]),
    )
    def start(
        self, sizes: list[int], asks: bool, examines: bool, checked: bool, max_files: int
    ) -> None:
        pool = Pool(Limits.of(QUOTA_BYTES, max_files, 0.9, 0.5))
        found = [Found(f"/f{n}", size, 0.0, checked) for n, size in enumerate(sizes)]
        pool.load(found)
        self.unchecked = {one.lfn for one in found if not checked}
        self.disk.update(one.lfn for one in found)
        self.node = Node(pool, slots=2, examines=examines, asks_purge_command=asks)
        self.most_bytes = max(QUOTA_BYTES, pool.used_bytes)

    def feed(self, event: ev.Event) -> None:
        for one in self.node.handle(event, self.now_s):
            self.carry_out(one)

    def carry_out(self, one: do.Instruction) -> None:
        if isinstance(one, do.Examine | do.Copy | do.Verify | do.Publish):
            assert one.recall_id not in self.steps
            self.steps[one.recall_id] = one
        elif isinstance(one, do.StopStep):
            self.steps.pop(one.recall_id, None)
            self.stopping.add(one.recall_id)
        elif isinstance(one, do.RemoveFiles):
            for lfn in one.lfns:
                assert not any(lfn == reader.lfn for reader in self.readers_of_good_files())
            self.removing.append(one.lfns)
        elif isinstance(one, do.AskPurgeCommand):
            self.questions += 1
        elif isinstance(one, do.TellEnded):
            assert one.recall_id in self.ordered
            assert one.recall_id not in self.ended, "told twice"
            self.ended.add(one.recall_id)
        elif isinstance(one, do.TellEvicted):
            self.queries.remove(one.query_id)

    def readers_of_good_files(self) -> list[Replica]:
        lost = self.node.removals._lost
        return [one for one in self.readers if one.lfn not in lost]

    # --- the redirector ---------------------------------------------------------

    @rule()
    def redirector_welcomes(self) -> None:
        self.feed(ev.Welcomed(60.0, self.now_s))

    @rule(lfn=NAMES, size_bytes=st.none() | SIZES, reserve_bytes=SIZES, pinned=st.booleans())
    def redirector_orders(
        self, lfn: str, size_bytes: int | None, reserve_bytes: int, pinned: bool
    ) -> None:
        self.last_id += 1
        recall_id = f"r{self.last_id}"
        self.ordered.add(recall_id)
        pins = (ev.PinOrder("ann", 20.0),) if pinned else ()
        self.feed(ev.RecallOrdered(recall_id, lfn, size_bytes, None, reserve_bytes + 1, pins))

    @precondition(lambda self: self.ordered)
    @rule(data=st.data())
    def redirector_cancels(self, data: st.DataObject) -> None:
        self.feed(ev.RecallRevoked(data.draw(st.sampled_from(sorted(self.ordered))), "enough"))

    @rule(files=st.dictionaries(NAMES, st.floats(0.1, 30.0), max_size=3), complete=st.booleans())
    def redirector_pins(self, files: dict[str, float], complete: bool) -> None:
        orders = tuple((lfn, (ev.PinOrder("bob", s),)) for lfn, s in files.items())
        self.feed(ev.PinsOrdered(orders, complete))

    @rule(lfns=st.lists(NAMES, max_size=3))
    def redirector_evicts(self, lfns: list[str]) -> None:
        self.last_id += 1
        self.queries.add(self.last_id)
        self.feed(ev.EvictionOrdered(self.last_id, tuple(lfns)))

    @rule(passed_s=st.floats(0.0, 70.0))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.feed(ev.Tick())

    # --- the disk and the stage command -------------------------------------------

    @precondition(lambda self: self.steps)
    @rule(data=st.data(), size_bytes=SIZES, fails=st.sampled_from([False, False, True]))
    def step_ends(self, data: st.DataObject, size_bytes: int, fails: bool) -> None:
        recall_id = data.draw(st.sampled_from(sorted(self.steps)))
        self.finish(recall_id, size_bytes, fails)

    def finish(self, recall_id: str, size_bytes: int, fails: bool) -> None:
        step = self.steps.pop(recall_id)
        if fails:
            failure = Failure(FailureKind.TRANSIENT, "the tape broke")
            self.feed(ev.StepFailed(recall_id, failure))
        elif isinstance(step, do.Examine):
            self.feed(ev.Examined(recall_id, size_bytes))
        elif isinstance(step, do.Copy):
            size = size_bytes if step.size_bytes is None else step.size_bytes
            self.feed(ev.Copied(recall_id, size))
        elif isinstance(step, do.Verify):
            assert step.size_bytes is not None
            self.feed(ev.Verified(recall_id, step.size_bytes, None))
        else:
            assert step.lfn not in self.disk, "published over another file"
            self.disk.add(step.lfn)
            self.feed(ev.Published(recall_id))

    @precondition(lambda self: self.steps)
    @rule(data=st.data(), bytes_done=st.integers(0, 90))
    def copy_grows(self, data: st.DataObject, bytes_done: int) -> None:
        self.feed(ev.Grew(data.draw(st.sampled_from(sorted(self.steps))), bytes_done))

    @precondition(lambda self: self.stopping)
    @rule()
    def step_is_stopped(self) -> None:
        self.feed(ev.Stopped(self.stopping.pop()))

    @precondition(lambda self: self.removing)
    @rule(fails=st.booleans())
    def files_are_removed(self, fails: bool) -> None:
        lfns = self.removing.pop(0)
        failed = lfns[:1] if fails else ()
        gone = lfns[len(failed) :]
        self.disk.difference_update(gone)
        self.feed(ev.Removed(gone, tuple((lfn, "Input/output error") for lfn in failed)))

    @precondition(lambda self: self.questions)
    @rule(
        first=st.lists(NAMES, max_size=3), keep=st.sets(NAMES), problem=st.sampled_from(["", "x"])
    )
    def purge_command_answers(self, first: list[str], keep: set[str], problem: str) -> None:
        self.questions -= 1
        self.feed(ev.Advised(Advice(tuple(first), frozenset(keep)), problem))

    @precondition(lambda self: self.unchecked)
    @rule(archived=st.booleans())
    def check_ends(self, archived: bool) -> None:
        lfn = min(self.unchecked)
        self.unchecked.remove(lfn)
        self.feed(ev.Checked(lfn, archived))

    # --- readers --------------------------------------------------------------------

    @rule(lfn=NAMES)
    def reader_opens(self, lfn: str) -> None:
        try:
            self.readers.append(self.node.pool.open(lfn, self.now_s))
        except NotFound:
            return
        assert lfn in self.disk

    @precondition(lambda self: self.readers)
    @rule()
    def reader_closes(self) -> None:
        self.node.pool.close(self.readers.pop(), self.now_s)

    @rule(lfn=NAMES, reason=st.sampled_from(["damaged", "vanished"]))
    def replica_is_lost(self, lfn: str, reason: str) -> None:
        if lfn not in self.unchecked:
            self.feed(ev.Lost(lfn, reason, "somebody was here"))

    # --- what the redirector knows ----------------------------------------------------

    @rule()
    def inventory_is_sent(self) -> None:
        inventory = self.node.inventory()
        self.index = dict(zip(inventory.lfns, inventory.size_bytes, strict=True))
        self.number = inventory.number

    @rule()
    def stream_breaks(self) -> None:
        self.node.changes.abandon()
        self.index = None

    @precondition(lambda self: self.index is not None)
    @rule(limit=st.integers(1, 5))
    def changes_are_sent(self, limit: int) -> None:
        assert self.index is not None
        for change in self.node.changes.take(limit):
            self.number += 1
            assert change.number == self.number
            if change.dropped:
                del self.index[change.lfn]
            else:
                assert change.lfn not in self.index
                self.index[change.lfn] = change.size_bytes

    @invariant()
    def promises_hold(self) -> None:
        self.node.check()
        pool = self.node.pool
        assert pool.used_bytes + pool.reserved_bytes <= self.most_bytes
        assert {one.lfn for one in pool.everything()} == self.disk - {
            step.lfn for step in self.steps.values() if isinstance(step, do.Publish)
        }
        if self.index is not None and not len(self.node.changes):
            assert self.index == {one.lfn: one.size_bytes for one in pool.held()}

    def teardown(self) -> None:
        """The world does all it was told to, and so every recall and query ends."""
        if not hasattr(self, "node"):
            return
        for _ in range(1000):
            if self.unchecked:
                self.feed(ev.Checked(self.unchecked.pop(), archived=True))
            elif self.stopping:
                self.feed(ev.Stopped(self.stopping.pop()))
            elif self.questions:
                self.questions -= 1
                self.feed(ev.Advised(Advice()))
            elif self.removing:
                lfns = self.removing.pop(0)
                self.disk.difference_update(lfns)
                self.feed(ev.Removed(lfns))
            elif self.steps:
                self.finish(min(self.steps), 10, fails=False)
            elif self.node.staging.waiting:
                self.feed(ev.Tick())
            else:
                break
            self.node.check()
        assert self.ended == self.ordered
        assert not self.queries
        assert not list(self.node.staging.live())


MANY = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PoolMachine.TestCase.settings = MANY
NodeMachine.TestCase.settings = MANY
TestPool = PoolMachine.TestCase
TestNode = NodeMachine.TestCase
