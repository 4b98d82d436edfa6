"""Calling the disk without holding up the event loop.

Each pool has threads of its own, so a disk that hangs keeps them, and neither another
pool's nor the loop nor the end of the process. What many of them have done is handed to
the loop in one go. `Batcher` is for work that gets cheaper together: what is asked for
while one batch runs goes into the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Threads:
    """At most `limit` daemon threads that call what they are given, in order.

    To be used in one event loop, the one in which the first call is made.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._threads = 0
        self._unfinished = 0
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_told = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """A future of what `function` returns or raises in one of the threads.

        Cancelling the future leaves the function running, its outcome forgotten.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._unfinished += 1
        if self._unfinished > self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        self._calls.put((future, function))
        return future

    def close(self) -> None:
        """Lets the threads end, when they have done what they were given."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            try:
                self._tell(future, function(), None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                self._tell(future, None, error)

    def _tell(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        self._done.append((future, value, error))
        if self._is_told:
            return
        # Two threads may come here at once: then the loop looks twice, which does no harm.
        self._is_told = True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # The loop is closed: nobody is left to be told.
            return

    def _deliver(self) -> None:
        self._is_told = False
        while self._done:
            future, value, error = self._done.popleft()
            self._unfinished -= 1
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


async def finished(work: asyncio.Future[T], hurry: Callable[[], object] = lambda: None) -> T:
    """What some work in a thread comes to.

    Who is cancelled here tells it to `hurry`, and goes only when it is over: what a thread
    still uses or makes nobody else may close or remove.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        hurry()
        with contextlib.suppress(Exception):
            await work
        raise


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

    async def stop(self) -> None:
        """Cancels what is under way, and waits for its end; who waits for it hears nothing."""
        for task in self._tasks:
            task.cancel()
        await self.finish()

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
