"""What clients say: one type for each request, read from its bytes and written to them.

`parse` makes a message of a request's code, body (16 bytes) and payload; `Message.encode`
makes the whole request for a stream id. Reading raises `ProtocolError` and nothing else,
whatever the bytes are; writing what cannot be written raises `Misuse`.

A path may come with "?cgi" behind it; the two are kept apart. Names are text here, and
nothing is known of which names are good ones.

`Write`, `PgWrite` and `WriteV` are followed by data that is not part of the message: the
decoder hands it over as it arrives.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import MAX_CHUNKS, AttributeAction, Code, Request

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = struct.Struct(">2sH16si")
_NO_BODY = bytes(16)


class Chunk(NamedTuple):
    """One part of a file, in readv and writev."""

    handle: bytes
    length: int
    offset: int


class Protocol(NamedTuple):
    """Which protocol does the server speak, and what is it?"""

    client_version: int = 0x520
    flags: int = 0
    expect: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">iBB10x", self.client_version, self.flags, self.expect)
        return _request(stream_id, Request.PROTOCOL, body)


class Login(NamedTuple):
    """Who the client is; without any proof."""

    pid: int
    user: str
    ability: int = 0
    capability: int = 0
    info: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        user = self.user.encode()
        if len(user) > 8:
            raise Misuse(f"user name {self.user!r} has more than 8 bytes")
        # The first of the two abilities is the newer one, which nobody needs here.
        body = struct.pack(">i8sBBBx", self.pid, user, 0, self.ability, self.capability)
        return _request(stream_id, Request.LOGIN, body, self.info.encode())


class Auth(NamedTuple):
    """A proof of who the client is."""

    kind: bytes
    credentials: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.AUTH, struct.pack(">12x4s", self.kind), self.credentials)


class Ping(NamedTuple):
    """Is anybody there?"""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.PING)


class EndSession(NamedTuple):
    """Forget a session, if there still is one of this id."""

    session_id: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.ENDSESS, self.session_id)


class Bind(NamedTuple):
    """This connection is one more of that session."""

    session_id: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.BIND, self.session_id)


class Set(NamedTuple):
    """Something the client would like the server to note, such as its application's name."""

    text: str

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.SET, payload=self.text.encode())


class Open(NamedTuple):
    """Opens a file: `options` are `OpenFlag`s, `mode` the permissions of a new one."""

    path: str
    cgi: str = ""
    options: int = 0
    mode: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">HH12x", self.mode, self.options)
        return _request(stream_id, Request.OPEN, body, _named(self.path, self.cgi))


class Close(NamedTuple):
    """Closes a file."""

    handle: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.CLOSE, struct.pack(">4s12x", self.handle))


class Read(NamedTuple):
    """Reads a range; it goes by the connection `path_id`."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        payload = struct.pack(">B7x", self.path_id) if self.path_id else b""
        body = _fields(">4sqi", self.handle, self.offset, self.length)
        return _request(stream_id, Request.READ, body, payload)


class ReadV(NamedTuple):
    """Reads many ranges, of several files if need be, in one go."""

    chunks: tuple[Chunk, ...]
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">15xB", self.path_id)
        return _request(stream_id, Request.READV, body, _chunk_list(self.chunks))


class PgRead(NamedTuple):
    """Reads a range in pages, each with its checksum."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0
    flags: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        extra = struct.pack(">BB", self.path_id, self.flags) if self.path_id or self.flags else b""
        body = _fields(">4sqi", self.handle, self.offset, self.length)
        return _request(stream_id, Request.PGREAD, body, extra)


