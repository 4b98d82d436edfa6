"""A root:// client of a few lines, that shows what a server really says."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from common.address import split_address
from xroot import requests
from xroot.decoder import ResponseDecoder
from xroot.protocol import ASYNC_ABLE, Status
from xroot.responses import Response, number_of, promised, text_of

if TYPE_CHECKING:
    from xroot.requests import Message

TIMEOUT_S = 20.0
OPEN_TO_READ = 0x0450


class RootClient:
    """One connection. Enter it to log in; `ask` gives the next response to one request."""

    def __init__(
        self, address: str, *, takes_async: bool = True, user: str = "tester", logs_in: bool = True
    ) -> None:
        self._address = address
        self._capability = (ASYNC_ABLE if takes_async else 0) | 5
        self._user = user
        self._logs_in = logs_in
        self._ids = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Queue[Response]] = {}
        self.session_id = b""
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        host, port = split_address(self._address)
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self._task = asyncio.create_task(self._read(), name="root client")
        if self._logs_in:
            self.writer.write(requests.handshake())
            await self.next_of(b"\0\0")
            await self.ask(requests.Protocol())
            login = requests.Login(1, self._user, capability=self._capability)
            self.session_id = (await self.ask(login)).body
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Goes away."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.writer.close()

    def send(self, message: Message, data: bytes = b"") -> bytes:
        """Sends a request and the data behind it; the stream id its answers will bear."""
        assert not isinstance(message, requests.Unknown)
        stream_id = (next(self._ids) & 0xFFFF).to_bytes(2, "big")
        self._waiting.setdefault(stream_id, asyncio.Queue())
        self.writer.write(message.encode(stream_id) + data)
        return stream_id

    async def ask(self, message: Message, data: bytes = b"") -> Response:
        """The first response to a request."""
        return await self.next_of(self.send(message, data))

    async def next_of(self, stream_id: bytes) -> Response:
        """The next response to the request of this stream id."""
        queue = self._waiting.setdefault(stream_id, asyncio.Queue())
        async with asyncio.timeout(TIMEOUT_S):
            return await queue.get()

    async def said(self, message: Message) -> str:
        """The text of a good answer."""
        answer = await self.ask(message)
        assert answer.status == Status.OK, (answer.status, text_of(answer.body))
        return answer.body.rstrip(b"\0").decode()

    async def refused(self, message: Message, data: bytes = b"") -> tuple[int, str]:
        """The code and the text of an error."""
        answer = await self.ask(message, data)
        assert answer.status == Status.ERROR, answer
        return number_of(answer.body), text_of(answer.body)

    async def sent_to(self, message: Message) -> Redirect:
        """Where a request is redirected to."""
        return redirect_of(await self.ask(message))

    async def _read(self) -> None:
        decoder = ResponseDecoder()
        while data := await self.reader.read(1 << 16):
            for response in decoder.feed(data):
                self._take(promised(response.body) if response.status == Status.ATTN else response)
        self.closed.set()

    def _take(self, response: Response) -> None:
        self._waiting.setdefault(response.stream_id, asyncio.Queue()).put_nowait(response)


@dataclass(frozen=True)
class Redirect:
    """Where a client is sent, and with what."""

    address: str
    cgi: str


def redirect_of(answer: Response) -> Redirect:
    """The redirect that an answer is."""
    assert answer.status == Status.REDIRECT, (answer.status, text_of(answer.body))
    host, _, cgi = text_of(answer.body).partition("?")
    return Redirect(f"{host}:{number_of(answer.body)}", cgi)


def error_of(answer: Response) -> tuple[int, str]:
    """The code and the text of an answer that is an error."""
    assert answer.status == Status.ERROR, answer
    return number_of(answer.body), text_of(answer.body)


def open_to_read(path: str, cgi: str = "") -> requests.Open:
    """An open as xrdcp sends it."""
    return requests.Open(path, cgi, OPEN_TO_READ)
