"""Requests about names: what and where they are, and changing them.

A path may come with "?cgi" behind it; the two are kept apart. Names are text here, and
nothing is known of which names are good ones.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import Code, Request
from xroot.requests.layout import (
    encoded,
    joined,
    lines_of,
    named,
    pack,
    path_and_cgi,
    request,
    text_of,
)

_STAT: Final = struct.Struct(">B11x4s")
_DIRLIST: Final = struct.Struct(">15xB")
_LOCATE: Final = struct.Struct(">H14x")
_QUERY: Final = struct.Struct(">H2x4s8x")
_PREPARE: Final = struct.Struct(">BBHH10x")
_MKDIR: Final = struct.Struct(">B13xH")
_SHORT_AT_14: Final = struct.Struct(">14xH")


class Stat(NamedTuple):
    """What is known of a name, or of an open file if `path` is empty.

    `options` may be `STAT_VFS`: what is known of the space below it.
    """

    path: str
    cgi: str = ""
    options: int = 0
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_STAT, self.options, self.handle)
        return request(stream_id, Request.STAT, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Stat:
        """Reads one. Raises ProtocolError."""
        options, handle = _STAT.unpack(body)
        path, cgi = path_and_cgi(payload)
        return cls(path, cgi, options, handle)


class Statx(NamedTuple):
    """What kind of things some names are."""

    paths: tuple[str, ...]

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.STATX, payload=joined(self.paths))

    @classmethod
    def parse(cls, _body: bytes, payload: bytes) -> Statx:
        """Reads one. Raises ProtocolError."""
        return cls(lines_of(payload))


class DirList(NamedTuple):
    """What is in a directory; `options` are `DirListFlag`s."""

    path: str
    cgi: str = ""
    options: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_DIRLIST, self.options)
        return request(stream_id, Request.DIRLIST, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> DirList:
        """Reads one. Raises ProtocolError."""
        path, cgi = path_and_cgi(payload)
        return cls(path, cgi, body[15])


class Locate(NamedTuple):
    """Where a file is; with "*" before it, where anything of that name might be.

    `options` are `LocateFlag`s.
    """

    path: str
    cgi: str = ""
    options: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_LOCATE, self.options)
        return request(stream_id, Request.LOCATE, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Locate:
        """Reads one. Raises ProtocolError."""
        path, cgi = path_and_cgi(payload)
        return cls(path, cgi, body[0] << 8 | body[1])


class Query(NamedTuple):
    """A question of a kind, a `QueryType`; about `text`, or an open file."""

    kind: int
    text: str = ""
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_QUERY, self.kind, self.handle)
        # Of all requests this one alone usually ends in a NUL.
        payload = encoded(self.text) + b"\0" if self.text else b""
        return request(stream_id, Request.QUERY, body, payload)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Query:
        """Reads one. Raises ProtocolError."""
        kind, handle = _QUERY.unpack(body)
        return cls(kind, text_of(payload), handle)


class Prepare(NamedTuple):
    """Has files staged or evicted, or takes that back: `lines` are names, or an id and names.

    `options` and `option_x` are `PrepareFlag`s.
    """

    lines: tuple[str, ...]
    options: int = 0
    priority: int = 0
    port: int = 0
    option_x: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_PREPARE, self.options, self.priority, self.port, self.option_x)
        return request(stream_id, Request.PREPARE, body, joined(self.lines))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Prepare:
        """Reads one. Raises ProtocolError."""
        return cls(lines_of(payload), *_PREPARE.unpack(body))


class MkDir(NamedTuple):
    """Makes a directory; with `MKDIR_PARENTS` in `options` those above it too."""

    path: str
    cgi: str = ""
    options: int = 0
    mode: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_MKDIR, self.options, self.mode)
        return request(stream_id, Request.MKDIR, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> MkDir:
        """Reads one. Raises ProtocolError."""
        path, cgi = path_and_cgi(payload)
        return cls(path, cgi, *_MKDIR.unpack(body))


class RmDir(NamedTuple):
    """Removes an empty directory."""

    path: str
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.RMDIR, payload=named(self.path, self.cgi))

    @classmethod
    def parse(cls, _body: bytes, payload: bytes) -> RmDir:
        """Reads one. Raises ProtocolError."""
        return cls(*path_and_cgi(payload))


class Rm(NamedTuple):
    """Removes a file."""

    path: str
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.RM, payload=named(self.path, self.cgi))

    @classmethod
    def parse(cls, _body: bytes, payload: bytes) -> Rm:
        """Reads one. Raises ProtocolError."""
        return cls(*path_and_cgi(payload))


class Mv(NamedTuple):
    """Gives a file another name."""

    source: str
    target: str
    cgi: str = ""  # the source's

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        if not self.source or not self.target:
            raise Misuse("mv needs two names")
        source, target = named(self.source, self.cgi), named(self.target, "")
        body = pack(_SHORT_AT_14, len(source))
        return request(stream_id, Request.MV, body, source + b" " + target)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Mv:
        """Reads one. Raises ProtocolError."""
        (length,) = _SHORT_AT_14.unpack(body)
        if length:
            source, between, target = (
                payload[:length],
                payload[length : length + 1],
                payload[length + 1 :],
            )
            if between not in (b" ", b""):
                raise ProtocolError(Code.ARG_INVALID, "mv: no space after the first name")
        else:
            # Old clients do not say where the first name ends.
            source, _, target = payload.partition(b" ")
        path, cgi = path_and_cgi(source)
        new_path, _ = path_and_cgi(target)
        if not path or not new_path:
            raise ProtocolError(Code.ARG_MISSING, "mv needs two names")
        return cls(path, new_path, cgi)


class Chmod(NamedTuple):
    """Gives a file other permissions."""

    path: str
    mode: int
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_SHORT_AT_14, self.mode)
        return request(stream_id, Request.CHMOD, body, named(self.path, self.cgi))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Chmod:
        """Reads one. Raises ProtocolError."""
        path, cgi = path_and_cgi(payload)
        (mode,) = _SHORT_AT_14.unpack(body)
        return cls(path, mode, cgi)
