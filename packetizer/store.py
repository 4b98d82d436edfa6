"""What the packetizer keeps: sessions, their functions, files, commits, results.

A session that has not ended can be taken up again from here at any time, by a restart
or because somebody resumes it: that is the one way in which a session begins to run.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from common.errors import Damaged, NotFound, Refused
from packetizer import wire
from packetizer.core.events import (
    Missing,
    MissingRange,
    Progress,
    SessionOpened,
    SessionSpec,
)
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from packetizer.core.ledger import Ledger
from packetizer.core.ranges import Ranges
from packetizer.writing import unpack_ranges
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Sequence

    from common.sqlite import Database
    from packetizer.core.ranges import Range

#: Commits whose records are read at a time.
_RECORDS_AT_A_TIME = 20
_FUNCTIONS_KEPT = 8


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session as its client has asked for it."""

    session_id: str
    idempotency_key: str  # "": none
    spec: SessionSpec
    files: Sequence[FileSpec]
    function: bytes


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
            earlier = _by_key(connection, new.idempotency_key)
            if earlier is not None:
                return earlier
            _insert(connection, new)
            return new.session_id

        return await self._database.write(write)

    async def by_key(self, idempotency_key: str) -> str | None:
        """The session that was opened with this key."""
        return await self._database.read(lambda connection: _by_key(connection, idempotency_key))

    async def unended(self) -> list[SessionOpened]:
        """Every session that is to go on."""

        def read(connection: sqlite3.Connection) -> list[SessionOpened]:
            rows = connection.execute(
                "SELECT session_id FROM sessions WHERE ended_unix_s IS NULL ORDER BY number"
            ).fetchall()
            return [_load(connection, session_id) for (session_id,) in rows]

        return await self._database.read(read)

    async def resume(self, session_id: str) -> SessionOpened:
        """Takes up a session that failed or was cancelled: what was given up is tried again.

        Raises NotFound, Refused.
        """

        def write(connection: sqlite3.Connection) -> SessionOpened:
            number, state = _number_and_state(connection, session_id)
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
            return _load(connection, session_id)

        return await self._database.write(write)

    # --- looking -------------------------------------------------------------------

    async def function(self, session_id: str) -> bytes:
        """The user's function, as bytes nobody here looks into. Raises NotFound."""

        def read(connection: sqlite3.Connection) -> bytes:
            number, _ = _number_and_state(connection, session_id)
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
            number, _ = _number_and_state(connection, session_id)
            row = connection.execute(
                "SELECT count(*) FROM files WHERE session = ?", (number,)
            ).fetchone()
            return int(row[0])

        return await self._database.read(read)

    async def last_status(self, session_id: str) -> pb.SessionStatus | None:
        """How a session has ended, with what is missing; None if it has not. Raises NotFound."""

        def read(connection: sqlite3.Connection) -> pb.SessionStatus | None:
            number, state = _number_and_state(connection, session_id)
            if state is None:
                return None
            row = connection.execute(
                "SELECT status FROM sessions WHERE number = ?", (number,)
            ).fetchone()
            status = pb.SessionStatus.FromString(row[0])
            wire.add_missing(status, _missing(connection, number))
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
        everything = await self._database.read(partial(_results_if_at_work, session_id))
        for content in everything or ():
            yield content
        last = 0
        while everything is None:
            row = await self._database.read(partial(_next_result, session_id, last))
            if row is None:
                return
            last, content = row
            yield content

    async def records(self, session_id: str) -> AsyncGenerator[list[pb.PacketRecord], None]:
        """What is known of every packet, in the order of commits. Raises NotFound."""
        last = 0
        while True:
            rows = await self._database.read(partial(_next_records, session_id, last))
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
            number, state = _number_and_state(connection, session_id)
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


# --- inside a transaction ------------------------------------------------------------


def _by_key(connection: sqlite3.Connection, idempotency_key: str) -> str | None:
    row = connection.execute(
        "SELECT session_id FROM sessions WHERE idempotency_key = ?", (idempotency_key,)
    ).fetchone()
    return row[0] if row is not None else None


def _insert(connection: sqlite3.Connection, new: NewSession) -> None:
    spec = new.spec
    number = connection.execute(
        "INSERT INTO sessions (session_id, idempotency_key, dataset, missing, owner,"
        " function_name, max_bad_packets, packet_entries, created_unix_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.session_id,
            new.idempotency_key or None,
            spec.dataset,
            spec.missing.value,
            spec.owner,
            spec.function_name,
            spec.max_bad_packets,
            spec.packet_entries,
            spec.created_s,
        ),
    ).lastrowid
    connection.execute("INSERT INTO functions VALUES (?, ?)", (number, new.function))
    connection.executemany(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number, index, file.lfn, file.tree, file.size_bytes, file.entries)
            for index, file in enumerate(new.files)
        ),
    )


