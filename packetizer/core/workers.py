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

    __slots__ = ("dry_since_s", "file", "rate", "shelf", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.rate = Rate()
        self.file: WorkFile | None = None
        self.shelf: Shelf | None = None
        #: Since when there was no local work for it; None while there was.
        self.dry_since_s: float | None = None

    def sit(self, file: WorkFile | None, shelf: Shelf | None) -> None:
        """Goes to a file, read from the data server of a shelf; None leaves."""
        self.file = file
        if shelf is not self.shelf:
            if self.shelf is not None:
                self.shelf.readers -= 1
            if shelf is not None:
                shelf.readers += 1
            self.shelf = shelf


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

    def measured(self, seat: Seat, entries: int, busy_s: float) -> None:
        """The worker has done a packet."""
        before = seat.rate.per_s
        seat.rate.measured(entries, busy_s)
        self._add(seat, seat.rate.per_s - before, 1 if seat.rate.per_s and not before else 0)

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
