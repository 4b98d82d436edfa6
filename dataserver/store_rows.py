"""What is remembered of files on their way to the archive: rows beside the catalogue's.

That a file is *sent* is written before its command first runs, and that it is archived before
its replica may go: so after a crash nothing is taken for safe that is not, and nothing that
the archive may have is taken for the client's own. What failed for good is kept as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dataserver.checksum import Checksum
from dataserver.core.store_table import StoreFound

if TYPE_CHECKING:
    import sqlite3

    from common.sqlite import Database

STORE_TABLE: Final = """
    CREATE TABLE store (                -- of replicas that are not known to be archived
        lfn TEXT PRIMARY KEY REFERENCES replica ON DELETE CASCADE,
        sent INTEGER NOT NULL,          -- 1: the archive may have it, or a part of it
        failure TEXT NOT NULL           -- why it is not tried again; '': it is
    ) WITHOUT ROWID;
    """


class FileToStore(NamedTuple):
    """Which content of a name is to be stored."""

    size_bytes: int
    mtime_ns: int
    checksum: Checksum | None


class StoreRows:
    """The rows of one pool. Methods that change some return when that is durable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def found(self) -> list[StoreFound]:
        """Every replica that is not known to be archived, and how its storing stands."""

        def read(connection: sqlite3.Connection) -> list[StoreFound]:
            rows = connection.execute(
                "SELECT replica.lfn, staged_unix_s, coalesce(sent, 0), coalesce(failure, '')"
                " FROM replica LEFT JOIN store USING (lfn) WHERE archived = 0"
            )
            return [
                StoreFound(lfn, since_s, bool(sent), failure)
                for lfn, since_s, sent, failure in rows
            ]

        return await self._database.read(read)

    async def file(self, lfn: str) -> FileToStore | None:
        """What is remembered of a replica's content; None if it has no row."""

        def read(connection: sqlite3.Connection) -> FileToStore | None:
            row = connection.execute(
                "SELECT size_bytes, mtime_ns, algorithm, value FROM replica WHERE lfn = ?", (lfn,)
            ).fetchone()
            if row is None:
                return None
            size_bytes, mtime_ns, algorithm, value = row
            return FileToStore(
                size_bytes, mtime_ns, Checksum(algorithm, value) if algorithm else None
            )

        return await self._database.read(read)

    async def note(self, lfn: str, *, sent: bool, failure: str = "") -> None:
        """Notes how the storing of a file stands that is not archived."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO store SELECT lfn, ?, ? FROM replica"
                " WHERE lfn = ? AND archived = 0",
                (sent, failure, lfn),
            )

        await self._database.write(write)

    async def archived(self, lfn: str) -> None:
        """Notes that the archive has a file: its replica may be purged."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE replica SET archived = 1 WHERE lfn = ?", (lfn,))
            connection.execute("DELETE FROM store WHERE lfn = ?", (lfn,))

        await self._database.write(write)

    async def unarchive(self, lfn: str) -> None:
        """Notes that a file may soon be in the archive no longer: its replica must stay."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE replica SET archived = 0 WHERE lfn = ?", (lfn,))
            connection.execute(
                "INSERT OR REPLACE INTO store SELECT lfn, 1, '' FROM replica WHERE lfn = ?", (lfn,)
            )

        await self._database.write(write)
