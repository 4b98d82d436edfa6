"""A file that is read in threads, and closed only when no thread uses it any more.

A reader may go away at any moment, while a thread still opens or reads for it. Its
descriptor must then neither leak nor be closed under the thread, for its number might
be another file's by the time the thread reads.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataserver.threads import Threads


class OpenFile:
    """An open file of `size_bytes`, read in `threads`. One read at a time."""

    def __init__(self, threads: Threads, fd: int) -> None:
        self._threads = threads
        self._fd = fd
        self._reading: asyncio.Future[bytes] | None = None
        self.size_bytes = os.fstat(fd).st_size

    @classmethod
    async def open(cls, threads: Threads, open_fd: Callable[[], int]) -> OpenFile:
        """Opens by calling `open_fd` in a thread. Raises OSError."""
        opening = threads.call(lambda: cls(threads, open_fd()))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    async def read(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes from `offset` on. Raises OSError."""
        self._reading = self._threads.call(lambda: os.pread(self._fd, length, offset))
        return await asyncio.shield(self._reading)

    def close(self) -> None:
        """Closes the file, as soon as nobody reads it."""
        if self._reading is None or self._reading.done():
            os.close(self._fd)
        else:
            self._reading.add_done_callback(lambda _: os.close(self._fd))


def _close_opened(opening: asyncio.Future[OpenFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
