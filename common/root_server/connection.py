"""One client's socket: requests in, answers out, and neither without bound.

A client that sends faster than it is served, or takes less than it asks for, is not read
from any more until that has changed: what waits for it in memory stays small, whatever it
does. What it asked for goes on in tasks of its own, so nobody else waits for it.

A connection is *open* until its client hangs up, or `abort` or `close` is called; then it has
*ended*: nothing is sent any more, its tasks are cancelled and its door is told. It is *gone*
when the last task, the thread that may be sending and the socket are, too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from common.errors import PackhorseError
from common.root_server.answers import RootError, error_code
from common.root_server.outbox import WAITING_BYTES
from common.root_server.room import Room
from common.root_server.sender import Sender
from xroot import responses
from xroot.decoder import Data, RequestDecoder
from xroot.errors import ProtocolError
from xroot.protocol import Code
from xroot.requests import Bind, EndSession, Read, Unknown
from xroot.session import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from common.root_server.parts import FilePart, FileParts
    from common.root_server.sessions import Sessions
    from common.root_server.threads import SendingThreads
    from xroot.decoder import Handshake, Item
    from xroot.requests import Message
    from xroot.session import Session

log = logging.getLogger(__name__)

#: Read from a socket at a time where only requests are expected: a few hundred of them.
REQUESTS_BYTES: Final = 16 << 10
#: The same in the middle of a write's data, or of a long request.
DATA_BYTES: Final = 256 << 10
#: With more than this of what it sent in memory, waiting for a disk, a client is not read from.
HELD_BYTES: Final = 4 << 20
#: A client whose connection is closed is given so long to take what it is told still.
GOODBYE_S: Final = 5.0


class Client(Protocol):
    """What a door does for one client."""

    def request(self, stream_id: bytes, message: Message) -> None:
        """Answers a request, now or later, by the connection. Raises PackhorseError, RootError."""

    def reads(self, items: Sequence[Item], start: int, /) -> int:
        """Answers usual reads that came together, from `items[start]` on; how many those are.

        A door need not: what it leaves is requested one by one.
        """

    def data(self, piece: Data) -> None:
        """Takes some of the data behind the last write, if that has not been refused."""

    def gone(self) -> None:
        """The client has gone: what it had open is closed."""


class Connection:
    """One client's connection. Its methods are called in the event loop only."""

    __slots__ = (
        "__weakref__",
        "_batching",
        "_bytes_held",
        "_closing",
        "_decoder",
        "_goodbye",
        "_heard_s",
        "_hears_soon",
        "_holds",
        "_is_gone",
        "_lingers",
        "_loop",
        "_main",
        "_max_requests",
        "_on_gone",
        "_reading",
        "_room",
        "_sender",
        "_sessions",
        "_socket",
        "_tasks",
        "_unheard",
        "_wants_data",
        "began_s",
        "client",
        "is_closed",
        "paths",
        "peer",
        "session",
    )

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        session: Session,
        scratch: memoryview,
        threads: SendingThreads,
        max_requests: int,
        sessions: Sessions,
        on_gone: Callable[[Connection], None],
    ) -> None:
        """`peer` is the client's IP address; `on_gone` is called once, when nothing is left."""
        self.peer = peer
        self.session = session
        self.client: Client | None = None
        #: Whether it has ended.
        self.is_closed = False
        self.began_s = self._heard_s = time.monotonic()
        #: More connections of the same session, by path id; see `path`.
        self.paths: dict[int, Connection] = {}
        self._main: Connection | None = None  # whose path this one is
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._decoder = RequestDecoder()
        self._sender = Sender(sock, scratch, threads, self._look_at_pace, self.abort)
        self._room: Room | None = None
        self._max_requests = max_requests
        self._sessions = sessions
        self._on_gone = on_gone
        self._tasks: set[asyncio.Task[None]] = set()
        self._holds = 0
        self._bytes_held = 0
        self._unheard: list[Item] = []  # read, and not looked at yet
        self._wants_data = False  # that comes behind the last request
        self._reading = False
        self._hears_soon = False
        self._batching = False
        self._closing = False
        self._goodbye: asyncio.TimerHandle | None = None
        self._lingers = False
        self._is_gone = False

    def start(self) -> None:
        """Begins to listen to the client."""
        self._read_on()

    # --- for doors ------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on for this client."""
        return not self._tasks and not self._holds and not self._bytes_held

    @property
    def owner(self) -> str:
        """Whose requests these are, as people are shown it: USER@ADDRESS."""
        login = self.session.login
        user = login.user if login is not None and login.user.isprintable() else ""
        return f"{user or 'somebody'}@{self.peer}"

    def path(self, path_id: int) -> Connection:
        """The connection of this session that a client wants its data by; this one if unknown."""
        path = self.paths.get(path_id)
        return self if path is None or path.is_closed else path

    def send(self, response: bytes) -> None:
        """Sends bytes after all that waits."""
        if not self.is_closed:
            self._sender.outbox.put(response)
            if not self._batching:
                self._flush()

    def send_part(self, part: FilePart) -> None:
        """Sends a part of a file after all that waits."""
        if self.is_closed:
            part.file.let_go()
        else:
            self._sender.outbox.put(part)
            if not self._batching:
                self._flush()

    def send_parts(self, parts: FileParts) -> None:
        """Sends many parts of a file, one behind the other, after all that waits."""
        if self.is_closed:
            parts.let_go()
        else:
            self._sender.outbox.put(parts)
            if not self._batching:
                self._flush()

    def fail(self, stream_id: bytes, code: int, text: str) -> None:
        """Answers that a request failed."""
        self.send(responses.error(stream_id, code, text))

    def refuse(self, stream_id: bytes, error: PackhorseError | RootError) -> None:
        """The same for an error of ours."""
        self.fail(stream_id, error_code(error), str(error))

    def spawn(self, stream_id: bytes, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Works on a request in a task of its own; an error it raises is its answer.

        It is cancelled when the connection ends, but never before it has begun: so what it
        was given is let go by its own `finally`.
        """
        task = self._loop.create_task(self._run(stream_id, work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if self.is_closed:
            self._loop.call_soon(task.cancel)
        return task

    def room_for(self, size_bytes: int) -> AbstractAsyncContextManager[None]:
        """Waits until little enough waits to be sent that an answer of this size can be made.

        It is made and sent within the block; as many as there is room for are in one at a time.
        """
        if self._room is None:
            self._room = Room(WAITING_BYTES, lambda: self._sender.outbox.bytes_waiting)
            if self.is_closed:
                self._room.close()
        return self._room.taken(size_bytes)

    def hold(self) -> None:
        """Reads nothing more from the client until as many `release`s."""
        self._holds += 1
        self._look_at_pace()

    def release(self) -> None:
        """Takes a `hold` back."""
        assert self._holds, "a release without a hold"
        self._holds -= 1
        self._look_at_pace()

    def hold_bytes(self, size_bytes: int) -> None:
        """So much of what the client has sent is kept in memory; it is not read from if it is much."""
        self._bytes_held += size_bytes
        self._look_at_pace()

    def release_bytes(self, size_bytes: int) -> None:
        """So much is not any more."""
        self._bytes_held -= size_bytes
        assert self._bytes_held >= 0, "more was released than was held"
        self._look_at_pace()

    def close(self) -> None:
        """Ends the connection once what waits has been sent, and listens to nothing more."""
        if self._closing or self.is_closed:
            return
        self._closing = True
        self._unheard.clear()
        self._goodbye = self._loop.call_later(GOODBYE_S, self.abort)
        # What still comes is thrown away: to hang up on it could cost the client our last words.
        self._read_on()
        if not self._batching:
            self._flush()

    def abort(self) -> None:
        """Ends the connection now."""
        self._lingers = False
        if not self.is_closed:
            self._end()
        self._let_go()

    # --- for the listener -----------------------------------------------------------

    def add_path(self, path_id: int, path: Connection) -> None:
        """Has one more connection, of the same client, as a path for its data."""
        self.paths[path_id] = path
        path._main = self

    @property
    def active_s(self) -> float:
        """When the client last said or took something; monotonic."""
        return max(self._heard_s, self._sender.active_s)

    @property
    def is_clients_turn(self) -> bool:
        """Whether all that could happen here now has to come from the client."""
        if self._sender.awaits_client:
            return True
        # A path is for as long as its session.
        is_awaited = self.is_idle or self._decoder.missing_bytes > 0
        return self._reading and self._main is None and is_awaited

    @property
    def is_deaf(self) -> bool:
        """Whether it would not notice its client hanging up."""
        return not self._reading and not self.is_closed

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def check(self) -> None:
        """Raises AssertionError for what cannot be between two calls."""
        assert len(self._tasks) <= self._max_requests
        assert not (self._unheard and self._reading), "what comes later would be heard first"
        if self.is_closed:
            assert not self._unheard
            assert not self._sender.awaits_client
            assert self._reading <= self._lingers
        elif not self._closing:
            # A thread may have sent enough in the meantime: it is looked at when that is back.
            in_thread = any(one._sender.is_in_thread for one in (self, *self.paths.values()))
            is_waiting = self._is_behind or bool(self._unheard) or in_thread
            assert self._reading or is_waiting, "deaf for no reason"
            assert not (self._reading and self._is_behind), "listening to too much"
        assert all(path._main is self and not path.is_closed for path in self.paths.values())
        if self._is_gone:
            assert self.is_closed
            assert not self._tasks
            assert not self._sender.outbox
            assert self._socket.fileno() < 0

    # --- in ---------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            size_bytes = DATA_BYTES if self._decoder.missing_bytes else REQUESTS_BYTES
            data = self._socket.recv(size_bytes, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
        elif not self._closing:
            self._heard_s = time.monotonic()
            self._hear_all(self._decoder.feed(data))

    def _hear_all(self, items: list[Item]) -> None:
        """Looks at what has come, as far as the client is not ahead of us."""
        self._batching = True
        number = 0
        try:
            while number < len(items) and not (self.is_closed or self._closing):
                if self._is_behind:
                    self._unheard = items[number:]
                    break
                answered = self._hear_reads(items, number)
                if not answered:
                    self._hear(*items[number])
                number += answered or 1
        except Exception:
            log.exception("a connection from %s is closed: an internal error", self.peer)
            self.abort()
        finally:
            self._batching = False
        self._flush()

    def _hear_reads(self, items: list[Item], start: int) -> int:
        """Has usual reads answered together; how many."""
        if type(items[start][1]) is not Read or self.session.stage is not Stage.LOGGED_IN:
            return 0
        assert self.client is not None, "the listener gives every connection its client"
        return self.client.reads(items, start)

    def _hear(self, stream_id: bytes, message: Message | Handshake | Data | ProtocolError) -> None:
        assert self.client is not None, "the listener gives every connection its client"
        if isinstance(message, Data):
            if self._wants_data:
                self.client.data(message)
            return
        if isinstance(message, ProtocolError):
            self.fail(stream_id, message.code, message.message)
            if message.fatal:
                self.close()
            return
        answer = self.session.answer(stream_id, message)
        self._wants_data = answer is None
        if answer is not None:
            self._sender.outbox.put(answer)
        elif isinstance(message, (Bind, EndSession, Unknown)):
            self._answer(stream_id, message)
        else:
            try:
                self.client.request(stream_id, message)  # type: ignore[arg-type]
            except (PackhorseError, RootError) as error:
                self._wants_data = False
                self.refuse(stream_id, error)
            except Exception:
                self._wants_data = False
                log.exception("a request from %s failed", self.peer)
                self._fail_oddly(stream_id)

    def _answer(self, stream_id: bytes, message: Bind | EndSession | Unknown) -> None:
        """Answers what is no door's affair."""
        match message:
            case Bind():
                self._sessions.bind(self, stream_id, message.session_id)
            case EndSession():
                self._sessions.end(self, stream_id, message.session_id)
            case Unknown():
                self.fail(stream_id, Code.UNSUPPORTED, f"request {message.code} is not supported")

    # --- the pace ---------------------------------------------------------------------

    @property
    def _is_behind(self) -> bool:
        """Whether so much is to be done for the client already that it is not listened to."""
        return bool(
            self._holds > 0
            or len(self._tasks) >= self._max_requests
            or self._bytes_held >= HELD_BYTES
            or self._sender.outbox.is_full
            or (self.paths and any(path._sender.outbox.is_full for path in self.paths.values()))
        )

    def _look_at_pace(self) -> None:
        """Listens to the client, or does not, as it is served; ends what is to be ended."""
        if self._room is not None:
            self._room.look()
        if self._main is not None and not self._main.is_closed:
            self._main._look_at_pace()
        if self.is_closed:
            self._let_go()
        elif self._closing:
            if self._sender.is_done:
                self._part()
        elif not self._unheard and not self._is_behind:
            self._read_on()
        else:
            self._stop_reading()
            if self._unheard and not self._is_behind and not self._hears_soon:
                # Not now: whoever has made it so may be in the middle of something.
                self._hears_soon = True
                self._loop.call_soon(self._hear_on)

    def _hear_on(self) -> None:
        self._hears_soon = False
        items, self._unheard = self._unheard, []
        if items:
            self._hear_all(items)

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._socket, self._read)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _flush(self) -> None:
        self._sender.send()
        self._look_at_pace()

    # --- tasks, and the end -------------------------------------------------------------

    async def _run(self, stream_id: bytes, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (PackhorseError, RootError) as error:
            self.refuse(stream_id, error)
        except asyncio.CancelledError:
            # With the connection there, it is something else that was: nobody would answer.
            self.fail(stream_id, Code.CANCELLED, "the request was cancelled")
            raise
        except Exception:
            log.exception("a request from %s failed", self.peer)
            self._fail_oddly(stream_id)

    def _fail_oddly(self, stream_id: bytes) -> None:
        """Answers a request that ran into a bug of ours."""
        self.fail(stream_id, Code.SERVER_ERROR, "internal error, see the server's log")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_at_pace()

    def _end(self) -> None:
        self.is_closed = True
        is_all_sent = self._sender.is_done
        self._unheard.clear()
        self._stop_reading()
        self._sender.end()
        if self._room is not None:
            self._room.close()
        for task in self._tasks:
            # Not at once: those that were made just now begin before this comes.
            self._loop.call_soon(task.cancel)
        for path in list(self.paths.values()):
            path.abort()
        if self._main is not None:
            self._main._lose(self, is_all_sent=is_all_sent)
        if self.client is not None:
            try:
                self.client.gone()
            except Exception:
                log.exception("what %s had open is not closed: an internal error", self.peer)

    def _lose(self, path: Connection, *, is_all_sent: bool) -> None:
        """A path has ended. That an answer is lost with it, only the end of all tells the client."""
        self.paths = {number: one for number, one in self.paths.items() if one is not path}
        if not (self.is_closed or (is_all_sent and self.is_idle)):
            self.abort()

    def _part(self) -> None:
        """All has been said; the client is to hang up."""
        self._lingers = True
        self._end()
        # Unless whoever was told of the end has made it a short one.
        if self._lingers:
            self._sender.shut_down(socket.SHUT_WR)
            self._read_on()

    def _let_go(self) -> None:
        """Closes the socket once nobody uses it any more, and tells when nothing is left."""
        if self._sender.is_in_thread:
            self._sender.shut_down(socket.SHUT_RDWR)
        elif not self._lingers:
            if self._goodbye is not None:
                self._goodbye.cancel()
            self._stop_reading()
            self._socket.close()
            if not (self._tasks or self._batching or self._is_gone):
                self._is_gone = True
                self._on_gone(self)
