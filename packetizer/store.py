"""What the packetizer keeps: sessions, their functions, files, commits, results.

A session that has not ended can be taken up again from here at any time, by a restart
or because somebody resumes it: that is the one way in which a session begins to run.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from common.errors import Refused
from packetizer import reading, wire
from packetizer.core.figures import SessionState
from packetizer.writing import insert_session
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator

    from common.sqlite import Database
    from packetizer.core.events import SessionOpened
    from packetizer.writing import NewSession

#: Functions kept in memory.
_FUNCTIONS_KEPT = 8


class Store:
    """Questions to the database, and the changes that clients ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Functions fetched lately: a thousand workers fetch the same one at once.
        self._functions: OrderedDict[str, bytes] = OrderedDict()

    async def next_epoch(self) -> int:
        """A number higher than in any earlier life."""

        def write(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "UPDATE facts SET value = value + 1 WHERE name = 'epoch' RETURNING value"
            ).fetchone()
            return int(row[0])

        return await self._database.write(write)

    # --- beginning -----------------------------------------------------------------

    async def add(self, new: NewSession) -> str:
        """Keeps a session; returns its id, or that of an earlier one with the same key."""

        def write(connection: sqlite3.Connection) -> str:
            earlier = reading.by_key(connection, new.idempotency_key)
            if earlier is not None:
                return earlier
            insert_session(connection, new)
            return new.session_id

        return await self._database.write(write)

    async def by_key(self, idempotency_key: str) -> str | None:
        """The session that was opened with this key."""
        return await self._database.read(
            lambda connection: reading.by_key(connection, idempotency_key)
        )

    async def unended(self) -> list[SessionOpened]:
        """Every session that is to go on."""

        def read(connection: sqlite3.Connection) -> list[SessionOpened]:
            rows = connection.execute(
                "SELECT session_id FROM sessions WHERE ended_unix_s IS NULL ORDER BY number"
            ).fetchall()
            return [reading.load(connection, session_id) for (session_id,) in rows]

        return await self._database.read(read)

    async def resume(self, session_id: str) -> SessionOpened:
        """Takes up a session that failed or was cancelled: what was given up is tried again.

        Raises NotFound, Refused.
        """

        def write(connection: sqlite3.Connection) -> SessionOpened:
            number, state = reading.number_and_state(connection, session_id)
            if state not in {SessionState.FAILED.value, SessionState.CANCELLED.value}:
                raise Refused(
                    f"session {session_id} is {state or 'at work'}: only one that failed or was "
                    "cancelled can be resumed"
                )
            connection.execute("DELETE FROM bad_ranges WHERE session = ?", (number,))
            connection.execute(
                "UPDATE sessions SET ended_unix_s = NULL, state = NULL, status = NULL,"
                " is_released = 0 WHERE number = ?",
                (number,),
            )
            return reading.load(connection, session_id)

        return await self._database.write(write)

    # --- looking -------------------------------------------------------------------

    async def function(self, session_id: str) -> bytes:
        """The user's function, as bytes nobody here looks into. Raises NotFound."""

        def read(connection: sqlite3.Connection) -> bytes:
            number, _ = reading.number_and_state(connection, session_id)
            row = connection.execute(
                "SELECT content FROM functions WHERE session = ?", (number,)
            ).fetchone()
            return bytes(row[0])

        content = self._functions.get(session_id)
        if content is None:
            content = self._functions[session_id] = await self._database.read(read)
            while len(self._functions) > _FUNCTIONS_KEPT:
                self._functions.popitem(last=False)
        return content

    async def number_of_files(self, session_id: str) -> int:
        """How many files a session has. Raises NotFound."""

        def read(connection: sqlite3.Connection) -> int:
            number, _ = reading.number_and_state(connection, session_id)
            row = connection.execute(
                "SELECT count(*) FROM files WHERE session = ?", (number,)
            ).fetchone()
            return int(row[0])

        return await self._database.read(read)

    async def last_status(self, session_id: str) -> pb.SessionStatus | None:
        """How a session has ended, with what is missing; None if it has not. Raises NotFound."""

        def read(connection: sqlite3.Connection) -> pb.SessionStatus | None:
            number, state = reading.number_and_state(connection, session_id)
            if state is None:
                return None
            row = connection.execute(
                "SELECT status FROM sessions WHERE number = ?", (number,)
            ).fetchone()
            status = pb.SessionStatus.FromString(row[0])
            wire.add_missing(status, reading.missing_ranges(connection, number))
            return status

        return await self._database.read(read)

    async def ended(self) -> list[pb.SessionStatus]:
        """The last status of every session that has ended, the latest first; not what is missing."""

        def read(connection: sqlite3.Connection) -> list[pb.SessionStatus]:
            rows = connection.execute(
                "SELECT status FROM sessions WHERE ended_unix_s IS NOT NULL"
                " ORDER BY ended_unix_s DESC"
            ).fetchall()
            return [pb.SessionStatus.FromString(status) for (status,) in rows]

        return await self._database.read(read)

    async def results(self, session_id: str) -> AsyncGenerator[bytes, None]:
        """Every result that stands, in the order of commits. Raises NotFound.

        Those of a session at work are read in one step, since from one moment to the
        next a result may be replaced by one that includes it. Those of a session that
        has ended are read one at a time.
        """
        everything = await self._database.read(partial(reading.results_if_at_work, session_id))
        for content in everything or ():
            yield content
        last = 0
        while everything is None:
            row = await self._database.read(partial(reading.next_result, session_id, last))
            if row is None:
                return
            last, content = row
            yield content

    async def records(self, session_id: str) -> AsyncGenerator[list[pb.PacketRecord], None]:
        """What is known of every packet, in the order of commits. Raises NotFound."""
        last = 0
        while True:
            rows = await self._database.read(partial(reading.next_records, session_id, last))
            if not rows:
                return
            last = rows[-1][0]
            for _, content in rows:
                yield list(pb.Commit.FromString(content).packets)

    # --- ending --------------------------------------------------------------------

    async def unreleased(self) -> list[str]:
        """Sessions that have ended, but may have left pins or stage requests behind."""

        def read(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "SELECT session_id FROM sessions WHERE ended_unix_s IS NOT NULL AND NOT is_released"
            )
            return [session_id for (session_id,) in rows]

        return await self._database.read(read)

    async def released(self, session_id: str) -> None:
        """The session has left nothing behind; one that was resumed meanwhile is at work."""
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE sessions SET is_released = 1"
                " WHERE session_id = ? AND ended_unix_s IS NOT NULL",
                (session_id,),
            )
        )

    async def forget(self, session_id: str) -> None:
        """Removes a session that has ended, with all its results. Raises NotFound, Refused."""

        def write(connection: sqlite3.Connection) -> None:
            number, state = reading.number_and_state(connection, session_id)
            if state is None:
                raise Refused(f"session {session_id} is at work: cancel it first")
            connection.execute("DELETE FROM sessions WHERE number = ?", (number,))

        self._functions.pop(session_id, None)
        await self._database.write(write)

    async def clear(self, before_s: float) -> int:
        """Removes the sessions that ended before a time; returns how many."""

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM sessions WHERE ended_unix_s < ? AND is_released", (before_s,)
            ).rowcount

        return await self._database.write(write)
