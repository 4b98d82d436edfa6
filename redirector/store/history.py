"""Reading back what was kept: all that matters at the start, and the past when asked for.

What has ended is history: it is kept for people to look at for as long as the
configuration says, and then cleared away in small steps.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from redirector.core.events import RequestsRestored, Restored, RestoredRequest
from redirector.core.figures import RequestFigures
from redirector.core.model import (
    DropRecord,
    FileFacts,
    NodeRecord,
    PinRecord,
    RecallRecord,
    RequestFile,
    RequestRecord,
)
from redirector.core.states import RecallState, RequestFileState, RequestState
from redirector.store.rows import checksum_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator

    from common.sqlite import Database

#: Rows of history that go in one write, so that nobody waits long behind it.
_CLEARED_AT_A_TIME = 5_000

#: Requests that are taken in again in one piece at the start.
_RESTORED_AT_A_TIME = 50
#: Quicker than calling the enum for each of a million files.
_FILE_STATES = {int(state): state for state in RequestFileState}
_UNKNOWN = FileFacts()

_SELECT_REQUESTS = """
    SELECT number, request_id, owner, priority, created_unix_s, deadline_unix_s, pin_s, dataset,
        idempotency_key, activity, state, ended_unix_s, files, done, failed, cancelled
    FROM requests
"""
_SELECT_RECALLS = """
    SELECT recall_id, lfn, node, state, queued_unix_s, started_unix_s, ended_unix_s, size_bytes,
        attempt, command_s, exit_code, reason
    FROM recalls
"""


class KeptRequest(NamedTuple):
    """A request on disk: its number in the tables, and what people see of it."""

    number: int
    figures: RequestFigures


class History:
    """What is on disk of requests, pins, nodes and recalls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def restored(self) -> Restored:
        """The first event of a head: what was in force when the last one stopped, but for
        requests, of which there may be many."""
        return await self._database.read(_read_restored)

    async def restored_requests(self) -> AsyncGenerator[RequestsRestored, None]:
        """The events that follow it: every request that was active, the oldest first."""
        after = 0
        while piece := await self._database.read(partial(_read_requests, after=after)):
            yield RequestsRestored([request for _number, request in piece])
            after = piece[-1][0]

    async def ended_requests(self, limit: int) -> list[RequestFigures]:
        """Requests that have ended, the latest first."""

        def read(connection: sqlite3.Connection) -> list[RequestFigures]:
            rows = connection.execute(
                _SELECT_REQUESTS
                + "WHERE ended_unix_s IS NOT NULL ORDER BY ended_unix_s DESC LIMIT ?",
                (limit,),
            )
            return [_request(row).figures for row in rows]

        return await self._database.read(read)

    async def request(self, request_id: str) -> tuple[RequestFigures, list[RequestFile]] | None:
        """One request with its files by name, or None if it is not on disk."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[RequestFigures, list[RequestFile]] | None:
            row = connection.execute(
                _SELECT_REQUESTS + "WHERE request_id = ?", (request_id,)
            ).fetchone()
            if row is None:
                return None
            kept = _request(row)
            return kept.figures, _request_files(connection, kept.number)

        return await self._database.read(read)

    async def recalls(self, since_unix_s: float, limit: int) -> list[RecallRecord]:
        """Runs that ended since then, the earliest first; of too many, the latest ones."""

        def read(connection: sqlite3.Connection) -> list[RecallRecord]:
            rows = connection.execute(
                _SELECT_RECALLS + "WHERE ended_unix_s >= ? ORDER BY ended_unix_s DESC LIMIT ?",
                (since_unix_s, limit),
            )
            return [_recall(row) for row in rows][::-1]

        return await self._database.read(read)

    async def drops(self, lfn: str) -> list[DropRecord]:
        """When and why a file's replicas went, as far as it is remembered, the earliest first."""

        def read(connection: sqlite3.Connection) -> list[DropRecord]:
            rows = connection.execute(
                "SELECT lfn, node, dropped_unix_s, size_bytes, reason FROM drops"
                " WHERE lfn = ? ORDER BY dropped_unix_s",
                (lfn,),
            )
            return [DropRecord(*row) for row in rows]

        return await self._database.read(read)

    async def clear(self, before_unix_s: float) -> None:
        """Forgets requests and recalls that ended before then, and what went before then."""
        for clear in (_clear_recalls, _clear_request_files, _clear_requests, _clear_drops):
            while await self._database.write(partial(clear, before_unix_s=before_unix_s)):
                pass


