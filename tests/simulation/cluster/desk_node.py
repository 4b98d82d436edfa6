"""The packetizer: the real `Desk` core, with a database, for one session over one dataset."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from packetizer.core import events as ev
from packetizer.core import instructions as do
from packetizer.core.desk import Desk, Tuning
from packetizer.core.files import UNKNOWN_ENTRIES, FileSpec
from packetizer.core.nodes import NodeSeen
from packetizer.core.plan import TableSeen
from redirector.core import events as head_ev
from redirector.core.states import FileState, NodeState
from tests.simulation.broken import PromiseBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from packetizer.core.figures import Figures
    from redirector.core.model import FileEvent
    from tests.simulation.cluster.archive import Archive
    from tests.simulation.cluster.clock import HostClock
    from tests.simulation.cluster.head_node import HeadNode
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import World

    Range = tuple[int, int]

SESSION = "session"
OWNER = "session:session"
COMMIT_S = 0.003
CLUSTER = 10
TUNING = Tuning(packet_time_s=0.5, locality_wait_s=1.0, lease_s=10.0)
OFFLINE = {
    FileState.STAGING: ev.Offline.STAGING,
    FileState.MISSING: ev.Offline.LOST,
    FileState.FAILED: ev.Offline.LOST,
}


@dataclass
class Ledger:
    """What is on the packetizer's disk."""

    epoch: int = 0
    spec: ev.SessionSpec | None = None
    files: list[FileSpec] = field(default_factory=list)
    committed: dict[str, list[Range]] = field(default_factory=dict)
    #: Of files that have something committed.
    entries: dict[str, int] = field(default_factory=dict)
    #: (worker, commit) → the ranges its result counts.
    results: dict[tuple[str, int], Counter[tuple[str, int, int]]] = field(default_factory=dict)
    bad: dict[int, list[do.BadRange]] = field(default_factory=dict)
    progress: ev.Progress = field(default_factory=ev.Progress)
    end: Figures | None = None

    def commit(self, kept: do.KeepCommit) -> None:
        """Ranges and result in one step; a range that is counted twice is a bug."""
        for lease in kept.leases:
            ranges = self.committed.setdefault(lease.file.lfn, [])
            clash = [r for r in ranges if r[0] < lease.stop and lease.start < r[1]]
            if clash:
                twice = f"{lease.file.lfn} [{lease.start}, {lease.stop})"
                raise PromiseBroken(10, f"{twice} is counted twice")
            ranges.append((lease.start, lease.stop))
            self.entries[lease.file.lfn] = lease.file.entries
        assert isinstance(kept.payload, Counter)
        for commit_id in kept.supersedes:
            del self.results[kept.worker, commit_id]
        self.results[kept.worker, kept.commit_id] = kept.payload
        self.progress = kept.progress

    def restored(self) -> ev.SessionOpened:
        """The session as a starting packetizer reads it."""
        assert self.spec is not None
        files = []
        for index, file in enumerate(self.files):
            bad = self.bad.get(index, [])
            lost = any(one.entries < 0 for one in bad)
            known = self.entries.get(file.lfn, file.entries)
            entries = max((one.entries for one in bad), default=known)
            files.append(
                replace(
                    file,
                    entries=entries if not lost else UNKNOWN_ENTRIES,
                    committed=tuple(sorted(self.committed.get(file.lfn, []))),
                    bad=tuple((one.missing.start, one.missing.stop) for one in bad if not lost),
                    is_lost=lost,
                )
            )
        commits: dict[str, list[int]] = {}
        for worker, commit_id in self.results:
            commits.setdefault(worker, []).append(commit_id)
        missing = [one.missing for bad in self.bad.values() for one in bad]
        return ev.SessionOpened(SESSION, self.spec, files, self.progress, missing, commits)


