"""Writing what the head wants kept, inside somebody's transaction.

There is one function for each durable instruction. All are upserts and deletes:
doing one twice does no harm, so a batch that failed can simply be done again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.instructions import (
    EndRequest,
    RemoveDirectory,
    RemoveNode,
    RemovePins,
    SaveDirectories,
    SaveDrops,
    SaveNode,
    SavePins,
    SaveRecall,
    SaveRequest,
    SaveRequestFiles,
)
from redirector.core.states import RequestFileState, RequestState
from redirector.store.rows import checksum_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from redirector.core.instructions import Durable
    from redirector.core.model import RequestFile

_UPSERT_REQUEST = """
    INSERT INTO requests
        (request_id, owner, priority, dataset, pin_s, idempotency_key, created_unix_s,
         deadline_unix_s, state, activity)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (request_id) DO UPDATE SET
        priority = excluded.priority, pin_s = excluded.pin_s,
        deadline_unix_s = excluded.deadline_unix_s
"""
_UPSERT_REQUEST_FILE = """
    INSERT OR REPLACE INTO request_files (request, lfn, state, reason, size_bytes, checksum)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_END_REQUEST = """
    UPDATE requests SET state = ?, ended_unix_s = ?,
        (files, done, failed, cancelled) = (
            SELECT count(*), total(state = ?), total(state = ?), total(state = ?)
            FROM request_files WHERE request = number
        )
    WHERE request_id = ?
"""
_UPSERT_RECALL = """
    INSERT OR REPLACE INTO recalls
        (recall_id, lfn, node, state, queued_unix_s, started_unix_s, ended_unix_s, size_bytes,
         attempt, command_s, exit_code, reason)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def write_all(connection: sqlite3.Connection, instructions: Iterable[Durable]) -> None:
    """Carries durable instructions out, in order."""
    for instruction in instructions:
        _write(connection, instruction)


def _write(connection: sqlite3.Connection, instruction: Durable) -> None:
    match instruction:
        case SaveRequest():
            _save_request(connection, instruction)
        case SaveRequestFiles(request_id=request_id, files=files):
            _save_request_files(connection, request_id, files)
        case EndRequest(request_id=request_id, state=state, ended_unix_s=ended_unix_s):
            finals = (RequestFileState.DONE, RequestFileState.FAILED, RequestFileState.CANCELLED)
            connection.execute(_END_REQUEST, (state, ended_unix_s, *finals, request_id))
        case SavePins(pins=pins):
            connection.executemany(
                "INSERT OR REPLACE INTO pins (lfn, owner, expires_unix_s, reason)"
                " VALUES (?, ?, ?, ?)",
                pins,
            )
        case RemovePins(keys=keys):
            connection.executemany("DELETE FROM pins WHERE lfn = ? AND owner = ?", keys)
        case SaveDirectories(lfns=lfns):
            connection.executemany(
                "INSERT OR REPLACE INTO directories (lfn) VALUES (?)", ((lfn,) for lfn in lfns)
            )
        case RemoveDirectory(lfn=lfn):
            connection.execute("DELETE FROM directories WHERE lfn = ?", (lfn,))
        case SaveNode(record=record):
            connection.execute(
                "INSERT OR REPLACE INTO nodes (node, pool_id, draining, gone) VALUES (?, ?, ?, ?)",
                record,
            )
        case RemoveNode(node=node):
            connection.execute("DELETE FROM nodes WHERE node = ?", (node,))
        case SaveRecall():
            _save_recall(connection, instruction)
        case SaveDrops(drops=drops):
            connection.executemany(
                "INSERT OR REPLACE INTO drops (lfn, node, dropped_unix_s, size_bytes, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                drops,
            )


def _save_request(connection: sqlite3.Connection, instruction: SaveRequest) -> None:
    record = instruction.record
    connection.execute(
        _UPSERT_REQUEST,
        (
            record.request_id,
            record.owner,
            record.priority,
            record.dataset,
            record.pin_s,
            record.idempotency_key,
            record.created_unix_s,
            record.deadline_unix_s,
            RequestState.ACTIVE,
            record.activity,
        ),
    )
    _save_request_files(connection, record.request_id, instruction.files)


def _save_request_files(
    connection: sqlite3.Connection, request_id: str, files: Sequence[RequestFile]
) -> None:
    row = connection.execute(
        "SELECT number FROM requests WHERE request_id = ?", (request_id,)
    ).fetchone()
    if row is None:
        # Its history was cleared meanwhile.
        return
    (number,) = row
    # Sorted by the key, rows are appended to the tree instead of tearing its pages apart.
    connection.executemany(
        _UPSERT_REQUEST_FILE,
        (
            (number, lfn, state, reason, facts.size_bytes, checksum_text(facts.checksum))
            for lfn, state, reason, facts in sorted(files, key=lambda file: file.lfn)
        ),
    )


def _save_recall(connection: sqlite3.Connection, instruction: SaveRecall) -> None:
    record = instruction.record
    connection.execute(
        _UPSERT_RECALL,
        (
            record.recall_id,
            record.lfn,
            record.node,
            record.state,
            record.queued_unix_s,
            record.started_unix_s,
            record.ended_unix_s,
            record.size_bytes,
            record.attempt,
            record.command_s,
            record.exit_code,
            record.reason,
        ),
    )
