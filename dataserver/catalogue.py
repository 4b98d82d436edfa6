"""What a data server remembers of its replicas: SQLite, beside the bytes.

A row is written before its replica is published and deleted when its file has gone, so
a row without a file, or a file without a row, is what a crash leaves and what a start
puts right (see `adopt`). Times of last use are only of interest to the next start, so
they are kept in memory and written in batches now and then.

What is found out about a file, or said about it, is kept beside its row and goes with it:
its content, checksums beyond the one in the row, and attributes that clients gave it. What
was found out bears the size and the time of change of the file it was found in, and is not
kept if the row is another file's by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from common.errors import AlreadyExists, NotFound, QuotaExceeded, Refused
from common.sqlite import Database
from dataserver.checksum import Checksum
from dataserver.core.replica import Mark
from dataserver.mark_rows import MARK_TABLE, MarkRows
from dataserver.scrub_rows import SCRUB_TABLE, ScrubRows
from dataserver.store_rows import STORE_TABLE, StoreRows

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
    """
    CREATE TABLE checksum (             -- those besides the one in `replica`
        lfn TEXT NOT NULL REFERENCES replica ON DELETE CASCADE,
        algorithm TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (lfn, algorithm)
    ) WITHOUT ROWID;
    CREATE TABLE attribute (
        lfn TEXT NOT NULL REFERENCES replica ON DELETE CASCADE,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (lfn, name)
    ) WITHOUT ROWID;
    """,
    SCRUB_TABLE,
    STORE_TABLE,
    MARK_TABLE,
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
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One replica to be remembered."""

    lfn: str
    size_bytes: int
    mtime_ns: int
    checksum: Checksum | None
    staged_s: float
    archived: bool = True


class Version(NamedTuple):
    """Which file of a name something was found out about."""

    lfn: str
    size_bytes: int
    mtime_ns: int


