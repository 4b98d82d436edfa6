"""What is read back: sessions with all they have done, results, records. Synchronous.

Every function runs inside a transaction of its caller's, and so sees one moment.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from common.errors import Damaged, NotFound
from packetizer.core.events import Missing, MissingRange, Progress, SessionOpened, SessionSpec
from packetizer.core.files import FileSpec
from packetizer.core.ledger import Ledger
from packetizer.core.ranges import Ranges
from packetizer.writing import unpack_ranges

if TYPE_CHECKING:
    import sqlite3

    from packetizer.core.ranges import Range

#: Commits whose records are read at a time.
_RECORDS_AT_A_TIME = 20


def by_key(connection: sqlite3.Connection, idempotency_key: str) -> str | None:
    """The session that was opened with this key."""
    row = connection.execute(
        "SELECT session_id FROM sessions WHERE idempotency_key = ?", (idempotency_key,)
    ).fetchone()
    return row[0] if row is not None else None


def number_and_state(connection: sqlite3.Connection, session_id: str) -> tuple[int, str | None]:
    """The row of a session, and how it has ended; None if it has not. Raises NotFound."""
    row = connection.execute(
        "SELECT number, state FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session_id}")
    return row[0], row[1]


def load(connection: sqlite3.Connection, session_id: str) -> SessionOpened:
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
        load_files(connection, session_id, number),
        Progress(**progress),
        missing_ranges(connection, number),
        standing_commits(connection, number),
    )


def load_files(connection: sqlite3.Connection, session_id: str, number: int) -> list[FileSpec]:
    """The files of a session with what became of them. Raises Damaged."""
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


def missing_ranges(connection: sqlite3.Connection, number: int) -> list[MissingRange]:
    """What a session has given up, file by file."""
    rows = connection.execute(
        "SELECT lfn, start, stop, reason, traceback FROM bad_ranges"
        " JOIN files USING (session, file_index) WHERE session = ? ORDER BY file_index, start",
        (number,),
    )
    return [MissingRange(*row) for row in rows]


def standing_commits(connection: sqlite3.Connection, number: int) -> dict[str, list[int]]:
    """By worker, the commits whose results no later one has replaced."""
    standing: dict[str, list[int]] = {}
    for worker, commit_id in connection.execute(
        "SELECT worker, commit_id FROM commits JOIN results ON commit_number = number"
        " WHERE session = ?",
        (number,),
    ):
        standing.setdefault(worker, []).append(commit_id)
    return standing


def results_if_at_work(session_id: str, connection: sqlite3.Connection) -> list[bytes] | None:
    """Every result of a session that has not ended, else None. Raises NotFound."""
    number, state = number_and_state(connection, session_id)
    if state is not None:
        return None
    rows = connection.execute(
        "SELECT content FROM results JOIN commits ON commit_number = number"
        " WHERE session = ? ORDER BY commit_number",
        (number,),
    )
    return [content for (content,) in rows]


def next_result(
    session_id: str, last: int, connection: sqlite3.Connection
) -> tuple[int, bytes] | None:
    """The first result after the commit numbered `last`, with its number."""
    number, _ = number_and_state(connection, session_id)
    row: tuple[int, bytes] | None = connection.execute(
        "SELECT commit_number, content FROM results JOIN commits ON commit_number = number"
        " WHERE session = ? AND commit_number > ? ORDER BY commit_number LIMIT 1",
        (number, last),
    ).fetchone()
    return row


def next_records(
    session_id: str, last: int, connection: sqlite3.Connection
) -> list[tuple[int, bytes]]:
    """Some commits after the one numbered `last`, with their records."""
    number, _ = number_and_state(connection, session_id)
    return connection.execute(
        "SELECT number, records FROM commits WHERE session = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (number, last, _RECORDS_AT_A_TIME),
    ).fetchall()
