"""Reading what a ROOT file holds, with uproot. For the child process only.

Only headers, keys and the trees' own records are read, never a branch's data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import uproot

from common.text import one_line
from dataserver.inspection.clusters import (
    MAX_CLUSTERS,
    best_ends,
    declared_ends,
    ends_within,
    thinned,
)
from dataserver.inspection.content import Content, Format, Table
from dataserver.inspection.problem import as_utf8, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_TREES: Final = frozenset({"TTree", "TNtuple", "TNtupleD"})
_NTUPLES: Final = frozenset({"ROOT::RNTuple", "ROOT::Experimental::RNTuple"})
_MAX_ENTRIES: Final = 1 << 62


def read_root(path: str, size_bytes: int) -> Content:
    """The tables of a ROOT file. What cannot be read is told in `problem`.

    Tables that could be read are there even if others could not. Raises whatever
    uproot raises if the file's own header or keys cannot be read.
    """
    with (
        open(path, "rb") as stream,  # noqa: PTH123 -- paths come and go as text here
        uproot.open(stream, object_cache=None, array_cache=None) as directory,
    ):
        end = int(directory.file.fEND)
        if end > size_bytes:
            problem = f"is cut short: {size_bytes} bytes are here of the {end} its header tells"
            return Content(Format.ROOT, problem=problem)
        tables: list[Table] = []
        problem = ""
        for name, key, kind in _newest_tables(directory):
            try:
                tables.append(_read_table(as_utf8(name), directory[key], kind))
            except Exception as error:  # noqa: BLE001 -- uproot raises anything for garbled files
                problem = (
                    problem or f"{one_line(as_utf8(name))} could not be read: {in_one_line(error)}"
                )
        if not tables and not problem and directory.file.fSeekFree == 0:
            problem = "was never closed by its writer, so it lists nothing"
        return Content(Format.ROOT, tuple(tables), str(directory.file.uuid), problem)


def _newest_tables(directory: Any) -> Iterator[tuple[str, str, str]]:
    """Name, key with cycle, and class of every table, the highest cycle of each."""
    newest: dict[str, tuple[int, str]] = {}
    for key, kind in directory.iterclassnames(recursive=True, cycle=True):
        if kind in _TREES or kind in _NTUPLES:
            name, _, cycle = key.rpartition(";")
            if int(cycle) > newest.get(name, (-1, ""))[0]:
                newest[name] = (int(cycle), kind)
    for name, (cycle_number, kind) in newest.items():
        yield name, f"{name};{cycle_number}", kind


def _read_table(name: str, table: Any, kind: str) -> Table:
    entries = int(table.num_entries)
    if not 0 <= entries < _MAX_ENTRIES:
        raise ValueError(f"{entries} is no number of entries")
    ends = _tree_ends(table, entries) if kind in _TREES else _ntuple_ends(table, entries)
    return Table(name, entries, tuple(ends))


def _tree_ends(tree: Any, entries: int) -> list[int]:
    members = tree.all_members
    declared = declared_ends(
        entries,
        int(members.get("fAutoFlush", 0)),
        [int(end) for end in members.get("fClusterRangeEnd", ())],
        [int(size) for size in members.get("fClusterSize", ())],
    )
    branches = [branch for branch in tree.itervalues(recursive=True) if branch.num_baskets > 0]
    heaviest = max(branches, key=lambda branch: branch.compressed_bytes, default=None)
    return best_ends(
        entries,
        declared,
        _shared_ends(branches),
        () if heaviest is None else [int(offset) for offset in heaviest.entry_offsets],
        sum(int(branch.compressed_bytes) for branch in branches),
    )


def _shared_ends(branches: list[Any]) -> list[int]:
    """The entries at which every branch begins a new basket."""
    shared: set[int] | None = None
    for branch in branches:
        own = branch.entry_offsets
        shared = set(own) if shared is None else shared.intersection(own)
    return [int(offset) for offset in shared or ()]


def _ntuple_ends(ntuple: Any, entries: int) -> list[int]:
    ends = (
        int(summary.num_first_entry) + int(summary.num_entries)
        for summary in ntuple.cluster_summaries
    )
    return thinned(ends_within(ends, entries), MAX_CLUSTERS)
