"""Requests about files: opening, reading, writing, closing.

An open file is known by the handle of four bytes that the server gave. `Write`, `PgWrite`
and `WriteV` are followed by data that is not part of the message.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Final, NamedTuple

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import MAX_CHUNKS, Code, Request
from xroot.requests.layout import (
    LENGTH,
    check_range,
    header,
    in_file,
    named,
    pack,
    path_and_cgi,
    request,
)

_OPEN: Final = struct.Struct(">HH12x")
_HANDLE: Final = struct.Struct(">4s12x")
_READ: Final = struct.Struct(">4sqi")
_PATH_ID: Final = struct.Struct(">B7x")
_PATH_ID_AND_FLAGS: Final = struct.Struct(">BB")
_READV: Final = struct.Struct(">15xB")
_WRITE: Final = struct.Struct(">4sqB3x")
_PGWRITE: Final = struct.Struct(">4sqBB2x")
_WRITEV: Final = struct.Struct(">B15x")
_CHUNK: Final = struct.Struct(">4siq")
_TRUNCATE: Final = struct.Struct(">4sq4x")


class Open(NamedTuple):
    """Opens a file: `options` are `OpenFlag`s, `mode` the permissions of a new one."""

    path: str
    cgi: str = ""
    options: int = 0
    mode: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_OPEN, self.mode, self.options)
        return request(stream_id, Request.OPEN, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Open:
        """Reads one. Raises ProtocolError."""
        mode, options = _OPEN.unpack(body)
        path, cgi = path_and_cgi(payload)
        return cls(path, cgi, options, mode)


class Close(NamedTuple):
    """Closes a file."""

    handle: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.CLOSE, pack(_HANDLE, self.handle))

    @classmethod
    def parse(cls, body: bytes, _payload: bytes) -> Close:
        """Reads one."""
        return cls(body[:4])


class Read(NamedTuple):
    """Reads a range; it goes by the connection `path_id`."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        in_file(self.offset, self.length)
        body = pack(_READ, self.handle, self.offset, self.length)
        payload = pack(_PATH_ID, self.path_id) if self.path_id else b""
        return request(stream_id, Request.READ, body, payload)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Read:
        """Reads one. Raises ProtocolError."""
        handle, offset, length = _READ.unpack(body)
        check_range(offset, length)
        # What will be read next may be told behind the path id: a hint, not needed here.
        return cls(handle, offset, length, payload[0] if payload else 0)


class PgRead(NamedTuple):
    """Reads a range in pages, each with its checksum; `flags` may be `PAGES_AGAIN`."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0
    flags: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        in_file(self.offset, self.length)
        body = pack(_READ, self.handle, self.offset, self.length)
        says_more = self.path_id or self.flags
        payload = pack(_PATH_ID_AND_FLAGS, self.path_id, self.flags) if says_more else b""
        return request(stream_id, Request.PGREAD, body, payload)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> PgRead:
        """Reads one. Raises ProtocolError."""
        handle, offset, length = _READ.unpack(body)
        check_range(offset, length)
        path_id = payload[0] if payload else 0
        return cls(handle, offset, length, path_id, payload[1] if len(payload) > 1 else 0)


class Chunk(NamedTuple):
    """One part of a file, in readv and writev."""

    handle: bytes
    length: int
    offset: int


# There may be a thousand in a request: this is a named tuple's `_make` without its checks.
_AS_CHUNK: Final = partial(tuple.__new__, Chunk)


class ReadV(NamedTuple):
    """Reads many ranges, of several files if need be, in one go."""

    chunks: tuple[Chunk, ...]
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_READV, self.path_id)
        return request(stream_id, Request.READV, body, _list(self.chunks))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> ReadV:
        """Reads one. Raises ProtocolError."""
        return cls(_chunks(payload), body[15])


class Write(NamedTuple):
    """Writes a range: `length` bytes follow."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        in_file(self.offset)
        body = pack(_WRITE, self.handle, self.offset, self.path_id)
        return header(stream_id, Request.WRITE, body, self.length)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Write:
        """Reads one; the payload is only the length of what follows. Raises ProtocolError."""
        handle, offset, path_id = _WRITE.unpack(body)
        check_range(offset)
        return cls(handle, offset, LENGTH.unpack(payload)[0], path_id)


class PgWrite(NamedTuple):
    """Writes pages: `length` bytes follow, each page behind its checksum.

    `flags` may be `PAGES_AGAIN`.
    """

    handle: bytes
    offset: int
    length: int
    path_id: int = 0
    flags: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        in_file(self.offset)
        body = pack(_PGWRITE, self.handle, self.offset, self.path_id, self.flags)
        return header(stream_id, Request.PGWRITE, body, self.length)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> PgWrite:
        """Reads one; the payload is only the length of what follows. Raises ProtocolError."""
        handle, offset, path_id, flags = _PGWRITE.unpack(body)
        check_range(offset)
        return cls(handle, offset, LENGTH.unpack(payload)[0], path_id, flags)


class WriteV(NamedTuple):
    """Writes many ranges: the data of all chunks follows, in their order.

    `options` may be `WRITEV_SYNC`.
    """

    chunks: tuple[Chunk, ...]
    options: int = 0

    @property
    def length(self) -> int:
        """The bytes that follow."""
        return sum(chunk.length for chunk in self.chunks)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        body = pack(_WRITEV, self.options)
        return request(stream_id, Request.WRITEV, body, _list(self.chunks))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> WriteV:
        """Reads one. Raises ProtocolError."""
        return cls(_chunks(payload), body[0])


class Sync(NamedTuple):
    """What was written to a file shall be on disk."""

    handle: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.SYNC, pack(_HANDLE, self.handle))

    @classmethod
    def parse(cls, body: bytes, _payload: bytes) -> Sync:
        """Reads one."""
        return cls(body[:4])


class Truncate(NamedTuple):
    """Gives a file another size: an open one, or if `path` is not empty that one."""

    handle: bytes
    size: int
    path: str = ""
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        in_file(self.size)
        body = pack(_TRUNCATE, self.handle, self.size)
        return request(stream_id, Request.TRUNCATE, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Truncate:
        """Reads one. Raises ProtocolError."""
        handle, size = _TRUNCATE.unpack(body)
        check_range(size)
        path, cgi = path_and_cgi(payload)
        return cls(handle, size, path, cgi)


def _list(chunks: tuple[Chunk, ...]) -> bytes:
    if not 0 < len(chunks) <= MAX_CHUNKS:
        raise Misuse(f"{len(chunks)} chunks; 1 to {MAX_CHUNKS} can be sent")
    for chunk in chunks:
        in_file(chunk.offset, chunk.length)
    return b"".join(pack(_CHUNK, *chunk) for chunk in chunks)


def _chunks(payload: bytes) -> tuple[Chunk, ...]:
    if not payload or len(payload) % _CHUNK.size:
        raise ProtocolError(Code.ARG_INVALID, "a list of chunks that is empty or cut off")
    if len(payload) > MAX_CHUNKS * _CHUNK.size:
        raise ProtocolError(Code.ARG_TOO_LONG, f"more than {MAX_CHUNKS} chunks")
    # The first bytes of all lengths, and of all offsets: they say which ones are negative.
    if max(payload[4 :: _CHUNK.size]) > 127 or max(payload[8 :: _CHUNK.size]) > 127:
        raise ProtocolError(Code.ARG_INVALID, "a chunk of negative length or offset")
    return tuple(map(_AS_CHUNK, _CHUNK.iter_unpack(payload)))
