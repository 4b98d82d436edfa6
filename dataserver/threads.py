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
    """Does many things at a time, in batches of at most `limit`, `parallel` of them at once.

    `do_all` is awaited with the items of a batch, and returns an answer or an exception
    for each. An exception it raises is everybody's.
    """

    def __init__(
        self,
        do_all: Callable[[list[Item]], Awaitable[list[Answer | Exception]]],
        limit: int,
        parallel: int = 1,
    ) -> None:
        self._do_all = do_all
        self._limit = limit
        self._parallel = parallel
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._working = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, item: Item) -> asyncio.Future[Answer]:
        """A future of the item's answer. Cancelling it does not stop the work."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._working < self._parallel:
            self._working += 1
            task = asyncio.create_task(self._work(), name="batches")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def finish(self) -> None:
        """Waits until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _work(self) -> None:
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
        # In one step with finding nothing to do, so that `do` never counts on this worker.
        self._working -= 1
