"""Taking connections in: their number is bounded, and those that sleep are ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from common.address import split_address
from common.errors import ConfigError
from common.root_server.connection import Connection
from common.root_server.outbox import new_scratch
from xroot import responses
from xroot.protocol import MAX_PATHS, SESSION_ID_BYTES, Code
from xroot.session import Session, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.root_server.connection import Client
    from common.root_server.outbox import Outcome

log = logging.getLogger(__name__)

#: A client that has not logged in by then never will.
LOGIN_LIMIT_S: Final = 30.0
#: Sleepers are looked for so often, or more often where they may sleep less.
LOOK_EVERY_S: Final = 10.0
#: No connection is taken for so long when this process has no descriptor left for it.
REST_S: Final = 0.5
BACKLOG: Final = 1024
#: A peer that went away without a word is found out by the kernel after about this long.
KEEPALIVE_S: Final = (60, 10, 6)  # idle, between probes, probes

_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one door lets its clients have."""

    max_connections: int
    max_requests: int
    idle_timeout_s: float


class Door(Protocol):
    """What is behind a listener: a server's side of root://."""

    #: What the server is, in the protocol's terms (`ServerFlag`).
    flags: int

    def welcome(self, connection: Connection) -> Client:
        """Whoever answers this connection's requests."""


class Listener:
    """One open door, and all connections through it."""

    def __init__(
        self,
        door: Door,
        limits: DoorLimits,
        in_thread: Callable[[Callable[[], Outcome]], asyncio.Future[Outcome]] | None = None,
    ) -> None:
        """`in_thread` runs what sends files to clients, in threads; a door without files needs none."""
        self._door = door
        self._limits = limits
        self._in_thread = in_thread or _no_files
        self._scratch = new_scratch()
        self._sockets: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._sessions: dict[bytes, Connection] = {}
        self._refused = 0

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def open(self, address: str) -> str:
        """Listens at HOST:PORT; the same with the real port for port 0. Raises ConfigError."""
        host, port = split_address(address)
        try:
            found = socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, proto, _, where = found[0]
            listening = socket.socket(family, kind, proto)
            self._sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(BACKLOG)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot listen at {address} for root://: {reason}") from error
        listening.setblocking(False)
        self._listen_on(listening)
        return f"{host}:{listening.getsockname()[1]}"

    async def watch(self) -> None:
        """Ends connections that sleep, for ever."""
        pause_s = min(LOOK_EVERY_S, self._limits.idle_timeout_s / 2)
        while True:
            await asyncio.sleep(pause_s)
            now_s = time.monotonic()
            for connection in list(self._connections):
                self._look_at(connection, now_s)

    def close(self) -> None:
        """Takes no more connections, and ends those there are."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for connection in list(self._connections):
            connection.abort()

    # --- sessions, for clients ------------------------------------------------------------

    def bind(self, connection: Connection, stream_id: bytes, session_id: bytes) -> None:
        """Makes a connection one more of a session, and answers its client."""
        session = self._sessions.get(session_id)
        if session is None:
            connection.fail(stream_id, Code.NOT_FOUND, "there is no such session")
            return
        taken = {number for number, path in session.paths.items() if not path.is_closed}
        free = next((number for number in range(1, MAX_PATHS + 1) if number not in taken), None)
        if free is None:
            connection.fail(stream_id, Code.OVERLOADED, "this session has too many connections")
            return
        session.paths[free] = connection
        connection.session.bind()
        connection.send(responses.ok(stream_id, bytes([free])))

    def end_session(self, connection: Connection, stream_id: bytes, session_id: bytes) -> None:
        """Forgets a session its client has lost; there may be none any more."""
        lost = self._sessions.get(session_id)
        if lost is not None and lost is not connection and lost.peer == connection.peer:
            lost.abort()
        connection.send(responses.ok(stream_id))

    # --- inside -----------------------------------------------------------------------------

    def _listen_on(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listening, self._take_in, listening)

    def _take_in(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                sock, where = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                self._rest(listening, error)
                return
            self._greet(sock, where[0])

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        log.error("no connection can be taken for %g s: %s", REST_S, error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(
            REST_S, lambda: self._listen_on(listening) if listening in self._sockets else None
        )

    def _greet(self, sock: socket.socket, peer: str) -> None:
        if len(self._connections) >= self._limits.max_connections:
            sock.close()
            self._note_refused()
            return
        sock.setblocking(False)
        _set_options(sock)
        session = Session(secrets.token_bytes(SESSION_ID_BYTES), self._door.flags)
        connection = Connection(
            sock,
            peer.removeprefix("::ffff:"),
            session,
            self._scratch,
            self._in_thread,
            self._limits.max_requests,
            self._forget,
        )
        connection.client = self._door.welcome(connection)
        self._connections.add(connection)
        self._sessions[session.session_id] = connection
        connection.start()

    def _note_refused(self) -> None:
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            log.warning(
                "%d connections were refused so far: there are max_connections = %d of them",
                self._refused,
                self._limits.max_connections,
            )

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._sessions.pop(connection.session.session_id, None)
        for path in connection.paths.values():
            path.abort()

    def _look_at(self, connection: Connection, now_s: float) -> None:
        asleep_s = now_s - connection.active_s
        stage = connection.session.stage
        if stage in {Stage.NEW, Stage.SHAKEN}:
            if asleep_s > LOGIN_LIMIT_S:
                connection.abort()
        elif connection.is_idle and asleep_s > self._limits.idle_timeout_s:
            log.info("a connection from %s is closed: idle for %.0f s", connection.peer, asleep_s)
            connection.abort()


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    for name, value in zip(names, KEEPALIVE_S, strict=True):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _no_files(_send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
    raise AssertionError("this door has no files to send")
