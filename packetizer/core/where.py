"""Which file for this worker, and from which data server: the policy of *where*.

The nearest data first: on the worker's own host, then in its rack, then at its
site, then anywhere. Within one level, the server with the most work left for
each of its readers; on that server, a file that is begun before a fresh one, so
that files are finished and can be released. A worker stays with its file as long
as it has free entries, unless there is work on its own host.

A worker with no work on its own host may do better to wait than to read over the
network (delay scheduling). As long as files of the session are still to come, one
of them may land on its host, so

- it waits for `locality_wait_s` before it goes to remote data at all, and
- even then leaves alone what a server's own workers will have done within
  `locality_wait_s` themselves.

When nothing is to come any more, waiting would only lengthen the tail: then every
worker helps wherever there is work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packetizer.core.files import WorkFile
    from packetizer.core.nodes import Nodes
    from packetizer.core.shelves import Shelf, Shelves
    from packetizer.core.workers import Crew, Seat


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


class NearestFirst:
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
        host = seat.worker.host
        now_at = _present_place(seat, now_s)
        if now_at is not None and now_at.is_local:
            return now_at
        levels = shelves.levels(seat.worker)
        nearest = _most_work(levels.host, now_s)
        if nearest is not None:
            seat.dry_since_s = None
            return Place(nearest.next_file, nearest, is_local=True)
        if seat.dry_since_s is None:
            seat.dry_since_s = now_s
        if now_at is not None:
            return now_at
        is_patient = to_come > 0 and self._nodes.has_host(host)
        if is_patient and now_s < seat.dry_since_s + self._locality_wait_s:
            return None
        for level in levels[1:]:
            shelves_there = level if not to_come else self._not_done_soon(level, crew)
            shelf = _most_work(shelves_there, now_s)
            if shelf is not None:
                return Place(shelf.next_file, shelf, is_local=False)
        return None

    def _not_done_soon(self, shelves: Iterable[Shelf], crew: Crew) -> Iterable[Shelf]:
        """The shelves that their own workers will not have emptied within the wait."""
        for shelf in shelves:
            host = shelf.node.host
            rate = crew.rate_at(host)
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


def _most_work(shelves: Iterable[Shelf], now_s: float) -> Shelf | None:
    best, most = None, 0.0
    for shelf in shelves:
        if shelf.free_entries and shelf.node.serves(now_s):
            work = shelf.work_per_reader
            if work > most:
                best, most = shelf, work
    return best
