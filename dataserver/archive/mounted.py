"""An archive that is a mounted file system: asked with `stat`, fetched by copying.

A mount can vanish. Then every file of it seems to be missing, and to believe that
would tell users that their data is lost. So "no such file" is believed only while
the directory that the name rule points to is there and holds anything at all.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure
from common.errors import NameRefused
from dataserver.archive.copier import Copy, CopyError, class_of, reason_of
from dataserver.archive.daemon import DaemonThreads
from dataserver.archive.model import ArchiveFile, Fetched, Presence, beyond_asking
from dataserver.archive.watched import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from common.names import NameMap, NameRule
    from dataserver.archive.model import FetchOrder

STAT_LIMIT_S: Final = 60.0
"""An archive that answers nothing for that long is not waited for."""

archive_threads: Final = DaemonThreads("archive")


class MountedArchive:
    """Files under the archive directories that the name rules point to."""

    def __init__(
        self, names: NameMap, deadline_s: float, stall_s: float, parallel_stats: int
    ) -> None:
        self._names = names
        self._deadline_s = deadline_s
        self._stall_s = stall_s
        self._parallel_stats = parallel_stats

    async def examine(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What `stat` says of each file, in order; files not answered for are UNKNOWN."""
        found: list[ArchiveFile | None] = [None] * len(lfns)
        turns = iter(range(len(lfns)))
        threads = [
            archive_threads.call(lambda: self._examine_in_turn(lfns, turns, found))
            for _ in range(min(self._parallel_stats, len(lfns)))
        ]
        try:
            await wait_while_moving(threads, lambda: len(found) - found.count(None))
        finally:
            # Threads that are left behind shall not go on to the next file.
            deque(turns, maxlen=0)
            for thread in threads:
                thread.cancel()
        reason = f"the archive did not answer for {STAT_LIMIT_S:g} s"
        return [
            file or ArchiveFile(lfn, Presence.UNKNOWN, reason=reason)
            for lfn, file in zip(lfns, found, strict=True)
        ]

    async def fetch(self, order: FetchOrder) -> Fetched:
        """Copies one file. Raises NameRefused.

        A copy that hangs within the kernel is given up and left to its thread: it
        stops as soon as it can.
        """
        rule, source = self._names.explain(order.lfn)
        copy = Copy(source, str(order.target), order.limit_bytes)
        begun_s = time.monotonic()
        failure = None
        try:
            await run_watched(
                copy, archive_threads, self._deadline_s, self._stall_s, order.on_progress
            )
        except CopyError as error:
            failure = error.failure
            if failure.error_class is ErrorClass.NOT_FOUND:
                failure = await self._believed(failure, rule)
        return Fetched(failure, copy.bytes_done, time.monotonic() - begun_s)

    def _examine_in_turn(
        self, lfns: Sequence[str], turns: Iterator[int], found: list[ArchiveFile | None]
    ) -> None:
        # Taking the next of a range is one step for all threads that share it.
        for turn in turns:
            found[turn] = self._examine_one(lfns[turn])

    def _examine_one(self, lfn: str) -> ArchiveFile:
        try:
            rule, source = self._names.explain(lfn)
            status = Path(source).stat()
        except NameRefused as error:
            return beyond_asking(lfn, str(error))
        except OSError as error:
            reason = reason_of(error, source)
            if class_of(error) is not ErrorClass.NOT_FOUND:
                return ArchiveFile(lfn, Presence.UNKNOWN, reason=reason)
            if trouble := trouble_with(root_of(rule)):
                return ArchiveFile(lfn, Presence.UNKNOWN, reason=trouble)
            return ArchiveFile(lfn, Presence.NOT_THERE, reason=reason)
        if stat.S_ISREG(status.st_mode):
            return ArchiveFile(lfn, Presence.THERE, status.st_size, mtime_s=status.st_mtime)
        is_directory = stat.S_ISDIR(status.st_mode)
        return ArchiveFile(
            lfn,
            Presence.NOT_THERE,
            reason=f"{source} is {'a directory' if is_directory else 'not a regular file'}",
            mtime_s=status.st_mtime,
            is_directory=is_directory,
        )

    async def _believed(self, failure: Failure, rule: NameRule) -> Failure:
        """The failure, if the archive is in a state to be believed."""
        looking = archive_threads.call(lambda: trouble_with(root_of(rule)))
        try:
            async with asyncio.timeout(STAT_LIMIT_S):
                trouble = await looking
        except TimeoutError:
            trouble = f"the archive did not answer for {STAT_LIMIT_S:g} s"
        return Failure(ErrorClass.TRANSIENT, trouble) if trouble else failure


async def wait_while_moving(
    threads: Sequence[asyncio.Future[None]], moved: Callable[[], int]
) -> None:
    """Returns when all threads have ended, or have moved nothing for too long."""
    before = -1
    while threads and before < moved():
        before = moved()
        await asyncio.wait(threads, timeout=STAT_LIMIT_S)
        if all(thread.done() for thread in threads):
            return


def root_of(rule: NameRule) -> str:
    """The directory all files of a rule lie under: a regex's up to its first group."""
    fixed = rule.archive if rule.regex is None else rule.archive.partition("\\")[0]
    return fixed if rule.regex is None else fixed[: fixed.rfind("/") + 1]


def trouble_with(root: str) -> str:
    """Why a directory of the archive cannot be believed, or "" if it can; blocks."""
    try:
        with os.scandir(root or "/") as entries:
            if next(entries, None) is not None:
                return ""
    except PermissionError:
        # It is there; whether the file is, the file's own error has told.
        return ""
    except OSError as error:
        return f"the archive's directory is gone, is it mounted? ({reason_of(error, root)})"
    return f"the archive's directory {root} is empty, is it mounted?"
