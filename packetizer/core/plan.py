"""Where a file may be cut into packets.

A ROOT tree is cut where its clusters end and a Parquet file where its row groups
end, because a packet that takes half of one reads and decompresses all of it. A
file that has neither may be cut anywhere.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES_SHOWN = 5
#: More is a mistake of an inspection, and would make sums overflow.
MOST_ENTRIES = 1 << 50


class Unplannable(Exception):
    """No work can be planned on a file; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class TableSeen:
    """One table of a file, as its inspection found it."""

    name: str  # "" for the one table of a Parquet file or of plain bytes
    entries: int
    cluster_ends: Sequence[int]  # ascending, the last equals `entries`; or empty


class Cuts:
    """The places where one table may be cut."""

    __slots__ = ("_ends", "entries", "table")

    def __init__(self, table: str, entries: int, cluster_ends: Sequence[int] = ()) -> None:
        self.table = table
        self.entries = entries
        self._ends = array("Q", cluster_ends) if _usable(cluster_ends, entries) else array("Q")

    def stop_for(self, start: int, limit: int, wanted: int, *, take_tail: bool = True) -> int:
        """Where a packet of about `wanted` entries that begins at `start` should end.

        The cut that is nearest, at least one cluster away and not beyond `limit`.
        With `take_tail`, a last piece shorter than half of the packet is taken along.
        """
        target = start + wanted if wanted > 1 else start + 1
        if target >= limit:
            return limit
        stop = min(self._nearest_end(start, target), limit) if self._ends else target
        if take_tail and 2 * (limit - stop) < stop - start:
            return limit
        return stop

    def _nearest_end(self, start: int, target: int) -> int:
        ends = self._ends
        after = bisect_right(ends, target)
        last = len(ends) - 1
        above = ends[min(after, last)]
        below = ends[after - 1] if after else 0
        if below <= start:
            return above
        return above if above - target < target - below else below


def cuts_of(tree: str, tables: Sequence[TableSeen], problem: str = "") -> Cuts:
    """The cuts of the table that is asked for.

    `tree` may be empty if the file has one table only; a file whose one table has
    no name (Parquet, bytes) has no trees to choose from. Raises Unplannable.
    """
    if problem:
        raise Unplannable(problem)
    if len(tables) == 1 and (not tree or not tables[0].name):
        return _cuts(tables[0])
    for table in tables:
        if table.name == tree:
            return _cuts(table)
    names = [repr(table.name) for table in tables[:_NAMES_SHOWN]]
    more = f" and {len(tables) - _NAMES_SHOWN} more" if len(tables) > _NAMES_SHOWN else ""
    has = f"it has {', '.join(names)}{more}" if names else "it has none at all"
    if tree:
        raise Unplannable(f"the file has no tree named {tree!r}: {has}")
    raise Unplannable(f"the file's tree must be named: {has}")


def _cuts(table: TableSeen) -> Cuts:
    if table.entries > MOST_ENTRIES:
        raise Unplannable(f"the file cannot have {table.entries} entries")
    return Cuts(table.name, table.entries, table.cluster_ends)


def _usable(ends: Sequence[int], entries: int) -> bool:
    """Whether cluster ends make sense; if not, cutting anywhere is slow but right."""
    return (
        len(ends) > 0
        and ends[0] > 0
        and ends[-1] == entries
        and all(a < b for a, b in pairwise(ends))
    )
