"""Workers, and their seats at the sessions they serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packetizer.core.rates import Rate

if TYPE_CHECKING:
    from packetizer.core.files import WorkFile
    from packetizer.core.leases import Lease
    from packetizer.core.shelves import Shelf


class Worker:
    """A process that asks for packets, over one stream at a time."""

    __slots__ = (
        "hand",
        "heard_s",
        "host",
        "is_alone",
        "name",
        "only_session",
        "pid",
        "rack",
        "site",
        "stream",
        "want",
    )

    def __init__(
        self, name: str, stream: int, host: str, rack: str, site: str, only_session: str, pid: int
    ) -> None:
        self.name = name
        self.stream = stream
        self.host = host
        self.rack = rack
        self.site = site
        self.only_session = only_session
        self.pid = pid
        #: How many more packets it would take now.
        self.want = 0
        self.heard_s = 0.0
        #: Its leases, until they are committed for good, failed or given back.
        self.hand: dict[int, Lease] = {}
        #: It holds a packet that must be the only one in its hands.
        self.is_alone = False


class Seat:
    """A worker's place at one session: its speed there, and the file it is on."""

    __slots__ = ("dry_since_s", "file", "is_guest", "rate", "rate_at_home", "shelf", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.rate = Rate()
        #: The same, of what it read on its own host.
        self.rate_at_home = Rate()
        self.file: WorkFile | None = None
        self.shelf: Shelf | None = None
        #: Whether that shelf is another host's.
        self.is_guest = False
        #: Since when there was no local work for it; None while there was.
        self.dry_since_s: float | None = None

    def sit(self, file: WorkFile | None, shelf: Shelf | None) -> None:
        """Goes to a file, read from the data server of a shelf; None leaves."""
        self.file = file
        if shelf is not self.shelf:
            self._leave()
            self.shelf = shelf
            if shelf is not None:
                self.is_guest = not self._is_home(shelf)
                shelf.readers += 1
                shelf.guests += self.is_guest
                self._count_rate(shelf, 1)

    def measured(self, entries: int, busy_s: float, shelf: Shelf | None) -> float:
        """Has done a packet from a shelf (None: it is not known any more); by how much its
        rate has changed."""
        before = self.rate.per_s
        if self.shelf is not None:
            self._count_rate(self.shelf, -1)
        self.rate.measured(entries, busy_s)
        if self.shelf is not None:
            self._count_rate(self.shelf, 1)
        if shelf is not None and busy_s > 0.0:
            if self._is_home(shelf):
                self.rate_at_home.measured(entries, busy_s)
            elif self.rate_at_home.per_s:
                shelf.was_read_by_guest(entries / busy_s / self.rate_at_home.per_s)
        return self.rate.per_s - before

    def _leave(self) -> None:
        shelf = self.shelf
        if shelf is None:
            return
        self._count_rate(shelf, -1)
        shelf.readers -= 1
        shelf.guests -= self.is_guest
        if not shelf.readers:
            shelf.readers_rate = 0.0  # without what rounding has left
        if not shelf.guests:
            # What the last one found says nothing about who comes when it has gone.
            shelf.ease = 1.0

    def _is_home(self, shelf: Shelf) -> bool:
        return bool(self.worker.host) and shelf.node.host == self.worker.host

    def _count_rate(self, shelf: Shelf, step: int) -> None:
        if self.rate.per_s:
            shelf.readers_rate += step * self.rate.per_s
        else:
            shelf.unmeasured += step


class Crew:
    """The workers of one session, and how fast they are together."""

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self._sum_of_rates = 0.0
        self._measured = 0
        self._rate_by_host: dict[str, float] = {}
        self._workers_by_host: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.seats)

    def seat(self, worker: Worker) -> Seat:
        """The worker's seat; a new one if it has none yet."""
        seat = self.seats.get(worker.name)
        if seat is None:
            seat = self.seats[worker.name] = Seat(worker)
            host = worker.host
            self._workers_by_host[host] = self._workers_by_host.get(host, 0) + 1
        return seat

    def leave(self, worker: Worker) -> None:
        """The worker has gone."""
        seat = self.seats.pop(worker.name, None)
        if seat is None:
            return
        seat.sit(None, None)
        self._add(seat, -seat.rate.per_s, -1 if seat.rate.per_s else 0)
        left = self._workers_by_host[worker.host] - 1
        if left:
            self._workers_by_host[worker.host] = left
        else:
            del self._workers_by_host[worker.host]
            self._rate_by_host.pop(worker.host, None)
        if not self._measured:
            self._sum_of_rates = 0.0

    def measured(self, seat: Seat, entries: int, busy_s: float, shelf: Shelf | None) -> None:
        """The worker has done a packet, from this shelf if it is still known."""
        before = seat.rate.per_s
        more = seat.measured(entries, busy_s, shelf)
        self._add(seat, more, 1 if seat.rate.per_s and not before else 0)

    @property
    def typical_rate(self) -> float:
        """Entries per second of a worker as they are here; 0: none was measured yet."""
        return self._sum_of_rates / self._measured if self._measured else 0.0

    @property
    def total_rate(self) -> float:
        """Of all together; the ones not measured yet are taken for typical ones."""
        return self.typical_rate * len(self.seats)

    def rate_at(self, host: str) -> float:
        """Of the workers on one host together, those not measured yet left out."""
        return self._rate_by_host.get(host, 0.0)

    def workers_at(self, host: str) -> int:
        """How many of the workers are on one host."""
        return self._workers_by_host.get(host, 0)

    def _add(self, seat: Seat, rate: float, workers: int) -> None:
        host = seat.worker.host
        self._sum_of_rates += rate
        self._measured += workers
        self._rate_by_host[host] = self._rate_by_host.get(host, 0.0) + rate

    def check(self) -> None:
        """Asserts that the sums are those of the seats."""
        rates = [seat.rate.per_s for seat in self.seats.values()]
        tolerance = 1e-6 * max([1.0, *rates])
        assert abs(sum(rates) - self._sum_of_rates) < tolerance
        assert self._measured == sum(1 for rate in rates if rate)
        assert sum(self._workers_by_host.values()) == len(self.seats)
        assert set(self._rate_by_host) <= set(self._workers_by_host)
