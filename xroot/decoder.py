"""Bytes as they arrive, cut into messages; whole or one byte at a time.

Nothing here raises for what a client sends. A request that makes no sense comes out as a
`ProtocolError` in its place among the others, so that the answers keep their order; after
a *fatal* one nothing more comes out, for nobody could say where the next message begins.

What is kept is the message that has begun, so memory is bounded by the largest payload that
a request may have (`MAX_PAYLOAD_BYTES`); the data of writes is never kept. The work is
bounded by the bytes fed: a payload is copied three times at most, however small the pieces.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from xroot.errors import ProtocolError
from xroot.protocol import (
    HANDSHAKE,
    HANDSHAKE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_RESPONSE_BYTES,
    REQUEST_HEADER_BYTES,
    RESPONSE_HEADER_BYTES,
    USUAL_PAYLOAD_BYTES,
    Code,
    Request,
    Status,
)
from xroot.requests import Message, PgWrite, Read, Write, WriteV, parse
from xroot.requests.layout import HEADER, LENGTH
from xroot.responses import Response, check_status, data_length

if TYPE_CHECKING:
    from collections.abc import Callable

_RESPONSE_HEADER: Final = struct.Struct(">2sHi")
#: A whole read as nearly all of them are: stream id, request, handle, offset, length, no payload.
_USUAL_READ: Final = struct.Struct(">2sH4sqii")
_FIVE_NUMBERS: Final = struct.Struct(">5i")
_NOBODY: Final = b"\0\0"

#: The length in their headers is that of the data, which is handed over as it arrives.
_WRITES: Final[dict[int, Callable[[bytes, bytes], Write | PgWrite]]] = {
    Request.WRITE: Write.parse,
    Request.PGWRITE: PgWrite.parse,
}
_PATH_ID_AT: Final = 12  # in the body of both
#: The data behind these is not counted in their headers: where one makes no sense, nobody
#: knows how much data follows.
_UNCOUNTED: Final = frozenset({int(Request.WRITEV), int(Request.CHKPOINT)})


class Handshake(NamedTuple):
    """The client's first five numbers were those of root://."""


class Data(NamedTuple):
    """Some of the data behind a write; `last` with the final piece, which may be empty."""

    data: memoryview
    last: bool


#: What comes out, with the stream id of its request.
Item = tuple[bytes, Message | Handshake | Data | ProtocolError]


