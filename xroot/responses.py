"""What servers say: the bytes of every kind of response, and a client's way to read them.

The functions that make responses return the whole of one, header and body; `header` makes
the header alone, for those who send a file behind it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import ASYNC_RESPONSE, Code, Request, Status

if TYPE_CHECKING:
    from xroot.requests import Chunk

_HEADER: Final = struct.Struct(">2sHi")
_NUMBER: Final = struct.Struct(">i")
_STATUS: Final = struct.Struct(">2sBB4si")
_OFFSET: Final = struct.Struct(">q")
_CHUNK: Final = struct.Struct(">4siq")
#: Of a `status` response, before what is special to its request.
STATUS_BODY_BYTES: Final = 16
#: Longer texts are cut: they are for people.
MAX_ERROR_TEXT: Final = 2048


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


def partial(stream_id: bytes, body: bytes) -> bytes:
    """Some of what was asked for; more follows."""
    return _HEADER.pack(stream_id, Status.OKSOFAR, len(body)) + body


def error(stream_id: bytes, code: int, text: str) -> bytes:
    """It failed, and why."""
    said = text.encode("utf-8", "replace").replace(b"\0", b"")[:MAX_ERROR_TEXT]
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
    body = struct.pack(">i4x", ASYNC_RESPONSE) + response
    return _HEADER.pack(b"\0\0", Status.ATTN, len(body)) + body


def handshake_answer(kind: int, version: int) -> bytes:
    """`DATA_SERVER` or `LOAD_BALANCER`."""
    return _HEADER.pack(b"\0\0", 0, 8) + struct.pack(">ii", version, kind)


def pages(stream_id: bytes, request: int, offset: int, length: int, *, final: bool = True) -> bytes:
    """The header of pages read (`PGREAD`), `length` bytes of which follow; or that they were
    written (`PGWRITE`), with `length` of what is wrong with some of them following."""
    if request not in (Request.PGREAD, Request.PGWRITE):
        raise Misuse(f"request {request} is not about pages")
    said = _STATUS.pack(stream_id, request - Request.AUTH, 0 if final else 1, bytes(4), length)
    said += _OFFSET.pack(offset)
    checksum = google_crc32c.value(said)
    return (
        _HEADER.pack(stream_id, Status.STATUS, 4 + len(said)) + struct.pack(">I", checksum) + said
    )


def chunk(of: Chunk) -> bytes:
    """The header of one chunk in the answer to a readv; its bytes must follow."""
    return _CHUNK.pack(*of)


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
    if len(body) < 16 or number_of(body) != ASYNC_RESPONSE:
        raise ProtocolError(Code.BAD_PAYLOAD, "an attention that holds no response")
    stream_id, status, length = _HEADER.unpack_from(body, 8)
    if length != len(body) - 16:
        raise ProtocolError(Code.BAD_PAYLOAD, "a response that is cut off")
    return Response(stream_id, status, body[16:])


def data_length(body: bytes) -> int:
    """How many bytes follow a `status` response of this body."""
    return int(_STATUS.unpack_from(body, 4)[4])
