"""The tables of the redirector's state.

Times are Unix seconds of the redirector's own clock, states are the values of
the core's enums, checksums are written ALGORITHM:VALUE ("" if unknown). A migration is never changed once it was released:
the next one is added behind it.

Files of requests and datasets are the two tables that grow large (100,000 rows
for one request or dataset is normal). Both are keyed by their owner's number
and the name, and stored in that order (WITHOUT ROWID), so that one owner's
files lie together and no second index is kept.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        priority INTEGER NOT NULL,
        dataset TEXT NOT NULL,
        pin_s REAL NOT NULL,
        idempotency_key TEXT NOT NULL,
        created_unix_s REAL NOT NULL,
        deadline_unix_s REAL NOT NULL,
        state INTEGER NOT NULL,
        -- Of requests that have ended, for lists of them.
        ended_unix_s REAL,
        files INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX requests_by_end ON requests (ended_unix_s);

    CREATE TABLE request_files (
        request INTEGER NOT NULL REFERENCES requests (number) ON DELETE CASCADE,
        lfn TEXT NOT NULL,
        state INTEGER NOT NULL,
        reason TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        checksum TEXT NOT NULL,
        PRIMARY KEY (request, lfn)
    ) WITHOUT ROWID;

    CREATE TABLE pins (
        lfn TEXT NOT NULL,
        owner TEXT NOT NULL,
        expires_unix_s REAL NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (lfn, owner)
    ) WITHOUT ROWID;

    CREATE TABLE nodes (
        node TEXT PRIMARY KEY,
        pool_id TEXT NOT NULL,
        draining INTEGER NOT NULL,
        gone INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE recalls (
        recall_id TEXT PRIMARY KEY,
        lfn TEXT NOT NULL,
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        queued_unix_s REAL NOT NULL,
        started_unix_s REAL NOT NULL,
        ended_unix_s REAL NOT NULL,
        size_bytes INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        command_s REAL NOT NULL,
        exit_code INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX recalls_by_end ON recalls (ended_unix_s);

    CREATE TABLE datasets (
        -- Numbers are never given out again: what is still being learnt about a
        -- dataset that was removed or replaced must not end up in another one.
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        tree TEXT NOT NULL,
        group_name TEXT NOT NULL,
        owner TEXT NOT NULL,
        title TEXT NOT NULL,
        created_unix_s REAL NOT NULL,
        verified_unix_s REAL,
        -- Counts of its files, kept in step with them, so that a list of
        -- datasets and a group's quota need no look at the files.
        files INTEGER NOT NULL DEFAULT 0,
        online INTEGER NOT NULL DEFAULT 0,
        staging INTEGER NOT NULL DEFAULT 0,
        nearline INTEGER NOT NULL DEFAULT 0,
        missing INTEGER NOT NULL DEFAULT 0,
        corrupt INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        bytes_known INTEGER NOT NULL DEFAULT 0,
        files_of_unknown_size INTEGER NOT NULL DEFAULT 0,
        entries_known INTEGER NOT NULL DEFAULT 0,
        files_of_unknown_entries INTEGER NOT NULL DEFAULT 0
    );

    CREATE TABLE dataset_files (
        dataset INTEGER NOT NULL REFERENCES datasets (number) ON DELETE CASCADE,
        lfn TEXT NOT NULL,
        tree TEXT NOT NULL,
        size_bytes INTEGER,
        checksum TEXT NOT NULL,
        entries INTEGER,
        state INTEGER,
        reason TEXT NOT NULL,
        PRIMARY KEY (dataset, lfn)
    ) WITHOUT ROWID;
    """,
    """
    -- Directories that clients made, in which nothing may lie.
    CREATE TABLE directories (
        lfn TEXT PRIMARY KEY
    ) WITHOUT ROWID;
    """,
    """
    -- What requests are for; recalls are shared out by it.
    ALTER TABLE requests ADD COLUMN activity TEXT NOT NULL DEFAULT '';
    """,
    """
    -- Why replicas went, the latest time on each node, for people to look at.
    CREATE TABLE drops (
        lfn TEXT NOT NULL,
        node TEXT NOT NULL,
        dropped_unix_s REAL NOT NULL,
        size_bytes INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (lfn, node)
    ) WITHOUT ROWID;
    CREATE INDEX drops_by_time ON drops (dropped_unix_s);
    """,
)
