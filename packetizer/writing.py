"""What is written: sessions, their commits, bad ranges, ends. Synchronous, in a transaction."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from packetizer import wire
from packetizer.core.instructions import KeepBad, KeepCommit, KeepEnd
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from packetizer.core.events import SessionSpec
    from packetizer.core.files import FileSpec
    from packetizer.core.leases import Lease
    from packetizer.core.ranges import Range


@dataclass(frozen=True, slots=True)
class CommitRow:
    """A commit as it is written: made once, so that writing can be tried again."""

    commit: KeepCommit
    ranges: bytes
    records: bytes
    result: bytes


Keep = CommitRow | KeepBad | KeepEnd


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session as its client has asked for it."""

    session_id: str
    idempotency_key: str  # "": none
    spec: SessionSpec
    files: Sequence[FileSpec]
    function: bytes


def insert_session(connection: sqlite3.Connection, new: NewSession) -> None:
    """A session with its function and its files."""
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


def commit_row(commit: KeepCommit, now_s: float) -> CommitRow:
    """Completes the records of a commit, and takes its message apart."""
    message = commit.payload
    assert isinstance(message, pb.Commit)
    result = message.result
    message.ClearField("result")
    wire.complete_records(message.packets, commit.leases, commit.worker, commit.host, now_s)
    return CommitRow(commit, pack_ranges(commit.leases), message.SerializeToString(), result)


def keep(rows: Iterable[Keep], now_s: float, connection: sqlite3.Connection) -> None:
    """Writes down what the core has decided, in order."""
    for row in rows:
        match row:
            case CommitRow():
                keep_commit(connection, row)
            case KeepBad():
                keep_bad(connection, row)
            case KeepEnd():
                keep_end(connection, row, now_s)


def keep_commit(connection: sqlite3.Connection, row: CommitRow) -> None:
    """Ranges, records and result in one step, and what the result replaces goes."""
    commit = row.commit
    number = connection.execute(
        "INSERT INTO commits (session, worker, commit_id, packets, entries_local, bytes_read,"
        " ranges, records) VALUES ((SELECT number FROM sessions WHERE session_id = ?),"
        " ?, ?, ?, ?, ?, ?, ?)",
        (
            commit.session_id,
            commit.worker,
            commit.commit_id,
            len(commit.leases),
            sum(lease.entries for lease in commit.leases if lease.is_local),
            commit.bytes_read,
            row.ranges,
            row.records,
        ),
    ).lastrowid
    connection.execute("INSERT INTO results VALUES (?, ?)", (number, row.result))
    connection.executemany(
        "DELETE FROM results WHERE commit_number = (SELECT number FROM commits WHERE session ="
        " (SELECT number FROM sessions WHERE session_id = ?) AND worker = ? AND commit_id = ?)",
        [(commit.session_id, commit.worker, replaced) for replaced in commit.supersedes],
    )
    connection.execute(
        "UPDATE sessions SET progress = ? WHERE session_id = ?",
        (json.dumps(asdict(commit.progress)), commit.session_id),
    )


def keep_bad(connection: sqlite3.Connection, bad: KeepBad) -> None:
    """What was given up, and why."""
    connection.executemany(
        "INSERT INTO bad_ranges (session, file_index, entries, start, stop, reason, traceback)"
        " VALUES ((SELECT number FROM sessions WHERE session_id = ?), ?, ?, ?, ?, ?, ?)",
        [
            (
                bad.session_id,
                each.index,
                each.entries,
                each.missing.start,
                each.missing.stop,
                each.missing.reason,
                each.missing.traceback,
            )
            for each in bad.ranges
        ],
    )


def keep_end(connection: sqlite3.Connection, end: KeepEnd, now_s: float) -> None:
    """How a session has ended."""
    status = wire.session_status(end.figures)
    connection.execute(
        "UPDATE sessions SET ended_unix_s = ?, state = ?, status = ? WHERE session_id = ?",
        (now_s, end.figures.state.value, status.SerializeToString(), end.session_id),
    )


def pack_ranges(leases: Sequence[Lease]) -> bytes:
    """File index, start, stop and entries of the file, for each lease."""
    numbers: list[int] = []
    for lease in leases:
        file = lease.file
        numbers += (file.index, lease.start, lease.stop, file.entries)
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def unpack_ranges(content: bytes, ranges: dict[int, list[Range]], entries: dict[int, int]) -> None:
    """Adds what `pack_ranges` has packed, by the index of the file."""
    numbers = iter(struct.unpack(f"<{len(content) // 8}Q", content))
    for index, start, stop, of_file in zip(numbers, numbers, numbers, numbers, strict=True):
        ranges.setdefault(index, []).append((start, stop))
        entries[index] = of_file
