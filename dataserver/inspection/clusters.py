"""Where a TTree is best cut. Pure arithmetic on what the tree's header says.

Reading part of a basket costs decompressing all of it, so a cut is free only
where every branch begins a new basket. ROOT flushes all branches together at the
end of a *cluster* and writes down how long clusters are; but what it wrote down
is an intention (changing the flush interval while filling moves the baskets, not
the record), and other writers write down nothing. `best_ends` weighs the two.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CLUSTERS: Final = 4096
"""More clusters than that are joined: packets need no finer cuts, messages would swell."""

WORTH_CUTTING_BYTES: Final = 8 << 20
"""A cut that splits baskets should save reading at least this much."""


def declared_ends(
    entries: int, auto_flush: int, range_ends: Sequence[int], range_sizes: Sequence[int]
) -> list[int]:
    """The clusters a TTree declares, as ROOT's TTree::TClusterIterator finds them.

    `range_ends` (fClusterRangeEnd) are the last entries of ranges within which
    clusters have the length in `range_sizes` (fClusterSize); `auto_flush`
    (fAutoFlush) is the length after the last range. A length of 0 or less is
    none: that stretch is one cluster.
    """
    ends: list[int] = []
    begin = 0
    for last, size in [*zip(range_ends, range_sizes, strict=True), (entries - 1, auto_flush)]:
        end = min(last + 1, entries)
        if end <= begin:
            continue
        length = size if size > 0 else end - begin
        # Lengths from a damaged header must not make us count to the moon.
        length *= max(1, -(-(end - begin) // (length * MAX_CLUSTERS)))
        ends.extend(range(begin + length, end, length))
        ends.append(end)
        begin = end
    return ends


def best_ends(
    entries: int,
    declared: Sequence[int],
    shared: Sequence[int],
    heaviest: Sequence[int],
    size_bytes: int,
) -> list[int]:
    """The cluster ends to plan work with: the first of these that cuts at all.

    What the tree declares so far as all baskets end there; wherever all baskets
    end (`shared`); what it declares, some odd branch spoiling it (one added later,
    say); and where the baskets of its `heaviest` branch end, so far as the tree,
    of `size_bytes` in all, is worth cutting through baskets of the others.
    """
    if entries == 0:
        return []
    aligned = set(shared)
    rough = thinned(ends_within(heaviest, entries), max(1, size_bytes // WORTH_CUTTING_BYTES))
    for candidate in ((end for end in declared if end in aligned), shared, declared, rough):
        ends = ends_within(candidate, entries)
        if len(ends) > 1:
            return thinned(ends, MAX_CLUSTERS)
    return [entries]


def ends_within(ends: Iterable[int], entries: int) -> list[int]:
    """The ends that lie within a table, ascending, and the table's own as the last."""
    return [*sorted({end for end in ends if 0 < end < entries}), *([entries] if entries else [])]


def thinned(ends: Sequence[int], limit: int) -> list[int]:
    """At most `limit` of the ends, evenly spread, the last one among them."""
    if len(ends) <= limit:
        return list(ends)
    marks = [len(ends) * i // limit for i in range(limit + 1)]
    return [ends[stop - 1] for _, stop in pairwise(marks)]
