"""Which file for this worker, and from which data server: the policy of *where*.

The nearest data first: on the worker's own host, then in its rack, then at its
site, then anywhere. Within one level, the server that will be done last, as fast
as those who read from it are now. A worker stays with its file as long as it has
free entries, unless it reads from afar and is needed more at home.

All servers should be done at the same time. If one has so much that its own workers
will be busy with it long after the others are done, everybody's last seconds would
be spent on reading from it, through one network interface. So a worker leaves work
on its own host behind as soon as another server's would be done much later, and what
has to go over the network goes all the time. It does not when that server's guests
read much slower than they do at home: then the server gives all it can already. How
fast that is nobody has to configure.

Of a file with several replicas, every holder counts its part. At home, those files
come first whose other holders will be done last; from afar, those that no holder
will be done with soon.

A file that is begun comes before a fresh one as long as files are to come, so that
files are finished and make room for them. Later every worker begins a file of its
own, which costs fewer opens.

A worker with no work on its own host may do better to wait than to read over the
network (delay scheduling). As long as files of the session are still to come, one
of them may land on its host, so

- it waits for `locality_wait_s` before it goes to remote data at all, and
- even then leaves alone what a server's readers will have done within
  `locality_wait_s` themselves.

When nothing is to come any more, waiting would only lengthen the tail: then every
worker helps wherever there is work.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packetizer.core.files import WorkFile
    from packetizer.core.nodes import Nodes
    from packetizer.core.shelves import Levels, Shelf, Shelves, Stack
    from packetizer.core.workers import Crew, Seat

#: Another server's work must last so many times as long as that at home …
_MUCH_LATER = 1.5
#: … for a worker to leave home, and its guests must read at this part of their rate at home.
_EASY = 0.8


class Place(NamedTuple):
    """A file with free entries, and the shelf (so the replica) to read it from."""

    file: WorkFile
    shelf: Shelf
    is_local: bool


class Where(Protocol):
    """The policy: the place for a worker now; None if it had better wait."""

    def choose(
        self,
        seat: Seat,
        shelves: Shelves,
        crew: Crew,
        *,
        to_come: int,
        now_s: float,
    ) -> Place | None:
        """`to_come` counts the session's files that nobody can lease from yet."""
        ...


class DoneTogether:
    """The policy described above."""

    def __init__(self, nodes: Nodes, locality_wait_s: float) -> None:
        self._nodes = nodes
        self._locality_wait_s = locality_wait_s

    def choose(
        self,
        seat: Seat,
        shelves: Shelves,
        crew: Crew,
        *,
        to_come: int,
        now_s: float,
    ) -> Place | None:
        """See `Where`."""
        now_at = _present_place(seat, now_s)
        if now_at is not None and now_at.is_local:
            return now_at
        typical_rate = crew.typical_rate
        levels = shelves.levels(seat.worker)
        home = _last_done(levels.host, typical_rate, now_s)
        if home is not None:
            seat.dry_since_s = None
            home_s = _MUCH_LATER * home.seconds_left_in_all(typical_rate)
            if now_at is not None and now_at.shelf.seconds_left(typical_rate) > home_s:
                return now_at
            away = self._much_later(levels, home_s, crew, begun_first=bool(to_come), now_s=now_s)
            return away or _at_home(home, typical_rate, begun_first=bool(to_come))
        if seat.dry_since_s is None:
            seat.dry_since_s = now_s
        if now_at is not None:
            return now_at
        is_patient = to_come > 0 and self._nodes.has_host(seat.worker.host)
        if is_patient and now_s < seat.dry_since_s + self._locality_wait_s:
            return None
        for level in levels[1:]:
            shelves_there = level if not to_come else self._not_done_soon(level, crew)
            shelf = _last_done(shelves_there, typical_rate, now_s)
            if shelf is not None:
                return _from_afar(shelf, typical_rate, begun_first=bool(to_come))
        return None

    def _much_later(
        self, levels: Levels, home_s: float, crew: Crew, *, begun_first: bool, now_s: float
    ) -> Place | None:
        """A place that is worth leaving home for, where work would last for `home_s`."""
        typical_rate = crew.typical_rate
        if not typical_rate:
            return None
        easy = (one for one in chain(*levels[1:]) if one.ease >= _EASY)
        shelf = _last_done(easy, typical_rate, now_s)
        if shelf is None:
            return None
        place = _from_afar(shelf, typical_rate, begun_first=begun_first)
        soonest_s = min(one.seconds_left(typical_rate) for one in place.file.offered_by)
        return place if soonest_s > home_s + self._locality_wait_s else None

    def _not_done_soon(self, shelves: Iterable[Shelf], crew: Crew) -> Iterable[Shelf]:
        """The shelves that their own workers will not have emptied within the wait."""
        for shelf in shelves:
            rate = crew.rate_at(shelf.node.host)
            if not rate or shelf.free_entries > rate * self._locality_wait_s:
                yield shelf


def _present_place(seat: Seat, now_s: float) -> Place | None:
    """Where the worker is, if its file still has free entries there."""
    file, shelf = seat.file, seat.shelf
    if file is None or shelf is None or shelf not in file.offered_by:
        return None
    if not shelf.node.serves(now_s):
        return None
    host = seat.worker.host
    return Place(file, shelf, is_local=bool(host) and shelf.node.host == host)


def _at_home(shelf: Shelf, typical_rate: float, *, begun_first: bool) -> Place:
    """The file of a shelf that others will be least able to help with."""

    def latest_s(stack: Stack) -> float:
        others = (one for one in stack.holders if one is not shelf)
        return max((one.seconds_left(typical_rate) for one in others), default=0.0)

    urgency = latest_s if typical_rate else None
    return Place(shelf.next_file(begun_first=begun_first, urgency=urgency), shelf, is_local=True)


def _from_afar(shelf: Shelf, typical_rate: float, *, begun_first: bool) -> Place:
    """The file of a shelf that none of its holders will be done with soon."""

    def soonest_s(stack: Stack) -> float:
        return min(one.seconds_left(typical_rate) for one in stack.holders)

    urgency = soonest_s if typical_rate else None
    return Place(shelf.next_file(begun_first=begun_first, urgency=urgency), shelf, is_local=False)


def _last_done(shelves: Iterable[Shelf], typical_rate: float, now_s: float) -> Shelf | None:
    """The shelf whose work will last longest; as long as no rate is known, with most for each
    reader."""
    best, most = None, 0.0
    for shelf in shelves:
        if shelf.free_entries and shelf.node.serves(now_s):
            work = shelf.seconds_left(typical_rate) if typical_rate else shelf.work_per_reader
            if work > most:
                best, most = shelf, work
    return best