class DeskNode:
    """The packetizer's process: its desk, its database, and its link to the head."""

    name = "desk"

    def __init__(self, world: World, head: HeadNode, archive: Archive, clock: HostClock) -> None:
        self.alive = False
        self.clock = clock
        self.disk = Ledger()
        self.desk: Desk
        self._world = world
        self._head = head
        self._archive = archive
        self._life = 0
        self._wires: dict[int, tuple[str, Wire]] = {}
        self._surveyed_life = -1
        head.watchers.append(self._watched)

    def open_session(self, lfns: list[str]) -> None:
        """A client opens the session; it is durable from here on."""
        self.disk.spec = ev.SessionSpec("dataset", created_s=self.clock.now_s())
        self.disk.files = [FileSpec(lfn) for lfn in lfns]
        self._handle(self.disk.restored())
        self._surveyed_life = -1

    # --- living and dying ------------------------------------------------------

    def start(self) -> None:
        """A new process reads the database."""
        self._life += 1
        self.alive = True
        self.clock.start_process()
        self.disk.epoch += 1
        self._world.effect(self.name, "commit of its epoch")
        self.desk = Desk(self.disk.epoch, TUNING)
        self._surveyed_life = -1
        self._world.tell(f"desk: starts, epoch {self.disk.epoch}")
        if self.disk.spec is not None and self.disk.end is None:
            self._handle(self.disk.restored())
        self._later(0.1, self._tick)
        self._later(0.0, self._look)

    def kill(self, *, power: bool = False) -> None:
        """kill -9, or the machine is off."""
        self._world.tell(f"desk: {'loses its power' if power else 'killed'}")
        self.alive = False
        self._life += 1
        for _, wire in self._wires.values():
            wire.cut()
        self._wires.clear()

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        life = self._life

        def act() -> None:
            if life == self._life:
                action()

        self._world.after(delay_s, act)

    def _tick(self) -> None:
        self._later(0.25, self._tick)
        self._handle(ev.Tick())

    # --- workers ---------------------------------------------------------------

    def accept(self, wire: Wire, joined: ev.WorkerJoined) -> None:
        """A worker opens its stream."""
        wire.attach("server", self._from_worker, lambda: self._left(wire.number))
        self._wires[wire.number] = (joined.worker, wire)
        self._later(0.0, lambda: self._handle(joined))

    def _from_worker(self, event: object) -> None:
        if self.alive:
            self._handle(event)  # type: ignore[arg-type]

    def _left(self, stream: int) -> None:
        worker, _ = self._wires.pop(stream, ("", None))
        if worker:
            self._handle(ev.WorkerLeft(worker, stream))

    # --- the link to the head --------------------------------------------------

    def _look(self) -> None:
        """What the link asks the head every second; a new head is surveyed anew."""
        self._later(1.0, self._look)
        if not self._head.answers:
            self._surveyed_life = -1
            return
        now_s = self._head.now_s()
        nodes = [
            NodeSeen(
                one.address.node,
                one.address.host,
                up=one.state in {NodeState.UP, NodeState.SUSPECT},
            )
            for one in self._head.head.nodes(now_s)
        ]
        self._handle(ev.NodesSeen(nodes))
        self._handle(ev.SpaceSeen(self._head.head.status(now_s).available_bytes))
        if self._surveyed_life != self._head.life and self.disk.spec is not None:
            self._surveyed_life = self._head.life
            for file in self.disk.files:
                self._tell_standing(file.lfn)
            self._handle(ev.FilesSurveyed(SESSION))

    def _watched(self, events: tuple[FileEvent, ...]) -> None:
        """The watch stream: every file that changed, as it stands when the message arrives."""
        for event in events:
            self._later(self._world.delay_s(0.005), lambda lfn=event.lfn: self._tell_standing(lfn))  # type: ignore[misc]

    def _tell_standing(self, lfn: str) -> None:
        if not self._head.answers or self.disk.spec is None:
            return
        now_s = self._head.now_s()
        (standing,) = self._head.head.standing([lfn], now_s)
        columns = self._head.head.locate([lfn], now_s)
        if columns.holders[0]:
            holders = [columns.holders[0], *(holder for _, holder in columns.more)]
            names = tuple(columns.nodes[holder - 1].node for holder in holders)
            self._handle(ev.FileOnline(SESSION, lfn, names, columns.sizes_bytes[0]))
        else:
            state = OFFLINE.get(standing.state, ev.Offline.NEARLINE)
            self._handle(ev.FileOffline(SESSION, lfn, state, standing.reason))

    def _describe(self, lfn: str) -> None:
        """A holder answers, if there is one in touch; else the file is not online."""
        tape = self._archive.tapes[lfn]
        if not self._head.answers:
            self._later(1.0, lambda: self._describe(lfn))
        elif self._head.head.group_by_holder([lfn]).not_online:
            self._handle(ev.FileOffline(SESSION, lfn, ev.Offline.NEARLINE))
        else:
            ends = list(range(CLUSTER, tape.entries + 1, CLUSTER))
            table = TableSeen("", tape.entries, ends)
            self._handle(ev.FileDescribed(SESSION, lfn, tape.size_bytes, 3, [table]))

    def _until_answered(self, event: head_ev.Event, done: ev.Event | None = None) -> None:
        """Asks the head again and again until it answers, as the link does."""
        answered = False

        def take(_: object) -> None:
            nonlocal answered
            answered = True
            if done is not None:
                self._later(0.002, lambda: self._handle(done))

        def ask() -> None:
            if not answered:
                self._head.ask(event, take, take)
                self._later(2.0, ask)

        ask()

    # --- carrying out ----------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        for instruction in self.desk.handle(event, self.clock.now_s()):
            self._do(instruction)

    def _do(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.GivePackets(stream=stream) | do.TellSessionEnded(stream=stream):
                if stream in self._wires:
                    self._wires[stream][1].send("client", instruction)
            case do.AnswerCommit(worker=worker):
                for name, wire in self._wires.values():
                    if name == worker:
                        wire.send("client", instruction)
            case do.CloseStream(stream=stream):
                if stream in self._wires:
                    self._wires.pop(stream)[1].cut()
            case do.KeepCommit():
                self._later(COMMIT_S, lambda: self._kept(instruction))
            case do.KeepBad(ranges=ranges):
                self._later(COMMIT_S, lambda: self._keep_bad(ranges))
            case do.KeepEnd(figures=figures):
                self._later(COMMIT_S, lambda: self._keep_end(figures))
            case do.LocateFiles(lfns=lfns):
                for lfn in lfns:
                    self._later(
                        self._world.delay_s(0.005), lambda lfn=lfn: self._tell_standing(lfn)
                    )  # type: ignore[misc]
            case do.DescribeFiles(lfns=lfns):
                for lfn in lfns:
                    self._later(self._world.delay_s(0.02), lambda lfn=lfn: self._describe(lfn))  # type: ignore[misc]
            case do.StageFiles(lfns=lfns):
                self._until_answered(head_ev.PinAsked(lfns, OWNER, 600.0))
                key = f"{self.disk.epoch}.{self._world.rng.random()}"
                stage = head_ev.StageAsked(key, lfns, OWNER, idempotency_key=key)
                self._until_answered(stage, ev.StageAccepted(SESSION, lfns))
            case do.PinFiles(lfns=lfns):
                self._until_answered(head_ev.PinAsked(lfns, OWNER, 600.0))
            case do.UnpinFiles(lfns=lfns):
                self._until_answered(head_ev.UnpinAsked(OWNER, lfns, done=True))
            case do.ReleaseSession():
                self._until_answered(head_ev.UnpinAsked(OWNER))
            case do.SessionOver():
                self._world.tell("desk: session over")

    def _kept(self, kept: do.KeepCommit) -> None:
        self.disk.commit(kept)
        self._world.effect(self.name, "commit of a result")
        self._handle(ev.CommitKept(kept.session_id, kept.worker, kept.commit_id))

    def _keep_bad(self, ranges: object) -> None:
        for one in ranges:  # type: ignore[attr-defined]
            self.disk.bad.setdefault(one.index, []).append(one)
        self._world.effect(self.name, "commit of what is bad")

    def _keep_end(self, figures: Figures) -> None:
        self.disk.end = figures
        self._world.effect(self.name, "commit of the end")
        self._handle(ev.EndKept(SESSION))
