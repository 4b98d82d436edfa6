"""What the scrubber keeps in the catalogue, and asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dataserver.core.scrub import Round

if TYPE_CHECKING:
    import sqlite3

    from common.sqlite import Database

SCRUB_TABLE: Final = """
    CREATE TABLE scrub (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        began_unix_s REAL NOT NULL,
        is_over INTEGER NOT NULL,
        after TEXT NOT NULL,            -- the name visited last
        files INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        damaged INTEGER NOT NULL
    )
"""


class ScrubRows:
    """How far the scrubber has come, and what comes next."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Round:
        """The round as it was kept last; one that never began if none was."""

        def read(connection: sqlite3.Connection) -> Round:
            found = connection.execute(
                "SELECT began_unix_s, is_over, after, files, size_bytes, damaged FROM scrub"
            ).fetchone()
            if found is None:
                return Round()
            began_s, is_over, after, files, size_bytes, damaged = found
            return Round(began_s, bool(is_over), after, files, size_bytes, damaged)

        return await self._database.read(read)

    async def save(self, round_: Round) -> None:
        """Keeps how far the round has come."""
        row = (
            round_.began_s,
            round_.is_over,
            round_.after,
            round_.files,
            round_.size_bytes,
            round_.damaged,
        )

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO scrub VALUES (1, ?, ?, ?, ?, ?, ?)", row)

        await self._database.write(write)

    async def next_names(self, after: str, limit: int) -> list[str]:
        """The next replicas in the order of their names whose checksum is known."""

        def read(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(
                "SELECT lfn FROM replica WHERE lfn > ? AND algorithm != '' ORDER BY lfn LIMIT ?",
                (after, limit),
            )
            return [lfn for (lfn,) in found]

        return await self._database.read(read)
