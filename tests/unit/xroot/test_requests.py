"""Every request's bytes, both ways; those of the reference and of real clients exactly."""

from __future__ import annotations

import struct
from typing import get_args

import pytest

from tests.support.root_messages import ENCODED, HANDLE, PLAIN, STREAM_ID, WRITES
from xroot import requests
from xroot.errors import Misuse, ProtocolError
from xroot.protocol import ASYNC_ABLE, AttributeAction, Code, PrepareFlag, QueryType, Request
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
    Message,
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
    Unknown,
    Write,
    WriteV,
    parse,
)

NO_BODY = bytes(16)


def parsed(encoded: bytes) -> Message:
    """The message in a whole request."""
    stream_id, code, body, length = struct.unpack_from(">2sH16si", encoded)
    assert stream_id == STREAM_ID
    payload = encoded[24:]
    if code in (Request.WRITE, Request.PGWRITE):
        payload = struct.pack(">i", length)
    else:
        assert len(payload) == length
    return parse(code, body, payload)


def encoded(message: Message) -> bytes:
    assert not isinstance(message, Unknown)
    return message.encode(STREAM_ID)


def test_every_request_has_an_example() -> None:
    known = {type(message) for message in PLAIN} | {type(message) for message, _ in WRITES}
    assert known == set(get_args(Message)) - {Unknown}


@pytest.mark.parametrize("message", [*PLAIN, *(message for message, _ in WRITES)], ids=repr)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert parsed(encoded(message)) == message


#: From the wire, as clients of XRootD 5.5 and 6.2 send them; the bodies after the stream id.
LAYOUTS = [
    (Protocol(0x511, 0x0B, 3), "0bbe 00000511 0b 03 00000000000000000000 00000000"),
    (
        Login(0x3546, "root", 0xDD, ASYNC_ABLE | 5, "xrd.cc=us"),
        "0bbf 00003546 726f6f7400000000 00 dd 85 00 00000009 7872642e63633d7573",
    ),
    (Auth(b"ztn\0", b"\1\2"), "0bb8 000000000000000000000000 7a746e00 00000002 0102"),
    (Ping(), "0bc3 00000000000000000000000000000000 00000000"),
    (
        EndSession(bytes.fromhex("330000004526000019000000470000ff")),
        "0bcf 330000004526000019000000470000ff 00000000",
    ),
    (
        Bind(bytes.fromhex("260000004526000015000000260000ff")),
        "0bd0 260000004526000015000000260000ff 00000000",
    ),
    (Set("appid x"), "0bca 00000000000000000000000000000000 00000007 6170706964 2078"),
    (Open("/a", options=0x0450), "0bc2 0000 0450 000000000000000000000000 00000002 2f61"),
    (
        Open("/a", "oss.asize=1", 0x0462, 0x1A4),
        "0bc2 01a4 0462 000000000000000000000000 0000000e 2f61 3f 6f73732e6173697a653d31",
    ),
    (Close(HANDLE), "0bbb 00000007 000000000000000000000000 00000000"),
    (Read(HANDLE, 0x26FC, 0x100000), "0bc5 00000007 00000000000026fc 00100000 00000000"),
    (
        Read(HANDLE, 0, 0x800000, 2),
        "0bc5 00000007 0000000000000000 00800000 00000008 02 00000000000000",
    ),
    (PgRead(HANDLE, 0, 10000), "0bd6 00000007 0000000000000000 00002710 00000000"),
    (PgRead(HANDLE, 0, 1, 1, 1), "0bd6 00000007 0000000000000000 00000001 00000002 01 01"),
    (
        ReadV((Chunk(HANDLE, 10, 0), Chunk(HANDLE, 20, 100)), 3),
        (
            "0bd1 000000000000000000000000000000 03 00000020"
            "00000007 0000000a 0000000000000000 00000007 00000014 0000000000000064"
        ),
    ),
    (Write(HANDLE, 10, 9000), "0bcb 00000007 000000000000000a 00 000000 00002328"),
    (PgWrite(HANDLE, 100, 10012, 0, 1), "0bd2 00000007 0000000000000064 00 01 0000 0000271c"),
    (
        WriteV((Chunk(HANDLE, 100, 0),), 1),
        "0bd7 01 000000000000000000000000000000 00000010 00000007 00000064 0000000000000000",
    ),
    (Sync(HANDLE), "0bc8 00000007 000000000000000000000000 00000000"),
    (Truncate(HANDLE, 5000), "0bd4 00000007 0000000000001388 00000000 00000000"),
    (Truncate(bytes(4), 100, "/a"), "0bd4 00000000 0000000000000064 00000000 00000002 2f61"),
    (Stat("/a"), "0bc9 00 0000000000000000000000 00000000 00000002 2f61"),
    (Stat("/a", options=1), "0bc9 01 0000000000000000000000 00000000 00000002 2f61"),
    (Stat("", handle=HANDLE), "0bc9 00 0000000000000000000000 00000007 00000000"),
    (Statx(("/a", "/b")), "0bce 00000000000000000000000000000000 00000005 2f61 0a 2f62"),
    (DirList("/a", options=2), "0bbc 000000000000000000000000000000 02 00000002 2f61"),
    (Locate("*/a", options=0x0501), "0bd3 0501 0000000000000000000000000000 00000003 2a2f61"),
    (
        Query(QueryType.SPACE, "/store"),
        "0bb9 0005 0000 00000000 0000000000000000 00000007 2f73746f726500",
    ),
    (
        Prepare(("/a", "/b"), PrepareFlag.STAGE, 2, 0x1234),
        "0bcd 08 02 1234 0000 00000000000000000000 00000005 2f61 0a 2f62",
    ),
    (
        Prepare(("/a",), option_x=PrepareFlag.EVICT),
        "0bcd 00 00 0000 0001 00000000000000000000 00000002 2f61",
    ),
    (MkDir("/a", "", 1, 0x1E8), "0bc0 01 00000000000000000000000000 01e8 00000002 2f61"),
    (RmDir("/a"), "0bc7 00000000000000000000000000000000 00000002 2f61"),
    (Rm("/a"), "0bc6 00000000000000000000000000000000 00000002 2f61"),
    (
        Mv("/a b", "/c d"),
        "0bc1 0000000000000000000000000000 0004 00000009 2f612062 20 2f632064",
    ),
    (Chmod("/a", 0x1E4), "0bba 0000000000000000000000000000 01e4 00000002 2f61"),
    (
        FAttr(AttributeAction.SET, "/a", "", (b"u", b"empty"), (b"v", b"")),
        (
            "0bcc 00000000 03 02 00 000000000000000000 00000018 2f6100"
            "0000 7500 0000 656d70747900 00000001 76 00000000"
        ),
    ),
    (
        FAttr(AttributeAction.LIST, "", options=0x10, handle=HANDLE),
        "0bcc 00000007 02 00 10 000000000000000000 00000001 00",
    ),
]


