"""A set of entries, kept as disjoint ranges.

The set is one ascending list of edges: entries from an edge at an even place up
to the edge after it belong to the set, the others do not. Ranges that touch are
one range, so the list is as short as it can be, and everything is a bisection
and one splice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class Ranges:
    """Ranges [start, stop) that neither overlap nor touch, in ascending order."""

    __slots__ = ("_edges", "size")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._edges: list[int] = []
        #: How many entries are in the set.
        self.size = 0
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Adds entries of which none is in the set yet; raises ValueError otherwise."""
        edges = self._edges
        if not 0 <= start < stop:
            raise ValueError(f"[{start}, {stop}) is no range")
        place = bisect_left(edges, start)
        touches_left = place & 1
        if touches_left and edges[place] != start:
            raise ValueError(f"[{start}, {stop}) overlaps {self!r}")
        after = place + touches_left
        touches_right = False
        if after < len(edges):
            if edges[after] < stop:
                raise ValueError(f"[{start}, {stop}) overlaps {self!r}")
            touches_right = edges[after] == stop
        new = [] if touches_left else [start]
        if not touches_right:
            new.append(stop)
        edges[place : after + touches_right] = new
        self.size += stop - start

    def remove(self, start: int, stop: int) -> None:
        """Removes entries that are all in the set; raises ValueError otherwise."""
        edges = self._edges
        place = bisect_right(edges, start)
        if not start < stop or not place & 1 or stop > edges[place]:
            raise ValueError(f"[{start}, {stop}) is not within {self!r}")
        new = []
        if edges[place - 1] < start:
            new = [edges[place - 1], start]
        if stop < edges[place]:
            new += [stop, edges[place]]
        edges[place - 1 : place + 1] = new
        self.size -= stop - start

    def holds(self, start: int, stop: int) -> bool:
        """Whether all entries of [start, stop) are in the set."""
        place = bisect_right(self._edges, start)
        return bool(place & 1) and stop <= self._edges[place]

    def first(self) -> Range:
        """The lowest range; raises IndexError if the set is empty."""
        return self._edges[0], self._edges[1]

    def clear(self) -> list[Range]:
        """Empties the set, and returns what was in it."""
        ranges = list(self)
        self._edges.clear()
        self.size = 0
        return ranges

    def __iter__(self) -> Iterator[Range]:
        edges = iter(self._edges)
        return zip(edges, edges, strict=True)

    def __bool__(self) -> bool:
        return bool(self._edges)

    def __len__(self) -> int:
        return len(self._edges) // 2

    def __repr__(self) -> str:
        return "{" + ", ".join(f"[{start}, {stop})" for start, stop in self) + "}"

    def check(self) -> None:
        """Asserts that the edges ascend strictly and that the size is theirs."""
        edges = self._edges
        assert len(edges) % 2 == 0, edges
        assert all(a < b for a, b in pairwise(edges)), edges
        assert self.size == sum(stop - start for start, stop in self), (self.size, edges)
