"""Blocking calls in threads that nobody has to wait for.

A file system that hangs (a dead NFS server) holds the thread that asked it, and
nothing can free that thread. The threads of asyncio's executor are few, shared
with everything else, and waited for when the process ends; so calls into the
archive get threads of their own, which may be left behind. Threads that come
back are used again: starting one costs as much as copying a small file.
"""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_KEPT_THREADS: Final = 16


class DaemonThreads:
    """Daemon threads, as many as there are calls under way; some are kept for later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle = 0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """A future of what `function` returns or raises, called in one of the threads.

        Cancelling the future leaves the function running, its outcome forgotten.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # Nobody may be left to look at an error by the time there is one.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._run(lambda: _call(function, future, loop))
        return future

    def _run(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
                self._calls.put(work)
                return
        threading.Thread(target=self._serve, args=(work,), name=self._name, daemon=True).start()

    def _serve(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                if self._idle >= _KEPT_THREADS:
                    return
                self._idle += 1
            work = self._calls.get()


def _call(
    function: Callable[[], T], future: asyncio.Future[T], loop: asyncio.AbstractEventLoop
) -> None:
    """Calls the function, and has the loop tell the future how that went."""

    def tell() -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]  # None only if T allows it

    value: T | None = None
    error: BaseException | None = None
    try:
        value = function()
    except BaseException as raised:  # noqa: BLE001 -- it is raised again where it is awaited
        error = raised
    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        # The loop is closed: nobody is left to be told.
        return