def _number_and_state(connection: sqlite3.Connection, session_id: str) -> tuple[int, str | None]:
    row = connection.execute(
        "SELECT number, state FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session_id}")
    return row[0], row[1]


def _load(connection: sqlite3.Connection, session_id: str) -> SessionOpened:
    """A session with everything it has committed and given up so far."""
    row = connection.execute(
        "SELECT number, dataset, missing, owner, function_name, max_bad_packets, packet_entries,"
        " created_unix_s, progress FROM sessions WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    number, dataset, missing, owner, function_name, max_bad, packet_entries, created_s, more = row
    sums = connection.execute(
        "SELECT ifnull(sum(packets), 0), ifnull(sum(entries_local), 0), total(bytes_read)"
        " FROM commits WHERE session = ?",
        (number,),
    ).fetchone()
    progress = {**json.loads(more)}
    progress |= {"packets_done": sums[0], "entries_local": sums[1], "bytes_read": int(sums[2])}
    return SessionOpened(
        session_id,
        SessionSpec(
            dataset,
            Missing(missing),
            owner,
            function_name,
            max_bad,
            packet_entries,
            created_s,
        ),
        _load_files(connection, session_id, number),
        Progress(**progress),
        _missing(connection, number),
        _standing(connection, number),
    )


def _load_files(connection: sqlite3.Connection, session_id: str, number: int) -> list[FileSpec]:
    committed: dict[int, list[Range]] = {}
    bad: dict[int, list[Range]] = {}
    entries: dict[int, int] = {}
    lost: set[int] = set()
    for (content,) in connection.execute("SELECT ranges FROM commits WHERE session = ?", (number,)):
        unpack_ranges(content, committed, entries)
    for index, of_file, start, stop in connection.execute(
        "SELECT file_index, entries, start, stop FROM bad_ranges WHERE session = ?", (number,)
    ):
        if stop > start:
            bad.setdefault(index, []).append((start, stop))
            entries[index] = of_file
        else:
            lost.add(index)
    rows = connection.execute(
        "SELECT file_index, lfn, tree, size_bytes, entries FROM files WHERE session = ?"
        " ORDER BY file_index",
        (number,),
    )
    files = []
    for index, lfn, tree, size_bytes, of_dataset in rows:
        try:
            done = tuple(Ranges(sorted(committed.get(index, ()))))
            given_up = tuple(Ranges(sorted(bad.get(index, ()))))
            Ledger(entries.get(index, 0), done, given_up)
        except ValueError as error:
            raise Damaged(
                f"session {session_id}: an entry of {lfn} is counted twice, or is none of the file"
            ) from error
        of_file = entries.get(index, of_dataset)
        files.append(FileSpec(lfn, tree, size_bytes, of_file, done, given_up, index in lost))
    return files


def _missing(connection: sqlite3.Connection, number: int) -> list[MissingRange]:
    rows = connection.execute(
        "SELECT lfn, start, stop, reason, traceback FROM bad_ranges"
        " JOIN files USING (session, file_index) WHERE session = ? ORDER BY file_index, start",
        (number,),
    )
    return [MissingRange(*row) for row in rows]


def _standing(connection: sqlite3.Connection, number: int) -> dict[str, list[int]]:
    """By worker, the commits whose results no later one has replaced."""
    standing: dict[str, list[int]] = {}
    for worker, commit_id in connection.execute(
        "SELECT worker, commit_id FROM commits JOIN results ON commit_number = number"
        " WHERE session = ?",
        (number,),
    ):
        standing.setdefault(worker, []).append(commit_id)
    return standing


def _results_if_at_work(session_id: str, connection: sqlite3.Connection) -> list[bytes] | None:
    number, state = _number_and_state(connection, session_id)
    if state is not None:
        return None
    rows = connection.execute(
        "SELECT content FROM results JOIN commits ON commit_number = number"
        " WHERE session = ? ORDER BY commit_number",
        (number,),
    )
    return [content for (content,) in rows]


def _next_result(
    session_id: str, last: int, connection: sqlite3.Connection
) -> tuple[int, bytes] | None:
    number, _ = _number_and_state(connection, session_id)
    row: tuple[int, bytes] | None = connection.execute(
        "SELECT commit_number, content FROM results JOIN commits ON commit_number = number"
        " WHERE session = ? AND commit_number > ? ORDER BY commit_number LIMIT 1",
        (number, last),
    ).fetchone()
    return row


def _next_records(
    session_id: str, last: int, connection: sqlite3.Connection
) -> list[tuple[int, bytes]]:
    number, _ = _number_and_state(connection, session_id)
    return connection.execute(
        "SELECT number, records FROM commits WHERE session = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (number, last, _RECORDS_AT_A_TIME),
    ).fetchall()
