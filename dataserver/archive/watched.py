"""Watching work on a mounted file system that goes on in a thread of its own.

It is given up when it takes too long, or makes no progress; a call that hangs within the
kernel is left to its thread, which stops as soon as it can.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from common.command import ErrorClass
from common.units import format_duration
from dataserver.archive.copier import CopyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataserver.archive.daemon import DaemonThreads

_LOOK_EVERY_S: Final = 0.5
_STOPPING_S: Final = 5.0


class Work(Protocol):
    """What `run` does in one thread; `bytes_done` and `stop` are for another one."""

    @property
    def what(self) -> str:
        """What is being done, as in "copying /a"."""

    @property
    def bytes_done(self) -> int:
        """How far it has come."""

    def stop(self) -> None:
        """Makes `run` fail soon."""

    def run(self) -> None:
        """Does the work; blocks. Raises CopyError."""


async def run_watched(
    work: Work,
    threads: DaemonThreads,
    deadline_s: float,
    stall_s: float,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Runs work in a thread until it ends or must end. Raises CopyError."""
    running = threads.call(work.run)
    try:
        await _watch(work, running, deadline_s, stall_s, on_progress)
    except (CopyError, asyncio.CancelledError):
        work.stop()
        await asyncio.wait([running], timeout=_STOPPING_S)
        running.cancel()
        raise
    running.result()


async def _watch(
    work: Work,
    running: asyncio.Future[None],
    deadline_s: float,
    stall_s: float,
    on_progress: Callable[[int], None] | None,
) -> None:
    """Returns when the work has ended. Raises CopyError when it takes too long."""
    begun_s = moved_s = time.monotonic()
    bytes_done = 0
    look_every_s = min(_LOOK_EVERY_S, deadline_s, stall_s)
    while True:
        await asyncio.wait([running], timeout=look_every_s)
        if running.done():
            return
        now_s = time.monotonic()
        if work.bytes_done != bytes_done:
            bytes_done, moved_s = work.bytes_done, now_s
            if on_progress is not None:
                on_progress(bytes_done)
        if now_s - begun_s >= deadline_s:
            reason = f"took longer than {format_duration(deadline_s)}"
            raise CopyError(ErrorClass.TRANSIENT, f"{work.what} {reason}")
        if now_s - moved_s >= stall_s:
            reason = f"made no progress for {format_duration(stall_s)}"
            raise CopyError(ErrorClass.TRANSIENT, f"{work.what} {reason}")
