"""Workers that ask, open, read and compute in a world, under any scheduler.

A worker computes while it reads, so a packet goes as fast as the worker computes or its bytes
come, whichever is slower. Before the first packet of a file that it has not open it opens it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.makespan.network import Link, Network, Stream
from benchmarks.makespan.world import OPEN_LOCAL_S, OPEN_REMOTE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.makespan.world import File, World


@dataclass(frozen=True, slots=True)
class Packet:
    """Some entries of a file, to be read from one of its hosts. `key` is its scheduler's own."""

    file: File
    source: int
    start: int
    stop: int
    key: Any = None

    @property
    def entries(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(eq=False, slots=True)
class Worker:
    """A process that does one packet at a time."""

    number: int
    host: int
    place: int
    speed: float
    queue: deque[Packet] = field(default_factory=deque)
    at_work_on: Packet | None = None
    began_s: float = 0.0
    stream: Stream | None = None
    open_file: tuple[int, int] | None = None
    is_dead: bool = False
    #: When it last had something to do.
    busy_until_s: float = 0.0


class Scheduler(Protocol):
    """Hands packets to workers, by `Run.give`. Nothing that it is told may be answered at once
    but in its own time: a message has a way to go."""

    def begin(self, run: Run) -> None:
        """All workers are there, and the files that are online from the beginning."""

    def arrived(self, file: File) -> None:
        """One more file is online."""

    def takes_up(self, worker: Worker, packet: Packet) -> None:
        """A worker begins a packet."""

    def did(self, worker: Worker, packet: Packet, busy_s: float) -> None:
        """A worker has done a packet, and has no other in its queue unless it was given one."""

    def cannot(self, worker: Worker, packet: Packet) -> None:
        """A worker could not open the file of a packet."""

    def lost(self, worker: Worker, packets: list[Packet]) -> None:
        """A worker has died with these packets in its hands, the first of them begun."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was like."""

    makespan_s: float
    packets: int
    opens: int
    remote_share: float
    #: From when the first worker had nothing to do any more.
    idle_from_s: float


class Run:
    """One world under one scheduler."""

    def __init__(self, world: World, scheduler: Scheduler) -> None:
        self.world = world
        self.now_s = 0.0
        self.workers = [
            Worker(number, host, place, speed)
            for number, (host, place, speed) in enumerate(
                (host, place, speed)
                for host, one in enumerate(world.hosts)
                for place, speed in enumerate(one.speeds)
            )
        ]
        self._scheduler = scheduler
        self._network = Network()
        self._disks = [Link(host.disk_bytes_per_s) for host in world.hosts]
        self._out = [Link(host.network_bytes_per_s) for host in world.hosts]
        self._in = [Link(host.network_bytes_per_s) for host in world.hosts]
        self._factors = [1.0] * len(world.hosts)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._counted: dict[int, list[tuple[int, int]]] = {}
        self._left = sum(file.entries for file in world.good_files)
        self._packets = self._opens = 0
        self._bytes = self._remote_bytes = 0.0

    def go(self) -> Outcome:
        """Runs it to its end. Raises AssertionError if an entry is not counted exactly once."""
        for file in self.world.files:
            if file.online_s > 0.0:
                self.after(file.online_s, lambda file=file: self._scheduler.arrived(file))  # type: ignore[misc]
        for slowdown in self.world.slowdowns:
            self.after(slowdown.at_s, lambda one=slowdown: self._slow_down(one.host, one.factor))  # type: ignore[misc]
        for death in self.world.deaths:
            self.after(death.at_s, lambda one=death: self._kill(one.host, one.place))  # type: ignore[misc]
        self._scheduler.begin(self)
        while self._left:
            self._step()
        self._check()
        idle_s = min(worker.busy_until_s for worker in self.workers if not worker.is_dead)
        remote = self._remote_bytes / self._bytes
        return Outcome(self.now_s, self._packets, self._opens, remote, min(idle_s, self.now_s))

    # --- for schedulers ---------------------------------------------------------------

    def after(self, pause_s: float, work: Callable[[], None]) -> None:
        """Does something later."""
        heapq.heappush(self._timers, (self.now_s + pause_s, next(self._numbers), work))

    def give(self, worker: Worker, packet: Packet) -> None:
        """A packet arrives at a worker."""
        assert packet.entries > 0
        assert packet.source in packet.file.hosts
        assert packet.file.online_s <= self.now_s
        if worker.is_dead:
            self._scheduler.lost(worker, [packet])
            return
        worker.queue.append(packet)
        if worker.at_work_on is None:
            self._take_up(worker)

    def count(self, packet: Packet) -> None:
        """The result of a packet is safe."""
        self._counted.setdefault(packet.file.number, []).append((packet.start, packet.stop))
        self._left -= packet.entries

    # --- what happens -----------------------------------------------------------------

    def _step(self) -> None:
        at_s = min(self._timers[0][0] if self._timers else inf, self._network.next_end_s())
        assert at_s < inf, f"nothing will ever happen again; {self._left} entries are left"
        self.now_s = at_s
        for stream in self._network.advance(at_s):
            stream.done()
        while self._timers and self._timers[0][0] <= at_s:
            heapq.heappop(self._timers)[2]()

    def _take_up(self, worker: Worker) -> None:
        packet = worker.queue.popleft()
        worker.at_work_on, worker.began_s = packet, self.now_s
        self._packets += 1
        self._scheduler.takes_up(worker, packet)
        where = (packet.file.number, packet.source)
        if worker.open_file == where:
            self._read(worker, packet)
            return
        self._opens += 1
        worker.open_file = where
        open_s = OPEN_LOCAL_S if packet.source == worker.host else OPEN_REMOTE_S
        self.after(open_s, lambda: self._opened(worker, packet))

    def _opened(self, worker: Worker, packet: Packet) -> None:
        if worker.is_dead:
            return
        if packet.file.is_corrupt:
            worker.at_work_on, worker.open_file = None, None
            worker.busy_until_s = self.now_s
            self._scheduler.cannot(worker, packet)
            self._go_on(worker)
        else:
            self._read(worker, packet)

    def _read(self, worker: Worker, packet: Packet) -> None:
        links = [self._disks[packet.source]]
        size_bytes = packet.entries * packet.file.entry_bytes
        self._bytes += size_bytes
        if packet.source != worker.host:
            self._remote_bytes += size_bytes
            links += [self._out[packet.source], self._in[worker.host]]
        rate = self._rate(worker, packet)
        stream = Stream(links, rate, size_bytes, lambda: self._finish(worker, packet))
        worker.stream = stream
        self._network.begin(stream)

    def _rate(self, worker: Worker, packet: Packet) -> float:
        entries_per_s = worker.speed * self._factors[worker.host] / packet.file.entry_s
        return entries_per_s * packet.file.entry_bytes

    def _finish(self, worker: Worker, packet: Packet) -> None:
        worker.at_work_on, worker.stream = None, None
        worker.busy_until_s = self.now_s
        self._scheduler.did(worker, packet, self.now_s - worker.began_s)
        self._go_on(worker)

    def _go_on(self, worker: Worker) -> None:
        if worker.at_work_on is None and worker.queue:
            self._take_up(worker)

    def _slow_down(self, host: int, factor: float) -> None:
        self._factors[host] = factor
        for worker in self.workers:
            if worker.host == host and worker.stream is not None:
                assert worker.at_work_on is not None
                self._network.set_own_rate(worker.stream, self._rate(worker, worker.at_work_on))

    def _kill(self, host: int, place: int) -> None:
        (worker,) = (one for one in self.workers if (one.host, one.place) == (host, place))
        worker.is_dead = True
        if worker.stream is not None:
            self._network.end(worker.stream)
        held = [worker.at_work_on] if worker.at_work_on is not None else []
        held += worker.queue
        worker.queue.clear()
        worker.at_work_on = worker.stream = None
        self._scheduler.lost(worker, held)

    def _check(self) -> None:
        for file in self.world.good_files:
            at = 0
            for start, stop in sorted(self._counted[file.number]):
                assert start == at, f"file {file.number}: {at} to {start} is not counted once"
                at = stop
            assert at == file.entries, f"file {file.number} is not counted to its end"
        assert not {file.number for file in self.world.files if file.is_corrupt} & set(
            self._counted
        )
