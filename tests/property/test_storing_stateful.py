"""Storing under any order of events, with an archive that fails and a server that is killed.

The machine plays clients, the disk, the catalogue and the archive for a node. The archive loses
runs half-way, keeps what a failed command has left, and has files of other people's. The server
is killed at any moment and starts again from what its catalogue knows. After every step:

* what may be purged is in the archive, whole, with the content it has here;
* nothing of somebody else's in the archive was overwritten or removed;
* what a client was told is removed comes back from nowhere;
* and in the end all that is migratable is in the archive, or was refused for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.errors import Refused, Unreachable
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.events import Likeness
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.node import Node
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits
from dataserver.core.store_table import StoreFound
from dataserver.core.stores import StoreRules

QUOTA_BYTES = 1000
NAMES = st.sampled_from(["/a", "/b", "/c", "/scratch/d"])
SIZE_BYTES = 10
FOREIGN = 0
RARELY = st.sampled_from([False, False, False, True])
DOWN = Failure(FailureKind.TRANSIENT, "the library is down")
FORBIDDEN = Failure(FailureKind.PERMANENT, "no such pool")


@dataclass
class Row:
    """What the catalogue remembers of a replica; contents are numbers."""

    content: int
    archived: bool = False
    sent: bool = False
    failure: str = ""


class StoringMachine(RuleBasedStateMachine):
    """The world around a node that stores what clients write."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.last_id = 0
        self.rows: dict[str, Row] = {}
        #: What the archive has: the content, and whether it is the whole of it.
        self.archive: dict[str, tuple[int, bool]] = {}
        self.foreign: set[str] = set()
        self.removed: set[int] = set()  # contents that clients removed or replaced
        self.begin_life()

    @initialize(
        foreign=st.sets(NAMES, max_size=1),
        mine=st.sets(NAMES, max_size=3),
        can_look=st.sampled_from([True, True, False]),
        sums=st.booleans(),
        removes=st.sampled_from([True, True, False]),
    )
    def start(
        self, foreign: set[str], mine: set[str], can_look: bool, sums: bool, removes: bool
    ) -> None:
        # Who cannot ask trusts that what it stores is new.
        self.foreign = foreign if can_look else set()
        self.archive.update(dict.fromkeys(self.foreign, (FOREIGN, True)))
        self.last_id = len(mine)
        contents = range(1, self.last_id + 1)
        self.rows = {lfn: Row(one) for lfn, one in zip(sorted(mine), contents, strict=True)}
        self.can_look = can_look
        self.sums = sums  # whether the archive tells checksums
        self.removes = removes
        self.restart()

    # --- the server's lives -------------------------------------------------------

    def begin_life(self) -> None:
        """Nothing is under way."""
        self.steps: dict[str, Any] = {}
        self.ending: list[Any] = []  # steps that are being stopped
        self.claims_asked: list[str] = []
        self.removing: list[tuple[str, ...]] = []
        self.uploads: dict[str, tuple[str, int]] = {}
        self.publishing: dict[str, do.PublishUpload] = {}
        self.gone: list[str] = []
        self.changing: dict[str, str] = {}
        self.moving: list[do.MoveFile] = []
        self.withdrawing: list[do.RemoveFromArchive] = []

    def restart(self) -> None:
        self.begin_life()
        pool = Pool(Limits.of(QUOTA_BYTES, 0, 0.9, 0.5))
        pool.load(
            Found(lfn, SIZE_BYTES, self.now_s, archived=row.archived)
            for lfn, row in self.rows.items()
        )
        rules = StoreRules(
            2, 5.0, 1.0, 8.0, self.can_look, covers=lambda lfn: not lfn.startswith("/scratch/")
        )
        self.node = Node(pool, slots=2, examines=False, store_rules=rules, withdraws=self.removes)
        self.node.stores.load(
            [
                StoreFound(lfn, self.now_s, row.sent, row.failure)
                for lfn, row in self.rows.items()
                if not row.archived
            ],
            self.now_s,
        )
        self.feed(ev.Welcomed(1e9, self.now_s))
        self.feed(ev.PinsOrdered((), complete=True))

    def server_is_killed(self, stored: str) -> None:
        """In the middle of what its commands do."""
        for step in self.steps.values():
            if isinstance(step, do.RunStore) and stored != "nothing":
                self.rows[step.lfn].sent = True
                self.leave_in_archive(step, stored)
        for order in self.withdrawing:
            if stored != "nothing":
                self.note_unarchived(order.lfn)
            if stored == "whole":
                self.remove_from_archive(order.lfn)
        self.restart()

    # --- carrying out -------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        for one in self.node.handle(event, self.now_s):
            self.carry_out(one)

    def carry_out(self, one: do.Instruction) -> None:
        match one:
            case do.CompareWithArchive() | do.RunStore() | do.NoteArchived():
                assert one.step_id not in self.steps
                self.steps[one.step_id] = one
            case do.StopStore():
                self.ending.append((one.step_id, self.steps.pop(one.step_id)))
            case do.NoteStore():
                if one.lfn in self.rows and not self.rows[one.lfn].archived:
                    self.rows[one.lfn].sent = one.sent
                    self.rows[one.lfn].failure = one.failure
            case do.RemoveFiles():
                ordered = self.node.removals._ordered
                assert all(self.is_safe(lfn) or lfn in ordered for lfn in one.lfns), one
                self.removing.append(one.lfns)
            case do.RemoveFromArchive():
                self.withdrawing.append(one)
            case do.ClaimName():
                self.claims_asked.append(one.claimant_id)
            case do.PublishUpload():
                self.publishing[one.upload_id] = one
            case do.EndUpload():
                self.gone.append(one.upload_id)
            case do.MoveFile():
                self.moving.append(one)
            case do.TellChanged():
                lfn = self.changing.pop(one.change_id)
                if one.error is None and lfn:
                    assert lfn not in self.rows

    def is_safe(self, lfn: str) -> bool:
        """Whether the archive has the whole of what lies here."""
        return self.archive.get(lfn) == (self.rows[lfn].content, True)

    # --- clients ------------------------------------------------------------------

    @rule(lfn=NAMES, slowly=RARELY)
    def client_writes(self, lfn: str, slowly: bool) -> None:
        self.last_id += 1
        upload_id = f"u{self.last_id}"
        self.uploads[upload_id] = (lfn, self.last_id)
        replaces = self.node.is_visible(lfn)
        done = self.node.handle(ev.UploadBegun(upload_id, lfn, SIZE_BYTES, replaces), self.now_s)
        for one in done:
            self.carry_out(one)
        if upload_id not in self.claims_asked:
            del self.uploads[upload_id]
        elif lfn in self.archive and not replaces:
            # The archive is asked before anything new is written, or clients know.
            self.claims_asked.remove(upload_id)
            self.feed(ev.ClaimRefused(upload_id, Refused("it is in the archive")))
        elif not slowly:
            self.claims_asked.remove(upload_id)
            self.feed(ev.Claimed(upload_id))
            self.feed(ev.UploadWritten(upload_id, SIZE_BYTES))
            if upload_id in self.publishing:
                self.publish(upload_id, fails=False)

    @precondition(lambda self: self.node.uploads.growing())
    @rule(data=st.data())
    def client_closes(self, data: st.DataObject) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.node.uploads.growing())))
        self.feed(ev.UploadWritten(upload_id, SIZE_BYTES))

    @precondition(lambda self: self.publishing)
    @rule(fails=st.sampled_from([False, False, True]))
    def upload_gets_to_its_place(self, fails: bool) -> None:
        self.publish(min(self.publishing), fails)

    def publish(self, upload_id: str, fails: bool) -> None:
        order = self.publishing.pop(upload_id)
        if fails:
            self.feed(ev.UploadFailed(upload_id, Refused("Input/output error")))
            return
        _, content = self.uploads.pop(upload_id)
        if order.lfn in self.rows:
            self.removed.add(self.rows[order.lfn].content)
        self.rows[order.lfn] = Row(content)
        self.feed(ev.UploadPublished(upload_id))

    @precondition(lambda self: self.gone)
    @rule()
    def upload_is_gone(self) -> None:
        upload_id = self.gone.pop()
        self.uploads.pop(upload_id, None)
        self.feed(ev.UploadGone(upload_id))

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), really=RARELY)
    def client_removes(self, data: st.DataObject, really: bool) -> None:
        lfn = data.draw(st.sampled_from(sorted(self.rows)))
        if not really:
            return
        self.last_id += 1
        change_id = f"c{self.last_id}"
        self.changing[change_id] = lfn
        self.feed(ev.RemovalOrdered(change_id, lfn))

    def client_renames(self, lfn: str, new_lfn: str) -> None:
        if new_lfn in self.archive:
            return
        self.last_id += 1
        change_id = f"c{self.last_id}"
        self.changing[change_id] = ""
        self.feed(ev.RenameOrdered(change_id, lfn, new_lfn))

    @precondition(lambda self: self.claims_asked)
    @rule(granted=st.sampled_from([True, True, False]))
    def claim_is_answered(self, granted: bool) -> None:
        claimant = self.claims_asked.pop(0)
        taken = Refused("it is online elsewhere")
        self.feed(ev.Claimed(claimant) if granted else ev.ClaimRefused(claimant, taken))

    @precondition(lambda self: self.moving)
    @rule()
    def file_is_moved(self) -> None:
        order = self.moving.pop()
        row = self.rows.pop(order.lfn)
        assert not row.archived
        assert not row.sent
        self.rows[order.new_lfn] = Row(row.content)
        self.feed(ev.Renamed(order.change_id))

    def purge_is_wanted(self) -> None:
        self.last_id += 1
        self.feed(ev.EvictionOrdered(self.last_id, tuple(self.rows)))

    @precondition(lambda self: self.removing)
    @rule()
    def files_are_removed(self) -> None:
        lfns = self.removing.pop(0)
        for lfn in lfns:
            content = self.rows.pop(lfn).content
            if lfn in self.node.removals._ordered:
                self.removed.add(content)
        self.feed(ev.Removed(lfns))

    # --- the archive --------------------------------------------------------------

    def leave_in_archive(self, step: do.RunStore, stored: str) -> None:
        """A run leaves nothing more, half a file or a whole one under the name."""
        if stored in {"half", "whole"}:
            there = self.archive.get(step.lfn)
            assert there is None or there[0] != FOREIGN, "overwrote a file of somebody else's"
            assert there is None or step.again, "overwrote something without saying so"
            content = self.rows[step.lfn].content
            assert content not in self.removed, "what was removed is back"
            self.archive[step.lfn] = (content, stored == "whole")

    def remove_from_archive(self, lfn: str) -> None:
        there = self.archive.pop(lfn, None)
        assert there is None or there[0] != FOREIGN, "removed a file of somebody else's"

    def note_unarchived(self, lfn: str) -> None:
        if lfn in self.rows:
            self.rows[lfn] = Row(self.rows[lfn].content, sent=True)

    def somebody_writes_to_the_archive(self, lfn: str) -> None:
        """Files of other people's appear, though not just while one of ours is stored."""
        replica = self.node.pool.get(lfn)
        is_ours = replica is not None and (replica.sent or replica.archived)
        under_way = [*self.steps.values(), *self.withdrawing, *(step for _, step in self.ending)]
        is_asked = any(step.lfn == lfn for step in under_way)
        if self.can_look and not (lfn in self.archive or is_ours or is_asked):
            self.archive[lfn] = (FOREIGN, True)
            self.foreign.add(lfn)

    def likeness(self, lfn: str) -> Likeness:
        """What the archive says, truly, as far as it says anything: sizes are all alike."""
        there = self.archive.get(lfn)
        if there is None:
            return Likeness.ABSENT
        if not self.sums:
            return Likeness.ALIKE
        return Likeness.SAME if self.is_safe(lfn) else Likeness.OTHER

    @precondition(lambda self: self.steps)
    @rule(data=st.data())
    def archive_works(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.steps))), "well")

    @precondition(lambda self: self.steps)
    @rule(data=st.data(), how=st.sampled_from(["down", "half", "whole", "lies"]))
    def archive_fails(self, data: st.DataObject, how: str) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.steps))), how)

    @precondition(lambda self: any(isinstance(one, do.RunStore) for one in self.steps.values()))
    @rule(how=st.sampled_from(["down", "half", "half", "whole", "lies"]))
    def command_fails(self, how: str) -> None:
        self.finish(min(one for one in self.steps if isinstance(self.steps[one], do.RunStore)), how)

    def finish(self, step_id: str, how: str) -> None:
        step = self.steps.pop(step_id)
        if isinstance(step, do.CompareWithArchive):
            likeness = Likeness.UNKNOWN if how == "down" else self.likeness(step.lfn)
            self.feed(ev.Compared(step_id, likeness))
        elif isinstance(step, do.NoteArchived):
            if how == "down":
                self.feed(ev.StoreStepFailed(step_id, Failure(FailureKind.TRANSIENT, "full")))
            else:
                self.rows[step.lfn] = Row(self.rows[step.lfn].content, archived=True)
                self.feed(ev.ArchivedNoted(step_id))
        else:
            self.run(step, how)

    def run(self, step: do.RunStore, how: str) -> None:
        self.rows[step.lfn].sent = True
        if not self.can_look:
            self.run_unasked(step, how)
        elif how == "down":
            self.feed(ev.StoreRan(step.step_id, DOWN))
        elif how == "lies" and self.sums:
            self.leave_in_archive(step, "half")
            self.feed(ev.StoreRan(step.step_id))
        elif how in {"half", "whole"}:
            self.leave_in_archive(step, how)
            self.feed(ev.StoreRan(step.step_id, DOWN))
        else:
            self.leave_in_archive(step, "whole")
            self.feed(ev.StoreRan(step.step_id))

    def run_unasked(self, step: do.RunStore, how: str) -> None:
        """A command about which nobody can ask leaves nothing if it fails for good."""
        if how == "well":
            self.leave_in_archive(step, "whole")
            self.feed(ev.StoreRan(step.step_id))
        elif how == "down":
            self.feed(ev.StoreRan(step.step_id, FORBIDDEN))
        else:
            self.leave_in_archive(step, how)
            self.feed(ev.StoreRan(step.step_id, DOWN))

    @precondition(lambda self: self.ending)
    @rule(stored=st.sampled_from(["", "half", "whole"]))
    def step_is_stopped(self, stored: str) -> None:
        step_id, step = self.ending.pop(0)
        if isinstance(step, do.RunStore) and step.lfn in self.rows:
            self.rows[step.lfn].sent = True
            self.leave_in_archive(step, stored)
        self.feed(ev.StoreStopped(step_id))

    @precondition(lambda self: self.withdrawing)
    @rule(how=st.sampled_from(["well", "well", "refused", "killed"]))
    def archive_lets_go(self, how: str) -> None:
        self.let_go(how)

    def let_go(self, how: str) -> None:
        order = self.withdrawing.pop(0)
        self.note_unarchived(order.lfn)
        error = None
        if how == "well":
            self.remove_from_archive(order.lfn)
            if order.lfn in self.rows:
                self.rows[order.lfn].sent = False
        else:
            error = Unreachable("the robot is stuck")
        self.feed(ev.Withdrawn(order.holder, error))

    # --- time ---------------------------------------------------------------------

    @rule(passed_s=st.sampled_from([1.0, 6.0, 6.0, 20.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.feed(ev.Tick())

    @precondition(lambda self: len(self.node.stores.table) and not self.steps)
    @rule()
    def something_is_due(self) -> None:
        self.now_s += 10.0
        self.feed(ev.Tick())

    @rule(
        lfn=NAMES,
        new_lfn=NAMES,
        stored=st.sampled_from(["nothing", "noted", "half", "whole"]),
        what=st.sampled_from(["kill", "rename", "purge", "store", "foreign"]),
        really=RARELY,
    )
    def something_rare_happens(
        self, lfn: str, new_lfn: str, stored: str, what: str, really: bool
    ) -> None:
        if not really:
            return
        match what:
            case "kill":
                self.server_is_killed(stored)
            case "rename":
                self.client_renames(lfn, new_lfn)
            case "purge":
                self.purge_is_wanted()
            case "store":
                self.last_id += 1
                self.feed(ev.StoresOrdered(self.last_id, (lfn, new_lfn)))
            case _:
                self.somebody_writes_to_the_archive(lfn)

    @rule(times=st.integers(1, 4))
    def the_world_goes_on(self, times: int) -> None:
        for _ in range(times):
            self.goes_on()
            self.promises_hold()

    @invariant()
    def promises_hold(self) -> None:
        self.node.check()
        pool = self.node.pool
        assert {one.lfn for one in pool.everything()} == self.rows.keys()
        for one in pool.everything():
            row = self.rows[one.lfn]
            assert not one.archived or self.is_safe(one.lfn), one.lfn
            # What the catalogue takes for safe is what a restart would take for it.
            assert not row.archived or self.is_safe(one.lfn) or self.is_withdrawing(one.lfn)
        for lfn in self.foreign:
            assert self.archive[lfn] == (FOREIGN, True)
        there = {content for content, _ in self.archive.values()}
        assert not there & self.removed

    def is_withdrawing(self, lfn: str) -> bool:
        return any(order.lfn == lfn for order in self.withdrawing)

    def goes_on(self) -> bool:
        """Does the next thing that was asked of the world, and well; False if there is none."""
        if self.ending:
            self.step_is_stopped("half")
        elif self.claims_asked:
            claimant = self.claims_asked.pop(0)
            self.feed(ev.Claimed(claimant))
        elif self.withdrawing:
            self.let_go("well")
        elif self.publishing:
            self.publish(min(self.publishing), fails=False)
        elif self.gone:
            self.upload_is_gone()
        elif self.moving:
            self.file_is_moved()
        elif self.removing:
            self.files_are_removed()
        elif self.steps:
            self.finish(min(self.steps), "well")
        elif growing := self.node.uploads.growing():
            self.feed(ev.UploadWritten(min(growing), SIZE_BYTES))
        elif len(self.node.stores.table) > self.node.stores.table.failed_files:
            self.now_s += 10.0
            self.feed(ev.Tick())
        else:
            return False
        return True

    def teardown(self) -> None:
        """The world does all it was told to: what can be stored is stored."""
        if not hasattr(self, "node"):
            return
        for _ in range(1000):
            if not self.goes_on():
                break
            self.promises_hold()
        assert self.node.is_idle
        assert not self.changing
        for lfn, row in self.rows.items():
            refused = lfn in self.foreign or (not self.can_look and row.failure)
            assert row.archived or refused or lfn.startswith("/scratch/"), (lfn, row)


StoringMachine.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStoring = StoringMachine.TestCase
