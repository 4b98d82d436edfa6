"""A file that is used in threads, and closed only when no thread is at it any more.

Who waits for a thread may go away at any moment, while the thread still reads or writes
for it. The descriptor must then neither leak nor be closed under the thread, for its
number might be another file's by the time the thread uses it.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataserver.threads import Threads

T = TypeVar("T")


class OpenFile:
    """A descriptor that many threads may use at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_closed = False
        self._uses: set[asyncio.Future[Any]] = set()

    async def use(self, threads: Threads, work: Callable[[int], T]) -> T:
        """What `work` makes of the descriptor in one of the threads.

        Raises OSError if it is closed, and what the work raises.
        """
        if self._is_closed:
            raise OSError(errno.EBADF, "the file is closed")
        use: asyncio.Future[T] = threads.call(lambda: work(self._fd))
        self._uses.add(use)
        use.add_done_callback(self._used)
        return await asyncio.shield(use)

    async def until_idle(self) -> None:
        """Waits until no thread is at it."""
        while self._uses:
            await asyncio.wait(self._uses)

    def close(self) -> None:
        """Closes it as soon as no thread is at it; nobody begins to use it any more."""
        if not self._is_closed:
            self._is_closed = True
            if not self._uses:
                os.close(self._fd)

    def _used(self, use: asyncio.Future[Any]) -> None:
        self._uses.remove(use)
        # Whoever waited for it may be gone.
        if not use.cancelled():
            use.exception()
        if self._is_closed and not self._uses:
            os.close(self._fd)