class Write(NamedTuple):
    """Writes a range: `length` bytes follow."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        body = _fields(">4sqB3x", self.handle, self.offset, self.path_id)
        return _HEADER.pack(stream_id, Request.WRITE, body, self.length)


class PgWrite(NamedTuple):
    """Writes pages: `length` bytes follow, each page behind its checksum."""

    handle: bytes
    offset: int
    length: int
    path_id: int = 0
    flags: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        body = _fields(">4sqBB2x", self.handle, self.offset, self.path_id, self.flags)
        return _HEADER.pack(stream_id, Request.PGWRITE, body, self.length)


class WriteV(NamedTuple):
    """Writes many ranges: the data of all chunks follows, in their order."""

    chunks: tuple[Chunk, ...]
    options: int = 0

    @property
    def length(self) -> int:
        """The bytes that follow."""
        return sum(chunk.length for chunk in self.chunks)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes, without the data."""
        body = struct.pack(">B15x", self.options)
        return _request(stream_id, Request.WRITEV, body, _chunk_list(self.chunks))


class Sync(NamedTuple):
    """What was written to a file shall be on disk."""

    handle: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.SYNC, struct.pack(">4s12x", self.handle))


class Truncate(NamedTuple):
    """Gives a file another size: an open one, or if `path` is not empty that one."""

    handle: bytes
    size: int
    path: str = ""
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = _fields(">4sq4x", self.handle, self.size)
        return _request(stream_id, Request.TRUNCATE, body, _named(self.path, self.cgi))


class Stat(NamedTuple):
    """What is known of a name, or of an open file if `path` is empty."""

    path: str
    cgi: str = ""
    options: int = 0
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">B11x4s", self.options, self.handle)
        return _request(stream_id, Request.STAT, body, _named(self.path, self.cgi))


class Statx(NamedTuple):
    """What kind of things some names are."""

    paths: tuple[str, ...]

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.STATX, payload="\n".join(self.paths).encode())


class DirList(NamedTuple):
    """What is in a directory."""

    path: str
    cgi: str = ""
    options: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">15xB", self.options)
        return _request(stream_id, Request.DIRLIST, body, _named(self.path, self.cgi))


class Locate(NamedTuple):
    """Where a file is; with "*" before it, where anything of that name might be."""

    path: str
    cgi: str = ""
    options: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">H14x", self.options)
        return _request(stream_id, Request.LOCATE, body, _named(self.path, self.cgi))


class Query(NamedTuple):
    """A question of a kind, a `QueryType`; about `text`, or an open file."""

    kind: int
    text: str = ""
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">H2x4s8x", self.kind, self.handle)
        return _request(stream_id, Request.QUERY, body, self.text.encode())


class Prepare(NamedTuple):
    """Has files staged or evicted, or takes that back: `lines` are names, or an id and names."""

    lines: tuple[str, ...]
    options: int = 0
    priority: int = 0
    port: int = 0
    option_x: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">BBHH10x", self.options, self.priority, self.port, self.option_x)
        return _request(stream_id, Request.PREPARE, body, "\n".join(self.lines).encode())


class MkDir(NamedTuple):
    """Makes a directory; with option 1 those above it too."""

    path: str
    cgi: str = ""
    options: int = 0
    mode: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">B13xH", self.options, self.mode)
        return _request(stream_id, Request.MKDIR, body, _named(self.path, self.cgi))


class RmDir(NamedTuple):
    """Removes an empty directory."""

    path: str
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.RMDIR, payload=_named(self.path, self.cgi))


class Rm(NamedTuple):
    """Removes a file."""

    path: str
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return _request(stream_id, Request.RM, payload=_named(self.path, self.cgi))


class Mv(NamedTuple):
    """Gives a file another name."""

    source: str
    target: str
    cgi: str = ""  # the source's

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        source = _named(self.source, self.cgi)
        body = _fields(">14xh", len(source))
        return _request(stream_id, Request.MV, body, source + b" " + self.target.encode())


class Chmod(NamedTuple):
    """Gives a file other permissions."""

    path: str
    mode: int
    cgi: str = ""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">14xH", self.mode)
        return _request(stream_id, Request.CHMOD, body, _named(self.path, self.cgi))


