"""A worker: takes packets, merges what comes of them, commits now and then."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from packetizer.core import events as ev
from packetizer.core import instructions as do
from tests.simulation.cluster.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from packetizer.core.leases import Lease
    from tests.simulation.cluster.desk_node import DeskNode
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.world import World

COMMIT_EVERY_S = 1.0
PREFETCH = 2


class SimWorker:
    """One worker process after another at one host; `speed` is entries per second."""

    def __init__(
        self,
        world: World,
        number: int,
        host: str,
        speed: float,
        desk: DeskNode,
        disks: dict[str, DiskNode],
        new_stream: Callable[[], int],
        poison: set[tuple[str, int]],
    ) -> None:
        self.number = number
        self.name = f"worker{number}"
        self.host = host
        self._world = world
        self._speed = speed
        self._desk = desk
        self._disks = disks
        self._new_stream = new_stream
        self._poison = poison
        self._life = 0
        self._stalled_until_s = 0.0
        self.over = False

    # --- living and dying ------------------------------------------------------

    def start(self) -> None:
        """A new process."""
        self._life += 1
        self._name = f"worker{self.number}-{self._life}"
        self._commits = 0
        self._connect()
        self._later(COMMIT_EVERY_S, self._beat)

    def kill(self) -> None:
        """kill -9; its supervisor starts another one."""
        self._world.tell(f"{self._name}: killed")
        self._life += 1
        if self._wire is not None:
            self._wire.cut()
            self._wire = None
        self._world.after(1.0 + self._world.delay_s(1.0), self.start)

    def stall(self, lasts_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self._world.tell(f"{self._name}: stalls for {lasts_s:.1f} s")
        self._stalled_until_s = self._world.now_s + lasts_s

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Plans something this life does, once it is not stalled."""
        life = self._life

        def act() -> None:
            if life != self._life:
                return
            if self._world.now_s < self._stalled_until_s:
                self._world.after(self._stalled_until_s - self._world.now_s, act)
            else:
                action()

        self._world.after(delay_s, act)

    # --- the stream ------------------------------------------------------------

    def _connect(self) -> None:
        self._wire: Wire | None = None
        self._queue: deque[Lease] = deque()
        self._done: list[Lease] = []
        self._partial: Counter[tuple[str, int, int]] = Counter()
        self._failures: list[ev.PacketFailed] = []
        self._offered: int | None = None
        self._total: Counter[tuple[str, int, int]] = Counter()
        self._kept: list[int] = []
        self._busy = False
        self._asked = 0
        if not self._desk.alive:
            self._later(1.0, self._connect)
            return
        wire = Wire(self._world, self._new_stream(), self.name, self._desk.name)
        self._wire = wire
        wire.attach(
            "client", lambda message: self._receive(wire, message), lambda: self._ended(wire)
        )
        self._desk.accept(wire, ev.WorkerJoined(self._name, wire.number, self.host, pid=self._life))
        self._report()

    def _ended(self, wire: Wire) -> None:
        """Leases and uncommitted results are void with the stream."""
        if self._wire is wire:
            wire.open = False
            self._wire = None
            self._later(0.5, self._connect)

    def _receive(self, wire: Wire, message: object) -> None:
        self._later(0.0, lambda: self._take(wire, message))

    def _take(self, wire: Wire, message: object) -> None:
        if self._wire is not wire:
            return
        match message:
            case do.GivePackets(leases=leases):
                self._queue.extend(leases)
                self._asked -= len(leases)
                self._work()
            case do.AnswerCommit(commit_id=commit_id, accepted=accepted):
                self._answered(commit_id, accepted)
            case do.TellSessionEnded():
                self._queue.clear()
                self._done.clear()
                self._partial.clear()
                self.over = True

    def _beat(self) -> None:
        self._later(COMMIT_EVERY_S, self._beat)
        if self._wire is not None:
            self._wire.send("server", ev.WorkerBeat(self._name, self._wire.number))
            self._report()

    # --- working ---------------------------------------------------------------

    def _work(self) -> None:
        if self._busy or not self._queue:
            return
        self._busy = True
        lease = self._queue.popleft()
        takes_s = (lease.stop - lease.start) / self._speed * self._world.rng.uniform(0.8, 1.2)
        wire = self._wire
        self._later(takes_s, lambda: self._finish(wire, lease))

    def _finish(self, wire: Wire | None, lease: Lease) -> None:
        """The function has returned, or raised, or the replica could not be read."""
        if self._wire is not wire:
            return
        self._busy = False
        lfn = lease.file.lfn
        disk = self._disks[lease.node.name]
        poisoned = [e for e in range(lease.start, lease.stop) if (lfn, e) in self._poison]
        if not disk.alive or disk.is_frozen or lfn not in disk.disk.files:
            kind = ev.FailureKind.OPEN
            self._failures.append(ev.PacketFailed(lease.lease_id, kind, "cannot be opened"))
        elif poisoned:
            kind = ev.FailureKind.FUNCTION
            self._failures.append(ev.PacketFailed(lease.lease_id, kind, "ValueError: poison"))
        else:
            self._done.append(lease)
            self._partial[lfn, lease.start, lease.stop] += 1
        if not self._queue or self._failures:
            self._report()
        self._work()

    def _report(self) -> None:
        """Commits what there is, unless a commit is under way; asks for more."""
        if self._wire is None:
            return
        commit = None
        if self._done and self._offered is None:
            commit = self._offer()
        want = max(0, PREFETCH - len(self._queue))
        self._asked = want
        report = ev.WorkerReported(
            self._name, self._wire.number, want, commit, tuple(self._failures)
        )
        self._failures.clear()
        self._wire.send("server", report)

    def _offer(self) -> ev.CommitOffered:
        """Now and then the whole total, which supersedes all that was kept before."""
        self._commits += 1
        self._offered = self._commits
        cumulative = self._world.rng.random() < 0.5
        self._flying = self._partial
        payload = self._total + self._partial if cumulative else Counter(self._partial)
        self._partial = Counter()
        self._supersedes = tuple(self._kept) if cumulative else ()
        leases, self._done = self._done, []
        return ev.CommitOffered(
            self._commits,
            leases[0].session_id,
            [lease.lease_id for lease in leases],
            [0.1] * len(leases),
            sum(lease.stop - lease.start for lease in leases),
            self._supersedes,
            payload,
        )

    def _answered(self, commit_id: int, accepted: bool) -> None:
        if commit_id != self._offered:
            return
        self._offered = None
        if accepted:
            self._total += self._flying
            self._kept = [one for one in self._kept if one not in self._supersedes] + [commit_id]
        if self._done:
            self._report()
