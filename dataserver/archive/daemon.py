"""Blocking calls in threads that nobody has to wait for.

A file system that hangs (a dead NFS server) holds the thread that asked it, and
nothing can free that thread. The threads of asyncio's executor are few, shared
with everything else, and waited for when the process ends; so calls into the
archive get threads of their own, which may be left behind.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_daemon(call: Callable[[], T], name: str) -> asyncio.Future[T]:
    """A future of what `call` returns or raises, called in a daemon thread.

    Cancelling the future leaves the call running, its outcome forgotten.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    # Nobody may be left to look at an error by the time there is one.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def tell(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # None only if T allows it

    def run() -> None:
        try:
            value, error = call(), None
        except BaseException as raised:  # noqa: BLE001 -- it is raised again where it is awaited
            value, error = None, raised
        try:
            loop.call_soon_threadsafe(tell, value, error)
        except RuntimeError:
            # The loop is closed: nobody is left to be told.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