class FAttr(NamedTuple):
    """Extended attributes of a name, or of an open file if `path` is empty."""

    action: int
    path: str
    cgi: str = ""
    names: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    options: int = 0
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = struct.pack(">4sBBB9x", self.handle, self.action, len(self.names), self.options)
        names = b"".join(b"\0\0" + name + b"\0" for name in self.names)
        values = b"".join(struct.pack(">i", len(value)) + value for value in self.values)
        path = _named(self.path, self.cgi)
        return _request(stream_id, Request.FATTR, body, path + b"\0" + names + values)


class Unknown(NamedTuple):
    """A request that is not understood here, and not needed: it is answered `UNSUPPORTED`."""

    code: int


Message = (
    Protocol
    | Login
    | Auth
    | Ping
    | EndSession
    | Bind
    | Set
    | Open
    | Close
    | Read
    | ReadV
    | PgRead
    | Write
    | PgWrite
    | WriteV
    | Sync
    | Truncate
    | Stat
    | Statx
    | DirList
    | Locate
    | Query
    | Prepare
    | MkDir
    | RmDir
    | Rm
    | Mv
    | Chmod
    | FAttr
    | Unknown
)

# --- reading --------------------------------------------------------------------


def parse(code: int, body: bytes, payload: bytes) -> Message:
    """The message in a request of this code. Raises ProtocolError."""
    reader = _READERS.get(code)
    if reader is None:
        return Unknown(code)
    return reader(body, payload)


def _path_and_cgi(payload: bytes) -> tuple[str, str]:
    path, _, cgi = _text(payload).partition("?")
    return path, cgi


def _text(payload: bytes) -> str:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(Code.ARG_INVALID, "a name that is not UTF-8") from None
    if text.endswith("\0"):
        text = text.rstrip("\0")
    if "\0" in text:
        raise ProtocolError(Code.ARG_INVALID, "a NUL within a name")
    return text


def _lines(payload: bytes) -> tuple[str, ...]:
    return tuple(line for line in _text(payload).split("\n") if line)


_PROTOCOL = struct.Struct(">iBB10x")
_LOGIN = struct.Struct(">i8sxBBx")
_OPEN = struct.Struct(">HH12x")
_HANDLE_OFFSET_LENGTH = struct.Struct(">4sqi")
_WRITE = struct.Struct(">4sqBB2x")
_CHUNK = struct.Struct(">4siq")
_TRUNCATE = struct.Struct(">4sq4x")
_STAT = struct.Struct(">B11x4s")
_QUERY = struct.Struct(">H2x4s8x")
_PREPARE = struct.Struct(">BBHH10x")
_FATTR = struct.Struct(">4sBBB9x")
_SHORT_AT_14 = struct.Struct(">14xH")
_LENGTH = struct.Struct(">i")


def _read_protocol(body: bytes, _payload: bytes) -> Protocol:
    return Protocol(*_PROTOCOL.unpack(body))


def _read_login(body: bytes, payload: bytes) -> Login:
    pid, user, ability, capability = _LOGIN.unpack(body)
    # Names of users are shown to people only, so an odd one is no reason to refuse anybody.
    name = user.rstrip(b"\0").decode("utf-8", "replace")
    return Login(pid, name, ability, capability, payload.rstrip(b"\0").decode("utf-8", "replace"))


def _read_auth(body: bytes, payload: bytes) -> Auth:
    return Auth(body[12:], payload)


def _read_open(body: bytes, payload: bytes) -> Open:
    mode, options = _OPEN.unpack(body)
    path, cgi = _path_and_cgi(payload)
    return Open(path, cgi, options, mode)


def _read_read(body: bytes, payload: bytes) -> Read:
    handle, offset, length = _HANDLE_OFFSET_LENGTH.unpack(body)
    _check_range(offset, length)
    # Hints of what will be read next may follow the path id; they are only hints.
    return Read(handle, offset, length, payload[0] if payload else 0)


