"""Sending down one socket: by the event loop as long as nothing has to be waited for; by a
thread where a disk may have to be, or where much of a file goes to a quick client.

The socket and the files are in use while a thread sends, whatever happens meanwhile: they are
let go when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from common.root_server import from_cache, from_disk
from common.root_server.outbox import Outbox, Outcome
from common.root_server.parts import CutShortError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from common.root_server.threads import SendingThreads

log = logging.getLogger(__name__)


#: A client that has taken what the kernel holds for it within this time is a quick one: a
#: thread that sends to it is never idle for long.
QUICK_S: Final = 0.005


class Sender:
    """Sends what is put into it, in order, as fast as the client takes it."""

    __slots__ = (
        "_awaits_client",
        "_bytes_taken",
        "_full_s",
        "_is_ended",
        "_is_quick",
        "_loop",
        "_on_lost",
        "_on_news",
        "_scratch",
        "_socket",
        "_thread",
        "_threads",
        "active_s",
        "outbox",
    )

    def __init__(
        self,
        sock: socket.socket,
        scratch: memoryview,
        threads: SendingThreads,
        on_news: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """`scratch` is shared by all that one loop sends. `on_news` is called when the client has taken more after a while, or a thread is back,
        `on_lost` when nothing can be sent any more."""
        self.outbox = Outbox(sock)
        #: When the client took something last; monotonic.
        self.active_s = time.monotonic()
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._scratch = scratch
        self._threads = threads
        self._on_news = on_news
        self._on_lost = on_lost
        self._bytes_taken = 0
        self._awaits_client = False
        self._full_s = 0.0
        self._is_quick = False
        self._thread: asyncio.Future[Outcome] | None = None
        self._is_ended = False

    @property
    def awaits_client(self) -> bool:
        """Whether the client has to take something before more can be sent."""
        return self._awaits_client

    @property
    def is_in_thread(self) -> bool:
        """Whether a thread uses the socket now."""
        return self._thread is not None

    @property
    def is_done(self) -> bool:
        """Whether all is sent."""
        return not self.outbox and self._thread is None

    def send(self) -> None:
        """Sends what can be sent now, unless a thread does already or the client must take more."""
        if self._awaits_client or self._thread is not None or self._is_ended:
            return
        try:
            outcome = from_cache.send(self.outbox, self._scratch)
            self._note_progress()
            self._go_on(outcome)
        except OSError:
            self._on_lost()
        except Exception:
            log.exception("a connection is closed: an internal error")
            self._on_lost()

    def end(self) -> None:
        """Sends nothing more. A thread that still does finds the socket shut."""
        self._is_ended = True
        self._stop_awaiting_client()
        if self._thread is None:
            self.outbox.clear()

    def shut_down(self, how: int) -> None:
        """Tells the client, and a thread, that one side or both are done."""
        try:
            self._socket.shutdown(how)
        except OSError:
            # The client was quicker.
            return

    def _go_on(self, outcome: Outcome) -> None:
        if outcome is Outcome.UNCACHED:
            self._hand_over(self._threads.from_disk(self._send_from_disk))
        elif outcome is not Outcome.EMPTY and self._is_quick and self.outbox.is_large:
            self._hand_over(self._threads.from_cache(self._send_from_cache))
        elif outcome is not Outcome.EMPTY:
            self._awaits_client = True
            self._full_s = time.monotonic()
            self._loop.add_writer(self._socket, self._has_taken)

    def _hand_over(self, thread: asyncio.Future[Outcome]) -> None:
        self._thread = thread
        thread.add_done_callback(self._thread_done)

    def _send_from_disk(self) -> Outcome:
        return from_disk.send_in_thread(self.outbox)

    def _send_from_cache(self) -> Outcome:
        return from_cache.send_in_thread(self.outbox)

    def _has_taken(self) -> None:
        self._stop_awaiting_client()
        self._is_quick = time.monotonic() - self._full_s < QUICK_S
        self.send()
        self._on_news()

    def _stop_awaiting_client(self) -> None:
        if self._awaits_client:
            self._awaits_client = False
            self._loop.remove_writer(self._socket)

    def _thread_done(self, thread: asyncio.Future[Outcome]) -> None:
        self._thread = None
        try:
            outcome = thread.result()
            if not self._is_ended:
                self._note_progress()
                self.outbox.settle()
                # Until it proves to be quick again.
                self._is_quick &= outcome is not Outcome.FULL
                self._go_on(outcome)
                # Something may have been put in just as the thread ended.
                self.send()
        except CutShortError as error:
            error.file.cut_short(error.offset)
            self._on_lost()
        except (OSError, asyncio.CancelledError):
            self._on_lost()
        except Exception:
            log.exception("a connection is closed: an internal error")
            self._on_lost()
        if self._is_ended:
            self.outbox.clear()
        self._on_news()

    def _note_progress(self) -> None:
        if self.outbox.bytes_sent != self._bytes_taken:
            self._bytes_taken = self.outbox.bytes_sent
            self.active_s = time.monotonic()
