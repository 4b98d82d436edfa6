"""A client of root:// that costs next to nothing, so that it measures servers and not itself.

Requests are encoded before the clock starts. Answers are received into one buffer, counted
by their headers and thrown away; as many requests follow as were answered, all in one send.
What is done once for a connection (logging in, opening a file) goes by `Connection.ask`,
which is slow and convenient.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from xroot import requests
from xroot.decoder import ResponseDecoder
from xroot.protocol import (
    ASYNC_ABLE,
    RESPONSE_HEADER_BYTES,
    OpenFlag,
    Status,
)
from xroot.responses import Response, data_length, number_of, promised, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RECEIVED_BYTES = 1 << 20
ANSWER_TIMEOUT_S = 60.0
STREAM_IDS = 1 << 16
#: Of one request, of which all but the last are waits and redirects.
MOST_ANSWERS = 30
#: Where in a `status` it says whether more of the answer follows.
_IS_PARTIAL = 7

_STREAM_ID = struct.Struct(">H")
_STATUS_AND_LENGTH = struct.Struct(">Hi")


class Address(NamedTuple):
    """Where a root:// server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """From HOST:PORT, with an IPv6 address in brackets."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Refused(Exception):
    """A server answered what a measurement cannot use."""


class Encodable(Protocol):
    """A request."""

    def encode(self, stream_id: bytes) -> bytes:
        """Its bytes."""


class Work(NamedTuple):
    """Requests in the order they go out: the bytes of all, and where each one ends."""

    encoded: memoryview
    ends: Sequence[int]

    @classmethod
    def of(cls, messages: Iterable[Encodable]) -> Work:
        """Encodes requests; stream ids come again only after all others were used."""
        encoded = bytearray()
        ends = []
        for number, message in enumerate(messages):
            encoded += message.encode(_STREAM_ID.pack(number % STREAM_IDS))
            ends.append(len(encoded))
        return cls(memoryview(encoded), ends)


class Connection:
    """One connection to one server, logged in."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket = socket.create_connection(address, timeout=ANSWER_TIMEOUT_S)
        # A timeout of Python's own would cost one more system call for each of ours.
        self.socket.settimeout(None)
        limit = struct.pack("ll", int(ANSWER_TIMEOUT_S), 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = ResponseDecoder()
        self._answers: deque[Response] = deque()
        self._log_in()

    def close(self) -> None:
        """Hangs up."""
        self.socket.close()

    def ask(self, message: Encodable) -> Response:
        """The final answer to one request, whatever it says; a promised one is waited for."""
        self.socket.sendall(message.encode(b"\1\0"))
        body = b""
        while True:
            answer = self._next()
            if answer.status == Status.ATTN:
                return promised(answer.body)
            body += answer.body
            if answer.status not in (Status.OKSOFAR, Status.WAITRESP):
                return answer._replace(body=body)

    def _log_in(self) -> None:
        hello = requests.handshake() + requests.Protocol().encode(b"\0\0")
        login = requests.Login(1, "bench", capability=ASYNC_ABLE | 5)
        self.socket.sendall(hello + login.encode(b"\0\0"))
        for _ in range(3):
            answer = self._next()
            if answer.status != Status.OK:
                raise Refused(f"{self.address}: {said(answer)}")

    def _next(self) -> Response:
        while not self._answers:
            received = self.socket.recv(RECEIVED_BYTES)
            if not received:
                raise Refused(f"{self.address} hung up")
            self._answers += self._decoder.feed(received)
        return self._answers.popleft()


def open_file(address: Address, path: str) -> tuple[Connection, bytes]:
    """Opens a file for reading, wherever one is sent: its server's connection, and the handle."""
    connection, answer = _ask_around(address, requests.Open(path, options=OpenFlag.READ))
    if answer.status == Status.OK:
        return connection, answer.body[:4]
    connection.close()
    raise Refused(f"{connection.address}: {path}: {said(answer)}")


def final_answer(address: Address, message: Encodable) -> Response:
    """The answer that neither sends the client elsewhere nor has it wait; both are obeyed."""
    connection, answer = _ask_around(address, message)
    connection.close()
    return answer


