"""What a data server remembers of its replicas: SQLite, beside the bytes.

A row is written before its replica is published and deleted when its file has gone, so
a row without a file, or a file without a row, is what a crash leaves and what a start
puts right (see `adopt`). Times of last use are only of interest to the next start, so
they are kept in memory and written in batches now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from common.sqlite import Database
from dataserver.checksum import Checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_MIGRATIONS: Final = (
    """
    CREATE TABLE replica (
        lfn TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        algorithm TEXT NOT NULL,        -- '': no checksum is known
        value TEXT NOT NULL,
        archived INTEGER NOT NULL,      -- 0: not known to be in the archive
        staged_unix_s REAL NOT NULL,
        last_use_unix_s REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE content (
        lfn TEXT PRIMARY KEY REFERENCES replica ON DELETE CASCADE,
        content BLOB NOT NULL           -- a serialised packhorse.v1.Content
    );
    """,
)

#: SQLite takes this many values in one statement, on every build there is.
_NAMES_AT_A_TIME: Final = 500


class Row(NamedTuple):
    """One replica, as a start needs to know it."""

    size_bytes: int
    mtime_ns: int
    checksum: Checksum | None
    archived: bool
    last_use_s: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One replica to be remembered."""

    lfn: str
    size_bytes: int
    mtime_ns: int
    checksum: Checksum | None
    staged_s: float
    archived: bool = True


class Known(NamedTuple):
    """What can be told about one replica; `content` None: not inspected yet."""

    lfn: str
    size_bytes: int
    checksum: Checksum | None
    content: bytes | None


class Catalogue:
    """The rows of one pool. Every method that changes rows returns when that is durable."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; raises as `common.sqlite.Database` does."""
        self._database = Database(path, _MIGRATIONS)
        self._uses: dict[str, float] = {}

    def close(self) -> None:
        """Finishes what was handed in, and lets go of the file."""
        self._database.close()

    async def rows(self) -> dict[str, Row]:
        """Every row, by name."""

        def read(connection: sqlite3.Connection) -> dict[str, Row]:
            found = connection.execute(
                "SELECT lfn, size_bytes, mtime_ns, algorithm, value, archived, last_use_unix_s"
                " FROM replica"
            )
            return {
                lfn: Row(size, mtime, _checksum(algorithm, value), bool(archived), used)
                for lfn, size, mtime, algorithm, value, archived, used in found
            }

        return await self._database.read(read)

    async def add(self, entries: Sequence[Entry]) -> None:
        """Writes rows; a name that has one already gets a new one, without content."""
        rows = [
            (
                one.lfn,
                one.size_bytes,
                one.mtime_ns,
                one.checksum.algorithm if one.checksum else "",
                one.checksum.value if one.checksum else "",
                one.archived,
                one.staged_s,
                one.staged_s,
            )
            for one in entries
        ]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO replica VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

        await self._database.write(write)

    async def remove(self, lfns: Iterable[str]) -> None:
        """Deletes rows; names without one are fine."""
        names = [(lfn,) for lfn in lfns]
        for (lfn,) in names:
            self._uses.pop(lfn, None)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM replica WHERE lfn = ?", names)

        await self._database.write(write)

    async def set_contents(self, contents: Sequence[tuple[str, bytes]]) -> None:
        """Keeps what was found in files (name, content), of those that still have a row."""
        rows = [(content, lfn) for lfn, content in contents]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO content SELECT lfn, ? FROM replica WHERE lfn = ?", rows
            )

        await self._database.write(write)

    async def set_archived(self, lfns: Iterable[str]) -> None:
        """Notes that files are known to be in the archive."""
        names = [(lfn,) for lfn in lfns]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE replica SET archived = 1 WHERE lfn = ?", names)

        await self._database.write(write)

    async def modified(self, lfns: Sequence[str]) -> dict[str, float]:
        """When the files were last modified (Unix time), of the names that have a row."""

        def read(connection: sqlite3.Connection) -> dict[str, float]:
            found: dict[str, float] = {}
            for start in range(0, len(lfns), _NAMES_AT_A_TIME):
                names = lfns[start : start + _NAMES_AT_A_TIME]
                marks = ",".join("?" * len(names))
                rows = connection.execute(
                    f"SELECT lfn, mtime_ns FROM replica WHERE lfn IN ({marks})",  # noqa: S608 - only question marks are put in
                    names,
                )
                found.update((lfn, mtime_ns / 1e9) for lfn, mtime_ns in rows)
            return found

        return await self._database.read(read)

    async def known(self, lfns: Sequence[str]) -> list[Known]:
        """What is known of the names that have a row, in no order."""

        def read(connection: sqlite3.Connection) -> list[Known]:
            found = []
            for start in range(0, len(lfns), _NAMES_AT_A_TIME):
                names = lfns[start : start + _NAMES_AT_A_TIME]
                marks = ",".join("?" * len(names))
                found += connection.execute(
                    "SELECT replica.lfn, size_bytes, algorithm, value, content FROM replica"  # noqa: S608 - only question marks are put in
                    f" LEFT JOIN content USING (lfn) WHERE replica.lfn IN ({marks})",
                    names,
                ).fetchall()
            return [
                Known(lfn, size, _checksum(algorithm, value), content)
                for lfn, size, algorithm, value, content in found
            ]

        return await self._database.read(read)

    def note_use(self, lfn: str, now_s: float) -> None:
        """Remembers a use until `flush_uses` writes it."""
        self._uses[lfn] = now_s

    async def flush_uses(self) -> None:
        """Writes the times of last use noted since the last time."""
        if not self._uses:
            return
        uses = [(used_s, lfn) for lfn, used_s in self._uses.items()]
        self._uses.clear()

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE replica SET last_use_unix_s = ? WHERE lfn = ?", uses)

        await self._database.write(write)


def _checksum(algorithm: str, value: str) -> Checksum | None:
    return Checksum(algorithm, value) if algorithm else None