@pytest.mark.parametrize(("message", "layout"), LAYOUTS, ids=[repr(each) for each, _ in LAYOUTS])
def test_layouts(message: Message, layout: str) -> None:
    raw = STREAM_ID + bytes.fromhex(layout)
    assert encoded(message) == raw
    assert parsed(raw) == message


def test_handshake() -> None:
    assert requests.handshake() == bytes.fromhex("000000000000000000000000 00000004 000007dc")


def test_unknown_requests_are_no_error() -> None:
    assert parse(Request.SIGVER, NO_BODY, b"whatever\xff") == Unknown(Request.SIGVER)
    assert parse(9999, NO_BODY, b"") == Unknown(9999)
    assert parse(Request.CHKPOINT, NO_BODY, b"") == Unknown(Request.CHKPOINT)


def test_a_write_within_a_checkpoint_is_refused() -> None:
    # A whole request is its payload, and the data follows that is in no length.
    inner = encoded(Write(HANDLE, 0, 100))
    with pytest.raises(ProtocolError, match="no checkpoints") as refused:
        parse(Request.CHKPOINT, bytes(15) + b"\4", inner)
    assert refused.value.code == Code.UNSUPPORTED


# --- what clients may send besides -------------------------------------------------


def test_hints_behind_a_read_are_ignored() -> None:
    body = struct.pack(">4sqi", HANDLE, 0, 10)
    hints = struct.pack(">B7x4siq", 3, HANDLE, 100, 10)
    assert parse(Request.READ, body, hints) == Read(HANDLE, 0, 10, 3)
    assert parse(Request.PGREAD, body, b"\3") == PgRead(HANDLE, 0, 10, 3)


def test_nuls_behind_a_text_are_not_part_of_it() -> None:
    assert parse(Request.STAT, NO_BODY, b"/a?x=y\0\0") == Stat("/a", "x=y")
    assert parse(Request.PREPARE, NO_BODY, b"/a\n\n/b\n\0") == Prepare(("/a", "/b"))
    assert parse(Request.STATX, NO_BODY, b"\n") == Statx(())


def test_only_the_first_question_mark_ends_a_path() -> None:
    assert parse(Request.RM, NO_BODY, b"/a?x=?&y") == Rm("/a", "x=?&y")
    assert parse(Request.RM, NO_BODY, b"/a?") == Rm("/a")


def test_old_clients_do_not_say_where_the_first_name_of_mv_ends() -> None:
    assert parse(Request.MV, NO_BODY, b"/a /b c") == Mv("/a", "/b c")


def test_the_target_of_mv_may_have_more_behind_it() -> None:
    body = struct.pack(">14xH", 6)
    assert parse(Request.MV, body, b"/a?x=y /b?z=1") == Mv("/a", "/b", "x=y")


def test_odd_names_of_users_are_no_reason_to_refuse_anybody() -> None:
    body = struct.pack(">i8sBBBx", 1, b"\xff\0rest", 0, 0, 0)
    assert parse(Request.LOGIN, body, b"a=\xfe&b\0") == Login(1, "\ufffd", info="a=\ufffd&b")


def test_a_stream_id_has_two_bytes() -> None:
    for stream_id in (b"", b"1", b"123"):
        with pytest.raises(Misuse):
            Ping().encode(stream_id)


def test_all_examples_differ() -> None:
    assert len(set(ENCODED)) == len(ENCODED)