def _ask_around(address: Address, message: Encodable) -> tuple[Connection, Response]:
    connection = Connection(address)
    for _ in range(MOST_ANSWERS):
        answer = connection.ask(message)
        if answer.status == Status.WAIT:
            time.sleep(number_of(answer.body))
        elif answer.status == Status.REDIRECT:
            connection.close()
            host = text_of(answer.body).partition("?")[0]
            connection = Connection(Address(host.strip("[]"), number_of(answer.body)))
        else:
            return connection, answer
    connection.close()
    raise Refused(f"{address}: no answer but waits and redirects")


def said(answer: Response) -> str:
    """An answer in words."""
    if answer.status == Status.ERROR:
        return f"error {number_of(answer.body)}, {text_of(answer.body)}"
    return f"status {answer.status}"


class Lane:
    """One connection's requests: a window of them is under way until all are answered."""

    def __init__(self, connection: Connection, work: Work, wanted: int) -> None:
        """`wanted` is the status that every answer must end with."""
        self.socket = connection.socket
        self.left = len(work.ends)
        self.received_bytes = 0
        self._address = connection.address
        self._work = work
        self._wanted = wanted
        self._sent = 0
        self._kept = b""  # a header that has not come whole
        self._skipping = 0  # bytes still to come of the answer under way
        self._is_last = False  # whether that one ends a request

    def send(self, count: int) -> None:
        """Sends the next `count` requests, if there are so many."""
        ends = self._work.ends
        stop = min(self._sent + count, len(ends))
        if stop > self._sent:
            start = ends[self._sent - 1] if self._sent else 0
            self.socket.sendall(self._work.encoded[start : ends[stop - 1]])
            self._sent = stop

    def receive(self, buffer: bytearray, view: memoryview) -> None:
        """Takes what has come, and sends as many requests as were answered."""
        kept = len(self._kept)
        buffer[:kept] = self._kept
        received = self.socket.recv_into(view[kept:])
        if not received:
            raise Refused(f"{self._address} hung up")
        self.received_bytes += received
        answered = self._count(buffer, kept + received)
        self.left -= answered
        self.send(answered)

    def _count(self, buffer: bytearray, end: int) -> int:
        """How many requests have their whole answer with `buffer[:end]`."""
        position, is_last, answered = self._skipping, self._is_last, 0
        if position and position <= end:
            answered += is_last
        wanted, unpack = self._wanted, _STATUS_AND_LENGTH.unpack_from
        while position + RESPONSE_HEADER_BYTES <= end:
            status, length = unpack(buffer, position + 2)
            if status == wanted != Status.STATUS:
                is_last = True
            elif status == Status.OKSOFAR:
                is_last = False
            else:
                body = bytes(buffer[position + RESPONSE_HEADER_BYTES : end])[:length]
                if len(body) < length:
                    break
                if status != wanted:
                    raise Refused(f"{self._address}: {said(Response(b'', status, body))}")
                is_last = body[_IS_PARTIAL] == 0
                length += data_length(body)
            position += RESPONSE_HEADER_BYTES + length
            if position <= end:
                answered += is_last
        self._kept = bytes(buffer[position:end]) if position < end else b""
        self._skipping, self._is_last = max(0, position - end), is_last
        return answered


def drive(lanes: Sequence[Lane], window: int) -> tuple[float, float]:
    """Keeps `window` requests under way on every lane; when it began and ended, monotonic."""
    buffer = bytearray(RECEIVED_BYTES)
    view = memoryview(buffer)
    begun_s = time.monotonic()
    for lane in lanes:
        lane.send(window)
    if len(lanes) == 1:
        while lanes[0].left:
            lanes[0].receive(buffer, view)
    else:
        _drive_many({lane.socket.fileno(): lane for lane in lanes}, buffer, view)
    return begun_s, time.monotonic()


def _drive_many(lanes: dict[int, Lane], buffer: bytearray, view: memoryview) -> None:
    with select.epoll() as poll:
        for descriptor in lanes:
            poll.register(descriptor, select.EPOLLIN)
        while lanes:
            ready = poll.poll(ANSWER_TIMEOUT_S)
            if not ready:
                raise Refused("no answer")
            for descriptor, _ in ready:
                lane = lanes[descriptor]
                lane.receive(buffer, view)
                if not lane.left:
                    poll.unregister(descriptor)
                    del lanes[descriptor]
