"""Taking apart what was said over root://, and putting it together again."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from xroot.decoder import Data, Handshake, RequestDecoder, ResponseDecoder
from xroot.errors import ProtocolError
from xroot.protocol import HANDSHAKE_BYTES, REQUEST_HEADER_BYTES, Status
from xroot.requests import Message, PgRead, PgWrite, Query, Read, Unknown, Write, handshake
from xroot.responses import data_length, header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xroot.decoder import Item
    from xroot.responses import Response

_LENGTH_AT: Final = 20


def heard(client: bytes, *, by_handshake: bool = True) -> list[Item]:
    """All that a client said, which must be whole and make sense."""
    items = RequestDecoder(handshake=by_handshake).feed(client)
    for _, item in items:
        assert not isinstance(item, ProtocolError), item.message
        assert not isinstance(item, Unknown), item.code
    assert b"".join(raw for _, _, raw in with_bytes(items, client)) == client
    return items


def messages(items: Iterable[Item]) -> list[Message | Handshake]:
    """The messages alone."""
    return [item for _, item in items if not isinstance(item, Data | ProtocolError)]


def with_bytes(items: Iterable[Item], client: bytes) -> Iterator[tuple[bytes, object, bytes]]:
    """Items with the bytes that each was read from."""
    position = 0
    for stream_id, item in items:
        length = _length(item, client[position:])
        yield stream_id, item, client[position : position + length]
        position += length


def check_retelling(client: bytes) -> None:
    """Every request, written again, has the bytes it was read from.

    But for two things that mean nothing. Clients add a path id to all reads, and to those
    by pages some flags too; where they say "by this very path" and "no flags", we leave them
    out. And some queries have no NUL behind them; ours always have.
    """
    for stream_id, item, raw in with_bytes(heard(client), client):
        if isinstance(item, Handshake):
            assert handshake() == raw
        elif not isinstance(item, Data):
            assert not isinstance(item, ProtocolError | Unknown)
            assert item.encode(stream_id) == _as_we_say_it(item, raw)


def answered(server: bytes) -> list[Response]:
    """All that a server said, which must be whole; each, written again, has the same bytes."""
    responses = ResponseDecoder().feed(server)
    assert b"".join(map(_retold, responses)) == server
    return responses


def plain(items: Iterable[Item]) -> list[tuple[bytes, object]]:
    """Items as they can be compared: pieces of data joined, errors taken apart."""
    told: list[tuple[bytes, object]] = []
    data = b""
    for stream_id, item in items:
        if isinstance(item, Data):
            data += bytes(item.data)
            if item.last:
                told.append((stream_id, data))
                data = b""
        elif isinstance(item, ProtocolError):
            assert item.stream_id == stream_id
            told.append((stream_id, (item.code, item.message, item.fatal)))
        else:
            told.append((stream_id, item))
    if data:
        told.append((b"", data))
    return told


def _length(item: object, rest: bytes) -> int:
    if isinstance(item, Handshake):
        return HANDSHAKE_BYTES
    if isinstance(item, Data):
        return len(item.data)
    if isinstance(item, Write | PgWrite):
        return REQUEST_HEADER_BYTES
    (payload,) = struct.unpack_from(">i", rest, _LENGTH_AT)
    return REQUEST_HEADER_BYTES + int(payload)


def _as_we_say_it(item: object, raw: bytes) -> bytes:
    start, payload = raw[:_LENGTH_AT], raw[REQUEST_HEADER_BYTES:]
    if isinstance(item, Read | PgRead) and not any(payload):
        payload = b""
    elif isinstance(item, Query) and payload and not payload.endswith(b"\0"):
        payload += b"\0"
    else:
        return raw
    return start + struct.pack(">i", len(payload)) + payload


def _retold(response: Response) -> bytes:
    length = len(response.body)
    if response.status == Status.STATUS:
        length -= data_length(response.body)
    return header(response.stream_id, length, response.status) + response.body