class RequestDecoder:
    """A server's ear: what one client sends."""

    def __init__(self, *, handshake: bool = True) -> None:
        """`handshake`: five numbers come first, as they do on every new connection."""
        self._shaking = handshake
        self._pending = bytearray()  # a message that has begun
        self._wanted = 0  # how long it is, as far as can be told
        self._following = 0  # bytes of data still to come for the write under way
        self._skipping = 0  # bytes of data still to come that nobody needs
        self._stream_id = _NOBODY  # of the write under way
        self._is_lost = False

    @property
    def missing_bytes(self) -> int:
        """How much is still to come, as far as can be told, of what has begun."""
        if self._pending:
            return self._wanted - len(self._pending)
        return self._following or self._skipping

    def feed(self, data: bytes) -> list[Item]:
        """What is complete now, in order. Pieces of data refer to `data` itself."""
        items: list[Item] = []
        position = self._finish(data, items) if self._pending else 0
        end = len(data)
        while position < end and not self._is_lost:
            if self._following:
                position = self._hand_over(data, position, items)
            elif self._skipping:
                skipped = min(self._skipping, end - position)
                self._skipping -= skipped
                position += skipped
            else:
                position = self._next(data, self._reads(data, position, items), items)
        return items

    # --- inside: each returns where in `data` to go on --------------------------------

    def _finish(self, data: bytes, items: list[Item]) -> int:
        """Completes the message that has begun, if it can be."""
        position = 0
        pending = self._pending
        # Twice at most: once the header is there, it tells how much more is wanted.
        while pending:
            stop = position + self._wanted - len(pending)
            pending += memoryview(data)[position:stop]
            if stop > len(data):
                return len(data)
            position = stop
            begun = bytes(pending)
            pending.clear()
            self._next(begun, 0, items)
        return position

    def _reads(self, data: bytes, position: int, items: list[Item]) -> int:
        """Takes usual reads, which often come many at a time, in a loop that does little else."""
        if self._shaking:
            return position
        # A named tuple's own way to be made takes longer than all the rest.
        unpack, make = _USUAL_READ.unpack_from, tuple.__new__
        end = len(data) - REQUEST_HEADER_BYTES
        while position <= end:
            stream_id, code, handle, offset, length, more = unpack(data, position)
            if code != Request.READ or more or offset < 0 or length < 0:
                break
            items.append((stream_id, make(Read, (handle, offset, length, 0))))
            position += REQUEST_HEADER_BYTES
        return position

    def _next(self, data: bytes, position: int, items: list[Item]) -> int:
        """Takes one message, if it is there whole; else keeps what is there of it."""
        if self._shaking:
            return self._shake(data, position, items)
        start = position + REQUEST_HEADER_BYTES
        if start > len(data):
            return self._keep(data, position, REQUEST_HEADER_BYTES)
        stream_id, code, body, length = HEADER.unpack_from(data, position)
        if length < 0:
            error = ProtocolError(Code.ARG_INVALID, "a negative length", fatal=True)
            self._refuse(stream_id, error, items)
            return start
        if code in _WRITES:
            self._write(stream_id, code, body, length, items)
            return start
        if length > MAX_PAYLOAD_BYTES.get(code, USUAL_PAYLOAD_BYTES):
            reason = f"a payload of {length} bytes is too long for request {code}"
            error = ProtocolError(Code.ARG_TOO_LONG, reason, fatal=True)
            self._refuse(stream_id, error, items)
            return start
        stop: int = start + length
        if stop > len(data):
            return self._keep(data, position, REQUEST_HEADER_BYTES + length)
        try:
            message = parse(code, body, data[start:stop])
        except ProtocolError as error:
            error.fatal = code in _UNCOUNTED
            self._refuse(stream_id, error, items)
            return stop
        items.append((stream_id, message))
        if code in _UNCOUNTED and isinstance(message, WriteV):
            self._expect(stream_id, message.length, items)
        return stop

    def _shake(self, data: bytes, position: int, items: list[Item]) -> int:
        if len(data) - position < HANDSHAKE_BYTES:
            return self._keep(data, position, HANDSHAKE_BYTES)
        if _FIVE_NUMBERS.unpack_from(data, position) != HANDSHAKE:
            error = ProtocolError(Code.INVALID_REQUEST, "this is not root://", fatal=True)
            self._refuse(_NOBODY, error, items)
        else:
            self._shaking = False
            items.append((_NOBODY, Handshake()))
        return position + HANDSHAKE_BYTES

    def _keep(self, data: bytes, position: int, wanted: int) -> int:
        self._pending += memoryview(data)[position:]
        self._wanted = wanted
        return len(data)

    # --- inside: what comes out -------------------------------------------------------

    def _refuse(self, stream_id: bytes, error: ProtocolError, items: list[Item]) -> None:
        error.stream_id = stream_id
        self._is_lost = error.fatal
        items.append((stream_id, error))

    def _write(
        self, stream_id: bytes, code: int, body: bytes, length: int, items: list[Item]
    ) -> None:
        if body[_PATH_ID_AT]:
            # Then no data follows here. Clients do not ask for it: XRootD's own server does
            # not do it well.
            reason = "a write's data must come by the connection of its request"
            self._refuse(stream_id, ProtocolError(Code.UNSUPPORTED, reason), items)
            return
        try:
            message = _WRITES[code](body, LENGTH.pack(length))
        except ProtocolError as error:
            self._skipping = length
            self._refuse(stream_id, error, items)
            return
        items.append((stream_id, message))
        self._expect(stream_id, length, items)

    def _expect(self, stream_id: bytes, length: int, items: list[Item]) -> None:
        self._stream_id = stream_id
        self._following = length
        if not length:
            items.append((stream_id, Data(memoryview(b""), last=True)))

    def _hand_over(self, data: bytes, position: int, items: list[Item]) -> int:
        piece = memoryview(data)[position : position + self._following]
        self._following -= len(piece)
        items.append((self._stream_id, Data(piece, last=not self._following)))
        return position + len(piece)


class ResponseDecoder:
    """A client's ear: what one server sends."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._wanted = RESPONSE_HEADER_BYTES
        self._error: ProtocolError | None = None

    def feed(self, data: bytes) -> list[Response]:
        """The responses that are complete now, in order.

        Raises ProtocolError for what no server may send, from then on always: the
        connection is of no use any more, nor are responses that came in the same piece.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        self._pending += data
        try:
            return self._take()
        except ProtocolError as error:
            self._error = error
            self._pending = bytearray()
            raise

    def _take(self) -> list[Response]:
        responses: list[Response] = []
        position = 0
        while len(self._pending) - position >= self._wanted:
            total = self._total(position)
            if len(self._pending) - position < total:
                self._wanted = total
                break
            self._wanted = RESPONSE_HEADER_BYTES
            stream_id, status, _ = _RESPONSE_HEADER.unpack_from(self._pending, position)
            body = self._copy(position + RESPONSE_HEADER_BYTES, position + total)
            responses.append(Response(stream_id, status, body))
            position += total
        del self._pending[:position]
        return responses

    def _total(self, position: int) -> int:
        """How long the response that begins there is, as far as can be told yet."""
        stream_id, status, length = _RESPONSE_HEADER.unpack_from(self._pending, position)
        try:
            total = RESPONSE_HEADER_BYTES + _checked(length)
            if status == Status.STATUS and len(self._pending) - position >= total:
                # Its length does not count the data that follows, which is told within.
                body = self._copy(position + RESPONSE_HEADER_BYTES, position + total)
                total += _checked(data_length(body))
                check_status(body)
        except ProtocolError as error:
            error.stream_id = stream_id
            error.fatal = True
            raise
        return total

    def _copy(self, start: int, stop: int) -> bytes:
        with memoryview(self._pending) as pending:
            return bytes(pending[start:stop])


def _checked(length: int) -> int:
    if not 0 <= length <= MAX_RESPONSE_BYTES:
        raise ProtocolError(Code.BAD_PAYLOAD, f"a response of {length} bytes")
    return length


__all__ = ["Data", "Handshake", "Item", "RequestDecoder", "ResponseDecoder"]
