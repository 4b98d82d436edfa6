"""Room for what is going to be sent: who makes a large answer waits until there is some."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from common.root_server.answers import RootError
from xroot.protocol import Code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Room:
    """How much may wait to be sent down one connection, answers in the making included.

    One answer is let in as long as less than the limit is waiting, so there is never more than
    the limit and one answer; those that wait are let in in the order they came.
    """

    __slots__ = ("_is_open", "_limit_bytes", "_queue", "_waiting_bytes", "promised_bytes")

    def __init__(self, limit_bytes: int, waiting_bytes: Callable[[], int]) -> None:
        """`waiting_bytes` tells how much waits to be sent."""
        self._limit_bytes = limit_bytes
        self._waiting_bytes = waiting_bytes
        self._queue: deque[tuple[asyncio.Future[bool], int]] = deque()
        self._is_open = True
        #: What those who were let in are going to send.
        self.promised_bytes = 0

    @contextlib.asynccontextmanager
    async def taken(self, size_bytes: int) -> AsyncIterator[None]:
        """Waits for room; has it counted as taken until the end of the block.

        Raises RootError if the connection ends before there is any.
        """
        await self._enter(size_bytes)
        try:
            yield
        finally:
            self.promised_bytes -= size_bytes
            self.look()

    def look(self) -> None:
        """Lets in whoever there is room for now."""
        while self._queue and self._has_room():
            waiting, size_bytes = self._queue.popleft()
            if not waiting.done():
                self.promised_bytes += size_bytes
                waiting.set_result(True)

    def close(self) -> None:
        """The connection has ended: nobody is let in any more."""
        self._is_open = False
        for waiting, _ in self._queue:
            if not waiting.done():
                waiting.set_result(False)
        self._queue.clear()

    def _has_room(self) -> bool:
        return self._waiting_bytes() + self.promised_bytes < self._limit_bytes

    async def _enter(self, size_bytes: int) -> None:
        if not self._is_open:
            raise _ended()
        if not self._queue and self._has_room():
            self.promised_bytes += size_bytes
            return
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((waiting, size_bytes))
        try:
            is_let_in = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.result():
                # It was let in and cancelled at the same time.
                self.promised_bytes -= size_bytes
                self.look()
            raise
        if not is_let_in:
            raise _ended()


def _ended() -> RootError:
    return RootError(Code.CANCELLED, "the connection has ended")
