"""All schedulers by name: the packetizer's real core, and those of the literature."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Final

from benchmarks.makespan import chunks, places
from benchmarks.makespan.chunks import Measured, State
from benchmarks.makespan.ours import Ours
from benchmarks.makespan.places import Place, Stock
from benchmarks.makespan.proof import SecondStrategy
from benchmarks.makespan.running import Packet
from benchmarks.makespan.world import ROUND_TRIP_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.makespan.running import Run, Scheduler, Worker
    from benchmarks.makespan.world import File, World

OURS: Final = "packhorse"
#: A file that did not open so often is given up.
_ATTEMPTS: Final = 3


class Chunks:
    """Hands out a packet at a time: so much, from there. Nobody is ever told to go home."""

    def __init__(self, much: chunks.Rule, where: places.Rule, *, takes_tail: bool = False) -> None:
        """`takes_tail`: the rest of a file goes along if it is less than half a packet."""
        self._much = much
        self._where = where
        self._takes_tail = takes_tail
        self._waiting: dict[int, Worker] = {}
        self._failed: dict[int, int] = {}

    def begin(self, run: Run) -> None:
        """See `Scheduler`."""
        self.run = run
        self._stock = Stock(len(run.world.hosts))
        self._state = State(
            sum(file.entries for file in run.world.files),
            run.world.workers,
            self._stock.left_at,
            0,
            neighbours=len(run.world.hosts[0].speeds),
            measured={worker.number: Measured() for worker in run.workers},
        )
        for file in run.world.files:
            if not file.online_s:
                self._stock.add(file, 0, file.entries)
        for worker in run.workers:
            self._waiting[worker.number] = worker
        run.after(ROUND_TRIP_S, self._serve)

    def arrived(self, file: File) -> None:
        """See `Scheduler`."""
        self._stock.add(file, 0, file.entries)
        self._serve()

    def takes_up(self, worker: Worker, packet: Packet) -> None:
        """See `Scheduler`."""

    def did(self, worker: Worker, packet: Packet, busy_s: float) -> None:
        """See `Scheduler`."""
        measured = self._state.measured[worker.number]
        measured.entries += packet.entries
        measured.busy_s += busy_s
        measured.latest_per_s = packet.entries / busy_s
        self._state.done += packet.entries
        self.run.count(packet)
        self._ask(worker)

    def cannot(self, worker: Worker, packet: Packet) -> None:
        """See `Scheduler`."""
        failed = self._failed[packet.file.number] = self._failed.get(packet.file.number, 0) + 1
        if failed < _ATTEMPTS:
            self._stock.add(packet.file, packet.start, packet.stop)
        else:
            self._stock.drop(packet.file)
        self._ask(worker)

    def lost(self, worker: Worker, packets: list[Packet]) -> None:
        """See `Scheduler`."""
        self._waiting.pop(worker.number, None)
        self._stock.leave(worker)
        for packet in packets:
            self._stock.add(packet.file, packet.start, packet.stop)
        self._serve()

    def _ask(self, worker: Worker) -> None:
        self.run.after(ROUND_TRIP_S, lambda: self._hear(worker))

    def _hear(self, worker: Worker) -> None:
        if not worker.is_dead:
            self._waiting[worker.number] = worker
            self._serve()

    def _serve(self) -> None:
        for worker in list(self._waiting.values()):
            if not self._stock.left:
                return
            place = self._where.choose(worker, self._stock, self._state)
            if place is not None:
                del self._waiting[worker.number]
                self.run.give(worker, self._packet(worker, place))
            else:
                self._stock.leave(worker)

    def _packet(self, worker: Worker, place: Place) -> Packet:
        state = self._state
        state.left, state.there = self._stock.left, place.source
        wanted = round(self._much.entries(worker, state))
        if self._takes_tail and 1.5 * wanted >= self._stock.rest_of(place):
            wanted = self._stock.rest_of(place)
        start, stop = self._stock.take(worker, place, wanted)
        return Packet(place.file, place.source, start, stop)


class Static(Chunks):
    """Every worker has its N/P beforehand, of its own host as far as that goes."""

    def __init__(self, where: places.Rule) -> None:
        super().__init__(chunks.Fixed(1), where)
        self._mine: dict[int, deque[Packet]] = {}

    def begin(self, run: Run) -> None:
        """See `Scheduler`. Who will be where is known beforehand, but not how fast."""
        super().begin(run)
        for file in run.world.files:
            if file.online_s:
                self._stock.add(file, 0, file.entries)
        share = -(-self._state.total // run.world.workers)
        room = {worker.number: share for worker in run.workers}
        self._mine = {worker.number: deque() for worker in run.workers}
        while self._stock.left:
            for worker in run.workers:
                place = (
                    self._where.choose(worker, self._stock, self._state)
                    if room[worker.number]
                    else None
                )
                if place is not None:
                    start, stop = self._stock.take(worker, place, room[worker.number])
                    self._mine[worker.number].append(Packet(place.file, place.source, start, stop))
                    room[worker.number] -= stop - start

    def arrived(self, file: File) -> None:
        """See `Scheduler`."""
        del file
        self._serve()

    def lost(self, worker: Worker, packets: list[Packet]) -> None:
        """See `Scheduler`. A job that is lost is run again, by whoever is free."""
        self._waiting.pop(worker.number, None)
        left = [*packets, *self._mine.pop(worker.number)]
        heirs = sorted(self._mine, key=lambda number: len(self._mine[number]))
        self._mine[heirs[0]].extend(left)
        self._serve()

    def cannot(self, worker: Worker, packet: Packet) -> None:
        """See `Scheduler`."""
        del packet
        self._ask(worker)

    def _serve(self) -> None:
        for worker in list(self._waiting.values()):
            mine = self._mine[worker.number]
            for packet in mine:
                if packet.file.online_s <= self.run.now_s:
                    mine.remove(packet)
                    del self._waiting[worker.number]
                    self.run.give(worker, packet)
                    break


def _mean_speed(world: World) -> float:
    return statistics.fmean(speed for host in world.hosts for speed in host.speeds)


def schedulers() -> dict[str, Callable[[World], Scheduler]]:
    """One to be made for every run, by name; of those with a rule of place behind the slash."""
    wheres: dict[str, Callable[[], places.Rule]] = {
        "any": places.InOrder,
        "own": lambda: places.OwnHostFirst(places.fewest_readers),
        "most": lambda: places.OwnHostFirst(places.most_per_reader),
    }
    rules: dict[str, Callable[[World], chunks.Rule]] = {
        "fixed": lambda _: chunks.Fixed(20),
        "GSS": lambda _: chunks.Guided(),
        "TSS": lambda _: chunks.Trapezoid(),
        "FAC2": lambda _: chunks.Factoring(),
        "WF": lambda world: chunks.Weighted(_mean_speed(world)),
        "AWF-B": lambda _: chunks.AdaptiveByBatch(),
        "AWF-C": lambda _: chunks.AdaptiveByChunk(),
        "AFS": lambda _: chunks.Affinity(),
        "PROOF unit": lambda _: chunks.UnitTimes(),
    }
    made: dict[str, Callable[[World], Scheduler]] = {OURS: lambda _: Ours()}
    for place, where in wheres.items():
        made[f"static/{place}"] = lambda _, where=where: Static(where())  # type: ignore[misc]
        for name, much in rules.items():
            if place != "any" or name == "fixed":
                made[f"{name}/{place}"] = lambda world, much=much, where=where: Chunks(  # type: ignore[misc]
                    much(world), where()
                )
    made["PROOF adaptive/first strategy"] = lambda _: Chunks(
        chunks.AdaptiveTimes(), places.OwnHostFirst(places.fewest_readers), takes_tail=True
    )
    made["PROOF adaptive/second strategy"] = lambda _: Chunks(
        chunks.AdaptiveTimes(), SecondStrategy(), takes_tail=True
    )
    return made