def _read_restored(connection: sqlite3.Connection) -> Restored:
    nodes = connection.execute("SELECT node, pool_id, draining, gone FROM nodes ORDER BY node")
    pins = connection.execute("SELECT lfn, owner, expires_unix_s, reason FROM pins")
    directories = connection.execute("SELECT lfn FROM directories ORDER BY lfn")
    keys = connection.execute(
        "SELECT idempotency_key, request_id FROM requests"
        " WHERE idempotency_key != '' AND ended_unix_s IS NOT NULL ORDER BY number"
    )
    return Restored(
        nodes=tuple(
            NodeRecord(node, pool_id, bool(draining), bool(gone))
            for node, pool_id, draining, gone in nodes
        ),
        pins=tuple(map(PinRecord._make, pins)),
        directories=tuple(lfn for (lfn,) in directories),
        idempotency_keys=dict(keys.fetchall()),
    )


def _read_requests(connection: sqlite3.Connection, after: int) -> list[tuple[int, RestoredRequest]]:
    """Some active requests with their numbers, those that follow a number."""
    rows = connection.execute(
        _SELECT_REQUESTS + "WHERE ended_unix_s IS NULL AND number > ? ORDER BY number LIMIT ?",
        (after, _RESTORED_AT_A_TIME),
    ).fetchall()
    return [
        (
            kept.number,
            RestoredRequest(kept.figures.record, tuple(_request_files(connection, kept.number))),
        )
        for kept in map(_request, rows)
    ]


def _request(row: tuple) -> KeptRequest:  # type: ignore[type-arg]
    number, request_id, owner, priority, created_s, deadline_s, pin_s, dataset, key = row[:9]
    activity, state, ended_s, files, done, failed, cancelled = row[9:]
    record = RequestRecord(
        request_id=request_id,
        owner=owner,
        priority=priority,
        created_unix_s=created_s,
        deadline_unix_s=deadline_s,
        pin_s=pin_s,
        dataset=dataset,
        idempotency_key=key,
        activity=activity,
    )
    figures = RequestFigures(
        record=record,
        state=RequestState(state),
        ended_unix_s=ended_s or 0.0,
        files=files,
        done=done,
        failed=failed,
        cancelled=cancelled,
    )
    return KeptRequest(number, figures)


def _request_files(connection: sqlite3.Connection, number: int) -> list[RequestFile]:
    rows = connection.execute(
        "SELECT lfn, state, reason, size_bytes, checksum FROM request_files"
        " WHERE request = ? ORDER BY lfn",
        (number,),
    )
    return [
        RequestFile(
            lfn,
            _FILE_STATES[state],
            reason,
            FileFacts(size_bytes, checksum_of(checksum)) if size_bytes or checksum else _UNKNOWN,
        )
        for lfn, state, reason, size_bytes, checksum in rows
    ]


def _recall(row: tuple) -> RecallRecord:  # type: ignore[type-arg]
    recall_id, lfn, node, state, queued_s, started_s, ended_s, size_bytes = row[:8]
    attempt, command_s, exit_code, reason = row[8:]
    return RecallRecord(
        recall_id=recall_id,
        lfn=lfn,
        node=node,
        state=RecallState(state),
        queued_unix_s=queued_s,
        started_unix_s=started_s,
        ended_unix_s=ended_s,
        size_bytes=size_bytes,
        attempt=attempt,
        command_s=command_s,
        exit_code=exit_code,
        reason=reason,
    )


def _clear_recalls(connection: sqlite3.Connection, before_unix_s: float) -> int:
    return connection.execute(
        "DELETE FROM recalls WHERE recall_id IN"
        " (SELECT recall_id FROM recalls WHERE ended_unix_s < ? LIMIT ?)",
        (before_unix_s, _CLEARED_AT_A_TIME),
    ).rowcount


def _clear_drops(connection: sqlite3.Connection, before_unix_s: float) -> int:
    return connection.execute(
        "DELETE FROM drops WHERE (lfn, node) IN"
        " (SELECT lfn, node FROM drops WHERE dropped_unix_s < ? LIMIT ?)",
        (before_unix_s, _CLEARED_AT_A_TIME),
    ).rowcount


def _clear_request_files(connection: sqlite3.Connection, before_unix_s: float) -> int:
    return connection.execute(
        "DELETE FROM request_files WHERE (request, lfn) IN"
        " (SELECT request, lfn FROM request_files JOIN requests ON request = number"
        "  WHERE ended_unix_s < ? LIMIT ?)",
        (before_unix_s, _CLEARED_AT_A_TIME),
    ).rowcount


def _clear_requests(connection: sqlite3.Connection, before_unix_s: float) -> int:
    return connection.execute(
        "DELETE FROM requests WHERE number IN"
        " (SELECT number FROM requests WHERE ended_unix_s < ? LIMIT ?)",
        (before_unix_s, _CLEARED_AT_A_TIME),
    ).rowcount
