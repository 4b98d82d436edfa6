"""A door of root:// that does little, so that what is between it and its clients can be tried."""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from common.errors import NotFound
from common.root_server import DoorLimits, FilePart, FileParts, Listener
from xroot import requests, responses
from xroot.protocol import ServerFlag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from common.root_server import Connection
    from common.root_server.outbox import Outcome
    from xroot.decoder import Data, Item
    from xroot.requests import Message


class ServedFile:
    """A file that counts who keeps it, and closes once when the last one lets go of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.kept = 0
        self.ever_kept = 0
        self.cut_at: list[int] = []

    def keep(self, parts: int = 1) -> None:
        """So many more parts are on their way."""
        self.kept += parts
        self.ever_kept += parts

    def let_go(self, parts: int = 1) -> None:
        """So many less are."""
        assert self.kept >= parts, "let go of more often than kept"
        self.kept -= parts

    def cut_short(self, offset: int) -> None:
        """It ended too early."""
        assert self.kept, "told of a file that nobody keeps"
        self.cut_at.append(offset)

    def close(self) -> None:
        """At the end of a test."""
        assert not self.kept, f"{self.path} is still kept by {self.kept}"
        os.close(self.fd)


class FakeDoor:
    """Answers by what is asked for:

    stat       its path, at once
    open       its path, once `gate` is open
    read       of one of `files`, by its number as a handle
    readv      the same for many parts
    query      so many bytes as its text says, when there is room for them
    write      nothing, as soon as all data has come; `held` data is released by `let_on`
    chmod      is refused
    mkdir      is a bug
    rm         closes the connection
    truncate   aborts it, and works on
    """

    flags = ServerFlag.IS_SERVER

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.files: list[ServedFile] = []
        self.clients: list[FakeClient] = []
        self.in_threads = 0
        self._threads = ThreadPoolExecutor(4)

    def welcome(self, connection: Connection) -> FakeClient:
        """Whoever answers this connection's requests."""
        self.clients.append(FakeClient(self, connection))
        return self.clients[-1]

    def in_thread(self, send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
        """Counts what goes by a thread."""
        self.in_threads += 1
        return asyncio.wrap_future(self._threads.submit(send))

    def serve(self, path: Path) -> ServedFile:
        """One more file that can be read."""
        self.files.append(ServedFile(path))
        return self.files[-1]

    def close_threads(self) -> None:
        """Nothing can go by a thread any more."""
        self._threads.shutdown()

    def close(self) -> None:
        """Nothing may be in use any more."""
        self.close_threads()
        for file in self.files:
            file.close()
        for client in self.clients:
            assert client.times_gone == 1


class FakeClient:
    """One client of it."""

    def __init__(self, door: FakeDoor, connection: Connection) -> None:
        self.connection = connection
        self.times_gone = 0
        self.heard = 0
        self.begun = 0
        self.cancelled = 0
        self.held_bytes = 0
        self.holds_data = False
        self.fails_on_data = False
        self.refuses_writes = False
        self._door = door
        self._writes: bytes = b""

    def request(self, stream_id: bytes, message: Message) -> None:
        """Answers a request."""
        assert not self.times_gone
        self.heard += 1
        connection = self.connection
        match message:
            case requests.Stat():
                connection.send(responses.ok(stream_id, message.path.encode()))
            case requests.Open():
                connection.spawn(stream_id, self._open(stream_id, message.path))
            case requests.Read():
                connection.path(message.path_id).send_part(
                    FilePart(
                        responses.header(stream_id, message.length),
                        self._file(message.handle),
                        message.offset,
                        message.length,
                    )
                )
            case requests.ReadV():
                self._readv(stream_id, message)
            case requests.Query():
                connection.spawn(stream_id, self._query(stream_id, message.text))
            case requests.Write() if self.refuses_writes:
                raise NotFound("there is no such file")
            case requests.Write():
                self._writes = stream_id
            case requests.Chmod():
                raise NotFound(f"{message.path} does not exist")
            case requests.MkDir():
                raise RuntimeError("a bug in mkdir")
            case requests.Rm():
                connection.send(responses.ok(stream_id, b"farewell"))
                connection.close()
            case requests.Truncate():
                connection.abort()
                connection.spawn(stream_id, self._open(stream_id, "too late"))
                connection.send(responses.ok(stream_id))
            case _:
                raise AssertionError(message)

    def reads(self, items: Sequence[Item], start: int, /) -> int:
        """Leaves all of them to `request`."""
        return 0

    def data(self, piece: Data) -> None:
        """Takes data, and keeps it if the test wants so."""
        if self.fails_on_data:
            raise RuntimeError("a bug in data")
        self.connection.hold_bytes(len(piece.data))
        self.held_bytes += len(piece.data)
        if not self.holds_data:
            self.let_on()
        if piece.last:
            self.connection.send(responses.ok(self._writes))

    def let_on(self) -> None:
        """The data that was kept is written."""
        held, self.held_bytes = self.held_bytes, 0
        self.connection.release_bytes(held)

    def gone(self) -> None:
        """The client has gone."""
        self.times_gone += 1

    def _file(self, handle: bytes) -> ServedFile:
        return self._door.files[int.from_bytes(handle, "big")]

    async def _open(self, stream_id: bytes, path: str) -> None:
        self.begun += 1
        try:
            await self._door.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.connection.send(responses.ok(stream_id, path.encode()))

    async def _query(self, stream_id: bytes, text: str) -> None:
        size_bytes = int(text)
        async with self.connection.room_for(size_bytes):
            # As if it were read from a disk meanwhile.
            await asyncio.sleep(0)
            self.connection.send(responses.ok(stream_id, bytes(size_bytes)))

    def _readv(self, stream_id: bytes, message: requests.ReadV) -> None:
        total = sum(16 + chunk.length for chunk in message.chunks)
        path = self.connection.path(message.path_id)
        path.send(responses.header(stream_id, total))
        for chunk in message.chunks:
            file = self._file(chunk.handle)
            path.send_parts(FileParts(file, [chunk], responses.CHUNK, tells_offset=True))


class Site:
    """A fake door behind a real listener, on loopback."""

    def __init__(self, door: FakeDoor, listener: Listener, address: str) -> None:
        self.door = door
        self.listener = listener
        self.address = address

    def client(self, number: int = -1) -> FakeClient:
        """The door's side of the client that came last, or that came as so many-th."""
        return self.door.clients[number]


@contextlib.asynccontextmanager
async def serving(
    *,
    max_connections: int = 100,
    max_requests: int = 16,
    idle_timeout_s: float = 3600.0,
    address: str = "127.0.0.1:0",
) -> AsyncIterator[Site]:
    """Opens such a door. At the end everything has been let go of, exactly once."""
    door = FakeDoor()
    limits = DoorLimits(max_connections, max_requests, idle_timeout_s)
    listener = Listener(door, limits, door.in_thread)
    try:
        yield Site(door, listener, listener.open(address))
    finally:
        await listener.stop(30.0)
        assert not listener.connections
        door.close()
