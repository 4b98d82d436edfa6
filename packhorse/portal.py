"""A way from blocking code to the asynchronous API: one event loop in a thread of its own.

A notebook runs an event loop already, and a script has none; with a loop of our own
neither matters. The caller's thread waits, and is where callbacks run, so these may
draw, print or raise as they like. If the wait is interrupted (Ctrl-C), what was waited
for is cancelled and may clean up before the interruption goes on; a second one does
not wait for that.
"""

from __future__ import annotations

import asyncio
import atexit
import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

T = TypeVar("T")

# How long what was cancelled may take to clean up.
CLEAN_UP_S = 20.0


class Portal:
    """Runs coroutines in its own thread for others to wait for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="packhorse", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine, and returns or raises what it does."""
        return self.run_with(lambda _: coroutine, None)

    def run_with(
        self,
        make: Callable[[Callable[..., None]], Coroutine[Any, Any, T]],
        callback: Callable[..., object] | None,
    ) -> T:
        """As `run`, for a coroutine made with a callback; it is called in this thread."""
        call: _Call[T] = _Call(callback)
        coroutine = make(call.relay)
        if self._loop.is_closed():
            coroutine.close()
            raise UsageError("the connection to the site is closed")
        self._loop.call_soon_threadsafe(call.start, coroutine)
        try:
            call.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(call.cancel)
            call.ended.wait(CLEAN_UP_S)
            raise
        return call.result()

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator, which is closed when the reader stops.

        None is not an item.
        """
        try:
            while (item := self.run(_next(items))) is not None:
                yield item
        finally:
            # A generator that nobody reads any more may be found after everything was closed.
            if not self.is_closed:
                self.run(items.aclose())

    def close(self) -> None:
        """Ends the thread; whatever still runs in it is cancelled."""
        if self._loop.is_closed():
            return
        atexit.unregister(self.close)
        self.run(_wind_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Call(Generic[T]):
    """One coroutine on its way."""

    def __init__(self, callback: Callable[..., object] | None) -> None:
        self._callback = callback
        self._task: asyncio.Task[T] | None = None
        # Calls to make in the waiting thread; None says that the coroutine has ended.
        self._inbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self.ended = threading.Event()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Called in the loop's thread."""
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Called in the loop's thread."""
        if self._task is not None:
            self._task.cancel()

    def relay(self, *arguments: Any) -> None:
        """Called in the loop's thread: has the callback called in the waiting one."""
        self._inbox.put(arguments)

    def wait(self) -> None:
        """Makes the calls that are relayed, until the coroutine has ended."""
        while (arguments := self._inbox.get()) is not None:
            if self._callback is not None:
                self._callback(*arguments)

    def result(self) -> T:
        """What the coroutine returned; raises what it raised."""
        assert self._task is not None, "the coroutine was never started"
        return self._task.result()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # so that it counts as seen, even if nobody waits any more
        self.ended.set()
        self._inbox.put(None)


async def _next(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


async def _wind_up() -> None:
    """Cancels whatever else runs, and ends the threads that coroutines have used."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
