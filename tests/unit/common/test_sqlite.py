"""The database: what is acknowledged is kept, one bad write harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError, Damaged, PackhorseError, Refused
from common.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIGRATIONS = [
    "CREATE TABLE facts (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    "ALTER TABLE facts ADD COLUMN colour TEXT; CREATE INDEX facts_text ON facts (text)",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "facts.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database(path, MIGRATIONS) as opened:
        yield opened


def insert(number: int, text: str = "x"):
    return lambda db: db.execute("INSERT INTO facts (number, text) VALUES (?, ?)", (number, text))


def numbers(db: sqlite3.Connection) -> list[int]:
    return [number for (number,) in db.execute("SELECT number FROM facts ORDER BY number")]


def pragma(name: str):
    return lambda db: db.execute(f"PRAGMA {name}").fetchone()[0]


async def test_a_write_is_seen_by_the_next_read_and_by_the_next_life(path: Path) -> None:
    with Database(path, MIGRATIONS) as database:
        await database.write(insert(1))
        assert await database.read(numbers) == [1]
    with Database(path, MIGRATIONS) as database:
        assert await database.read(numbers) == [1]


async def test_commits_wait_for_the_disk(database: Database) -> None:
    assert await database.write(pragma("synchronous")) == 2
    assert await database.write(pragma("journal_mode")) == "wal"
    assert await database.write(pragma("foreign_keys")) == 1


async def test_a_write_returns_the_value_of_its_function(database: Database) -> None:
    assert await database.write(lambda db: insert(7)(db).lastrowid) == 7


async def test_waiting_writes_share_one_commit(database: Database) -> None:
    statements: list[str] = []
    inside, gate = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        db.set_trace_callback(statements.append)
        inside.set()
        assert gate.wait(10)

    held = asyncio.create_task(database.write(hold))
    assert await asyncio.to_thread(inside.wait, 10)
    waiting = [asyncio.create_task(database.write(insert(n))) for n in range(100)]
    await asyncio.sleep(0)  # every task has handed in its write
    gate.set()
    await asyncio.gather(held, *waiting)
    assert statements.count("COMMIT") == 2
    assert await database.read(numbers) == list(range(100))


async def test_a_write_that_raises_is_undone_alone(database: Database) -> None:
    def bad(db: sqlite3.Connection) -> None:
        insert(2)(db)
        raise ValueError("changed my mind")

    outcomes = await asyncio.gather(
        database.write(insert(1)),
        database.write(bad),
        database.write(insert(3)),
        database.write(insert(3)),
        database.write(insert(4)),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Cursor",
        "ValueError",
        "Cursor",
        "IntegrityError",
        "Cursor",
    ]
    assert await database.read(numbers) == [1, 3, 4]


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt])
async def test_no_error_of_a_function_stops_the_writer(
    database: Database, error: type[BaseException]
) -> None:
    def bad(db: sqlite3.Connection) -> None:
        raise error

    expected = RuntimeError if error is StopIteration else error
    with pytest.raises(expected):
        await database.write(bad)
    await database.write(insert(1))
    assert await database.read(numbers) == [1]


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
async def test_a_function_that_ends_the_transaction_is_told_so(
    database: Database, statement: str
) -> None:
    with pytest.raises(AssertionError, match="must not end the transaction"):
        await database.write(lambda db: db.execute(statement))
    await database.write(insert(1))
    assert await database.read(numbers) == [1]


async def test_a_cancelled_write_disturbs_nobody(database: Database) -> None:
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda db: gate.wait(10)))
    cancelled = asyncio.create_task(database.write(insert(1)))
    kept = asyncio.create_task(database.write(insert(2)))
    await asyncio.sleep(0)  # every task has handed in its write
    cancelled.cancel()
    gate.set()
    await asyncio.gather(held, kept)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert 2 in await database.read(numbers)


async def test_readers_see_a_snapshot_and_cannot_write(database: Database) -> None:
    await database.write(insert(1))
    reading, written = threading.Event(), threading.Event()

    def read_twice(db: sqlite3.Connection) -> tuple[list[int], list[int]]:
        first = numbers(db)
        reading.set()
        assert written.wait(10)
        return first, numbers(db)

    both = asyncio.create_task(database.read(read_twice))
    assert await asyncio.to_thread(reading.wait, 10)
    await database.write(insert(2))
    written.set()
    assert await both == ([1], [1])
    assert await database.read(numbers) == [1, 2]
    with pytest.raises(ConfigError, match="readonly"):
        await database.read(insert(3))


async def test_closing_finishes_what_was_handed_in(path: Path) -> None:
    database = Database(path, MIGRATIONS)
    writes = [asyncio.create_task(database.write(insert(n))) for n in range(2500)]
    await asyncio.sleep(0)  # every task has handed in its write
    database.close()
    await asyncio.gather(*writes)
    with pytest.raises(Refused, match="closed"):
        await database.write(insert(1))
    with pytest.raises(Refused, match="closed"):
        await database.read(numbers)
    database.close()
    with Database(path, MIGRATIONS) as again:
        assert len(await again.read(numbers)) == 2500


async def test_a_full_disk_is_told_with_the_path_and_survived(database: Database) -> None:
    await database.write(insert(1))
    pages = await database.write(pragma("page_count"))
    await database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(PackhorseError, match="no space left") as caught:
        await database.write(insert(2, "long " * 10_000))
    assert str(database.path) in caught.value.message
    await database.write(lambda db: db.execute("PRAGMA max_page_count = 100000"))
    await database.write(insert(3))
    assert await database.read(numbers) == [1, 3]


async def test_migrations_bring_an_old_file_up_to_date(path: Path) -> None:
    with Database(path, MIGRATIONS[:1]) as database:
        await database.write(insert(1))
    with Database(path, MIGRATIONS) as database:
        colours = await database.read(lambda db: db.execute("SELECT colour FROM facts").fetchall())
        assert colours == [(None,)]
        assert await database.read(pragma("user_version")) == 2


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with Database(path, MIGRATIONS[:1]) as database:
        await database.write(insert(1))
    with pytest.raises(sqlite3.OperationalError, match="no_such_table"):
        Database(path, [MIGRATIONS[0], f"{MIGRATIONS[1]}; DROP TABLE no_such_table"])
    with Database(path, MIGRATIONS) as database:
        assert await database.read(numbers) == [1]


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    Database(path, MIGRATIONS).close()
    with pytest.raises(ConfigError, match=r"newer Packhorse \(schema 2, this one knows 1\)"):
        Database(path, MIGRATIONS[:1])


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"precious notes, by no means a database\n" * 100)
    with pytest.raises(Damaged, match="is not a database"):
        Database(path, MIGRATIONS)
    assert path.read_bytes().startswith(b"precious")


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cookies (x)")
    other.close()
    with pytest.raises(Damaged, match="of another program"):
        Database(path, MIGRATIONS)


def test_a_damaged_file_is_refused_when_opened(path: Path) -> None:
    Database(path, MIGRATIONS).close()
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.executemany(
            "INSERT INTO facts (number, text) VALUES (?, ?)", [(n, "z" * 200) for n in range(3000)]
        )
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50_000] = b"\xa5" * 50_000
    path.write_bytes(content)
    with pytest.raises(Damaged, match=str(path)):
        Database(path, MIGRATIONS)


def test_a_database_in_use_is_refused_with_the_process(path: Path, database: Database) -> None:
    with pytest.raises(ConfigError, match=rf"in use by another server \(process {os.getpid()}\)"):
        Database(path, MIGRATIONS)


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep state in"):
        Database(tmp_path / "file" / "state.sqlite", MIGRATIONS)
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(ConfigError, match="cannot keep state in"):
        Database(tmp_path / "folder.sqlite", MIGRATIONS)


def test_a_refused_open_lets_go_of_the_lock(path: Path) -> None:
    Database(path, MIGRATIONS).close()
    with pytest.raises(ConfigError):
        Database(path, MIGRATIONS[:1])
    Database(path, MIGRATIONS).close()


# Writes from eight tasks at once, and says a number only once it is acknowledged.
WRITER = """
import asyncio, itertools, os, sys
from common.sqlite import Database
count = itertools.count()
async def work(database):
    while True:
        n = next(count)
        await database.write(lambda db: db.execute(
            "INSERT INTO facts (number, text) VALUES (?, 'x')", (n,)))
        os.write(1, b"%d\\n" % n)
async def main():
    database = Database(sys.argv[1], [sys.argv[2]])
    await asyncio.gather(*(work(database) for _ in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("kill_after", [1, 37, 400])
def test_kill_9_loses_nothing_that_was_acknowledged(path: Path, kill_after: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, MIGRATIONS[0]], stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(kill_after)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
    Database(path, MIGRATIONS).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        kept = set(numbers(raw))
    assert len(acknowledged) >= kill_after
    # The last line may have been cut by the kill.
    assert {int(line) for line in acknowledged if line.endswith(b"\n")} <= kept
