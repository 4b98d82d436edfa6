"""Submissions on the disk, so that a restart orders nothing twice.

A submission is written before the archive is asked, with its key, and again when the archive
has given its id; it is deleted when the archive was told that nobody needs it. One that is
found without an id may or may not have reached the archive: it is submitted again under the
same key, by which the command can know it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from common.sqlite import Database
from dataserver.archive.submitting.book import Submission

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

MIGRATIONS: Final = (
    """
    CREATE TABLE submission (
        key TEXT PRIMARY KEY,
        lfn TEXT NOT NULL UNIQUE,
        source TEXT NOT NULL,
        archive_id TEXT NOT NULL,
        submitted_unix_s REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)


class KeptSubmissions:
    """One file of them. Opening it blocks, and raises ConfigError or Damaged."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    async def load(self) -> list[Submission]:
        """What was kept, the oldest first. Raises PackhorseError."""

        def read(connection: sqlite3.Connection) -> list[tuple[str, str, str, str, float]]:
            return connection.execute(
                "SELECT key, lfn, source, archive_id, submitted_unix_s FROM submission "
                "ORDER BY submitted_unix_s, key"
            ).fetchall()

        found = []
        for key, lfn, source, archive_id, submitted_s in await self._database.read(read):
            one = Submission(key, lfn, source, submitted_s)
            one.archive_id = archive_id
            found.append(one)
        return found

    async def put(self, submissions: Sequence[Submission]) -> None:
        """Writes them as they are now; returns when that is durable. Raises PackhorseError."""
        rows = [
            (one.key, one.lfn, one.source, one.archive_id, one.submitted_s) for one in submissions
        ]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO submission VALUES (?, ?, ?, ?, ?)", rows)

        await self._database.write(write)

    async def remove(self, submissions: Sequence[Submission]) -> None:
        """Deletes them; returns when that is durable. Raises PackhorseError."""
        keys = [(one.key,) for one in submissions]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM submission WHERE key = ?", keys)

        await self._database.write(write)

    async def close(self) -> None:
        """Lets go of the file."""
        await asyncio.to_thread(self._database.close)