class Stat(NamedTuple):
    """When a replica's file was last modified (Unix time), and the checksum asked for, if known."""

    mtime_s: float
    checksum: Checksum | None = None


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
        self.scrub = ScrubRows(self._database)
        self.stores = StoreRows(self._database)
        self.marks = MarkRows(self._database)
        self._uses: dict[str, float] = {}

    @staticmethod
    def problem(path: Path) -> str:
        """What is wrong with the file, "" if nothing is; blocks, and reads all of it.

        Raises as `common.sqlite.Database` does.
        """
        with Database(path, _MIGRATIONS) as database:
            return database.problem()

    def close(self) -> None:
        """Finishes what was handed in, and lets go of the file."""
        self._database.close()

    async def rows(self) -> dict[str, Row]:
        """Every row, by name."""

        def read(connection: sqlite3.Connection) -> dict[str, Row]:
            found = connection.execute(
                "SELECT lfn, size_bytes, mtime_ns, algorithm, value, archived, last_use_unix_s, mark"
                " FROM replica LEFT JOIN mark USING (lfn)"
            )
            return {
                lfn: Row(
                    size,
                    mtime,
                    _checksum(algorithm, value),
                    bool(archived),
                    used,
                    Mark(mark) if mark is not None else None,
                )
                for lfn, size, mtime, algorithm, value, archived, used, mark in found
            }

        return await self._database.read(read)

    async def row(self, lfn: str) -> Row | None:
        """The row of one replica, if it has one."""

        def read(connection: sqlite3.Connection) -> Row | None:
            found = connection.execute(
                "SELECT size_bytes, mtime_ns, algorithm, value, archived, last_use_unix_s"
                " FROM replica WHERE lfn = ?",
                (lfn,),
            ).fetchone()
            if found is None:
                return None
            size_bytes, mtime_ns, algorithm, value, archived, used_s = found
            return Row(size_bytes, mtime_ns, _checksum(algorithm, value), bool(archived), used_s)

        return await self._database.read(read)

    async def add(self, entries: Sequence[Entry]) -> None:
        """Writes rows; a name that has one already gets a new one, without content."""
        rows = [_values(one) for one in entries]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO replica VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

        await self._database.write(write)

    async def replace(self, entry: Entry) -> Entry | None:
        """Writes the row of what takes a replica's place, which keeps its attributes.

        Returns the row there was, if any, to be written again if nothing comes of it.
        """

        def write(connection: sqlite3.Connection) -> Entry | None:
            found = connection.execute(
                "SELECT lfn, size_bytes, mtime_ns, algorithm, value, staged_unix_s, archived"
                " FROM replica WHERE lfn = ?",
                (entry.lfn,),
            ).fetchone()
            connection.execute(
                "INSERT INTO replica VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (lfn) DO UPDATE SET size_bytes = excluded.size_bytes,"
                " mtime_ns = excluded.mtime_ns, algorithm = excluded.algorithm,"
                " value = excluded.value, archived = excluded.archived,"
                " staged_unix_s = excluded.staged_unix_s,"
                " last_use_unix_s = excluded.last_use_unix_s",
                _values(entry),
            )
            connection.execute("DELETE FROM content WHERE lfn = ?", (entry.lfn,))
            connection.execute("DELETE FROM checksum WHERE lfn = ?", (entry.lfn,))
            connection.execute("DELETE FROM store WHERE lfn = ?", (entry.lfn,))
            return _entry(*found) if found is not None else None

        return await self._database.write(write)

    async def copy(self, lfn: str, new_lfn: str) -> None:
        """Writes the row of a replica, and all that is kept beside it, under another name.

        Raises Refused if it has no row.
        """

        def write(connection: sqlite3.Connection) -> None:
            names = (new_lfn, lfn)
            connection.execute("DELETE FROM replica WHERE lfn = ?", (new_lfn,))
            done = connection.execute(
                "INSERT INTO replica SELECT ?, size_bytes, mtime_ns, algorithm, value, archived,"
                " staged_unix_s, last_use_unix_s FROM replica WHERE lfn = ?",
                names,
            )
            if not done.rowcount:
                raise Refused(f"nothing is remembered of {lfn}; it will be after the next start")
            connection.execute(
                "INSERT INTO content SELECT ?, content FROM content WHERE lfn = ?", names
            )
            connection.execute(
                "INSERT INTO checksum SELECT ?, algorithm, value FROM checksum WHERE lfn = ?",
                names,
            )
            connection.execute(
                "INSERT INTO attribute SELECT ?, name, value FROM attribute WHERE lfn = ?", names
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

    async def set_contents(self, contents: Sequence[tuple[Version, bytes]]) -> None:
        """Keeps what was found in files, of those that still have that row."""
        rows = [(content, *version) for version, content in contents]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO content SELECT lfn, ? FROM replica"
                " WHERE lfn = ? AND size_bytes = ? AND mtime_ns = ?",
                rows,
            )

        await self._database.write(write)

    async def set_archived(self, files: Iterable[Version]) -> None:
        """Notes that files are known to be in the archive, of those that still have that row."""
        rows = list(files)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE replica SET archived = 1 WHERE lfn = ? AND size_bytes = ? AND mtime_ns = ?",
                rows,
            )

        await self._database.write(write)

    async def checksum(self, lfn: str, algorithm: str) -> Checksum | None:
        """A replica's checksum of this kind, if it is known."""

        def read(connection: sqlite3.Connection) -> Checksum | None:
            found = connection.execute(
                "SELECT value FROM replica WHERE lfn = ? AND algorithm = ?"
                " UNION ALL SELECT value FROM checksum WHERE lfn = ? AND algorithm = ?",
                (lfn, algorithm, lfn, algorithm),
            ).fetchone()
            return Checksum(algorithm, found[0]) if found is not None else None

        return await self._database.read(read)

    async def add_checksum(self, file: Version, checksum: Checksum) -> None:
        """Keeps one more checksum of a file that still has that row."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO checksum SELECT lfn, ?, ? FROM replica"
                " WHERE lfn = ? AND size_bytes = ? AND mtime_ns = ?",
                (checksum.algorithm, checksum.value, *file),
            )

        await self._database.write(write)

    async def attributes(self, lfn: str) -> dict[str, bytes]:
        """What clients have noted about a replica, by name."""

        def read(connection: sqlite3.Connection) -> dict[str, bytes]:
            found = connection.execute("SELECT name, value FROM attribute WHERE lfn = ?", (lfn,))
            return dict(found.fetchall())

        return await self._database.read(read)

    async def set_attribute(
        self, lfn: str, name: str, value: bytes, *, new_only: bool, most: int
    ) -> None:
        """Notes one thing about a replica that has a row, which has at most so many.

        Raises AlreadyExists if it is noted already and may only be new, QuotaExceeded if
        there are too many others.
        """

        def write(connection: sqlite3.Connection) -> None:
            names = {
                one
                for (one,) in connection.execute("SELECT name FROM attribute WHERE lfn = ?", (lfn,))
            }
            if name in names and new_only:
                raise AlreadyExists(f"{lfn} has an attribute {name!r} already")
            if name not in names and len(names) >= most:
                raise QuotaExceeded(f"{lfn} has {most} attributes, and can have no more")
            connection.execute(
                "INSERT OR REPLACE INTO attribute SELECT lfn, ?, ? FROM replica WHERE lfn = ?",
                (name, value, lfn),
            )

        await self._database.write(write)

    async def remove_attribute(self, lfn: str, name: str) -> None:
        """Forgets one thing noted about a replica. Raises NotFound if it is not."""

        def write(connection: sqlite3.Connection) -> None:
            done = connection.execute(
                "DELETE FROM attribute WHERE lfn = ? AND name = ?", (lfn, name)
            )
            if not done.rowcount:
                raise NotFound(f"{lfn} has no attribute {name!r}")

        await self._database.write(write)

    async def stats(self, lfns: Sequence[str], algorithm: str | None = None) -> dict[str, Stat]:
        """What listings tell of the names that have a row: with checksums of one kind if
        `algorithm` is not None, with whichever was computed when they came if it is ""."""

        def read(connection: sqlite3.Connection) -> dict[str, Stat]:
            found: dict[str, Stat] = {}
            for start in range(0, len(lfns), _NAMES_AT_A_TIME):
                names = lfns[start : start + _NAMES_AT_A_TIME]
                marks = ",".join("?" * len(names))
                rows = connection.execute(
                    "SELECT lfn, mtime_ns, algorithm, value FROM replica"  # noqa: S608 - only question marks are put in
                    f" WHERE lfn IN ({marks})",
                    names,
                )
                for lfn, mtime_ns, kind, value in rows:
                    known = _checksum(kind, value) if algorithm in ("", kind) else None
                    found[lfn] = Stat(mtime_ns / 1e9, known)
                if not algorithm:
                    continue
                rows = connection.execute(
                    f"SELECT lfn, value FROM checksum WHERE algorithm = ? AND lfn IN ({marks})",  # noqa: S608 - only question marks are put in
                    (algorithm, *names),
                )
                for lfn, value in rows:
                    found[lfn] = found[lfn]._replace(checksum=Checksum(algorithm, value))
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

    async def flush_uses(self) -> dict[str, float]:
        """Writes, and returns, the times of last use noted since the last time."""
        noted = self._uses
        if not noted:
            return {}
        uses = [(used_s, lfn) for lfn, used_s in noted.items()]
        self._uses = {}

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE replica SET last_use_unix_s = ? WHERE lfn = ?", uses)

        await self._database.write(write)
        return noted


def _values(entry: Entry) -> tuple[Any, ...]:
    """A row of `replica`."""
    return (
        entry.lfn,
        entry.size_bytes,
        entry.mtime_ns,
        entry.checksum.algorithm if entry.checksum else "",
        entry.checksum.value if entry.checksum else "",
        entry.archived,
        entry.staged_s,
        entry.staged_s,
    )


def _entry(
    lfn: str,
    size_bytes: int,
    mtime_ns: int,
    algorithm: str,
    value: str,
    staged_s: float,
    archived: int,
) -> Entry:
    checksum = _checksum(algorithm, value)
    return Entry(lfn, size_bytes, mtime_ns, checksum, staged_s, bool(archived))


def _checksum(algorithm: str, value: str) -> Checksum | None:
    return Checksum(algorithm, value) if algorithm else None
