"""The root:// protocol: how it flows, and every number in it.

A connection starts with a *handshake* of five numbers from the client. From then on
the client sends *requests*, each of 24 bytes and a payload:

    stream id  2   chosen by the client; the answer bears it
    request    2   one of `Request`
    body      16   whatever the request needs
    length     4   of the payload that follows

and the server sends *responses*, each of 8 bytes and a body:

    stream id  2
    status     2   one of `Status`
    length     4   of the body that follows

All numbers are big-endian. Responses may come in any order: a client has many requests
under way and knows them apart by stream id. The usual course of a connection:

    handshake, protocol   sent together; each is answered
    login                 answered with a session id
    open, read, close…    on files: open gives a handle of four bytes
    stat, locate, …       on names
    endsess               forget a session that a client lost

What makes root:// more than a file protocol are the answers that are no answer yet:

    redirect   ask that server instead, and tell it what this one said ("?cgi")
    wait       ask again in so many seconds
    waitresp   the answer will come by itself, later, inside an `attn` that is sent
               when it is ready; until then at most so many seconds
    oksofar    part of the answer, more follows

A *redirector* holds no files: it redirects clients to the data server that does. To the
client it is where to come back to when a data server fails; it then names in its request
whom it tried ("tried=host&triedrc=enoent").

More connections can be *bound* to a session: a request to read comes by the first one, and
says by which one the data goes. Pages (`pgread`, `pgwrite`) carry a CRC32C each; their answers
have the status `status`.

Numbers and layouts: XRootD's XProtocol.hh, up to protocol 5.2.0, whose licence lets it be used
to reimplement the protocol. What current clients really send was measured with XRootD 5.5 and 6.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: What the handshake's answer and kXR_protocol say: 5.1.1. From 5.2.0 on, clients take it
#: that a server can clone parts of files and open them by the handle of another.
PROTOCOL_VERSION: Final = 0x511
#: The five numbers that a client sends first.
HANDSHAKE: Final = (0, 0, 0, 4, 2012)
HANDSHAKE_BYTES: Final = 20
REQUEST_HEADER_BYTES: Final = 24
RESPONSE_HEADER_BYTES: Final = 8
SESSION_ID_BYTES: Final = 16
PAGE_BYTES: Final = 4096


class Request(IntEnum):
    """What a client asks for (kXR_auth and so on)."""

    AUTH = 3000
    QUERY = 3001
    CHMOD = 3002
    CLOSE = 3003
    DIRLIST = 3004
    GPFILE = 3005
    PROTOCOL = 3006
    LOGIN = 3007
    MKDIR = 3008
    MV = 3009
    OPEN = 3010
    PING = 3011
    CHKPOINT = 3012
    READ = 3013
    RM = 3014
    RMDIR = 3015
    SYNC = 3016
    STAT = 3017
    SET = 3018
    WRITE = 3019
    FATTR = 3020
    PREPARE = 3021
    STATX = 3022
    ENDSESS = 3023
    BIND = 3024
    READV = 3025
    PGWRITE = 3026
    LOCATE = 3027
    TRUNCATE = 3028
    SIGVER = 3029
    PGREAD = 3030
    WRITEV = 3031
    CLONE = 3032


class Status(IntEnum):
    """What kind of response it is."""

    OK = 0
    OKSOFAR = 4000
    ATTN = 4001
    AUTHMORE = 4002
    ERROR = 4003
    REDIRECT = 4004
    WAIT = 4005
    WAITRESP = 4006
    STATUS = 4007


#: The one action of an `attn`: a response that was promised by `waitresp`.
ASYNC_RESPONSE: Final = 5008


class Code(IntEnum):
    """Why a request failed. Clients retry some of these elsewhere, or later."""

    ARG_INVALID = 3000
    ARG_MISSING = 3001
    ARG_TOO_LONG = 3002
    FILE_LOCKED = 3003
    FILE_NOT_OPEN = 3004
    FS_ERROR = 3005
    INVALID_REQUEST = 3006
    IO_ERROR = 3007
    NO_MEMORY = 3008
    NO_SPACE = 3009
    NOT_AUTHORIZED = 3010
    NOT_FOUND = 3011
    SERVER_ERROR = 3012
    UNSUPPORTED = 3013
    NO_SERVER = 3014
    NOT_FILE = 3015
    IS_DIRECTORY = 3016
    CANCELLED = 3017
    ITEM_EXISTS = 3018
    CHECKSUM_ERROR = 3019
    IN_PROGRESS = 3020
    OVER_QUOTA = 3021
    SIGNATURE_ERROR = 3022
    DECRYPT_ERROR = 3023
    OVERLOADED = 3024
    READ_ONLY = 3025
    BAD_PAYLOAD = 3026
    ATTR_NOT_FOUND = 3027
    TLS_REQUIRED = 3028
    NO_REPLICAS = 3029
    AUTH_FAILED = 3030
    IMPOSSIBLE = 3031
    CONFLICT = 3032
    TOO_MANY_ERRORS = 3033
    TIMED_OUT = 3034
    TIMER_EXPIRED = 3035


class ServerFlag:
    """What a server says of itself in answer to kXR_protocol."""

    IS_SERVER: Final = 0x1
    IS_MANAGER: Final = 0x2
    SUPPORTS_POSC: Final = 0x00100000
    SUPPORTS_PAGES: Final = 0x00200000


#: In the handshake's answer.
DATA_SERVER: Final = 1
LOAD_BALANCER: Final = 0

#: Bit of a login's `capver`: the client understands `attn`.
ASYNC_ABLE: Final = 0x80


class OpenFlag:
    """How a file is opened. To read it, if nothing else is said: a client that opens a file
    again, on a new connection, sends no flag at all.
    """

    COMPRESS: Final = 0x1
    DELETE: Final = 0x2
    FORCE: Final = 0x4
    NEW: Final = 0x8
    READ: Final = 0x10
    UPDATE: Final = 0x20
    ASYNC: Final = 0x40
    REFRESH: Final = 0x80
    MKPATH: Final = 0x100
    APPEND: Final = 0x200
    RETSTAT: Final = 0x400
    REPLICA: Final = 0x800
    POSC: Final = 0x1000
    NOWAIT: Final = 0x2000
    SEQUENTIAL: Final = 0x4000
    WRITE_ONLY: Final = 0x8000
    #: Any of these, and the file is to be changed.
    WRITING: Final = DELETE | NEW | UPDATE | APPEND | WRITE_ONLY


class StatFlag:
    """What kind of thing a name is, in stat texts and statx bytes."""

    EXECUTABLE: Final = 1
    DIRECTORY: Final = 2
    OTHER: Final = 4
    OFFLINE: Final = 8
    READABLE: Final = 16
    WRITABLE: Final = 32
    POSC_PENDING: Final = 64
    BACKUP_EXISTS: Final = 128


#: Option of kXR_stat: about the space below a name, not about the name.
STAT_VFS: Final = 1

#: Option of kXR_mkdir: those above it too.
MKDIR_PARENTS: Final = 1


class DirListFlag:
    """How a directory is listed."""

    ONLINE: Final = 1
    STAT: Final = 2
    CHECKSUM: Final = 4


class LocateFlag:
    """How locations are told."""

    UNIQUE: Final = 0x1
    REFRESH: Final = 0x80
    PREFER_NAME: Final = 0x100
    FOR_DIRLIST: Final = 0x400
    NOWAIT: Final = 0x2000


class QueryType(IntEnum):
    """What a query is about."""

    STATS = 1
    PREPARE = 2
    CHECKSUM = 3
    XATTR = 4
    SPACE = 5
    CHECKSUM_CANCEL = 6
    CONFIG = 7
    VISA = 8
    FILE_INFO = 9
    FS_INFO = 10
    OPAQUE = 16
    OPAQUE_FILE = 32
    OPAQUE_GROUP = 64


class PrepareFlag:
    """What is to be prepared."""

    CANCEL: Final = 1
    NOTIFY: Final = 2
    NO_ERRORS: Final = 4
    STAGE: Final = 8
    WRITE_MODE: Final = 16
    COLOCATE: Final = 32
    FRESH: Final = 64
    USE_TCP: Final = 128
    #: In `option_x`.
    EVICT: Final = 1


class AttributeAction(IntEnum):
    """What is done with extended attributes."""

    DELETE = 0
    GET = 1
    LIST = 2
    SET = 3


#: Those that change nothing.
READING_ATTRIBUTES: Final = frozenset({AttributeAction.GET, AttributeAction.LIST})
#: Option of kXR_fattr set: only where there is none of that name.
ATTRIBUTE_NEW: Final = 1
#: Option of kXR_fattr list: tell values too.
ATTRIBUTE_DATA: Final = 0x10
MAX_ATTRIBUTES: Final = 16
MAX_ATTRIBUTE_NAME_BYTES: Final = 248
MAX_ATTRIBUTE_VALUE_BYTES: Final = 65536

#: Flag of kXR_pgread and kXR_pgwrite: these pages come once more, for their checksums were bad.
PAGES_AGAIN: Final = 1
#: Bad pages that the answer to one kXR_pgwrite can name.
MAX_BAD_PAGES: Final = 128
#: Option of kXR_chkpoint: a write comes with it.
CHECKPOINT_WRITE: Final = 4

#: Option of kXR_writev: sync when done.
WRITEV_SYNC: Final = 1
#: Chunks in one readv or writev.
MAX_CHUNKS: Final = 1024
#: The largest single chunk of a readv.
MAX_CHUNK_BYTES: Final = 2097136

#: Payloads are kept until they are whole, up to these sizes. A client may send
#: thousands of names in one prepare or query; a write's payload is never kept whole.
MAX_PAYLOAD_BYTES: Final[dict[int, int]] = {
    Request.PREPARE: 16 << 20,
    Request.QUERY: 16 << 20,
    Request.STATX: 16 << 20,
    Request.READV: MAX_CHUNKS * 16,
    Request.FATTR: 2 << 20,
    Request.SET: 4096,
    Request.LOGIN: 16384,
}
#: Of all other requests: a name of 4,096 bytes, two in kXR_mv, and as much "?cgi".
USUAL_PAYLOAD_BYTES: Final = 32768
#: More connections that one session may have bound to it.
MAX_PATHS: Final = 15
#: A response's body that a client of ours takes.
MAX_RESPONSE_BYTES: Final = 64 << 20
