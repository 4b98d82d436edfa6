"""Columns of a range of entries, out of ROOT and Parquet files.

What goes wrong while reading is told apart here, once: a question that makes no
sense for any replica (no such column, a wrong expression) raises what the library
raises, and is the function's own error; bytes that cannot be had or understood raise
`ReplicaError`, and the packet is tried elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from packhorse.replica import ReplicaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packhorse.replica_file import ReplicaFile

    Columns = str | Sequence[str] | None

# What a question that makes no sense raises; it would do so on a sound file as well.
_QUESTIONS = (
    KeyError,
    SyntaxError,
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    NotImplementedError,
    MemoryError,
)


_PATTERN = frozenset("*?[/")


class Table(Protocol):
    """One table of an open file."""

    def arrays(self, start: int, stop: int, columns: Columns = None, **options: Any) -> Any:
        """Columns of the entries [start, stop)."""
        ...

    def close(self) -> None:
        """Lets go of the file."""
        ...


def load_libraries(file_format: str) -> None:
    """Imports what reading a format takes, so that no packet's time has to hold it."""
    if file_format == "root":
        import uproot  # noqa: F401
    elif file_format == "parquet":
        import awkward  # noqa: F401
        import pyarrow.parquet  # noqa: F401


def open_table(file_format: str, file: ReplicaFile, lfn: str, tree: str) -> Table:
    """A table of a file: a tree, or a Parquet file's rows. Raises ReplicaError, TypeError."""
    if file_format == "root":
        return RootTable(file, lfn, tree)
    if file_format == "parquet":
        return ParquetTable(file, lfn)
    raise TypeError(f"{lfn} is plain bytes and has no columns: use packet.bytes() or packet.open()")


class RootTable:
    """A TTree or RNTuple."""

    def __init__(self, file: ReplicaFile, lfn: str, tree: str) -> None:
        import uproot

        self._lfn = lfn
        try:
            # No caches: every range is read once, and the tree is kept by us.
            self._file = uproot.open(file, object_cache=None, array_cache=None)
            self._tree = self._file[tree]
            is_ntuple = isinstance(self._tree, uproot.behaviors.RNTuple.HasFields)
            self._fields = frozenset(self._tree.keys()) if is_ntuple else None
        except uproot.KeyInFileError as error:
            raise ReplicaError(f"{lfn} has no tree {tree!r}", damaged=True) from error
        except Exception as error:
            raise _unreadable(lfn, error) from error

    def arrays(self, start: int, stop: int, columns: Columns = None, **options: Any) -> Any:
        """See `uproot.TTree.arrays`, which takes the same options."""
        columns = [columns] if isinstance(columns, str) else columns
        self._check_fields(columns or ())
        try:
            return self._tree.arrays(columns, entry_start=start, entry_stop=stop, **options)
        except _QUESTIONS:
            raise
        except Exception as error:
            raise _unreadable(self._lfn, error) from error

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _check_fields(self, columns: Sequence[str]) -> None:
        """Raises KeyError for a field that an RNTuple does not have.

        uproot takes its fields' names for patterns, and gives nothing for what matches none.
        """
        if self._fields is not None:
            for name in columns:
                if name not in self._fields and not _PATTERN.intersection(name):
                    raise KeyError(f"{self._lfn} has no field {name!r}")


class ParquetTable:
    """The rows of a Parquet file."""

    def __init__(self, file: ReplicaFile, lfn: str) -> None:
        import pyarrow.parquet

        self._lfn = lfn
        try:
            self._file = pyarrow.parquet.ParquetFile(file)
        except Exception as error:
            raise _unreadable(lfn, error) from error
        footer = self._file.metadata
        self._ends = list(
            accumulate(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
        )

    def arrays(
        self, start: int, stop: int, columns: Columns = None, library: str = "ak", **options: Any
    ) -> Any:
        """Columns as `library` "ak" (awkward), "np" (a dict of arrays), "pd" or "arrow".

        Other options are those of `awkward.from_arrow`.
        """
        if library not in {"ak", "np", "pd", "arrow"}:
            raise TypeError(f"library {library!r} is none of ak, np, pd, arrow")
        rows = self._rows(start, stop, [columns] if isinstance(columns, str) else columns)
        if library == "arrow":
            return rows
        if library == "pd":
            return rows.to_pandas()
        if library == "np":
            return {
                name: rows.column(name).to_numpy(zero_copy_only=False) for name in rows.column_names
            }
        import awkward

        return awkward.from_arrow(rows, **options)

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _rows(self, start: int, stop: int, columns: Sequence[str] | None) -> Any:
        known = set(self._file.schema_arrow.names)
        absent = [name for name in columns or () if name.partition(".")[0] not in known]
        if absent:
            raise KeyError(f"{self._lfn} has no column {absent[0]!r}")
        first = bisect_right(self._ends, start)
        last = bisect_right(self._ends, stop - 1) if stop > start else first
        groups = list(range(first, min(last + 1, len(self._ends))))
        try:
            table = self._file.read_row_groups(groups, columns=columns, use_threads=False)
        except Exception as error:
            raise _unreadable(self._lfn, error) from error
        return table.slice(start - (self._ends[first - 1] if first else 0), stop - start)


def _unreadable(lfn: str, error: Exception) -> ReplicaError:
    """The error for bytes that cannot be had, or cannot be understood."""
    if isinstance(error, ReplicaError):
        return error
    text = " ".join(str(error).split())
    return ReplicaError(f"{lfn} cannot be read: {type(error).__name__}: {text}", damaged=True)
