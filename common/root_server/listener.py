"""Taking connections in: their number is bounded, and those that sleep are ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import select
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from common.address import split_address
from common.errors import ConfigError
from common.root_server.connection import Connection
from common.root_server.from_cache import new_scratch
from common.root_server.sessions import Sessions
from common.root_server.threads import SendingThreads, be_patient
from xroot.protocol import SESSION_ID_BYTES
from xroot.session import Session, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.root_server.connection import Client
    from common.root_server.outbox import Outcome

log = logging.getLogger(__name__)

#: A client that has not logged in by then never will.
LOGIN_LIMIT_S: Final = 30.0
#: With no connection left to give, those that have not logged in by then make way.
STRANGER_S: Final = 2.0
#: Sleepers are looked for so often, or more often where they may sleep less.
LOOK_EVERY_S: Final = 10.0
#: No connection is taken for so long when this process has no descriptor left for it.
REST_S: Final = 0.5
#: Connections that wait to be taken, and those taken before others have their turn.
BACKLOG: Final = 1024
AT_A_TIME: Final = 64
#: How long what is under way may take when a door is closed for good.
STOP_S: Final = 2.0
#: A peer that went away without a word is found out by the kernel after about this long.
KEEPALIVE_S: Final = (60, 10, 6)  # idle, between probes, probes

#: The one who connected has gone again, or the network has: the next may be there.
_NOT_OURS: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
    }
)
#: A name may stand for addresses that this machine does not have.
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_GONE: Final[int] = getattr(select, "POLLRDHUP", 0)
_STRANGERS: Final = frozenset({Stage.NEW, Stage.SHAKEN})


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
        from_disk: Callable[[Callable[[], Outcome]], asyncio.Future[Outcome]] | None = None,
    ) -> None:
        """`from_disk` runs what sends files to clients and may have to wait for a disk, in threads;
        a door without files needs none."""
        self._door = door
        self._limits = limits
        self._threads = SendingThreads(from_disk)
        self._scratch = new_scratch()
        self._sockets: list[socket.socket] = []
        # In the order they came. A connection is among them until nothing is left of it.
        self._connections: dict[Connection, None] = {}
        self._sessions = Sessions()
        self._all_gone: asyncio.Future[None] | None = None
        self._refused = _Counted(
            "%d connections were refused so far: %d at a time (max_connections)"
        )
        self._rested = _Counted("%d times so far no connection could be taken: %s")

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def open(self, address: str) -> str:
        """Listens at HOST:PORT; the same with the real port for port 0. Raises ConfigError.

        All addresses of a host name are listened at, with the same port.
        """
        host, port = split_address(address)
        opened: list[socket.socket] = []
        try:
            for family, where in _addresses(host, port):
                port = opened[0].getsockname()[1] if opened else port
                try:
                    opened.append(_listening(family, (where[0], port, *where[2:])))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    missing = error
            if not opened:
                raise missing
        except (OSError, UnicodeError) as error:
            for listening in opened:
                listening.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"cannot listen at {address} for root://: {reason}") from error
        self._sockets += opened
        for listening in opened:
            self._listen_on(listening)
        return f"{host}:{opened[0].getsockname()[1]}"

    async def watch(self) -> None:
        """Ends connections that sleep, for ever."""
        pause_s = min(LOOK_EVERY_S, self._limits.idle_timeout_s / 2)
        while True:
            await asyncio.sleep(pause_s)
            self.look(time.monotonic())

    def look(self, now_s: float) -> None:
        """Ends the connections that sleep at this (monotonic) time, and those without a client."""
        for connection in list(self._connections):
            self._look_at(connection, now_s)
        self._look_for_deserted()

    def close(self) -> None:
        """Takes no more connections, and ends those there are."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for connection in list(self._connections):
            connection.abort()
        self._threads.close()

    async def stop(self, limit_s: float = STOP_S) -> None:
        """The same, and waits until nothing is left of them; not for ever."""
        self.close()
        if self._connections:
            self._all_gone = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._all_gone], timeout=limit_s)

    # --- taking in --------------------------------------------------------------------------

    def _listen_on(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listening, self._take_in, listening)

    def _take_in(self, listening: socket.socket) -> None:
        for _ in range(AT_A_TIME):
            try:
                sock, where = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    self._rest(listening, error)
                    return
                continue
            try:
                self._greet(sock, where[0])
            except OSError:
                # It has gone again already.
                sock.close()

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        """Most likely there is no descriptor left; to ask again at once would help nobody."""
        self._rested.note(error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(REST_S, self._listen_again, listening)

    def _listen_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._listen_on(listening)

    def _greet(self, sock: socket.socket, peer: str) -> None:
        if len(self._connections) >= self._limits.max_connections and not self._make_way():
            sock.close()
            self._refused.note(self._limits.max_connections)
            return
        be_patient(sock)
        _set_options(sock)
        session = Session(secrets.token_bytes(SESSION_ID_BYTES), self._door.flags)
        connection = Connection(
            sock,
            peer.removeprefix("::ffff:"),
            session,
            self._scratch,
            self._threads,
            self._limits.max_requests,
            self._sessions,
            self._forget,
        )
        connection.client = self._door.welcome(connection)
        self._connections[connection] = None
        self._sessions.add(connection)
        connection.start()

    def _make_way(self) -> bool:
        """Ends the connection that has been here longest without a login, if there is one."""
        for connection in self._connections:
            if connection.session.stage in _STRANGERS and not connection.is_closed:
                if time.monotonic() - connection.began_s < STRANGER_S:
                    return False
                connection.abort()
                return True
        return False

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection]
        self._sessions.forget(connection)
        if self._all_gone is not None and not self._connections and not self._all_gone.done():
            self._all_gone.set_result(None)

    # --- those that sleep -------------------------------------------------------------------

    def _look_at(self, connection: Connection, now_s: float) -> None:
        if connection.session.stage in _STRANGERS:
            # Since it came: it may send its login byte by byte, but not for ever.
            if now_s - connection.began_s > LOGIN_LIMIT_S:
                connection.abort()
            return
        asleep_s = now_s - connection.active_s
        if asleep_s > self._limits.idle_timeout_s and connection.is_clients_turn:
            log.info("a connection from %s is closed: idle for %.0f s", connection.peer, asleep_s)
            connection.abort()

    def _look_for_deserted(self) -> None:
        """Ends connections whose client hung up while it was not listened to."""
        poll = select.poll()
        deaf = {one.fileno(): one for one in self._connections if one.is_deaf}
        for descriptor in deaf:
            poll.register(descriptor, _GONE)
        for descriptor, _ in poll.poll(0):
            deaf[descriptor].abort()


class _Counted:
    """A complaint that is logged when it has come 1, 2, 4, 8 … times, so that no log is flooded."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._times = 0

    def note(self, *more: object) -> None:
        self._times += 1
        if self._times & (self._times - 1) == 0:
            log.warning(self._text, self._times, *more)


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Where to listen: address families and socket addresses, each once. Raises OSError."""
    found = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _listening(family: int, where: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The one address that stands for all of them takes IPv4 clients, too.
            everywhere = where[0] == "::"
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not everywhere)
        listening.bind(where)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    for name, value in zip(names, KEEPALIVE_S, strict=True):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
