"""How requests are put together and taken apart: what all of them have in common.

What is written here can be read again: whatever would come back different, a number that
does not fit or a name with a NUL in it, is refused as `Misuse` before it is sent.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import MAX_PAYLOAD_BYTES, USUAL_PAYLOAD_BYTES, Code

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER: Final = struct.Struct(">2sH16si")
LENGTH: Final = struct.Struct(">i")
NO_BODY: Final = bytes(16)

# --- writing --------------------------------------------------------------------


def request(stream_id: bytes, code: int, body: bytes = NO_BODY, payload: bytes = b"") -> bytes:
    """A whole request. Raises Misuse."""
    if len(payload) > MAX_PAYLOAD_BYTES.get(code, USUAL_PAYLOAD_BYTES):
        raise Misuse(f"{len(payload)} bytes are too many for request {code}")
    return header(stream_id, code, body, len(payload)) + payload


def header(stream_id: bytes, code: int, body: bytes, length: int) -> bytes:
    """A request's header; `length` bytes must follow. Raises Misuse."""
    if len(body) != len(NO_BODY):
        raise Misuse(f"a body of {len(body)} bytes")
    if length < 0:
        raise Misuse(f"a length of {length}")
    return pack(HEADER, stream_id, code, body, length)


def pack(layout: struct.Struct, *values: int | bytes) -> bytes:
    """Values as they are laid out on the wire. Raises Misuse for those that do not fit."""
    try:
        packed = layout.pack(*values)
    except struct.error as error:
        raise Misuse(f"{values} cannot be sent: {error}") from None
    # Bytes of another length than their place would be cut or filled up without a word.
    if layout.unpack(packed) != values:
        raise Misuse(f"{values} cannot be sent: bytes of a wrong length")
    return packed


def encoded(text: str) -> bytes:
    """A text's bytes. Raises Misuse for what is not read as it was written."""
    if "\0" in text:
        raise Misuse(f"{text!r} holds a NUL, which ends it")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Misuse(f"{text!r} cannot be sent: {error.reason}") from None


def named(path: str, cgi: str) -> bytes:
    """A path with what stands behind it. Raises Misuse."""
    if "?" in path:
        raise Misuse(f"path {path!r} holds a question mark, which ends it")
    return encoded(f"{path}?{cgi}" if cgi else path)


def joined(lines: Iterable[str]) -> bytes:
    """Lines, one below the other. Raises Misuse."""
    lines = tuple(lines)
    for line in lines:
        if not line or "\n" in line:
            raise Misuse(f"{line!r} is no line: it is empty, or more than one")
    return encoded("\n".join(lines))


def in_file(offset: int, length: int = 0) -> None:
    """Raises Misuse for a range that no file has."""
    if offset < 0 or length < 0:
        raise Misuse(f"{length} bytes at {offset} are in no file")


# --- reading --------------------------------------------------------------------


def text_of(payload: bytes) -> str:
    """A text, with or without NULs behind it. Raises ProtocolError."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(Code.ARG_INVALID, "a name that is not UTF-8") from None
    if "\0" in text:
        text = text.rstrip("\0")
        if "\0" in text:
            raise ProtocolError(Code.ARG_INVALID, "a NUL within a name")
    return text


def shown_of(raw: bytes) -> str:
    """A text that is only shown to people: an odd one is no reason to refuse anybody."""
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def path_and_cgi(payload: bytes) -> tuple[str, str]:
    """A path, and what stands behind the first question mark. Raises ProtocolError."""
    path, _, cgi = text_of(payload).partition("?")
    return path, cgi


def lines_of(payload: bytes) -> tuple[str, ...]:
    """The lines that are not empty. Raises ProtocolError."""
    return tuple(filter(None, text_of(payload).split("\n")))


def check_range(offset: int, length: int = 0) -> None:
    """Raises ProtocolError for a range that no file has."""
    if offset < 0 or length < 0:
        raise ProtocolError(Code.ARG_INVALID, "a negative offset or length")
