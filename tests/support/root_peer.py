"""A client of root:// that does exactly what a test tells it to, good or bad."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Self

from xroot import requests
from xroot.decoder import ResponseDecoder
from xroot.protocol import ASYNC_ABLE, Status
from xroot.responses import Response, number_of, promised, text_of

if TYPE_CHECKING:
    from xroot.requests import Message

PATIENCE_S = 30.0
RECEIVED_BYTES = 1 << 20
STREAM_ID = b"\1\0"


class HungUp(Exception):
    """The server has ended the connection."""


class Peer:
    """One connection, from the client's side. Nothing is read but by `hear` and the like."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.session_id = b""
        #: Of what was begun to be said, what the kernel has not taken.
        self.unsaid = b""
        self._decoder = ResponseDecoder()
        self._heard: deque[Response] = deque()

    @classmethod
    async def connect(cls, address: str, *, receives_bytes: int = 0) -> Self:
        """Connects, and says nothing. `receives_bytes`: the kernel takes no more than about that."""
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if receives_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host.strip("[]"), int(port)))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @classmethod
    async def logged_in(cls, address: str, *, receives_bytes: int = 0, waits: bool = True) -> Self:
        """Connects and logs in; `waits`: it takes answers that come later by themselves."""
        peer = await cls.connect(address, receives_bytes=receives_bytes)
        try:
            await peer.log_in(waits=waits)
        except BaseException:
            peer.close()
            raise
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # --- saying ---------------------------------------------------------------------------

    async def shake(self) -> None:
        """The handshake."""
        await self.say(requests.handshake())
        assert (await self.hear()).status == Status.OK

    async def log_in(self, *, waits: bool = True) -> None:
        """Handshake and login."""
        await self.shake()
        login = requests.Login(1, "test", capability=5 | (ASYNC_ABLE if waits else 0))
        self.session_id = (await self.ask(login)).body

    async def say(self, *said: bytes | Message) -> None:
        """Sends bytes as they are, and requests. Raises HungUp."""
        data = b"".join(one if isinstance(one, bytes) else one.encode(STREAM_ID) for one in said)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except ConnectionError as error:
            raise HungUp from error

    def say_at_once(self, data: bytes) -> int:
        """Sends what the kernel takes now; how much that is."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    # --- hearing --------------------------------------------------------------------------

    async def hear(self) -> Response:
        """The next response. Raises HungUp, TimeoutError."""
        while not self._heard:
            self._heard += self._decoder.feed(await self.receive())
        return self._heard.popleft()

    async def receive(self, most_bytes: int = RECEIVED_BYTES) -> bytes:
        """The next bytes, whatever they are. Raises HungUp, TimeoutError."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await asyncio.get_running_loop().sock_recv(self.socket, most_bytes)
        except ConnectionError as error:
            raise HungUp from error
        if not data:
            raise HungUp
        return data

    async def ask(self, message: Message | bytes) -> Response:
        """A request's final answer: pieces joined, and one that was promised waited for."""
        await self.say(message)
        return await self.answer()

    async def answer(self) -> Response:
        """The final answer to the request before."""
        body = b""
        while True:
            response = await self.hear()
            if response.status == Status.ATTN:
                return promised(response.body)
            body += response.body
            if response.status not in (Status.OKSOFAR, Status.WAITRESP):
                return response._replace(body=body)

    async def until_hung_up(self) -> bytes:
        """Waits for the server to end the connection; what it said until then."""
        said = b""
        with contextlib.suppress(HungUp):
            while True:
                said += await self.receive()
        return said

    # --- going ----------------------------------------------------------------------------

    def close(self) -> None:
        """Hangs up, as a program that ends does."""
        self.socket.close()

    def hang_up_half(self) -> None:
        """Says that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Hangs up with a reset: whatever is on its way is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def said(response: Response) -> tuple[int, str]:
    """An error, in numbers and words."""
    assert response.status == Status.ERROR, response
    return number_of(response.body), text_of(response.body)
