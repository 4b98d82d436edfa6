"""Requests that make no sense are refused with a reason, and are never written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.root_messages import CHUNKS, HANDLE, LFN, STREAM_ID
from xroot.errors import Misuse, ProtocolError
from xroot.protocol import AttributeAction, Code, Request
from xroot.requests import (
    Auth,
    Bind,
    Chmod,
    Chunk,
    Close,
    DirList,
    EndSession,
    FAttr,
    Login,
    Mv,
    Open,
    PgRead,
    PgWrite,
    Prepare,
    Protocol,
    Query,
    Read,
    ReadV,
    Set,
    Stat,
    Statx,
    Truncate,
    Write,
    WriteV,
    parse,
)

if TYPE_CHECKING:
    from xroot.requests import Message

LONG_NAME = b"\0\0" + b"n" * 249 + b"\0"
BAD = {
    "a name that is not UTF-8": (Request.OPEN, "", b"/a\xff", Code.ARG_INVALID),
    "a NUL within a name": (Request.STAT, "", b"/a\0b", Code.ARG_INVALID),
    "a NUL between names": (Request.STATX, "", b"/a\0\n/b", Code.ARG_INVALID),
    "a negative offset": (Request.READ, "00000000 8000000000000000", b"", Code.ARG_INVALID),
    "a negative length": (
        Request.PGREAD,
        "00000000 0000000000000000 ffffffff",
        b"",
        Code.ARG_INVALID,
    ),
    "a write at a negative offset": (
        Request.WRITE,
        "00000000 ffffffffffffffff",
        bytes(4),
        Code.ARG_INVALID,
    ),
    "pages at a negative offset": (
        Request.PGWRITE,
        "00000000 ffffffffffffffff",
        bytes(4),
        Code.ARG_INVALID,
    ),
    "a negative size": (Request.TRUNCATE, "00000000 ffffffffffffffff", b"", Code.ARG_INVALID),
    "no chunk": (Request.READV, "", b"", Code.ARG_INVALID),
    "a chunk cut off": (Request.READV, "", bytes(17), Code.ARG_INVALID),
    "a chunk of negative length": (
        Request.READV,
        "",
        bytes(20) + b"\x80" + bytes(11),
        Code.ARG_INVALID,
    ),
    "a chunk at a negative offset": (
        Request.WRITEV,
        "",
        bytes(8) + b"\xff" + bytes(7),
        Code.ARG_INVALID,
    ),
    "too many chunks": (Request.WRITEV, "", bytes(16 * 1025), Code.ARG_TOO_LONG),
    "mv without a second name": (Request.MV, "", b"/a", Code.ARG_MISSING),
    "mv with an empty second name": (Request.MV, f"{'00' * 14}0002", b"/a ?x", Code.ARG_MISSING),
    "mv with no space where it must be": (
        Request.MV,
        f"{'00' * 14}0002",
        b"/abc /d",
        Code.ARG_INVALID,
    ),
    "mv whose first name is longer than all": (
        Request.MV,
        f"{'00' * 14}ffff",
        b"/a /b",
        Code.ARG_MISSING,
    ),
    "no such action on attributes": (Request.FATTR, "00000000 04", b"/a\0", Code.ARG_INVALID),
    "more names than may be": (Request.FATTR, "00000000 00 11", b"/a\0", Code.ARG_INVALID),
    "no name to get": (Request.FATTR, "00000000 01 00", b"/a\0", Code.ARG_INVALID),
    "a name to list": (Request.FATTR, "00000000 02 01", b"/a\0\0\0n\0", Code.ARG_INVALID),
    "a name that does not come": (
        Request.FATTR,
        "00000000 01 02",
        b"/a\0\0\0n\0",
        Code.ARG_INVALID,
    ),
    "a name without its NUL": (Request.FATTR, "00000000 01 01", b"/a\0\0\0n", Code.ARG_MISSING),
    "a name that is empty": (Request.FATTR, "00000000 01 01", b"/a\0\0\0\0", Code.ARG_MISSING),
    "a name that is too long": (
        Request.FATTR,
        "00000000 01 01",
        b"/a\0" + LONG_NAME,
        Code.ARG_TOO_LONG,
    ),
    "a name laid out otherwise": (
        Request.FATTR,
        "00000000 01 01",
        b"/a\0\0\1n\0",
        Code.ARG_INVALID,
    ),
    "a value that does not come": (
        Request.FATTR,
        "00000000 03 01",
        b"/a\0\0\0n\0\0\0\0",
        Code.ARG_INVALID,
    ),
    "a value cut off": (
        Request.FATTR,
        "00000000 03 01",
        b"/a\0\0\0n\0\0\0\0\2v",
        Code.ARG_INVALID,
    ),
    "a value of negative length": (
        Request.FATTR,
        "00000000 03 01",
        b"/a\0\0\0n\0\xff\xff\xff\xff",
        Code.ARG_TOO_LONG,
    ),
    "a value that is too long": (
        Request.FATTR,
        "00000000 03 01",
        b"/a\0\0\0n\0\0\1\0\1" + bytes(65537),
        Code.ARG_TOO_LONG,
    ),
    "more than was announced": (
        Request.FATTR,
        "00000000 01 01",
        b"/a\0\0\0n\0more",
        Code.BAD_PAYLOAD,
    ),
    "attributes of a name that is not UTF-8": (
        Request.FATTR,
        "00000000 02 00",
        b"/\xff\0",
        Code.ARG_INVALID,
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_are_refused(what: str) -> None:
    request, body, payload, code = BAD[what]
    with pytest.raises(ProtocolError) as refused:
        parse(request, bytes.fromhex(body).ljust(16, b"\0"), payload)
    assert refused.value.code == code
    assert refused.value.message


# --- what cannot be written -----------------------------------------------------------

MISUSED: list[Message] = [
    Protocol(flags=256),
    Login(1, "ninebytes"),
    Login(1, "a\0b"),
    Login(1 << 31, "a"),
    Login(1, "a", info="\0"),
    Auth(b"toolong", b""),
    EndSession(b"short"),
    Bind(bytes(17)),
    Set("a\0"),
    Set("x" * 5000),
    Open("/a?b"),
    Open("/a\0"),
    Open("/\ud800"),
    Open("/a", "\0"),
    Open("/a", options=1 << 16),
    Open("/" + "a" * 40_000),
    Close(b"abc"),
    Close(b"abcde"),
    Read(HANDLE, -1, 0),
    Read(HANDLE, 0, -1),
    Read(HANDLE, 1 << 63, 0),
    Read(HANDLE, 0, 1 << 31),
    Read(HANDLE, 0, 0, 256),
    PgRead(HANDLE, 0, 0, 0, 256),
    PgRead(HANDLE, -1, 0),
    ReadV(()),
    ReadV(CHUNKS * 400),
    ReadV((Chunk(HANDLE, -1, 0),)),
    ReadV((Chunk(HANDLE, 0, -1),)),
    ReadV((Chunk(b"abc", 0, 0),)),
    Write(HANDLE, 0, -1),
    Write(HANDLE, -1, 0),
    Write(HANDLE, 0, 1 << 31),
    PgWrite(HANDLE, -1, 0),
    WriteV(()),
    Truncate(HANDLE, -1),
    Stat("", handle=b""),
    Statx(("/a\n/b",)),
    Statx(("",)),
    DirList("/a", options=256),
    Query(1 << 16),
    Prepare(("/a", "")),
    Mv("", "/a"),
    Mv("/a", ""),
    Mv("/a", "/b?c"),
    Chmod("/a", -1),
    FAttr(9, LFN),
    FAttr(AttributeAction.LIST, LFN, "", (b"n",)),
    FAttr(AttributeAction.GET, LFN),
    FAttr(AttributeAction.GET, LFN, "", (b"n",) * 17),
    FAttr(AttributeAction.GET, LFN, "", (b"n",), (b"v",)),
    FAttr(AttributeAction.SET, LFN, "", (b"n",)),
    FAttr(AttributeAction.GET, LFN, "", (b"",)),
    FAttr(AttributeAction.GET, LFN, "", (b"n\0",)),
    FAttr(AttributeAction.GET, LFN, "", (b"n" * 249,)),
    FAttr(AttributeAction.SET, LFN, "", (b"n",), (bytes(65537),)),
]


@pytest.mark.parametrize("message", MISUSED, ids=repr)
def test_what_could_not_be_read_again_is_not_written(message: Message) -> None:
    with pytest.raises(Misuse):
        message.encode(STREAM_ID)  # type: ignore[union-attr]