def _read_pgread(body: bytes, payload: bytes) -> PgRead:
    handle, offset, length = _HANDLE_OFFSET_LENGTH.unpack(body)
    _check_range(offset, length)
    path_id = payload[0] if payload else 0
    return PgRead(handle, offset, length, path_id, payload[1] if len(payload) > 1 else 0)


def _read_readv(body: bytes, payload: bytes) -> ReadV:
    return ReadV(_chunks(payload), body[15])


def _read_write(body: bytes, payload: bytes) -> Write:
    handle, offset, path_id, _ = _WRITE.unpack(body)
    _check_range(offset, 0)
    return Write(handle, offset, _length_of(payload), path_id)


def _read_pgwrite(body: bytes, payload: bytes) -> PgWrite:
    handle, offset, path_id, flags = _WRITE.unpack(body)
    _check_range(offset, 0)
    return PgWrite(handle, offset, _length_of(payload), path_id, flags)


def _read_writev(body: bytes, payload: bytes) -> WriteV:
    return WriteV(_chunks(payload), body[0])


def _read_truncate(body: bytes, payload: bytes) -> Truncate:
    handle, size = _TRUNCATE.unpack(body)
    _check_range(size, 0)
    return Truncate(handle, size, *_path_and_cgi(payload))


def _read_stat(body: bytes, payload: bytes) -> Stat:
    options, handle = _STAT.unpack(body)
    return Stat(*_path_and_cgi(payload), options, handle)


def _read_query(body: bytes, payload: bytes) -> Query:
    kind, handle = _QUERY.unpack(body)
    return Query(kind, _text(payload), handle)


def _read_prepare(body: bytes, payload: bytes) -> Prepare:
    options, priority, port, option_x = _PREPARE.unpack(body)
    return Prepare(_lines(payload), options, priority, port, option_x)


def _read_mkdir(body: bytes, payload: bytes) -> MkDir:
    return MkDir(*_path_and_cgi(payload), body[0], _SHORT_AT_14.unpack(body)[0])


def _read_mv(body: bytes, payload: bytes) -> Mv:
    length = _SHORT_AT_14.unpack(body)[0]
    if length:
        source, target = payload[:length], payload[length + 1 :]
        if payload[length : length + 1] != b" ":
            raise ProtocolError(Code.ARG_INVALID, "mv: no space after the first name")
    else:
        source, _, target = payload.partition(b" ")
    path, cgi = _path_and_cgi(source)
    if not path or not target:
        raise ProtocolError(Code.ARG_MISSING, "mv needs two names")
    return Mv(path, _path_and_cgi(target)[0], cgi)


def _read_chmod(body: bytes, payload: bytes) -> Chmod:
    path, cgi = _path_and_cgi(payload)
    return Chmod(path, _SHORT_AT_14.unpack(body)[0], cgi)


def _read_fattr(body: bytes, payload: bytes) -> FAttr:
    handle, action, count, options = _FATTR.unpack(body)
    path, _, rest = payload.partition(b"\0")
    names = []
    for _ in range(count):
        if rest[:2] != b"\0\0":
            raise ProtocolError(
                Code.ARG_INVALID, "fattr: the names are not laid out as they must be"
            )
        name, end, rest = rest[2:].partition(b"\0")
        if not name or not end:
            raise ProtocolError(Code.ARG_MISSING, "fattr: a name is missing")
        names.append(name)
    values = []
    if action == AttributeAction.SET:
        for _ in range(count):
            length = _LENGTH.unpack(rest[:4])[0] if len(rest) >= 4 else -1
            if not 0 <= length <= len(rest) - 4:
                raise ProtocolError(Code.ARG_INVALID, "fattr: a value is cut off")
            values.append(rest[4 : 4 + length])
            rest = rest[4 + length :]
    if rest:
        raise ProtocolError(Code.BAD_PAYLOAD, "fattr: there is more than was announced")
    return FAttr(action, *_path_and_cgi(path), tuple(names), tuple(values), options, handle)


