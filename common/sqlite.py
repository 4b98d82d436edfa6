"""A server's durable state: SQLite, one writer, and commits shared by all who wait.

The rules this module keeps:

- A write has resolved only when it is on the disk (WAL, synchronous=FULL). What
  was acknowledged survives kill -9 and power cuts.
- All writes run in one thread. While a commit waits for the disk, more writes
  queue up; the next commit takes them all, so durability costs one fsync for
  many of them instead of one for each.
- Every write has a savepoint of its own: one that raises is undone alone, and
  only its caller hears of it.
- Reads have a connection and a thread of their own. They see a consistent
  snapshot, wait for no write, and keep none waiting.
- A database belongs to one process at a time, and to one version of the schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from common.errors import ConfigError, Damaged, PackhorseError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")
Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]

# Written into every database of ours, so that nobody else's is ever touched.
APPLICATION_ID = int.from_bytes(b"Pkhs")
# Bounds how long the first of many waiting writes waits for the others.
MOST_WRITES_IN_ONE_COMMIT = 1000


class _Write(Generic[T]):
    """A function that waits for its commit, and the future that waits for it."""

    __slots__ = ("fn", "future")

    def __init__(self, fn: Callable[[sqlite3.Connection], T]) -> None:
        self.fn = fn
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Database:
    """One SQLite file.

    `migrations[i]` is the SQL that takes the schema from version i to i + 1.
    A released one never changes; a new one is appended. Opening brings the
    file up to date, or raises: `ConfigError` if the file cannot be used here,
    is in use, or is of a newer version; `Damaged` if it is not what it should be.
    """

    def __init__(self, path: Path | str, migrations: Sequence[str]) -> None:
        self.path = Path(path)
        self._waiting: queue.SimpleQueue[_Write[Any] | None] = queue.SimpleQueue()
        self._closed = False
        with contextlib.ExitStack() as undo:
            self._lock_fd = take_lock(self.path)
            undo.callback(os.close, self._lock_fd)
            with _clear_errors(self.path):
                self._connection = undo.enter_context(contextlib.closing(_connect(self.path)))
                _identify(self._connection, self.path, len(migrations))
                _migrate(self._connection, self.path, migrations)
                self._read_connection = _connect(self.path)
                self._read_connection.execute("PRAGMA query_only = ON")
            undo.pop_all()
        name = f"sqlite {self.path.name}"
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name} reader")
        self._writer = threading.Thread(target=self._run_writer, name=f"{name} writer", daemon=True)
        self._writer.start()

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `fn` inside a transaction; returns its value once that is durable.

        `fn` runs in the writer's thread and must not commit or roll back. What
        it raises undoes its changes and is raised here. Cancelling the wait does
        not undo the write: it may or may not have happened.

        If the disk is full or fails, everyone who shares the commit gets a
        `PackhorseError` with the file's path, and nothing of it is kept.
        """
        if self._closed:
            raise Refused(f"{self.path} is closed: the server is stopping")
        write = _Write(fn)
        self._waiting.put(write)
        return await write.future

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """The value of `fn` on a consistent snapshot that includes every finished write."""
        if self._closed:
            raise Refused(f"{self.path} is closed: the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, fn)

    def problem(self) -> str:
        """What is wrong with the file's structure, "" if nothing is; blocks, and reads all of it."""
        try:
            with _clear_errors(self.path):
                (found,) = self._read_connection.execute("PRAGMA quick_check(1)").fetchone()
        except Damaged as error:
            return error.message
        return "" if found == "ok" else str(found)

    def close(self) -> None:
        """Finishes every write and read that was handed in, then lets go of the file."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._writer.join()
        self._reader.shutdown(wait=True)
        self._read_connection.close()
        self._connection.close()
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        with _clear_errors(self.path):
            self._read_connection.execute("BEGIN")
            try:
                return fn(self._read_connection)
            finally:
                self._read_connection.rollback()

    # --- the writer's thread ---------------------------------------------------

    def _run_writer(self) -> None:
        while batch := self._take():
            try:
                with _clear_errors(self.path):
                    outcomes = self._commit(batch)
            except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
                self._connection.rollback()
                outcomes = [(write.future, None, error) for write in batch]
            _deliver(outcomes)

    def _take(self) -> list[_Write[Any]]:
        """Waits for a write, and takes along all that wait with it; empty when closing."""
        first = self._waiting.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < MOST_WRITES_IN_ONE_COMMIT and not self._waiting.empty():
            write = self._waiting.get()
            if write is None:
                self._waiting.put(None)
                break
            batch.append(write)
        return batch

    def _commit(self, batch: list[_Write[Any]]) -> list[Outcome]:
        """Runs all of the batch in one transaction. Raises if the transaction is lost."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        outcomes: list[Outcome] = []
        for write in batch:
            connection.execute("SAVEPOINT one")
            try:
                with _clear_errors(self.path):
                    value = write.fn(connection)
                outcome: Outcome = (write.future, value, None)
            except BaseException as error:
                if not connection.in_transaction:
                    # SQLite has rolled back everything, as it does when the disk is full.
                    raise
                connection.execute("ROLLBACK TO one")
                outcome = (write.future, None, error)
            assert connection.in_transaction, f"{write.fn} must not end the transaction"
            connection.execute("RELEASE one")
            outcomes.append(outcome)
        connection.execute("COMMIT")
        return outcomes


def _deliver(outcomes: list[Outcome]) -> None:
    """Wakes those who wait: one call into each event loop, usually there is one."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].get_loop(), []).append(outcome)
    for loop, its_outcomes in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, its_outcomes)


def _settle(outcomes: list[Outcome]) -> None:
    for future, value, error in outcomes:
        if future.cancelled():
            if error is not None:
                log.warning("a write failed after its caller was cancelled: %s", error)
        elif isinstance(error, StopIteration):
            # Futures refuse StopIteration, which would end a coroutine in silence.
            future.set_exception(RuntimeError("the write raised StopIteration"))
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


def take_lock(path: Path) -> int:
    """An open file that holds the database's lock; the kernel frees it if we die.

    Raises ConfigError if another process holds it, or it cannot be made.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot keep state in {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        owner = lock_path.read_text(errors="replace").strip()
        raise ConfigError(f"{path} is in use by another server (process {owner})") from error
    os.truncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _connect(path: Path) -> sqlite3.Connection:
    # The database is handed from thread to thread, but never used by two at once.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        connection.close()
        raise ConfigError(f"{path}: this file system cannot keep a database (no WAL)")
    return connection


def _identify(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    """Raises unless the file is new, or ours, whole, and no newer than we are."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (application_id, version, tables) != (0, 0, 0):
        raise Damaged(f"{path} is a database of another program; give another path")
    if version > newest:
        raise ConfigError(
            f"{path} was written by a newer Packhorse (schema {version}, this one knows "
            f"{newest}); run that one, or restore an older copy"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(f"{path} is damaged ({verdict}); restore a copy, or move it away")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(migrations[version:], start=version + 1):
        # One transaction each: killed half-way, the file is still of the version it says.
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\n;"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )
        log.info("%s: schema is now version %d", path, number)


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Says what SQLite's errors about the file itself mean; others pass unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                raise PackhorseError(f"{path}: no space left to keep state") from error
            case sqlite3.SQLITE_IOERR:
                raise Damaged(
                    f"{path}: {error}; does the disk fail, or is a quota used up?"
                ) from error
            case sqlite3.SQLITE_CORRUPT:
                raise Damaged(f"{path} is damaged ({error}); restore a copy") from error
            case sqlite3.SQLITE_NOTADB:
                raise Damaged(f"{path} is not a database; move it away") from error
            case sqlite3.SQLITE_BUSY:
                raise Refused(f"{path} is locked by another program") from error
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                raise ConfigError(f"cannot keep state in {path}: {error}") from error
        raise
