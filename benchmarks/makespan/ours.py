"""The packetizer's real core as a scheduler, with workers that behave as ours do.

They ask for the next packet when they begin one, and hand their results in once a second, or
when they are told that the end is near. What a dead worker had not handed in is done again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.makespan.running import Packet
from benchmarks.makespan.world import ROUND_TRIP_S
from packetizer.core import events as ev
from packetizer.core import instructions as do
from packetizer.core.desk import Desk, Tuning
from packetizer.core.events import PacketFailed
from packetizer.core.files import FileSpec
from packetizer.core.nodes import NodeSeen
from packetizer.core.plan import TableSeen

if TYPE_CHECKING:
    from benchmarks.makespan.running import Run, Worker
    from benchmarks.makespan.world import File
    from packetizer.core.leases import Lease

_SESSION: Final = "session"
_TICK_S: Final = 0.25
_COMMIT_EVERY_S: Final = 1.0
#: Until a commit is on disk.
_COMMIT_S: Final = 0.002
_LEASE_S: Final = 30.0
#: The content of a file was learnt when it was staged; to be told of it takes so long.
_DESCRIBE_S: Final = 0.01


@dataclass(eq=False, slots=True)
class _Seat:
    """What one of our workers remembers."""

    worker: Worker
    done: list[tuple[Packet, float]] = field(default_factory=list)
    since_s: float = 0.0
    is_asking: bool = False
    is_committing: bool = False
    commit_soon: bool = False
    commits: int = 0
    failed: deque[int] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return f"worker{self.worker.number}"


class Ours:
    """The desk behind messages that take their time."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.desk = Desk(1, tuning or Tuning(lease_s=_LEASE_S))
        self._packets: dict[int, Packet] = {}

    # --- what happens in the world ------------------------------------------------------

    def begin(self, run: Run) -> None:
        """See `Scheduler`."""
        self._run = run
        self._files = {f"/{file.number:04}": file for file in run.world.files}
        self._seats = {f"worker{one.number}": _Seat(one) for one in run.workers}
        self._by_stream = {one.number + 1: f"worker{one.number}" for one in run.workers}
        hosts = [f"host{number}" for number in range(len(run.world.hosts))]
        self._handle(ev.NodesSeen([NodeSeen(host, host) for host in hosts]))
        specs = [FileSpec(lfn, size_bytes=int(one.size_bytes)) for lfn, one in self._files.items()]
        self._handle(ev.SessionOpened(_SESSION, ev.SessionSpec("dataset"), specs))
        for lfn, file in self._files.items():
            if file.online_s:
                self._handle(ev.FileOffline(_SESSION, lfn, ev.Offline.STAGING))
            else:
                self._online(lfn, file)
        self._handle(ev.FilesSurveyed(_SESSION))
        for number, worker in enumerate(run.workers, start=1):
            self._handle(ev.WorkerJoined(f"worker{worker.number}", number, f"host{worker.host}"))
            self._ask(self._seats[f"worker{worker.number}"])
        self._tick()

    def arrived(self, file: File) -> None:
        """See `Scheduler`."""
        self._online(f"/{file.number:04}", file)

    def _online(self, lfn: str, file: File) -> None:
        hosts = tuple(f"host{host}" for host in file.hosts)
        self._handle(ev.FileOnline(_SESSION, lfn, hosts, int(file.size_bytes)))

    def _tick(self) -> None:
        for seat in self._seats.values():
            if not seat.worker.is_dead:
                self._handle(ev.WorkerBeat(seat.name, seat.worker.number + 1))
        self._handle(ev.Tick())
        self._run.after(_TICK_S, self._tick)

    # --- our workers ----------------------------------------------------------------------

    def takes_up(self, worker: Worker, packet: Packet) -> None:
        """See `Scheduler`."""
        del packet
        seat = self._seats[f"worker{worker.number}"]
        if not worker.queue and not seat.is_asking:
            self._ask(seat)

    def did(self, worker: Worker, packet: Packet, busy_s: float) -> None:
        """See `Scheduler`."""
        seat = self._seats[f"worker{worker.number}"]
        if not seat.done:
            seat.since_s = self._run.now_s
            self._run.after(_COMMIT_EVERY_S, lambda: self._commit_if_due(seat))
        seat.done.append((packet, busy_s))
        self._commit_if_due(seat)

    def cannot(self, worker: Worker, packet: Packet) -> None:
        """See `Scheduler`."""
        seat = self._seats[f"worker{worker.number}"]
        failure = PacketFailed(packet.key, ev.FailureKind.CORRUPT, "it is damaged")
        self._report(seat, failures=[failure])

    def lost(self, worker: Worker, packets: list[Packet]) -> None:
        """See `Scheduler`. Its connection breaks."""
        del packets
        name = f"worker{worker.number}"
        self._later(lambda: self._handle(ev.WorkerLeft(name, worker.number + 1)))

    def _ask(self, seat: _Seat) -> None:
        seat.is_asking = True
        self._report(seat)

    def _commit_if_due(self, seat: _Seat) -> None:
        if seat.worker.is_dead or not seat.done or seat.is_committing:
            return
        is_idle = not seat.worker.queue
        if is_idle or seat.commit_soon or self._run.now_s >= seat.since_s + _COMMIT_EVERY_S:
            seat.is_committing = True
            seat.commits += 1
            done, seat.done = seat.done, []
            offered = ev.CommitOffered(
                seat.commits,
                _SESSION,
                [packet.key for packet, _ in done],
                [busy_s for _, busy_s in done],
                0,
            )
            self._report(seat, offered)

    def _report(
        self,
        seat: _Seat,
        commit: ev.CommitOffered | None = None,
        failures: list[PacketFailed] | None = None,
    ) -> None:
        stream = seat.worker.number + 1
        want = int(seat.is_asking)
        reported = ev.WorkerReported(seat.name, stream, want, commit, failures or ())
        self._later(lambda: seat.worker.is_dead or self._handle(reported))

    def _later(self, work: object, pause_s: float = ROUND_TRIP_S / 2) -> None:
        self._run.after(pause_s, work)  # type: ignore[arg-type]

    # --- what the desk says --------------------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        for instruction in self.desk.handle(event, self._run.now_s):
            self._do(instruction)

    def _do(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.GivePackets(stream=stream, leases=leases, commit_soon=commit_soon):
                seat = self._seats[self._by_stream[stream]]
                self._later(lambda: self._give(seat, leases, commit_soon=commit_soon))
            case do.KeepCommit(leases=leases):
                for lease in leases:
                    self._run.count(self._packets[lease.lease_id])
                kept = ev.CommitKept(_SESSION, instruction.worker, instruction.commit_id)
                self._later(lambda: self._handle(kept), _COMMIT_S)
            case do.AnswerCommit(worker=worker, accepted=accepted):
                assert accepted, instruction
                self._later(lambda: self._answered(self._seats[worker]))
            case do.DescribeFiles(lfns=lfns):
                for lfn in lfns:
                    self._later(lambda lfn=lfn: self._describe(lfn), _DESCRIBE_S)
            case do.StageFiles(lfns=lfns):
                self._later(lambda: self._handle(ev.StageAccepted(_SESSION, lfns)))
            case do.CloseStream():
                raise AssertionError(f"a worker that lives is taken for lost: {instruction}")
            case do.KeepEnd():
                self._later(lambda: self._handle(ev.EndKept(_SESSION)))

    def _give(self, seat: _Seat, leases: list[Lease], *, commit_soon: bool) -> None:
        seat.is_asking = False
        seat.commit_soon = commit_soon
        for lease in leases:
            file = self._files[lease.file.lfn]
            source = int(lease.node.name.removeprefix("host"))
            packet = Packet(file, source, lease.start, lease.stop, lease.lease_id)
            self._packets[lease.lease_id] = packet
            if not seat.worker.is_dead:
                self._run.give(seat.worker, packet)

    def _answered(self, seat: _Seat) -> None:
        seat.is_committing = False
        self._commit_if_due(seat)

    def _describe(self, lfn: str) -> None:
        file = self._files[lfn]
        table = TableSeen("", file.entries, ())
        described = ev.FileDescribed(_SESSION, lfn, int(file.size_bytes), 3, [table])
        self._handle(described)
