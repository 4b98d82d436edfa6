"""What verifying a dataset concludes about each of its files.

A file is judged by what can be learnt of it: an online one by what its data
server says of the replica, any other by what the archive says. The verdict is
the file's row with everything learnt filled in, a state, and a reason where the
state needs one. Whether a file is damaged is decided here and nowhere else:

- its size or checksum is not the registered one,
- its content is not what its name promises (a text file named .root),
- it has no tree of the name the dataset expects, or not as many entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redirector.core.states import FileState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redirector.core.datasets import DatasetFile
    from redirector.core.model import Checksum

#: Of a file's tables, as many are named in a reason.
_TABLES_NAMED = 5


@dataclass(frozen=True, slots=True)
class Replica:
    """What a data server says of a file it holds.

    `entries_by_table` is None where the content was not inspected. Without
    `has_trees` (Parquet) there is one nameless table, and a dataset's tree name
    means that one.
    """

    size_bytes: int
    checksum: Checksum | None = None
    entries_by_table: Mapping[str, int] | None = None
    has_trees: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveCopy:
    """What the archive says of a file. What it could not tell is None."""

    there: bool | None
    size_bytes: int | None = None
    checksum: Checksum | None = None
    reason: str = ""


def judge_replica(file: DatasetFile, default_tree: str, replica: Replica) -> DatasetFile:
    """The verdict on a file that is online: ONLINE or CORRUPT."""
    difference = _difference(file, replica.size_bytes, replica.checksum)
    if difference:
        return _with(file, FileState.CORRUPT, f"its replica's {difference}")
    file = file._replace(size_bytes=replica.size_bytes, checksum=file.checksum or replica.checksum)
    if replica.problem:
        return _with(file, FileState.CORRUPT, replica.problem)
    if replica.entries_by_table is None:
        return _with(file, FileState.ONLINE)
    return _judge_entries(file, file.tree or default_tree, replica)


def judge_archive_copy(file: DatasetFile, copy: ArchiveCopy) -> DatasetFile:
    """The verdict on a file that is not online: NEARLINE, MISSING or CORRUPT."""
    if copy.there is False:
        return _with(file, FileState.MISSING, copy.reason or "the archive does not have it")
    if copy.there is None:
        return _with(file, FileState.NEARLINE, copy.reason)
    difference = _difference(file, copy.size_bytes, copy.checksum)
    if difference:
        return _with(file, FileState.CORRUPT, f"in the archive, its {difference}")
    file = file._replace(
        size_bytes=copy.size_bytes if file.size_bytes is None else file.size_bytes,
        checksum=file.checksum or copy.checksum,
    )
    return _with(file, FileState.NEARLINE)


def judge_staging(file: DatasetFile) -> DatasetFile:
    """The verdict on a file whose recall is under way."""
    return _with(file, FileState.STAGING)


def judge_unstaged(file: DatasetFile, reason: str) -> DatasetFile:
    """The verdict on a file that went offline again, or that nobody wanted any more."""
    return _with(file, FileState.NEARLINE, reason)


def judge_failure(file: DatasetFile, reason: str, *, not_found: bool) -> DatasetFile:
    """The verdict on a file that could not be staged."""
    return _with(file, FileState.MISSING if not_found else FileState.FAILED, reason)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many files of a dataset are in which state, and what is known of all."""

    files: int = 0
    online: int = 0
    staging: int = 0
    nearline: int = 0
    missing: int = 0
    corrupt: int = 0
    failed: int = 0
    bytes_known: int = 0
    files_of_unknown_size: int = 0
    entries_known: int = 0
    files_of_unknown_entries: int = 0


class RunningTally:
    """A tally that follows a dataset's files while they change, without recounting."""

    def __init__(self, files: Iterable[DatasetFile]) -> None:
        self._by_state: dict[FileState | None, int] = dict.fromkeys((*FileState, None), 0)
        self._bytes_known = self._unknown_size = 0
        self._entries_known = self._unknown_entries = 0
        for file in files:
            self._count(file, 1)

    def change(self, before: DatasetFile, after: DatasetFile) -> None:
        """Counts `after` instead of `before`."""
        self._count(before, -1)
        self._count(after, 1)

    def now(self) -> Tally:
        """The counts at this moment."""
        states = self._by_state
        return Tally(
            files=sum(states.values()),
            online=states[FileState.ONLINE],
            staging=states[FileState.STAGING],
            nearline=states[FileState.NEARLINE],
            missing=states[FileState.MISSING],
            corrupt=states[FileState.CORRUPT],
            failed=states[FileState.FAILED],
            bytes_known=self._bytes_known,
            files_of_unknown_size=self._unknown_size,
            entries_known=self._entries_known,
            files_of_unknown_entries=self._unknown_entries,
        )

    def _count(self, file: DatasetFile, by: int) -> None:
        self._by_state[file.state] += by
        if file.size_bytes is None:
            self._unknown_size += by
        else:
            self._bytes_known += by * file.size_bytes
        if file.entries is None:
            self._unknown_entries += by
        else:
            self._entries_known += by * file.entries


#: States a file cannot be processed in, whatever is staged.
UNUSABLE = frozenset({FileState.MISSING, FileState.CORRUPT, FileState.FAILED})


def _judge_entries(file: DatasetFile, tree: str, replica: Replica) -> DatasetFile:
    tables = replica.entries_by_table or {}
    if not replica.has_trees:
        entries = tables.get("")
    elif tree:
        if tree not in tables:
            return _with(file, FileState.CORRUPT, f"it has no tree {tree!r}; {_named(tables)}")
        entries = tables[tree]
    else:
        entries = next(iter(tables.values())) if len(tables) == 1 else None
    if entries is None:
        return _with(file, FileState.ONLINE)
    if file.entries is not None and file.entries != entries:
        return _with(
            file,
            FileState.CORRUPT,
            f"it has {entries:,} entries, but was registered with {file.entries:,}",
        )
    return _with(file._replace(entries=entries), FileState.ONLINE)


def _difference(file: DatasetFile, size_bytes: int | None, checksum: Checksum | None) -> str:
    """How what was found differs from what was registered; "" if it does not."""
    known = size_bytes is not None and file.size_bytes is not None
    if known and size_bytes != file.size_bytes:
        return f"size is {size_bytes:,} bytes, but was registered as {file.size_bytes:,}"
    if (
        checksum is not None
        and file.checksum is not None
        and checksum.algorithm == file.checksum.algorithm
        and checksum.value != file.checksum.value
    ):
        return (
            f"{checksum.algorithm} checksum is {checksum.value}, "
            f"but was registered as {file.checksum.value}"
        )
    return ""


def _named(tables: Iterable[str]) -> str:
    names = sorted(filter(None, tables))
    if not names:
        return "it has none"
    listed = ", ".join(names[:_TABLES_NAMED])
    return f"it has {listed}" + (", …" if len(names) > _TABLES_NAMED else "")


def _with(file: DatasetFile, state: FileState, reason: str = "") -> DatasetFile:
    if file.state is state and file.reason == reason:
        return file
    return file._replace(state=state, reason=reason)
