"""What can be said over root://, and what can come instead: strategies for hypothesis."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.support.captured_root import CAPTURED
from tests.support.root_messages import CONVERSATION, ENCODED
from xroot import responses
from xroot.protocol import (
    MAX_ATTRIBUTE_NAME_BYTES,
    MAX_RESPONSE_BYTES,
    AttributeAction,
    Request,
    Status,
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
    Write,
    WriteV,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# --- requests, any that can be sent ----------------------------------------------------

byte = st.integers(0, 255)
short = st.integers(0, 65535)
number = st.integers(-(1 << 31), (1 << 31) - 1)
length = st.integers(0, (1 << 31) - 1)
offset = st.integers(0, (1 << 63) - 1)
handles = st.binary(min_size=4, max_size=4)
stream_ids = st.binary(min_size=2, max_size=2)
session_ids = st.binary(min_size=16, max_size=16)


def text_without(forbidden: str, **sizes: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8", exclude_characters="\0" + forbidden), **sizes)


path = text_without("?")
full_path = text_without("?", min_size=1)
cgi = text_without("")
anything = text_without("")
lines = st.lists(text_without("\n", min_size=1)).map(tuple)
user = anything.filter(lambda name: len(name.encode()) <= 8)
attribute_names = st.binary(min_size=1, max_size=MAX_ATTRIBUTE_NAME_BYTES).filter(
    lambda name: b"\0" not in name
)


@st.composite
def attributes(draw: Callable[..., Any]) -> FAttr:
    action = draw(st.sampled_from(AttributeAction))
    named = action != AttributeAction.LIST
    names = draw(st.lists(attribute_names, min_size=1, max_size=16)) if named else []
    count = len(names) if action == AttributeAction.SET else 0
    values = draw(st.lists(st.binary(max_size=300), min_size=count, max_size=count))
    where = draw(path), draw(cgi)
    return FAttr(action, *where, tuple(names), tuple(values), draw(byte), draw(handles))


def chunks(largest: int) -> st.SearchStrategy[tuple[Chunk, ...]]:
    sizes = st.integers(0, largest)
    return st.lists(st.builds(Chunk, handles, sizes, offset), min_size=1, max_size=20).map(tuple)


plain_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Protocol, number, byte, byte),
    st.builds(Login, number, user, byte, byte, anything, byte),
    st.builds(Auth, handles, st.binary()),
    st.builds(Ping),
    st.builds(EndSession, session_ids),
    st.builds(Bind, session_ids),
    st.builds(Set, anything),
    st.builds(Open, path, cgi, short, short),
    st.builds(Close, handles),
    st.builds(Read, handles, offset, length, byte),
    st.builds(ReadV, chunks((1 << 31) - 1), byte),
    st.builds(PgRead, handles, offset, length, byte, byte),
    st.builds(Sync, handles),
    st.builds(Truncate, handles, offset, path, cgi),
    st.builds(Stat, path, cgi, byte, handles),
    st.builds(Statx, lines),
    st.builds(DirList, path, cgi, byte),
    st.builds(Locate, path, cgi, short),
    st.builds(Query, short, anything, handles),
    st.builds(Prepare, lines, byte, byte, short, short),
    st.builds(MkDir, path, cgi, byte, short),
    st.builds(RmDir, path, cgi),
    st.builds(Rm, path, cgi),
    st.builds(Mv, full_path, full_path, cgi),
    st.builds(Chmod, path, short, cgi),
    attributes(),
)


@st.composite
def writes(draw: Callable[..., Any]) -> tuple[Write | PgWrite | WriteV, bytes]:
    """A write, and as much data as it says."""
    if draw(st.booleans()):
        message: Any = WriteV(draw(chunks(20)), draw(byte))
        return message, bytes(message.length)
    data = draw(st.binary(max_size=100))
    if draw(st.booleans()):
        return Write(draw(handles), draw(offset), len(data)), data
    return PgWrite(draw(handles), draw(offset), len(data), 0, draw(byte)), data


with_data = plain_messages.map(lambda message: (message, None)) | writes()
conversations = st.lists(st.tuples(stream_ids, with_data), max_size=6)

# --- bytes, any that can come -----------------------------------------------------------

codes = st.sampled_from([int(code) for code in Request]) | short
#: Headers as they must be, but what they say is anything.
requests_at_random = st.builds(
    lambda code, body, payload, lie: (
        struct.pack(">2sH16si", b"\0\1", code, body, len(payload) + lie) + payload
    ),
    codes,
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=60) | st.sampled_from([each[24:] for each in ENCODED]),
    st.sampled_from([0, 0, 0, 0, 1, -1, 1000, 40_000, -(1 << 30)]),
)


@st.composite
def spoilt(draw: Callable[..., Any], source: bytes) -> bytes:
    """Bytes that made sense until some were changed."""
    said = bytearray(source)
    for _ in range(draw(st.integers(0, 4))):
        said[draw(st.integers(0, len(said) - 1))] = draw(byte)
    return bytes(said)


garbage = st.one_of(
    st.binary(max_size=300),
    st.lists(requests_at_random, max_size=5).map(b"".join),
    spoilt(CONVERSATION[20:]),
)
said_by_servers = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([captured.server for captured in CAPTURED]).flatmap(spoilt),
    st.lists(
        st.builds(
            lambda status, body, lie: responses.header(b"\0\1", len(body) + lie, status) + body,
            st.sampled_from(Status) | short,
            st.binary(max_size=60),
            st.sampled_from([0, 0, 0, 1, -1, -100, MAX_RESPONSE_BYTES]),
        ),
        max_size=5,
    ).map(b"".join),
)
cuts = st.lists(st.integers(0, 400), max_size=10)
