"""What servers say: the bytes of every kind of response, and a client's way to read them.

The functions that make responses return the whole of one, header and body; `header` and
`pages` make the beginning alone, for those who send a file behind it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import ASYNC_RESPONSE, RESPONSE_HEADER_BYTES, Code, Request, Status

if TYPE_CHECKING:
    from xroot.requests import Chunk

_HEADER: Final = struct.Struct(">2sHi")
_NUMBER: Final = struct.Struct(">i")
_ATTENTION: Final = struct.Struct(">i4x")
_HANDSHAKE_ANSWER: Final = struct.Struct(">ii")
_CHECKSUM: Final = struct.Struct(">I")
#: The header of an answer that all is well: stream id, length of the body.
WELL: Final = struct.Struct(">2s2xi")
#: The header of one chunk in the answer to a readv: handle, length, offset.
CHUNK: Final = struct.Struct(">4siq")
#: Stream id, request, whether more follows, length of the data, offset.
_PAGES: Final = struct.Struct(">2sBB4xiq")
_DATA_LENGTH_AT: Final = 12
#: Of the body of a `status`, before what is special to its request.
STATUS_BODY_BYTES: Final = 16
#: Longer texts are cut: they are for people.
MAX_ERROR_TEXT_BYTES: Final = 2048
_NOBODY: Final = b"\0\0"


class Response(NamedTuple):
    """One response as it came; `body` includes the data behind a `status`."""

    stream_id: bytes
    status: int
    body: bytes


# --- making ---------------------------------------------------------------------


def header(stream_id: bytes, length: int, status: int = Status.OK) -> bytes:
    """A response's header; `length` bytes of body must follow."""
    return _HEADER.pack(stream_id, status, length)


def ok(stream_id: bytes, body: bytes = b"") -> bytes:
    """Done; here is what was asked for."""
    return _HEADER.pack(stream_id, 0, len(body)) + body


def text(stream_id: bytes, said: object) -> bytes:
    """Done; here is what was asked for, in words, which a NUL ends."""
    return ok(stream_id, f"{said}\0".encode())


def partial(stream_id: bytes, body: bytes) -> bytes:
    """Some of what was asked for; more follows."""
    return _HEADER.pack(stream_id, Status.OKSOFAR, len(body)) + body


def error(stream_id: bytes, code: int, text: str) -> bytes:
    """It failed, and why."""
    said = text.encode("utf-8", "replace").replace(b"\0", b"")
    if len(said) > MAX_ERROR_TEXT_BYTES:
        # Not within a character.
        said = said[:MAX_ERROR_TEXT_BYTES].decode("utf-8", "ignore").encode()
    body = _NUMBER.pack(code) + said + b"\0"
    return _HEADER.pack(stream_id, Status.ERROR, len(body)) + body


def redirect(stream_id: bytes, host: str, port: int, cgi: str = "") -> bytes:
    """Ask there instead, with `cgi` added to the name. An IPv6 address comes in brackets."""
    body = _NUMBER.pack(port) + (f"{host}?{cgi}" if cgi else host).encode()
    return _HEADER.pack(stream_id, Status.REDIRECT, len(body)) + body


def wait(stream_id: bytes, seconds: int, text: str = "") -> bytes:
    """Ask again in so many seconds."""
    body = _NUMBER.pack(seconds) + text.encode("utf-8", "replace")
    return _HEADER.pack(stream_id, Status.WAIT, len(body)) + body


def wait_for_response(stream_id: bytes, seconds: int) -> bytes:
    """The answer will come by itself, within so many seconds."""
    return _HEADER.pack(stream_id, Status.WAITRESP, 4) + _NUMBER.pack(seconds)


def asynchronous(response: bytes) -> bytes:
    """A whole response, sent as the one that was promised."""
    body = _ATTENTION.pack(ASYNC_RESPONSE) + response
    return _HEADER.pack(_NOBODY, Status.ATTN, len(body)) + body


def handshake_answer(kind: int, version: int) -> bytes:
    """What a client hears first; `kind` is `DATA_SERVER` or `LOAD_BALANCER`."""
    return ok(_NOBODY, _HANDSHAKE_ANSWER.pack(version, kind))


def pages(stream_id: bytes, request: int, offset: int, length: int, *, final: bool = True) -> bytes:
    """The beginning of an answer to `PGREAD` or `PGWRITE`; `length` bytes must follow.

    Of PGREAD these are the pages from `offset` on, with their checksums; of PGWRITE, what
    `pages.bad_pages` says of those written at `offset` that came with wrong checksums.
    """
    if request not in (Request.PGREAD, Request.PGWRITE):
        raise Misuse(f"request {request} is not about pages")
    said = _PAGES.pack(stream_id, request - Request.AUTH, not final, length, offset)
    checksum = _CHECKSUM.pack(google_crc32c.value(said))
    return _HEADER.pack(stream_id, Status.STATUS, len(checksum) + len(said)) + checksum + said


def chunk(of: Chunk) -> bytes:
    """The header of one chunk in the answer to a readv; its bytes must follow."""
    return CHUNK.pack(*of)


# --- reading --------------------------------------------------------------------


def number_of(body: bytes) -> int:
    """The number a body begins with: an error's code, a redirect's port, seconds to wait.

    Raises ProtocolError.
    """
    if len(body) < 4:
        raise ProtocolError(Code.BAD_PAYLOAD, "a response that is cut off")
    return int(_NUMBER.unpack_from(body)[0])


def text_of(body: bytes) -> str:
    """The text behind that number: an error's, a redirect's host and cgi."""
    return body[4:].rstrip(b"\0").decode("utf-8", "replace")


def promised(body: bytes) -> Response:
    """The response inside an `attn`. Raises ProtocolError."""
    start = _ATTENTION.size + RESPONSE_HEADER_BYTES
    if len(body) < start or number_of(body) != ASYNC_RESPONSE:
        raise ProtocolError(Code.BAD_PAYLOAD, "an attention that holds no response")
    stream_id, status, length = _HEADER.unpack_from(body, _ATTENTION.size)
    if length != len(body) - start:
        raise ProtocolError(Code.BAD_PAYLOAD, "a response that is cut off")
    return Response(stream_id, status, body[start:])


def data_length(body: bytes) -> int:
    """How many bytes follow a `status` of this body. Raises ProtocolError."""
    if len(body) < STATUS_BODY_BYTES:
        raise ProtocolError(Code.BAD_PAYLOAD, "a status that is cut off")
    return int(_NUMBER.unpack_from(body, _DATA_LENGTH_AT)[0])


def check_status(body: bytes) -> None:
    """Raises ProtocolError if the body of a `status`, without data, has not its checksum."""
    if number_of(body) & 0xFFFFFFFF != google_crc32c.value(body[_CHECKSUM.size :]):
        raise ProtocolError(Code.CHECKSUM_ERROR, "a status whose checksum is wrong")
