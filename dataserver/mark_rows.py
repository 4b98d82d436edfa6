"""What is remembered of marks: which replicas should go sooner than others, once room is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from common.sqlite import Database
    from dataserver.core.replica import Mark

MARK_TABLE: Final = """
    CREATE TABLE mark (
        lfn TEXT PRIMARY KEY REFERENCES replica ON DELETE CASCADE,
        mark TEXT NOT NULL              -- a value of core.replica.Mark
    ) WITHOUT ROWID;
    """


class MarkRows:
    """The rows of one pool. They are read with those of the replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, marks: Mapping[str, Mark | None]) -> None:
        """Writes the marks of those replicas that have a row; None is no mark any more."""
        if not marks:
            return
        gone = [(lfn,) for lfn, mark in marks.items() if mark is None]
        there = [(mark.value, lfn) for lfn, mark in marks.items() if mark is not None]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM mark WHERE lfn = ?", gone)
            connection.executemany(
                "INSERT OR REPLACE INTO mark SELECT lfn, ? FROM replica WHERE lfn = ?", there
            )

        await self._database.write(write)
