"""One client's socket: requests in, answers out, and neither without bound.

A client that sends faster than it is served, or takes less than it asks for, is not read
from any more until that has changed: what waits for it in memory stays small, whatever it
does. What it asked for goes on in tasks of its own, so nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from common.errors import PackhorseError
from common.root_server.answers import RootError, error_code
from common.root_server.outbox import CutShortError, FilePart, Outbox, Outcome
from xroot import responses
from xroot.decoder import Data, RequestDecoder
from xroot.errors import ProtocolError
from xroot.protocol import Code
from xroot.requests import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from xroot.decoder import Handshake, Item
    from xroot.requests import Message
    from xroot.session import Session

log = logging.getLogger(__name__)

#: Read from a socket at a time.
READ_BYTES: Final = 256 << 10
#: With more than this waiting to be sent, a client is not read from.
WAITING_BYTES: Final = 4 << 20


class Client(Protocol):
    """What a door does for one client."""

    def request(self, stream_id: bytes, message: Message) -> None:
        """Answers a request, now or later, by the connection. Raises PackhorseError, RootError."""

    def data(self, piece: Data) -> None:
        """Takes some of the data behind the last write."""

    def gone(self) -> None:
        """The client has gone: what it had open is closed."""


class Connection:
    """One client's connection. Its methods are called in the event loop only."""

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        session: Session,
        scratch: memoryview,
        in_thread: Callable[[Callable[[], Outcome]], asyncio.Future[Outcome]],
        max_requests: int,
        on_end: Callable[[Connection], None],
    ) -> None:
        """`peer` is the client's IP address; `on_end` is called once, when it has gone."""
        self.peer = peer
        self.session = session
        self.client: Client | None = None
        self.is_closed = False
        self.active_s = time.monotonic()
        #: More connections of the same session, by path id; see `path`.
        self.paths: dict[int, Connection] = {}
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._decoder = RequestDecoder()
        self._outbox = Outbox(sock, scratch)
        self._in_thread = in_thread
        self._max_requests = max_requests
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._holds = 0
        self._reading = False
        self._batching = False
        self._awaits_room = False
        self._thread: asyncio.Future[Outcome] | None = None
        self._closing = False
        self._wait_for_room: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Begins to listen to the client."""
        self._read_on()

    # --- for doors ------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on for this client."""
        return not self._tasks and not self._holds

    def path(self, path_id: int) -> Connection:
        """The connection of this session that a client wants its data by; this one if unknown."""
        path = self.paths.get(path_id)
        return self if path is None or path.is_closed else path

    def send(self, response: bytes) -> None:
        """Sends bytes after all that waits."""
        if not self.is_closed:
            self._outbox.put(response)
            self._flush()

    def send_part(self, part: FilePart) -> None:
        """Sends a part of a file after all that waits."""
        if self.is_closed:
            part.file.let_go()
        else:
            self._outbox.put(part)
            self._flush()

    def fail(self, stream_id: bytes, code: int, text: str) -> None:
        """Answers that a request failed."""
        self.send(responses.error(stream_id, code, text))

    def refuse(self, stream_id: bytes, error: PackhorseError | RootError) -> None:
        """The same for an error of ours."""
        self.fail(stream_id, error_code(error), str(error))

    def spawn(self, stream_id: bytes, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Works on a request in a task of its own; an error it raises is its answer."""
        task = self._loop.create_task(self._run(stream_id, work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def room(self) -> None:
        """Waits until little enough is waiting to be sent that more may be put in."""
        while self._outbox.bytes_waiting >= WAITING_BYTES and not self.is_closed:
            waiting = self._loop.create_future()
            self._wait_for_room.append(waiting)
            await waiting

    def hold(self) -> None:
        """Reads nothing more from the client until as many `release`s."""
        self._holds += 1
        self._look_at_pace()

    def release(self) -> None:
        """Takes a `hold` back."""
        self._holds -= 1
        self._look_at_pace()

    def close(self) -> None:
        """Closes the connection once what waits has been sent, and reads nothing more."""
        self._closing = True
        self._stop_reading()
        if not self._outbox and self._thread is None:
            self.abort()

    def abort(self) -> None:
        """Closes the connection now."""
        if self.is_closed:
            return
        self.is_closed = True
        self._stop_reading()
        if self._awaits_room:
            self._loop.remove_writer(self._socket)
            self._awaits_room = False
        self._tell_room()
        for task in self._tasks:
            task.cancel()
        if self._thread is None:
            self._let_go()
        else:
            # The thread still uses the socket; it hears of the end at once.
            self._shut_down()
        if self.client is not None:
            self.client.gone()
        self._on_end(self)

    # --- in ---------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            return
        self.active_s = time.monotonic()
        self._batching = True
        try:
            for item in self._decoder.feed(data):
                self._hear(item)
        except Exception:
            log.exception("a connection from %s is closed: an internal error", self.peer)
            self.abort()
        self._batching = False
        if not self.is_closed:
            self._flush()

    def _hear(self, item: Item) -> None:
        if self.is_closed:
            return
        stream_id, message = item
        if isinstance(message, ProtocolError):
            self.fail(stream_id, message.code, message.message)
            if message.fatal:
                self.close()
        elif isinstance(message, Data):
            if self.client is not None:
                self.client.data(message)
        else:
            self._hear_request(stream_id, message)

    def _hear_request(self, stream_id: bytes, message: Message | Handshake) -> None:
        answer = self.session.answer(stream_id, message)
        if answer is not None:
            self._outbox.put(answer)
            return
        assert self.client is not None, "the listener gives every connection its client"
        if isinstance(message, Unknown):
            self.fail(stream_id, Code.UNSUPPORTED, f"request {message.code} is not supported")
            return
        try:
            self.client.request(stream_id, message)  # type: ignore[arg-type]
        except (PackhorseError, RootError) as error:
            self.refuse(stream_id, error)

    def _look_at_pace(self) -> None:
        """Reads from the client, or does not, as it is served."""
        if self._wait_for_room and self._outbox.bytes_waiting < WAITING_BYTES:
            self._tell_room()
        if self.is_closed or self._closing:
            return
        is_behind = (
            self._holds
            or len(self._tasks) >= self._max_requests
            or len(self._outbox) >= self._max_requests
            or self._outbox.bytes_waiting >= WAITING_BYTES
        )
        if is_behind:
            self._stop_reading()
        else:
            self._read_on()

    def _tell_room(self) -> None:
        for waiting in self._wait_for_room:
            if not waiting.done():
                waiting.set_result(None)
        self._wait_for_room.clear()

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._socket, self._read)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    # --- out --------------------------------------------------------------------------

    def _flush(self) -> None:
        """Sends what can be sent now, unless somebody does already, or more comes at once."""
        if self._batching or self._awaits_room or self._thread is not None:
            return
        before = self._outbox.bytes_sent
        try:
            outcome = self._outbox.send()
        except OSError:
            self.abort()
            return
        if self._outbox.bytes_sent != before:
            self.active_s = time.monotonic()
        self._go_on(outcome)

    def _go_on(self, outcome: Outcome) -> None:
        if outcome is Outcome.NEEDS_THREAD:
            self._thread = self._in_thread(self._outbox.send_in_thread)
            self._thread.add_done_callback(self._thread_done)
        elif outcome is Outcome.FULL:
            self._awaits_room = True
            self._loop.add_writer(self._socket, self._has_room)
        elif self._closing:
            self.abort()
            return
        self._look_at_pace()

    def _has_room(self) -> None:
        self._loop.remove_writer(self._socket)
        self._awaits_room = False
        self._flush()

    def _thread_done(self, thread: asyncio.Future[Outcome]) -> None:
        self._thread = None
        if self.is_closed:
            thread.exception()
            self._let_go()
            return
        self.active_s = time.monotonic()
        self._outbox.settle()
        error = thread.exception()
        if error is None:
            self._continue(thread.result())
            return
        if isinstance(error, CutShortError):
            error.file.cut_short(error.offset)
        elif not isinstance(error, OSError):
            log.error("a connection from %s is closed", self.peer, exc_info=error)
        self.abort()

    def _continue(self, outcome: Outcome) -> None:
        """After a thread: something may have been put in just as it ended."""
        if outcome is Outcome.EMPTY and self._outbox:
            self._flush()
        else:
            self._go_on(outcome)

    # --- tasks, and the end -------------------------------------------------------------

    async def _run(self, stream_id: bytes, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (PackhorseError, RootError) as error:
            self.refuse(stream_id, error)
        except Exception:
            log.exception("a request from %s failed", self.peer)
            self.fail(stream_id, Code.SERVER_ERROR, "internal error, see the server's log")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_at_pace()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _let_go(self) -> None:
        self._outbox.clear()
        self._socket.close()
