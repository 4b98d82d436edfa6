"""One request of every kind, and more of those that have several forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xroot.protocol import (
    ASYNC_ABLE,
    ATTRIBUTE_DATA,
    MKDIR_PARENTS,
    PAGES_AGAIN,
    STAT_VFS,
    WRITEV_SYNC,
    AttributeAction,
    DirListFlag,
    LocateFlag,
    OpenFlag,
    PrepareFlag,
    QueryType,
)
from xroot.requests import (
    Auth,
    Bind,
    Chmod,
    Chunk,
    Close,
    DirList,
    EndSession,
    FAttr,
    Locate,
    Login,
    MkDir,
    Mv,
    Open,
    PgRead,
    PgWrite,
    Ping,
    Prepare,
    Protocol,
    Query,
    Read,
    ReadV,
    Rm,
    RmDir,
    Set,
    Stat,
    Statx,
    Sync,
    Truncate,
    Write,
    WriteV,
    handshake,
)

if TYPE_CHECKING:
    from xroot.requests import Message

STREAM_ID: Final = b"\1\2"
HANDLE: Final = b"\0\0\0\7"
SESSION_ID: Final = bytes(range(16))
LFN: Final = "/store/run7/a.root"
CGI: Final = "tried=one&triedrc=enoent"
CHUNKS: Final = (Chunk(HANDLE, 10, 0), Chunk(b"\0\0\0\1", 0, 1 << 40), Chunk(HANDLE, 3, 20))

#: Complete in themselves.
PLAIN: Final[tuple[Message, ...]] = (
    Protocol(flags=11, expect=3),
    Login(4711, "analyst", 0xDD, ASYNC_ABLE | 5, "xrd.cc=ch&xrd.appname=xrdcp", 1),
    Auth(b"unix", b"somebody\0"),
    Ping(),
    EndSession(SESSION_ID),
    Bind(SESSION_ID),
    Set("monitor info an analysis"),
    Open(LFN, options=OpenFlag.READ | OpenFlag.ASYNC | OpenFlag.RETSTAT),
    Open(LFN, CGI, OpenFlag.NEW | OpenFlag.MKPATH, 0o644),
    Close(HANDLE),
    Read(HANDLE, 1 << 40, 1 << 20),
    Read(HANDLE, 0, 5, 3),
    ReadV(CHUNKS, 2),
    PgRead(HANDLE, 100, 10_000),
    PgRead(HANDLE, 100, 10_000, 1, PAGES_AGAIN),
    Sync(HANDLE),
    Truncate(HANDLE, 1 << 33),
    Truncate(bytes(4), 10, LFN, CGI),
    Stat(LFN),
    Stat("", handle=HANDLE),
    Stat("/store", CGI, STAT_VFS),
    Statx((LFN, "/store/Zürich/漢字")),
    DirList("/store", options=DirListFlag.STAT),
    Locate(f"*{LFN}", CGI, LocateFlag.REFRESH | LocateFlag.NOWAIT),
    Query(QueryType.CHECKSUM, f"{LFN}?cks.type=adler32"),
    Query(QueryType.VISA, handle=HANDLE),
    Prepare((LFN, "/store/b.root"), PrepareFlag.STAGE | PrepareFlag.NOTIFY, 3, 4711),
    Prepare((LFN,), option_x=PrepareFlag.EVICT),
    MkDir("/store/run8", CGI, MKDIR_PARENTS, 0o750),
    RmDir("/store/run8"),
    Rm(LFN, CGI),
    Mv(LFN, "/store/a b", CGI),
    Chmod(LFN, 0o600, CGI),
    FAttr(AttributeAction.SET, LFN, CGI, (b"colour", b"form"), (b"red\0", b"")),
    FAttr(AttributeAction.GET, "", "", (b"colour",), handle=HANDLE),
    FAttr(AttributeAction.DELETE, LFN, "", (b"colour", b"form")),
    FAttr(AttributeAction.LIST, LFN, options=ATTRIBUTE_DATA),
)
#: Followed by data, which is given with them.
WRITES: Final[tuple[tuple[Write | PgWrite | WriteV, bytes], ...]] = (
    (Write(HANDLE, 1 << 40, 5), b"bytes"),
    (Write(HANDLE, 0, 0), b""),
    (PgWrite(HANDLE, 4090, 30, flags=PAGES_AGAIN), bytes(30)),
    (WriteV(CHUNKS, WRITEV_SYNC), b"the bytes of "),
    (WriteV((Chunk(HANDLE, 0, 0),)), b""),
)
#: The whole bytes of each of them.
ENCODED: Final[tuple[bytes, ...]] = (
    *(message.encode(STREAM_ID) for message in PLAIN),  # type: ignore[union-attr]
    *(message.encode(STREAM_ID) + data for message, data in WRITES),
)
#: What one client sends on one connection.
CONVERSATION: Final = handshake() + b"".join(ENCODED)
