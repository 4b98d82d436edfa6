"""The tables of the packetizer's state.

Times are Unix seconds of the packetizer's own clock, states and policies the values
of the core's enums. What belongs to a session goes when its row goes. A migration is
never changed once it was released: the next one is added behind it.

A commit is one row, whatever the number of its packets: its ranges are four numbers
for each packet (file index, start, stop, entries of the file), little-endian and 64
bits wide; its records are the commit's own message without the result. A million
packets are then some thousands of rows, and loading them is quick. That the entries of
the file stand beside each range tells a restart which files are done without asking
anybody.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE facts (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO facts VALUES ('epoch', 0);

    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL UNIQUE,
        idempotency_key TEXT UNIQUE,
        dataset TEXT NOT NULL,
        missing TEXT NOT NULL,
        owner TEXT NOT NULL,
        function_name TEXT NOT NULL,
        max_bad_packets INTEGER NOT NULL,
        packet_entries INTEGER NOT NULL,
        created_unix_s REAL NOT NULL,
        -- What must outlive a restart besides ranges and sums, as JSON.
        progress TEXT NOT NULL DEFAULT '{}',
        -- Of a session that has ended: when, how, and its last status without the
        -- missing ranges, as a message.
        ended_unix_s REAL,
        state TEXT,
        status BLOB,
        -- Its stage requests are cancelled and its pins dropped.
        is_released INTEGER NOT NULL DEFAULT 0
    );

    CREATE TABLE functions (
        session INTEGER PRIMARY KEY REFERENCES sessions (number) ON DELETE CASCADE,
        content BLOB NOT NULL
    );

    CREATE TABLE files (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        file_index INTEGER NOT NULL,
        lfn TEXT NOT NULL,
        tree TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        PRIMARY KEY (session, file_index)
    ) WITHOUT ROWID;

    CREATE TABLE commits (
        number INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        worker TEXT NOT NULL,
        commit_id INTEGER NOT NULL,
        packets INTEGER NOT NULL,
        entries_local INTEGER NOT NULL,
        bytes_read INTEGER NOT NULL,
        ranges BLOB NOT NULL,
        records BLOB NOT NULL,
        UNIQUE (session, worker, commit_id)
    );
    CREATE INDEX commits_by_session ON commits (session);

    -- Of the commits that no later one has replaced.
    CREATE TABLE results (
        commit_number INTEGER PRIMARY KEY REFERENCES commits (number) ON DELETE CASCADE,
        content BLOB NOT NULL
    );

    CREATE TABLE bad_ranges (
        number INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        file_index INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        start INTEGER NOT NULL,
        stop INTEGER NOT NULL,
        reason TEXT NOT NULL,
        traceback TEXT NOT NULL
    );
    CREATE INDEX bad_ranges_by_session ON bad_ranges (session);
    """,
)
