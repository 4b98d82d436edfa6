"""Datasets on disk: registered whole, read in pieces, verified file by file.

What a registration does is decided by `redirector.core.datasets`; it is decided
inside the write, so that two registrations at once see one another. Files are
read in pieces, in the order of their names, each piece by a query of its own:
no reader holds up the writers, however slow it is. The number of a dataset,
which its files carry, dies with it: a verification that outlives its dataset
writes nothing.
"""

from __future__ import annotations

import fnmatch
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING

from common.errors import NotFound
from redirector.core.datasets import (
    DatasetFile,
    DatasetHeader,
    Mode,
    Registration,
    Volume,
    check_quota,
    plan_registration,
)
from redirector.core.states import FileState
from redirector.core.verdicts import RunningTally, Tally
from redirector.store.rows import checksum_of, checksum_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from common.sqlite import Database

#: Files read at a time; some milliseconds of work, some megabytes at most.
PIECE_FILES = 10_000

_SELECT_DATASETS = """
    SELECT number, name, tree, group_name, owner, title, created_unix_s, verified_unix_s,
        files, online, staging, nearline, missing, corrupt, failed,
        bytes_known, files_of_unknown_size, entries_known, files_of_unknown_entries
    FROM datasets
"""
_SELECT_FILES = """
    SELECT lfn, tree, size_bytes, checksum, entries, state, reason
    FROM dataset_files WHERE dataset = ? AND lfn > ? ORDER BY lfn LIMIT ?
"""
#: Quicker than calling the enum; None is a file that was never verified.
_FILE_STATES: dict[int | None, FileState | None] = {
    None: None,
    **{int(state): state for state in FileState},
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset without its files. `verified_unix_s` is None where it never was."""

    number: int
    header: DatasetHeader
    created_unix_s: float
    verified_unix_s: float | None
    tally: Tally

    @property
    def volume(self) -> Volume:
        """What it holds, for its group's quota."""
        return Volume(self.tally.files, self.tally.bytes_known, self.tally.files_of_unknown_size)


@dataclass(frozen=True, slots=True)
class Quotas:
    """What groups may register, in bytes, and what a file of unknown size counts."""

    by_group: Mapping[str, int]
    assumed_bytes: int


class DatasetStore:
    """The datasets in the redirector's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self,
        header: DatasetHeader,
        mode: Mode,
        given: Sequence[DatasetFile],
        quotas: Quotas,
        now_s: float,
    ) -> Registration:
        """Registers files, durably and as a whole.

        Raises what `plan_registration` and `check_quota` raise; then nothing has changed.
        """

        def write(connection: sqlite3.Connection) -> Registration:
            old = _find(connection, header.name)
            existing = None
            if old is not None:
                existing = {file.lfn: file for file in _all_files(connection, old.number)}
            plan = plan_registration(header.name, mode, existing, given)
            result = _header_after(header, mode, old)
            check_quota(
                result,
                plan.volume,
                others_bytes=_group_bytes(
                    connection, result.group, quotas.assumed_bytes, besides=header.name
                ),
                quota_bytes=quotas.by_group.get(result.group, 0),
                assumed_bytes=quotas.assumed_bytes,
            )
            if old is not None and plan.replaces:
                _delete(connection, old.number)
                old = None
            number = _write_header(connection, result, old, now_s)
            _write_files(connection, number, plan.changed)
            _recount(connection, number)
            return plan

        return await self._database.write(write)

    async def find(self, name: str) -> Dataset:
        """The dataset of that name; raises `NotFound`."""
        dataset = await self._database.read(lambda connection: _find(connection, name))
        if dataset is None:
            raise NotFound(f"there is no dataset {name!r}")
        return dataset

    async def pieces(self, number: int) -> AsyncGenerator[list[DatasetFile], None]:
        """The files of a dataset in the order of their names, in pieces."""
        after = ""
        while True:
            piece = await self._database.read(
                partial(_some_files, number=number, after=after, limit=PIECE_FILES)
            )
            if piece:
                yield piece
            if len(piece) < PIECE_FILES:
                return
            after = piece[-1].lfn

    async def all_files(self, number: int) -> list[DatasetFile]:
        """Every file of a dataset, in the order of their names."""
        return [file async for piece in self.pieces(number) for file in piece]

    async def list(self, pattern: str = "", group: str = "") -> list[Dataset]:
        """Datasets whose name matches the shell pattern and which are of the group, by name."""

        def read(connection: sqlite3.Connection) -> list[Dataset]:
            rows = connection.execute(_SELECT_DATASETS + "ORDER BY name")
            return [_dataset(row) for row in rows]

        return [
            dataset
            for dataset in await self._database.read(read)
            if (not pattern or fnmatch.fnmatchcase(dataset.header.name, pattern))
            and (not group or dataset.header.group == group)
        ]

    async def save_verdicts(self, number: int, files: Iterable[DatasetFile]) -> None:
        """Writes what was concluded about files, where the dataset still has them."""
        rows = [
            (size_bytes, checksum, entries, state, reason, number, lfn)
            for lfn, _, size_bytes, checksum, entries, state, reason in map(_file_row, files)
        ]
        await self._database.write(
            lambda connection: connection.executemany(
                "UPDATE dataset_files SET size_bytes = ?, checksum = ?, entries = ?, state = ?,"
                " reason = ? WHERE dataset = ? AND lfn = ?",
                rows,
            )
        )

    async def mark_verified(self, number: int, now_s: float) -> Dataset | None:
        """Counts a dataset's files anew and notes the time; None if it is there no more."""

        def write(connection: sqlite3.Connection) -> Dataset | None:
            connection.execute(
                "UPDATE datasets SET verified_unix_s = ? WHERE number = ?", (now_s, number)
            )
            _recount(connection, number)
            row = connection.execute(_SELECT_DATASETS + "WHERE number = ?", (number,)).fetchone()
            return None if row is None else _dataset(row)

        return await self._database.write(write)

    async def remove(self, name: str) -> int:
        """Removes a dataset (no replica goes by that); tells how many files it had.

        Raises `NotFound`.
        """

        def write(connection: sqlite3.Connection) -> int:
            dataset = _find(connection, name)
            if dataset is None:
                raise NotFound(f"there is no dataset {name!r}")
            _delete(connection, dataset.number)
            return dataset.tally.files

        return await self._database.write(write)


def _dataset(row: tuple) -> Dataset:  # type: ignore[type-arg]
    number, name, tree, group, owner, title, created_unix_s, verified_unix_s, *counts = row
    return Dataset(
        number=number,
        header=DatasetHeader(name, tree, group, owner, title),
        created_unix_s=created_unix_s,
        verified_unix_s=verified_unix_s,
        tally=Tally(*counts),
    )


def _find(connection: sqlite3.Connection, name: str) -> Dataset | None:
    row = connection.execute(_SELECT_DATASETS + "WHERE name = ?", (name,)).fetchone()
    return None if row is None else _dataset(row)


def _some_files(
    connection: sqlite3.Connection, number: int, after: str, limit: int
) -> list[DatasetFile]:
    return [_file(row) for row in connection.execute(_SELECT_FILES, (number, after, limit))]


def _all_files(connection: sqlite3.Connection, number: int) -> list[DatasetFile]:
    return _some_files(connection, number, after="", limit=-1)


def _file(row: tuple) -> DatasetFile:  # type: ignore[type-arg]
    lfn, tree, size_bytes, checksum, entries, state, reason = row
    return DatasetFile(
        lfn,
        tree,
        size_bytes,
        checksum_of(checksum),
        entries,
        _FILE_STATES[state],
        reason,
    )


def _file_row(file: DatasetFile) -> tuple:  # type: ignore[type-arg]
    return (
        file.lfn,
        file.tree,
        file.size_bytes,
        checksum_text(file.checksum),
        file.entries,
        file.state,
        file.reason,
    )


def _header_after(header: DatasetHeader, mode: Mode, old: Dataset | None) -> DatasetHeader:
    """An update leaves what it does not say as it was."""
    if old is None or mode is not Mode.UPDATE:
        return header
    return DatasetHeader(
        name=header.name,
        tree=header.tree or old.header.tree,
        group=header.group or old.header.group,
        owner=header.owner or old.header.owner,
        title=header.title or old.header.title,
    )


def _write_header(
    connection: sqlite3.Connection, header: DatasetHeader, old: Dataset | None, now_s: float
) -> int:
    labels = (header.tree, header.group, header.owner, header.title)
    if old is not None:
        connection.execute(
            "UPDATE datasets SET tree = ?, group_name = ?, owner = ?, title = ? WHERE number = ?",
            (*labels, old.number),
        )
        return old.number
    row = connection.execute(
        "INSERT INTO datasets (name, tree, group_name, owner, title, created_unix_s)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING number",
        (header.name, *labels, now_s),
    ).fetchone()
    return int(row[0])


def _write_files(connection: sqlite3.Connection, number: int, files: Iterable[DatasetFile]) -> None:
    # Sorted by the key, rows are appended to the tree instead of tearing its pages apart.
    connection.executemany(
        "INSERT OR REPLACE INTO dataset_files"
        " (dataset, lfn, tree, size_bytes, checksum, entries, state, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((number, *_file_row(file)) for file in sorted(files, key=lambda file: file.lfn)),
    )


def _recount(connection: sqlite3.Connection, number: int) -> None:
    tally = RunningTally(_all_files(connection, number)).now()
    connection.execute(
        "UPDATE datasets SET files = ?, online = ?, staging = ?, nearline = ?, missing = ?,"
        " corrupt = ?, failed = ?, bytes_known = ?, files_of_unknown_size = ?, entries_known = ?,"
        " files_of_unknown_entries = ? WHERE number = ?",
        (*astuple(tally), number),
    )


def _group_bytes(
    connection: sqlite3.Connection, group: str, assumed_bytes: int, *, besides: str
) -> int:
    if not group:
        return 0
    row = connection.execute(
        "SELECT coalesce(sum(bytes_known + files_of_unknown_size * ?), 0) FROM datasets"
        " WHERE group_name = ? AND name != ?",
        (assumed_bytes, group, besides),
    ).fetchone()
    return int(row[0])


def _delete(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM dataset_files WHERE dataset = ?", (number,))
    connection.execute("DELETE FROM datasets WHERE number = ?", (number,))