def _chunks(payload: bytes) -> tuple[Chunk, ...]:
    if not payload or len(payload) % _CHUNK.size:
        raise ProtocolError(Code.ARG_INVALID, "a list of chunks that is empty or cut off")
    if len(payload) > MAX_CHUNKS * _CHUNK.size:
        raise ProtocolError(Code.ARG_TOO_LONG, f"more than {MAX_CHUNKS} chunks")
    chunks = tuple(map(Chunk._make, _CHUNK.iter_unpack(payload)))
    if any(length < 0 or offset < 0 for _, length, offset in chunks):
        raise ProtocolError(Code.ARG_INVALID, "a chunk of negative length or offset")
    return chunks


def _check_range(offset: int, length: int) -> None:
    if offset < 0 or length < 0:
        raise ProtocolError(Code.ARG_INVALID, "a negative offset or length")


def _length_of(payload: bytes) -> int:
    """The decoder hands over the length of what follows instead of a payload."""
    return int(_LENGTH.unpack(payload)[0])


_READERS: dict[int, Callable[[bytes, bytes], Message]] = {
    Request.PROTOCOL: _read_protocol,
    Request.LOGIN: _read_login,
    Request.AUTH: _read_auth,
    Request.PING: lambda _body, _payload: Ping(),
    Request.ENDSESS: lambda body, _payload: EndSession(body),
    Request.BIND: lambda body, _payload: Bind(body),
    Request.SET: lambda _body, payload: Set(_text(payload)),
    Request.OPEN: _read_open,
    Request.CLOSE: lambda body, _payload: Close(body[:4]),
    Request.READ: _read_read,
    Request.READV: _read_readv,
    Request.PGREAD: _read_pgread,
    Request.WRITE: _read_write,
    Request.PGWRITE: _read_pgwrite,
    Request.WRITEV: _read_writev,
    Request.SYNC: lambda body, _payload: Sync(body[:4]),
    Request.TRUNCATE: _read_truncate,
    Request.STAT: _read_stat,
    Request.STATX: lambda _body, payload: Statx(_lines(payload)),
    Request.DIRLIST: lambda body, payload: DirList(*_path_and_cgi(payload), body[15]),
    Request.LOCATE: lambda body, payload: Locate(
        *_path_and_cgi(payload), int.from_bytes(body[:2], "big")
    ),
    Request.QUERY: _read_query,
    Request.PREPARE: _read_prepare,
    Request.MKDIR: _read_mkdir,
    Request.RMDIR: lambda _body, payload: RmDir(*_path_and_cgi(payload)),
    Request.RM: lambda _body, payload: Rm(*_path_and_cgi(payload)),
    Request.MV: _read_mv,
    Request.CHMOD: _read_chmod,
    Request.FATTR: _read_fattr,
}

# --- writing --------------------------------------------------------------------


def handshake() -> bytes:
    """What a client sends before anything else."""
    return struct.pack(">5i", 0, 0, 0, 4, 2012)


def _request(stream_id: bytes, code: int, body: bytes = _NO_BODY, payload: bytes = b"") -> bytes:
    if len(stream_id) != 2 or len(body) != 16:
        raise Misuse(f"stream id {stream_id!r} or body {body!r} has not the right length")
    return _HEADER.pack(stream_id, code, body, len(payload)) + payload


def _named(path: str, cgi: str) -> bytes:
    if "?" in path:
        raise Misuse(f"path {path!r} holds a question mark, which ends it")
    return f"{path}?{cgi}".encode() if cgi else path.encode()


def _fields(layout: str, *values: object) -> bytes:
    try:
        return struct.pack(layout, *values)
    except struct.error as error:
        raise Misuse(f"{values} cannot be sent: {error}") from None


def _chunk_list(chunks: tuple[Chunk, ...]) -> bytes:
    if not 0 < len(chunks) <= MAX_CHUNKS:
        raise Misuse(f"{len(chunks)} chunks; 1 to {MAX_CHUNKS} can be sent")
    return b"".join(_fields(">4siq", *chunk) for chunk in chunks)
