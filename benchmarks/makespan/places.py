"""From which file and host the schedulers of the literature take the next packet.

A worker stays with its file as long as there is something left of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.makespan.chunks import State
    from benchmarks.makespan.running import Worker
    from benchmarks.makespan.world import File


class Place(NamedTuple):
    """A file, and the host to read it from."""

    file: File
    source: int


class Stock:
    """What nobody was given yet: of each file its rest, and what has come back."""

    def __init__(self, hosts: int) -> None:
        self.left = 0
        self.left_at = [0] * hosts
        #: How many workers read from a host, and how many of them live elsewhere.
        self.readers = [0] * hosts
        self.guests = [0] * hosts
        self._rests: dict[int, deque[tuple[int, int]]] = {}
        self._begun: list[dict[int, File]] = [{} for _ in range(hosts)]
        self._fresh: list[dict[int, File]] = [{} for _ in range(hosts)]
        self._at: dict[int, Place] = {}

    def add(self, file: File, start: int, stop: int) -> None:
        """There is more to be given."""
        rests = self._rests.setdefault(file.number, deque())
        rests.append((start, stop))
        self._count(file, stop - start)
        for host in file.hosts:
            (self._begun if start else self._fresh)[host][file.number] = file

    def take(self, worker: Worker, place: Place, wanted: int) -> tuple[int, int]:
        """About as many entries of a place as are wanted, one at least."""
        file = place.file
        rests = self._rests[file.number]
        start, limit = rests[0]
        stop = min(limit, start + max(1, wanted))
        rests.popleft()
        if stop < limit:
            rests.appendleft((stop, limit))
        self._count(file, start - stop)
        for host in file.hosts:
            self._fresh[host].pop(file.number, None)
            self._begun[host].pop(file.number, None)
            if rests:
                self._begun[host][file.number] = file
        self._go(worker, place)
        return start, stop

    def drop(self, file: File) -> None:
        """Nothing of a file is to be given any more."""
        rests = self._rests[file.number]
        self._count(file, sum(start - stop for start, stop in rests))
        rests.clear()
        for host in file.hosts:
            self._fresh[host].pop(file.number, None)
            self._begun[host].pop(file.number, None)

    def rest_of(self, place: Place) -> int:
        """How many entries follow each other there."""
        start, limit = self._rests[place.file.number][0]
        return limit - start

    def present(self, worker: Worker) -> Place | None:
        """Where a worker is, if there is something left."""
        place = self._at.get(worker.number)
        return place if place is not None and self._rests[place.file.number] else None

    def at(self, host: int, *, fresh_first: bool = False) -> Place | None:
        """A file on a host: a begun one, so that it gets done, or else a fresh one."""
        first, second = self._begun[host], self._fresh[host]
        if fresh_first:
            first, second = second, first
        for files in (first, second):
            if files:
                return Place(next(iter(files.values())), host)
        return None

    def leave(self, worker: Worker) -> None:
        """A worker reads from nowhere any more."""
        self._go(worker, None)

    def _go(self, worker: Worker, place: Place | None) -> None:
        before = self._at.pop(worker.number, None)
        for one, step in ((before, -1), (place, 1)):
            if one is not None:
                self.readers[one.source] += step
                self.guests[one.source] += step * (one.source != worker.host)
        if place is not None:
            self._at[worker.number] = place

    def _count(self, file: File, entries: int) -> None:
        self.left += entries
        for host in file.hosts:
            self.left_at[host] += entries


class Rule(Protocol):
    """Where a worker's next packet comes from."""

    def choose(self, worker: Worker, stock: Stock, state: State, /) -> Place | None:
        """None if there is nothing for it now."""
        ...


class InOrder:
    """Whatever is next, on its own host if a copy happens to be there."""

    def choose(self, worker: Worker, stock: Stock, _state: State, /) -> Place | None:
        """See `Rule`."""
        hosts = range(len(stock.left_at))
        first: Place | None = None
        for host in hosts:
            place = stock.at(host)
            if place is not None and (first is None or place.file.number < first.file.number):
                first = place
        if first is not None and worker.host in first.file.hosts:
            return Place(first.file, worker.host)
        return first


class OwnHostFirst:
    """What is on its own host; then from the host that `prefer` likes most."""

    def __init__(self, prefer: Callable[[Stock, int], float]) -> None:
        self._prefer = prefer

    def choose(self, worker: Worker, stock: Stock, _state: State, /) -> Place | None:
        """See `Rule`."""
        here = stock.present(worker)
        if here is not None and here.source == worker.host:
            return here
        own = stock.at(worker.host)
        if own is not None or here is not None:
            return own or here
        return stock.at(best) if (best := _best(stock, self._prefer)) is not None else None


def _best(stock: Stock, prefer: Callable[[Stock, int], float]) -> int | None:
    hosts: Iterable[int] = (host for host, left in enumerate(stock.left_at) if left)
    return max(hosts, key=lambda host: prefer(stock, host), default=None)


def fewest_readers(stock: Stock, host: int) -> float:
    """PROOF's first strategy."""
    return -stock.readers[host]


def most_per_reader(stock: Stock, host: int) -> float:
    """Most left for each who reads there."""
    return stock.left_at[host] / (stock.readers[host] + 1)
