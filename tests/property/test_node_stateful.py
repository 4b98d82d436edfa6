"""The node under any order of events.

The machine plays the redirector, the disk, the stage command and clients who read, write,
rename and remove against a node, in any order hypothesis can think of, and checks the
design's promises after every step: purges spare what is open, pinned, in flight or the only
copy (6), the quota holds (7), only verified files are visible (8), one thing at a time is
under way with a name, and every recall, upload and change ends (4).
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from common.errors import Damaged, NotFound, Refused
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.candidates import Advice
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.groups import Groups, GroupShare
from dataserver.core.node import Node
from dataserver.core.policies import POLICIES, PurgePolicy
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits, Replica

QUOTA_BYTES = 100
NAMES = st.sampled_from([f"/f{number}" for number in range(8)])
SIZES = st.integers(0, 60)
RARELY = st.sampled_from([False, False, False, True])


class NodeMachine(RuleBasedStateMachine):
    """The world around a node: what it instructed and what is on its disk."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.last_id = 0
        self.steps: dict[str, Any] = {}  # the step under way of each recall
        self.stopping: set[str] = set()
        self.removing: list[tuple[str, ...]] = []
        self.setting_apart: list[str] = []
        self.questions = 0
        self.disk: dict[str, int] = {}  # the size of what lies at each place
        self.precious: set[str] = set()  # the only copies of what clients wrote
        self.ordered: set[str] = set()
        self.ended: set[str] = set()
        self.queries: set[int] = set()
        self.readers: list[Replica] = []
        self.index: dict[str, int] | None = None  # what the redirector would know
        self.number = 0
        self.claiming: dict[str, str] = {}  # by claimant: the name it asks for
        self.claimed: set[str] = set()  # names, as the redirector has them
        self.begun: set[str] = set()
        self.over: set[str] = set()
        self.room: dict[str, do.GrantRoom] = {}
        self.wanted: dict[str, int] = {}  # room that clients wait for
        self.written: dict[str, int] = {}
        self.publishing: dict[str, do.PublishUpload] = {}
        self.ending: set[str] = set()
        self.changing: dict[str, ev.RemovalOrdered | ev.RenameOrdered] = {}
        self.moving: dict[str, do.MoveFile] = {}

    @initialize(
        sizes=st.lists(st.integers(0, 40), max_size=4),
        archived=st.booleans(),
        asks=st.booleans(),
        examines=st.booleans(),
        checked=st.booleans(),
        max_files=st.sampled_from([0, 4]),
        policy=st.sampled_from([*POLICIES.values()]),
        share=st.sampled_from([0.0, 0.5]),
    )
    def start(
        self,
        sizes: list[int],
        archived: bool,
        asks: bool,
        examines: bool,
        checked: bool,
        max_files: int,
        policy: PurgePolicy,
        share: float,
    ) -> None:
        shares = [GroupShare("all", ("/",), share)] if share else []
        limits = Limits.of(QUOTA_BYTES, max_files, 0.9, 0.5)
        pool = Pool(limits, Groups(shares, limits.low_bytes))
        found = [Found(f"/f{n}", size, 0.0, checked, archived) for n, size in enumerate(sizes)]
        pool.load(found)
        self.unchecked = {one.lfn for one in found if not checked}
        self.disk.update({one.lfn: one.size_bytes for one in found})
        self.node = Node(pool, slots=2, examines=examines, policy=policy, asks_purge_command=asks)
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
            assert not self.node.pool.away, "removed though its disk is not there"
            for lfn in one.lfns:
                self.may_go(lfn)
            self.removing.append(one.lfns)
        elif isinstance(one, do.SetApart):
            replica = self.node.pool.get(one.lfn)
            assert replica is not None
            assert not replica.archived
            assert not self.node.pool.away
            self.setting_apart.append(one.lfn)
        elif isinstance(one, do.AskPurgeCommand):
            self.questions += 1
        elif isinstance(one, do.JoinAnew):
            self.stream_breaks()
        elif isinstance(one, do.TellEnded):
            assert one.recall_id in self.ordered
            assert one.recall_id not in self.ended, "told twice"
            self.ended.add(one.recall_id)
        elif isinstance(one, do.TellEvicted):
            self.queries.remove(one.query_id)
        else:
            self.carry_out_for_client(one)

    def carry_out_for_client(self, one: do.Instruction) -> None:
        if isinstance(one, do.ClaimName):
            assert one.lfn not in self.claiming.values()
            assert one.lfn not in self.claimed
            self.claiming[one.claimant_id] = one.lfn
        elif isinstance(one, do.TellClaimEnded):
            self.claimed.discard(one.lfn)
        elif isinstance(one, do.RefuseUpload):
            self.over.add(one.upload_id)
        elif isinstance(one, do.GrantRoom):
            assert one.ask_from_bytes <= one.reserved_bytes
            self.room[one.upload_id] = one
            if one.reserved_bytes >= self.wanted.get(one.upload_id, 0):
                self.wanted.pop(one.upload_id, None)
        elif isinstance(one, do.RefuseRoom):
            del self.wanted[one.upload_id]
        elif isinstance(one, do.PublishUpload):
            assert one.replaces == (one.lfn in self.disk)
            self.publishing[one.upload_id] = one
        elif isinstance(one, do.EndUpload):
            self.ending.add(one.upload_id)
            self.wanted.pop(one.upload_id, None)
        elif isinstance(one, do.MoveFile):
            self.moving[one.change_id] = one
        elif isinstance(one, do.TellChanged):
            del self.changing[one.change_id]

    def may_go(self, lfn: str) -> None:
        """Asserts that a file is removed for a reason, and not under its readers' hands."""
        removals = self.node.removals
        if lfn in removals._lost or lfn in removals._ordered:
            self.precious.discard(lfn)
        else:
            assert lfn not in self.precious
            assert not any(self.node.pool.get(lfn) is reader for reader in self.readers)

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

    @rule(lfns=st.lists(NAMES, min_size=1, max_size=3), really=RARELY)
    def redirector_evicts(self, lfns: list[str], really: bool) -> None:
        if not really:
            return
        self.last_id += 1
        self.queries.add(self.last_id)
        self.feed(ev.EvictionOrdered(self.last_id, tuple(lfns)))

    @rule(lfns=st.lists(NAMES, min_size=1, max_size=3), is_done=st.booleans())
    def redirector_marks(self, lfns: list[str], is_done: bool) -> None:
        """Nothing goes for that alone."""
        if is_done:
            self.feed(ev.DoneWith(tuple(lfns)))
        else:
            self.last_id += 1
            self.queries.add(self.last_id)
            self.feed(ev.EvictionOrdered(self.last_id, tuple(lfns), soft=True))
            assert self.last_id not in self.queries, "answered at once"

    @rule(passed_s=st.floats(0.0, 10.0) | st.just(50.0))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.feed(ev.Tick())

    @rule(quota_bytes=st.integers(40, 150), really=RARELY)
    def limits_change(self, quota_bytes: int, really: bool) -> None:
        if not really:
            return
        pool = self.node.pool
        limits = Limits.of(quota_bytes, pool.limits.max_files, 0.9, 0.5)
        self.most_bytes = max(quota_bytes, pool.used_bytes + pool.reserved_bytes)
        self.feed(ev.LimitsChanged(limits))

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
            self.disk[step.lfn] = step.size_bytes
            self.feed(ev.Published(recall_id))

    @rule(really=RARELY)
    def disk_goes(self, really: bool) -> None:
        if really:
            self.feed(ev.DiskWent("its disk is not mounted"))

    @precondition(lambda self: self.node.pool.away)
    @rule()
    def disk_comes_back(self) -> None:
        self.feed(ev.DiskCame())

    @precondition(lambda self: self.steps)
    @rule(data=st.data(), bytes_done=st.integers(0, 90))
    def copy_grows(self, data: st.DataObject, bytes_done: int) -> None:
        self.feed(ev.Grew(data.draw(st.sampled_from(sorted(self.steps))), bytes_done))

    @precondition(lambda self: self.stopping)
    @rule()
    def step_is_stopped(self) -> None:
        self.stop_next()

    def stop_next(self) -> None:
        recall_id = min(self.stopping)
        self.stopping.remove(recall_id)
        self.feed(ev.Stopped(recall_id))

    @precondition(lambda self: self.removing)
    @rule(fails=st.booleans())
    def files_are_removed(self, fails: bool) -> None:
        lfns = self.removing.pop(0)
        failed = lfns[:1] if fails else ()
        gone = lfns[len(failed) :]
        for lfn in gone:
            del self.disk[lfn]
        self.feed(ev.Removed(gone, tuple((lfn, "Input/output error") for lfn in failed)))

    @precondition(lambda self: self.setting_apart)
    @rule(fails=st.booleans())
    def file_is_set_apart(self, fails: bool) -> None:
        lfn = self.setting_apart.pop(0)
        if fails:
            self.feed(ev.Removed((), ((lfn, "Input/output error"),)))
            return
        del self.disk[lfn]
        self.precious.discard(lfn)
        self.feed(ev.Removed((lfn,)))

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
        self.check_next(archived)

    def check_next(self, archived: bool) -> None:
        lfn = min(self.unchecked)
        self.unchecked.remove(lfn)
        self.feed(ev.Checked(lfn, archived))

    @rule(lfn=NAMES)
    def archive_is_asked_again(self, lfn: str) -> None:
        if lfn not in self.unchecked:
            self.feed(ev.Checked(lfn, archived=True))
            replica = self.node.pool.get(lfn)
            if replica is not None and replica.archived:
                self.precious.discard(lfn)

    # --- clients who write -----------------------------------------------------------

    @rule(
        data=st.data(),
        lfn=NAMES,
        size_bytes=st.just(0) | st.integers(0, 30),
        replaces=st.booleans(),
        copies=st.booleans(),
    )
    def client_begins(
        self, data: st.DataObject, lfn: str, size_bytes: int, replaces: bool, copies: bool
    ) -> None:
        if replaces and self.precious:
            lfn = data.draw(st.sampled_from([lfn, *sorted(self.precious)]))
        self.last_id += 1
        upload_id = f"u{self.last_id}"
        self.begun.add(upload_id)
        self.feed(ev.UploadBegun(upload_id, lfn, size_bytes, replaces, replaces and copies))

    @precondition(lambda self: self.claiming)
    @rule(data=st.data(), granted=st.sampled_from([True, True, False]))
    def claim_is_answered(self, data: st.DataObject, granted: bool) -> None:
        claimant = data.draw(st.sampled_from(sorted(self.claiming)))
        self.answer_claim(claimant, granted)

    def answer_claim(self, claimant: str, granted: bool) -> None:
        lfn = self.claiming.pop(claimant)
        if granted:
            self.claimed.add(lfn)
            self.feed(ev.Claimed(claimant))
        else:
            self.feed(ev.ClaimRefused(claimant, Refused("it is online elsewhere")))

    @precondition(lambda self: self.node.uploads.growing())
    @rule(data=st.data(), more_bytes=st.integers(0, 30), times=st.integers(1, 3))
    def client_writes(self, data: st.DataObject, more_bytes: int, times: int) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.node.uploads.growing())))
        for _ in range(times):
            self.write(upload_id, more_bytes)

    def write(self, upload_id: str, more_bytes: int) -> None:
        size_bytes = self.written.get(upload_id, 0) + more_bytes
        room = self.room[upload_id]
        if upload_id in self.wanted or upload_id not in self.node.uploads.growing():
            return
        if size_bytes > room.reserved_bytes:
            self.wanted[upload_id] = size_bytes
            self.feed(ev.RoomWanted(upload_id, size_bytes))
            return
        self.written[upload_id] = size_bytes
        if size_bytes > room.ask_from_bytes:
            self.feed(ev.RoomWanted(upload_id, size_bytes))

    @precondition(lambda self: self.node.uploads.growing())
    @rule(data=st.data())
    def client_closes(self, data: st.DataObject) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.node.uploads.growing())))
        if upload_id not in self.wanted:
            self.feed(ev.UploadWritten(upload_id, self.written.get(upload_id, 0)))

    @precondition(lambda self: self.publishing)
    @rule(data=st.data(), fails=st.sampled_from([False, False, True]))
    def upload_gets_to_its_place(self, data: st.DataObject, fails: bool) -> None:
        self.publish(data.draw(st.sampled_from(sorted(self.publishing))), fails)

    def publish(self, upload_id: str, fails: bool) -> None:
        order = self.publishing.pop(upload_id)
        if fails:
            self.feed(ev.UploadFailed(upload_id, Damaged("Input/output error")))
            return
        assert (order.lfn in self.disk) == order.replaces
        self.disk[order.lfn] = order.size_bytes
        self.precious.add(order.lfn)
        self.over.add(upload_id)
        self.feed(ev.UploadPublished(upload_id))

    @precondition(lambda self: self.begun - self.over)
    @rule(data=st.data(), really=RARELY)
    def client_goes_away(self, data: st.DataObject, really: bool) -> None:
        if not really:
            return
        upload_id = data.draw(st.sampled_from(sorted(self.begun - self.over)))
        # What is being published is left to itself.
        if upload_id not in self.publishing:
            self.feed(ev.UploadFailed(upload_id, Refused("its client went away")))

    @precondition(lambda self: self.ending - self.claiming.keys())
    @rule()
    def upload_is_gone(self) -> None:
        upload_id = min(self.ending - self.claiming.keys())
        self.ending.remove(upload_id)
        self.over.add(upload_id)
        self.feed(ev.UploadGone(upload_id))

    # --- clients who remove and rename --------------------------------------------------

    @rule(lfn=NAMES, really=RARELY)
    def client_removes(self, lfn: str, really: bool) -> None:
        if not really:
            return
        self.last_id += 1
        order = ev.RemovalOrdered(f"c{self.last_id}", lfn)
        self.changing[order.change_id] = order
        self.feed(order)

    @rule(data=st.data(), lfn=NAMES, new_lfn=NAMES)
    def client_renames(self, data: st.DataObject, lfn: str, new_lfn: str) -> None:
        if self.precious:
            lfn = data.draw(st.sampled_from([lfn, *sorted(self.precious)]))
        self.last_id += 1
        order = ev.RenameOrdered(f"c{self.last_id}", lfn, new_lfn)
        self.changing[order.change_id] = order
        self.feed(order)

    @precondition(lambda self: self.moving)
    @rule(fails=st.sampled_from([False, False, True]))
    def file_is_moved(self, fails: bool) -> None:
        self.move(min(self.moving), fails)

    def move(self, change_id: str, fails: bool) -> None:
        order = self.moving.pop(change_id)
        if fails:
            self.feed(ev.RenameFailed(change_id, Damaged("Input/output error")))
            return
        assert order.new_lfn not in self.disk
        self.disk[order.new_lfn] = self.disk.pop(order.lfn)
        if order.lfn in self.precious:
            self.precious.remove(order.lfn)
            self.precious.add(order.new_lfn)
        self.feed(ev.Renamed(change_id))

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

    @rule(
        lfn=NAMES,
        reason=st.sampled_from(["damaged", "vanished"]),
        apart=st.booleans(),
        really=RARELY,
    )
    def replica_is_lost(self, lfn: str, reason: str, apart: bool, really: bool) -> None:
        if really and lfn not in self.unchecked:
            self.feed(ev.Lost(lfn, reason, "somebody was here", apart))

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
                self.index[change.lfn] = change.size_bytes

    @invariant()
    def promises_hold(self) -> None:
        self.node.check()
        pool = self.node.pool
        assert pool.used_bytes + pool.reserved_bytes <= self.most_bytes
        assert {one.lfn: one.size_bytes for one in pool.everything()} == self.disk
        assert self.precious <= self.disk.keys()
        assert self.claimed <= set(self.node.claims())
        for upload_id, size_bytes in self.written.items():
            if upload_id not in self.over:
                assert size_bytes <= pool.reserved_for(upload_id)
        if self.index is not None and not len(self.node.changes):
            assert self.index == {one.lfn: one.size_bytes for one in pool.held()}

    # --- the world goes on ------------------------------------------------------------

    @rule(times=st.integers(1, 6))
    def time_brings_what_is_due(self, times: int) -> None:
        for _ in range(times):
            self.goes_on()
            self.node.check()

    def goes_on(self) -> bool:
        """Does the next thing that was asked of the world, and well; False if there is none."""
        if self.unchecked:
            self.check_next(archived=True)
        elif self.stopping:
            self.stop_next()
        elif self.questions:
            self.questions -= 1
            self.feed(ev.Advised(Advice()))
        elif self.setting_apart:
            self.file_is_set_apart(fails=False)
        elif self.removing:
            lfns = self.removing.pop(0)
            for lfn in lfns:
                del self.disk[lfn]
            self.feed(ev.Removed(lfns))
        elif self.claiming:
            self.answer_claim(min(self.claiming), granted=True)
        elif self.publishing:
            self.publish(min(self.publishing), fails=False)
        elif self.moving:
            self.move(min(self.moving), fails=False)
        elif self.ending:
            self.upload_is_gone()
        elif self.steps:
            self.finish(min(self.steps), 10, fails=False)
        elif self.node.staging.waiting:
            self.feed(ev.Tick())
        elif writing := self.begun - self.over:
            assert not self.wanted, "a client waits for room though nothing is under way"
            self.feed(ev.UploadWritten(min(writing), self.written.get(min(writing), 0)))
        else:
            return False
        return True

    def teardown(self) -> None:
        """The world does all it was told to, and so every recall and query ends."""
        if not hasattr(self, "node"):
            return
        self.feed(ev.DiskCame())
        for _ in range(1000):
            if not self.goes_on():
                break
            self.node.check()
        assert self.ended == self.ordered
        assert not self.queries
        assert self.over == self.begun
        assert not self.changing
        assert not self.claimed
        assert self.node.is_idle


NodeMachine.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestNode = NodeMachine.TestCase
