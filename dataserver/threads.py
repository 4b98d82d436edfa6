"""Calling the disk without holding up the event loop.

Threads are daemons of their own kind (see `archive.daemon`): a disk that hangs keeps
its thread, but neither the loop nor the end of the process. `Batcher` is for work that
gets cheaper together: what is asked for while one batch runs goes into the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from dataserver.archive.daemon import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

disk_threads = DaemonThreads("disk")


class Batcher(Generic[Item, Answer]):
    """Does many things at a time, one batch after the other.

    `do_all` is awaited with the items that wait, at most `limit`, and returns an
    answer or an exception for each. An exception it raises is everybody's.
    """

    def __init__(
        self,
        do_all: Callable[[list[Item]], Awaitable[list[Answer | Exception]]],
        limit: int,
    ) -> None:
        self._do_all = do_all
        self._limit = limit
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None

    def do(self, item: Item) -> asyncio.Future[Answer]:
        """A future of the item's answer. Cancelling it does not stop the work."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="batches")
        return future

    async def finish(self) -> None:
        """Waits until nothing is under way."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while batch := self._waiting[: self._limit]:
            del self._waiting[: self._limit]
            try:
                answers = await self._do_all([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - it is raised for each who waits
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._running = None
