"""A packetizer's core with a tiny world around it, for tests: no I/O, and time by hand.

`DeskWorld` plays the shell. It carries out what the desk instructs in the simplest
way (commits are kept at once unless told otherwise, files asked for are remembered),
keeps what every worker holds, and calls `check()` after every event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packetizer.core import events as ev
from packetizer.core import instructions as ins
from packetizer.core.desk import Desk, Tuning
from packetizer.core.files import FileSpec
from packetizer.core.nodes import NodeSeen
from packetizer.core.plan import TableSeen

if TYPE_CHECKING:
    from packetizer.core.leases import Lease
    from packetizer.core.policies import Policies

SESSION = "s1"
TREE = "events"


def lfn(number: int) -> str:
    """The name of a file."""
    return f"/store/f{number}.root"


@dataclass
class DeskWorld:
    """A desk, and what its instructions have led to."""

    tuning: Tuning = field(default_factory=Tuning)
    epoch: int = 1
    keeps_at_once: bool = True
    policies: Policies | None = None
    now_s: float = 1000.0

    def __post_init__(self) -> None:
        self.desk = Desk(self.epoch, self.tuning, self.policies)
        self.hands: dict[str, list[Lease]] = {}
        self.given: list[Lease] = []
        self.soon: dict[str, bool] = {}
        self.answers: list[ins.AnswerCommit] = []
        self.told: list[ins.TellSessionEnded] = []
        self.closed: list[ins.CloseStream] = []
        self.asked: list[str] = []
        self.located: list[str] = []
        self.described: list[str] = []
        self.pinned: set[str] = set()
        self.released: list[str] = []
        self.over: list[str] = []
        self.ends: dict[str, ins.KeepEnd] = {}
        self.bad: list[ins.BadRange] = []
        self.writing: list[ins.KeepCommit] = []
        self.kept: list[ins.KeepCommit] = []
        self._streams: dict[str, int] = {}
        self._stream = 0
        self._commit_ids: dict[str, int] = {}

    # --- events ----------------------------------------------------------------

    def send(self, event: ev.Event) -> None:
        """One event, everything that follows from it, and a check."""
        for instruction in self.desk.handle(event, self.now_s):
            self._carry_out(instruction)
        self.desk.check()

    def later(self, seconds: float) -> None:
        """Time passes; the desk hears of it."""
        self.now_s += seconds
        self.send(ev.Tick())

    def nodes(self, *seen: NodeSeen) -> None:
        """Data servers are heard of."""
        self.send(ev.NodesSeen(seen))

    def open(
        self,
        files: int | list[FileSpec],
        session_id: str = SESSION,
        *,
        survey: bool = True,
        **spec: object,
    ) -> None:
        """A session opens; unless told otherwise, its files stand where they were told to."""
        if isinstance(files, int):
            files = [FileSpec(lfn(number), TREE, 1000) for number in range(files)]
        session_spec = ev.SessionSpec("d", created_s=self.now_s, **spec)  # type: ignore[arg-type]
        self.send(ev.SessionOpened(session_id, session_spec, files))
        if survey:
            self.send(ev.FilesSurveyed(session_id))

    def online(
        self,
        number: int,
        *nodes: str,
        entries: int = 100,
        clusters: int = 10,
        session_id: str = SESSION,
        size_bytes: int = 1000,
    ) -> None:
        """A file comes online and is described at once."""
        self.send(ev.FileOnline(session_id, lfn(number), nodes or ("n1",), size_bytes))
        self.describe(
            number,
            entries=entries,
            clusters=clusters,
            session_id=session_id,
            size_bytes=size_bytes,
        )

    def describe(
        self,
        number: int,
        *,
        entries: int = 100,
        clusters: int = 10,
        session_id: str = SESSION,
        tree: str = TREE,
        problem: str = "",
        size_bytes: int = 1000,
    ) -> None:
        """What is inside a file becomes known."""
        ends = [entries * (k + 1) // clusters for k in range(clusters)] if entries else []
        table = TableSeen(tree, entries, ends)
        self.send(ev.FileDescribed(session_id, lfn(number), size_bytes, 1, [table], problem))

    def offline(
        self, number: int, state: ev.Offline = ev.Offline.NEARLINE, reason: str = ""
    ) -> None:
        """A file has no replica."""
        self.send(ev.FileOffline(SESSION, lfn(number), state, reason))

    def accept(self) -> None:
        """The redirector takes every stage request made so far."""
        self.send(ev.StageAccepted(SESSION, tuple(self.asked)))

    # --- workers -----------------------------------------------------------------

    def join(self, worker: str, host: str = "h1", want: int = 0, **more: object) -> None:
        """A worker comes."""
        self._stream += 1
        self._streams[worker] = self._stream
        self.hands[worker] = []
        more.setdefault("pid", self._stream)
        self.send(ev.WorkerJoined(worker, self._stream, host, **more))  # type: ignore[arg-type]
        if want:
            self.want(worker, want)

    def want(self, worker: str, want: int = 1) -> list[Lease]:
        """A worker asks; what it was given by that."""
        before = len(self.hands[worker])
        self.send(ev.WorkerReported(worker, self._streams[worker], want))
        return self.hands[worker][before:]

    def commit(
        self,
        worker: str,
        leases: list[Lease] | None = None,
        *,
        want: int = 0,
        busy_s: float = 1.0,
        supersedes: tuple[int, ...] = (),
        commit_id: int = 0,
        session_id: str = SESSION,
    ) -> int:
        """A worker commits what it holds, or these leases; returns the commit's id."""
        mine = self.hands[worker]
        done = [lease for lease in mine if lease.session_id == session_id]
        done = done if leases is None else leases
        self.hands[worker] = [lease for lease in mine if lease not in done]
        if not commit_id:
            commit_id = self._commit_ids[worker] = self._commit_ids.get(worker, 0) + 1
        offered = ev.CommitOffered(
            commit_id,
            session_id,
            [lease.lease_id for lease in done],
            [busy_s] * len(done),
            bytes_read=len(done),
            supersedes=supersedes,
        )
        self.send(ev.WorkerReported(worker, self._streams[worker], want, offered))
        return commit_id

    def fail(
        self,
        worker: str,
        kind: ev.FailureKind = ev.FailureKind.FUNCTION,
        *,
        want: int = 0,
        reason: str = "it broke",
    ) -> None:
        """A worker could not do the oldest packet it holds."""
        lease = self.hands[worker].pop(0)
        failure = ev.PacketFailed(lease.lease_id, kind, reason, "Traceback …")
        self.send(ev.WorkerReported(worker, self._streams[worker], want, None, [failure]))

    def die(self, worker: str) -> None:
        """A worker's connection ends."""
        del self.hands[worker]
        self.send(ev.WorkerLeft(worker, self._streams[worker]))

    def beat(self, worker: str) -> None:
        """A worker's heartbeat."""
        self.send(ev.WorkerBeat(worker, self._streams[worker]))

    def stream(self, worker: str) -> int:
        """The number of a worker's stream."""
        return self._streams[worker]

    def keep_written(self) -> None:
        """The disk has everything it was given."""
        writing, self.writing = self.writing, []
        for keep in writing:
            self._keep(keep)

    # --- looking -----------------------------------------------------------------

    def figures(self, session_id: str = SESSION):  # type: ignore[no-untyped-def]
        """The figures of a session, ended or not."""
        if session_id in self.ends:
            return self.ends[session_id].figures
        return self.desk.figures(session_id, self.now_s)

    def ranges_kept(self) -> list[tuple[str, int, int]]:
        """Every range of every commit on disk, sorted."""
        leases = [lease for keep in self.kept for lease in keep.leases]
        return sorted((lease.file.lfn, lease.start, lease.stop) for lease in leases)

    # --- instructions --------------------------------------------------------------

    def _carry_out(self, instruction: ins.Instruction) -> None:
        match instruction:
            case ins.GivePackets(worker, stream, leases, soon):
                assert stream == self._streams[worker]
                self.hands[worker] += leases
                self.given += leases
                self.soon[worker] = soon
            case ins.AnswerCommit():
                self.answers.append(instruction)
            case ins.TellSessionEnded():
                self.told.append(instruction)
            case ins.CloseStream():
                self.closed.append(instruction)
            case ins.KeepCommit():
                if self.keeps_at_once:
                    self._keep(instruction)
                else:
                    self.writing.append(instruction)
            case ins.KeepBad(_, ranges):
                self.bad += ranges
            case ins.KeepEnd(session_id, _):
                self.ends[session_id] = instruction
                self.send(ev.EndKept(session_id))
            case ins.LocateFiles(_, lfns):
                self.located += lfns
            case ins.DescribeFiles(_, lfns):
                self.described += lfns
            case ins.StageFiles(_, lfns):
                self.asked += lfns
                self.pinned |= set(lfns)
            case ins.PinFiles(_, lfns):
                self.pinned |= set(lfns)
            case ins.UnpinFiles(_, lfns):
                self.pinned -= set(lfns)
            case ins.ReleaseSession(session_id):
                self.released.append(session_id)
            case ins.SessionOver(session_id):
                self.over.append(session_id)

    def _keep(self, keep: ins.KeepCommit) -> None:
        self.kept.append(keep)
        self.send(ev.CommitKept(keep.session_id, keep.worker, keep.commit_id))


def two_nodes() -> tuple[NodeSeen, NodeSeen]:
    """n1 on host h1, n2 on host h2, in racks of their own at one site."""
    return (
        NodeSeen("n1", "h1", rack="r1", site="x"),
        NodeSeen("n2", "h2", rack="r2", site="x"),
    )
