"""Where the replicas that may go stand in order, so that a purge finds them without a walk.

A shelf holds the idle replicas that are alike in all a policy may ask about: their mark,
their group, and their size to a factor of two. On a shelf they stand by last use, the
longest unused first. So whatever a policy prefers, the next one to go is the first of some
shelf, and there are few shelves: adding, removing and choosing cost O(log n).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataserver.core.replica import Mark, Replica

#: (last use, running number, LFN): where a replica stands among others.
Place = tuple[float, int, str]


class Shelf(NamedTuple):
    """What the replicas of one shelf have in common. Their sizes have as many binary digits."""

    mark: Mark | None
    group: str
    size_class: int


class Shelves:
    """The idle replicas, and the sum of their sizes."""

    __slots__ = ("_places", "files", "size_bytes")

    def __init__(self) -> None:
        self.files = 0
        self.size_bytes = 0
        self._places: dict[Shelf, SortedList[Place]] = {}

    def add(self, replica: Replica) -> None:
        """A replica has become idle."""
        shelf = self._put(replica)
        places = self._places.get(shelf)
        if places is None:
            places = self._places[shelf] = SortedList()
        places.add(replica.place)

    def add_all(self, replicas: Iterable[Replica]) -> None:
        """Many replicas are idle from the start; faster than one by one."""
        places: dict[Shelf, list[Place]] = {}
        for replica in replicas:
            places.setdefault(self._put(replica), []).append(replica.place)
        for shelf, more in places.items():
            self._places.setdefault(shelf, SortedList()).update(more)

    def remove(self, replica: Replica) -> None:
        """A replica is idle no longer. Whatever its shelf goes by must not have changed yet."""
        assert replica.shelf is not None, replica.lfn
        places = self._places[replica.shelf]
        places.remove(replica.place)
        if not places:
            del self._places[replica.shelf]
        replica.shelf = None
        self.files -= 1
        self.size_bytes -= replica.size_bytes

    def names(self) -> list[Shelf]:
        """The shelves that are not empty."""
        return list(self._places)

    def places(self, shelf: Shelf, behind: Place | None = None) -> Iterator[Place]:
        """What stands on a shelf, in order, or only what comes `behind` a place."""
        if behind is None:
            return iter(self._places[shelf])
        return self._places[shelf].irange(behind, inclusive=(False, True))

    def _put(self, replica: Replica) -> Shelf:
        assert replica.shelf is None, replica.lfn
        shelf = Shelf(replica.mark, replica.group, replica.size_bytes.bit_length())
        replica.shelf = shelf
        self.files += 1
        self.size_bytes += replica.size_bytes
        return shelf

    def check(self, idle: list[Replica]) -> None:
        """Asserts that just these replicas stand here, each on its shelf. O(n)."""
        assert (self.files, self.size_bytes) == (len(idle), sum(one.size_bytes for one in idle))
        standing = [(shelf, place) for shelf, places in self._places.items() for place in places]
        assert all(self._places.values())
        assert len(standing) == len(idle)
        assert set(standing) == {
            (Shelf(one.mark, one.group, one.size_bytes.bit_length()), one.place) for one in idle
        }
