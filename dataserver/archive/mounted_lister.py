"""Listing directories of a mounted archive, with the care that asking about files takes.

One thread reads the directory, then several ask about the entries: over a network each
answer takes its time. A link counts as what it points to. A directory that is not there,
or has nothing in it, is believed only while the archive is in a state to be believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections import deque
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass
from dataserver.archive import mounted
from dataserver.archive.copier import class_of, reason_of
from dataserver.archive.daemon import DaemonThreads
from dataserver.archive.model import ArchiveEntry, Listing, Presence
from dataserver.archive.store_copy import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.directories import Directory

MAX_ENTRIES: Final = 1_000_000
"""A directory with more entries is not listed."""

#: Removed a moment ago, or a link that leads nowhere.
_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ELOOP})

_threads: Final = DaemonThreads("archive listing")


class MountedLister:
    """Lists with `parallel_stats` threads at a time."""

    def __init__(self, parallel_stats: int) -> None:
        self._parallel_stats = parallel_stats

    async def list_directory(self, directory: Directory) -> Listing:
        """What is in the directory of the archive that this one's rule names."""
        assert directory.rule is not None
        path = directory.archive_name
        there: list[os.DirEntry[str]] = []
        reading = _threads.call(lambda: _read(path, there))
        await mounted.wait_while_moving([reading], lambda: len(there))
        if not reading.done():
            reading.cancel()
            return _unanswered(())
        if error := reading.exception():
            if not isinstance(error, OSError):
                raise error
            return await self._failed(directory, error)
        if len(there) > MAX_ENTRIES:
            return Listing(Presence.UNKNOWN, reason=f"{path} has more than {MAX_ENTRIES} entries")
        if not there and (trouble := await _trouble(directory)):
            return Listing(Presence.UNKNOWN, reason=trouble)
        return await self._ask_about(there)

    async def _failed(self, directory: Directory, error: OSError) -> Listing:
        reason = reason_of(error, directory.archive_name)
        if class_of(error) is not ErrorClass.NOT_FOUND:
            return Listing(Presence.UNKNOWN, reason=reason)
        if trouble := await _trouble(directory):
            return Listing(Presence.UNKNOWN, reason=trouble)
        return Listing(Presence.NOT_THERE, reason=reason)

    async def _ask_about(self, there: Sequence[os.DirEntry[str]]) -> Listing:
        found: list[ArchiveEntry | None] = []
        turns = iter(there)
        threads = [
            _threads.call(lambda: _look_in_turn(turns, found))
            for _ in range(min(self._parallel_stats, len(there)))
        ]
        try:
            await mounted.wait_while_moving(threads, lambda: len(found))
        finally:
            # Threads that are left behind shall not go on to the next entry.
            deque(turns, maxlen=0)
            for thread in threads:
                thread.cancel()
        answered = list(found)
        entries = [entry for entry in answered if entry is not None]
        if len(answered) < len(there):
            return _unanswered(entries)
        return Listing(Presence.THERE, entries)


async def _trouble(directory: Directory) -> str:
    """Why the archive is not to be believed about a directory, "" if it is."""
    assert directory.rule is not None
    root = mounted.root_of(directory.rule)
    looking = _threads.call(lambda: mounted.trouble_with(root))
    await asyncio.wait([looking], timeout=mounted.STAT_LIMIT_S)
    if looking.done():
        return looking.result()
    looking.cancel()
    return _unanswered(()).reason


def _unanswered(entries: Sequence[ArchiveEntry]) -> Listing:
    reason = f"the archive did not answer for {mounted.STAT_LIMIT_S:g} s"
    return Listing(Presence.UNKNOWN, entries, reason)


def _read(path: str, there: list[os.DirEntry[str]]) -> None:
    """Reads a directory, until there is more in it than may be; blocks. Raises OSError."""
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith(UNFINISHED):
                there.append(entry)
            if len(there) > MAX_ENTRIES:
                return


def _look_in_turn(turns: Iterator[os.DirEntry[str]], found: list[ArchiveEntry | None]) -> None:
    # Taking the next of a list is one step for all threads that share it.
    for entry in turns:
        found.append(_look(entry))  # noqa: PERF401 - others look at the list meanwhile


def _look(entry: os.DirEntry[str]) -> ArchiveEntry | None:
    """What an entry is, None if it is neither a file nor a directory; blocks."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        # It is there, and no more can be said of it.
        is_directory = False
        with contextlib.suppress(OSError):
            is_directory = entry.is_dir(follow_symlinks=False)
        return ArchiveEntry(entry.name, is_directory)
    if stat.S_ISDIR(status.st_mode):
        return ArchiveEntry(entry.name, is_directory=True, mtime_s=status.st_mtime)
    if stat.S_ISREG(status.st_mode):
        return ArchiveEntry(entry.name, False, status.st_size, status.st_mtime)
    return None
