"""Bytes as they arrive, cut into messages; whole or one byte at a time.

Nothing here raises for what a peer sends. A request that makes no sense comes out as a
`ProtocolError` in its place among the others, so that the answers keep their order; after
a *fatal* one nothing more comes out, for nobody could say where the next message begins.

Memory is bounded by the largest payload that is kept whole (`MAX_PAYLOAD_BYTES`), and the
work by the bytes fed: no byte is looked at more than twice.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

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
from xroot.requests import Message, PgWrite, Unknown, Write, WriteV, parse
from xroot.responses import STATUS_BODY_BYTES, Response, data_length

_HEADER: Final = struct.Struct(">2sH16si")
_RESPONSE_HEADER: Final = struct.Struct(">2sHi")
_LENGTH: Final = struct.Struct(">i")
_FIVE_NUMBERS: Final = struct.Struct(">5i")


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
        self._pending = bytearray()
        self._wanted = HANDSHAKE_BYTES if handshake else REQUEST_HEADER_BYTES
        self._shaking = handshake
        self._following = 0  # bytes of data still to come for the write under way
        self._skipping = 0  # bytes of a payload nobody needs
        self._stream_id = b"\0\0"
        self._dead = False

    def feed(self, data: bytes) -> list[Item]:
        """What is complete now, in order. Pieces of data refer to `data` itself."""
        items: list[Item] = []
        if self._dead:
            return items
        if self._pending:
            # No more is joined than is missing from the message under way, again and again.
            data = self._join(data, items)
        position, end = 0, len(data)
        while position < end and self._goes_on():
            if self._following:
                position = self._pass_on(data, position, end, items)
            elif self._skipping:
                skipped = min(self._skipping, end - position)
                self._skipping -= skipped
                position += skipped
            else:
                position = self._next(data, position, end, items)
        return items

    # --- inside -----------------------------------------------------------------

    def _goes_on(self) -> bool:
        """Whether what follows can be taken from where it lies."""
        return not self._dead and not self._pending

    def _join(self, data: bytes, items: list[Item]) -> bytes:
        """Completes the message that has begun; returns what of `data` is left then."""
        while self._pending:
            missing = self._wanted - len(self._pending)
            self._pending += data[:missing]
            data = data[missing:]
            if len(self._pending) < self._wanted:
                return b""
            begun = bytes(self._pending)
            self._pending.clear()
            self._next(begun, 0, len(begun), items)
            if self._dead:
                return b""
        return data

    def _next(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        """Takes one message, if it is there whole; else keeps what is there. Where it ends."""
        if self._shaking:
            return self._shake(data, position, end, items)
        if end - position < REQUEST_HEADER_BYTES:
            return self._keep(data, position, end, REQUEST_HEADER_BYTES)
        stream_id, code, body, length = _HEADER.unpack_from(data, position)
        if length < 0:
            return self._die(stream_id, Code.ARG_INVALID, "a negative length", items, end)
        position += REQUEST_HEADER_BYTES
        if code in (Request.WRITE, Request.PGWRITE):
            self._take(stream_id, code, body, _LENGTH.pack(length), items)
            return position
        if length > MAX_PAYLOAD_BYTES.get(code, USUAL_PAYLOAD_BYTES):
            reason = f"a payload of {length} bytes is too long for request {code}"
            return self._die(stream_id, Code.ARG_TOO_LONG, reason, items, end)
        if end - position < length:
            wanted = REQUEST_HEADER_BYTES + length
            return self._keep(data, position - REQUEST_HEADER_BYTES, end, wanted)
        stop: int = position + length
        self._take(stream_id, code, body, data[position:stop], items)
        return stop

    def _shake(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        if end - position < HANDSHAKE_BYTES:
            return self._keep(data, position, end, HANDSHAKE_BYTES)
        if _FIVE_NUMBERS.unpack_from(data, position) != HANDSHAKE:
            return self._die(b"\0\0", Code.INVALID_REQUEST, "this is not root://", items, end)
        self._shaking = False
        items.append((b"\0\0", Handshake()))
        return position + HANDSHAKE_BYTES

    def _take(
        self, stream_id: bytes, code: int, body: bytes, payload: bytes, items: list[Item]
    ) -> None:
        try:
            message = parse(code, body, payload)
        except ProtocolError as error:
            error.stream_id = stream_id
            if code in (Request.WRITE, Request.PGWRITE):
                self._skipping = _LENGTH.unpack(payload)[0]
            # How much data follows a list of chunks that makes no sense, nobody knows.
            error.fatal = code == Request.WRITEV
            self._dead = error.fatal
            items.append((stream_id, error))
            return
        items.append((stream_id, message))
        if isinstance(message, Write | PgWrite | WriteV):
            self._stream_id = stream_id
            self._following = message.length
            if not self._following:
                items.append((stream_id, Data(memoryview(b""), last=True)))

    def _pass_on(self, data: bytes, position: int, end: int, items: list[Item]) -> int:
        stop = min(end, position + self._following)
        self._following -= stop - position
        piece = Data(memoryview(data)[position:stop], last=not self._following)
        items.append((self._stream_id, piece))
        return stop

    def _keep(self, data: bytes, position: int, end: int, wanted: int) -> int:
        self._pending += memoryview(data)[position:end]
        self._wanted = wanted
        return end

    def _die(self, stream_id: bytes, code: int, reason: str, items: list[Item], end: int) -> int:
        error = ProtocolError(code, reason, stream_id=stream_id, fatal=True)
        items.append((stream_id, error))
        self._dead = True
        return end


class ResponseDecoder:
    """A client's ear: what one server sends. Raises ProtocolError for what no server may send."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._wanted = RESPONSE_HEADER_BYTES

    def feed(self, data: bytes) -> list[Response]:
        """The responses that are complete now, in order."""
        responses: list[Response] = []
        self._pending += data
        position = 0
        while len(self._pending) - position >= self._wanted:
            total = self._total(position)
            if len(self._pending) - position < total:
                self._wanted = total
                break
            self._wanted = RESPONSE_HEADER_BYTES
            stream_id, status, _ = _RESPONSE_HEADER.unpack_from(self._pending, position)
            body = bytes(self._pending[position + RESPONSE_HEADER_BYTES : position + total])
            responses.append(Response(stream_id, status, body))
            position += total
        del self._pending[:position]
        return responses

    def _total(self, position: int) -> int:
        """How long the response that begins here is, as far as its header tells so far."""
        stream_id, status, length = _RESPONSE_HEADER.unpack_from(self._pending, position)
        if not 0 <= length <= MAX_RESPONSE_BYTES:
            raise ProtocolError(
                Code.BAD_PAYLOAD, f"a response of {length} bytes", stream_id=stream_id, fatal=True
            )
        total: int = RESPONSE_HEADER_BYTES + length
        if status == Status.STATUS and len(self._pending) - position >= total:
            body = memoryview(self._pending)[position + RESPONSE_HEADER_BYTES : position + total]
            if length < STATUS_BODY_BYTES:
                raise ProtocolError(Code.BAD_PAYLOAD, "a status that is cut off", fatal=True)
            following = data_length(bytes(body))
            if not 0 <= following <= MAX_RESPONSE_BYTES:
                raise ProtocolError(
                    Code.BAD_PAYLOAD, f"a response of {following} bytes", fatal=True
                )
            total += following
        return total


__all__ = ["Data", "Handshake", "Item", "RequestDecoder", "ResponseDecoder", "Unknown"]
