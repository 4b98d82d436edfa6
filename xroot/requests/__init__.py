"""What clients say: one type for each request, read from its bytes and written to them.

`parse` makes a message of a request's code, body (16 bytes) and payload; a message's
`encode` makes the whole request for a stream id. Reading raises `ProtocolError` and nothing
else, whatever the bytes are. Writing raises `Misuse` for what could not be read again.

`Write`, `PgWrite` and `WriteV` are followed by data that is not part of the message: the
decoder hands it over as it arrives. As the payload of the first two, `parse` takes the
length of that data, four bytes, instead of the data.

connection   who speaks: protocol, login, bind, endsess …
files        open, read, write, close …
names        stat, locate, dirlist, query, prepare, mv …
attributes   extended attributes
layout       what all of them have in common
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from xroot.errors import ProtocolError
from xroot.protocol import CHECKPOINT_WRITE, HANDSHAKE, Code, Request
from xroot.requests.attributes import FAttr
from xroot.requests.connection import Auth, Bind, EndSession, Login, Ping, Protocol, Set
from xroot.requests.files import (
    Chunk,
    Close,
    Open,
    PgRead,
    PgWrite,
    Read,
    ReadV,
    Sync,
    Truncate,
    Write,
    WriteV,
)
from xroot.requests.names import (
    Chmod,
    DirList,
    Locate,
    MkDir,
    Mv,
    Prepare,
    Query,
    Rm,
    RmDir,
    Stat,
    Statx,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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


def _parse_checkpoint(body: bytes, _payload: bytes) -> Unknown:
    """Checkpoints are not offered; the write within one has data that is not counted."""
    if body[15] == CHECKPOINT_WRITE:
        raise ProtocolError(Code.UNSUPPORTED, "there are no checkpoints")
    return Unknown(Request.CHKPOINT)


_PARSERS: Final[dict[int, Callable[[bytes, bytes], Message]]] = {
    Request.PROTOCOL: Protocol.parse,
    Request.LOGIN: Login.parse,
    Request.AUTH: Auth.parse,
    Request.PING: Ping.parse,
    Request.ENDSESS: EndSession.parse,
    Request.BIND: Bind.parse,
    Request.SET: Set.parse,
    Request.OPEN: Open.parse,
    Request.CLOSE: Close.parse,
    Request.READ: Read.parse,
    Request.READV: ReadV.parse,
    Request.PGREAD: PgRead.parse,
    Request.WRITE: Write.parse,
    Request.PGWRITE: PgWrite.parse,
    Request.WRITEV: WriteV.parse,
    Request.SYNC: Sync.parse,
    Request.TRUNCATE: Truncate.parse,
    Request.STAT: Stat.parse,
    Request.STATX: Statx.parse,
    Request.DIRLIST: DirList.parse,
    Request.LOCATE: Locate.parse,
    Request.QUERY: Query.parse,
    Request.PREPARE: Prepare.parse,
    Request.MKDIR: MkDir.parse,
    Request.RMDIR: RmDir.parse,
    Request.RM: Rm.parse,
    Request.MV: Mv.parse,
    Request.CHMOD: Chmod.parse,
    Request.FATTR: FAttr.parse,
    Request.CHKPOINT: _parse_checkpoint,
}


def parse(code: int, body: bytes, payload: bytes) -> Message:
    """The message in a request of this code. Raises ProtocolError."""
    parser = _PARSERS.get(code)
    if parser is None:
        return Unknown(code)
    return parser(body, payload)


def handshake() -> bytes:
    """What a client sends before anything else."""
    return struct.pack(">5i", *HANDSHAKE)


__all__ = [
    "Auth",
    "Bind",
    "Chmod",
    "Chunk",
    "Close",
    "DirList",
    "EndSession",
    "FAttr",
    "Locate",
    "Login",
    "Message",
    "MkDir",
    "Mv",
    "Open",
    "PgRead",
    "PgWrite",
    "Ping",
    "Prepare",
    "Protocol",
    "Query",
    "Read",
    "ReadV",
    "Rm",
    "RmDir",
    "Set",
    "Stat",
    "Statx",
    "Sync",
    "Truncate",
    "Unknown",
    "Write",
    "WriteV",
    "handshake",
    "parse",
]
