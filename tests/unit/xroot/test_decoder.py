"""Bytes become messages: whole, in pieces, and when they make no sense."""

from __future__ import annotations

import struct

import google_crc32c
import pytest

from tests.support.root_messages import (
    CHUNKS,
    CONVERSATION,
    HANDLE,
    LFN,
    PLAIN,
    STREAM_ID,
    WRITES,
)
from tests.support.root_wire import heard, plain
from xroot import requests, responses
from xroot.decoder import Data, Handshake, RequestDecoder, ResponseDecoder
from xroot.errors import ProtocolError
from xroot.protocol import (
    MAX_PAYLOAD_BYTES,
    MAX_RESPONSE_BYTES,
    USUAL_PAYLOAD_BYTES,
    Code,
    Request,
    Status,
)
from xroot.requests import Open, PgWrite, Ping, Unknown, Write, WriteV
from xroot.responses import Response

PING = Ping().encode(b"\0\1")


def raw(code: int, payload: bytes = b"", length: int | None = None, body: str = "") -> bytes:
    """A request that no client of ours would send."""
    length = len(payload) if length is None else length
    return struct.pack(">2sH16si", STREAM_ID, code, bytes.fromhex(body), length) + payload


def listening() -> RequestDecoder:
    """A decoder behind the handshake."""
    return RequestDecoder(handshake=False)


def only_error(decoder: RequestDecoder, data: bytes) -> ProtocolError:
    """The one item of these bytes, which is an error."""
    ((stream_id, error),) = decoder.feed(data)
    assert isinstance(error, ProtocolError)
    assert error.stream_id == stream_id
    return error


# --- requests ------------------------------------------------------------------------


def test_a_conversation() -> None:
    expected: list[tuple[bytes, object]] = [(b"\0\0", Handshake())]
    expected += [(STREAM_ID, message) for message in PLAIN]
    for message, data in WRITES:
        expected += [(STREAM_ID, message), (STREAM_ID, data)]
    assert plain(heard(CONVERSATION)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 23, 24, 25, 100])
def test_a_conversation_in_pieces(size: int) -> None:
    decoder = RequestDecoder()
    items = []
    for start in range(0, len(CONVERSATION), size):
        items += decoder.feed(CONVERSATION[start : start + size])
    assert plain(items) == plain(heard(CONVERSATION))


def test_nothing_comes_before_a_message_is_whole() -> None:
    decoder = RequestDecoder()
    encoded = Open(LFN).encode(STREAM_ID)
    assert decoder.feed(requests.handshake()[:19]) == []
    assert decoder.feed(requests.handshake()[19:]) == [(b"\0\0", Handshake())]
    assert decoder.feed(encoded[:10]) == []
    assert decoder.feed(b"") == []
    assert decoder.feed(encoded[10:-1]) == []
    assert decoder.feed(encoded[-1:] + PING[:5]) == [(STREAM_ID, Open(LFN))]
    assert decoder.feed(PING[5:]) == [(b"\0\1", Ping())]


def test_data_is_handed_over_as_it_comes_and_not_copied() -> None:
    decoder = listening()
    write = Write(HANDLE, 0, 10)
    received = write.encode(STREAM_ID) + b"0123"
    assert decoder.feed(received[:-4]) == [(STREAM_ID, write)]
    ((_, data),) = decoder.feed(received[-4:])
    assert data == Data(memoryview(b"0123"), last=False)
    received = b"456789" + PING
    (stream_id, data), (_, ping) = decoder.feed(received)
    assert stream_id == STREAM_ID
    assert data == Data(memoryview(b"456789"), last=True)
    assert isinstance(data, Data)
    assert data.data.obj is received
    assert ping == Ping()


@pytest.mark.parametrize(
    "message", [Write(HANDLE, 5, 0), PgWrite(HANDLE, 5, 0), WriteV((CHUNKS[1],))], ids=repr
)
def test_a_write_of_nothing_has_one_empty_piece(message: Write | PgWrite | WriteV) -> None:
    items = listening().feed(message.encode(STREAM_ID) + PING)
    assert [item for _, item in items] == [message, Data(memoryview(b""), last=True), Ping()]


def test_how_much_is_still_to_come() -> None:
    decoder = RequestDecoder()
    assert decoder.missing_bytes == 0
    encoded = requests.handshake() + Open(LFN).encode(STREAM_ID)
    for fed, missing in ((5, 15), (15, 0), (10, 14), (14, len(LFN)), (8, len(LFN) - 8), (10, 0)):
        decoder.feed(encoded[:fed])
        encoded = encoded[fed:]
        assert decoder.missing_bytes == missing
    decoder.feed(Write(HANDLE, 0, 10).encode(STREAM_ID) + b"012")
    assert decoder.missing_bytes == 7
    decoder.feed(b"3456789")
    assert decoder.missing_bytes == 0
    decoder.feed(raw(Request.WRITE, b"01", 10, "00000007 ffffffffffffffff"))
    assert decoder.missing_bytes == 8
    decoder.feed(b"23456789" + raw(Request.PING, length=-1))
    assert decoder.missing_bytes == 0


def test_a_message_does_not_depend_on_what_was_fed() -> None:
    received = bytearray(Open(LFN).encode(STREAM_ID))
    ((_, message),) = listening().feed(bytes(received))
    received[:] = bytes(len(received))
    assert message == Open(LFN)


def test_who_does_not_speak_root_is_told_so_once() -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\nand so on", bytes(20), requests.handshake()[::-1]):
        decoder = RequestDecoder()
        error = only_error(decoder, said)
        assert error.fatal
        assert error.code == Code.INVALID_REQUEST
        assert decoder.feed(requests.handshake()) == []


def test_a_bad_request_comes_in_its_place_and_the_next_ones_are_understood() -> None:
    items = listening().feed(PING + raw(Request.OPEN, b"\xff") + PING)
    assert [type(item) for _, item in items] == [Ping, ProtocolError, Ping]
    error = items[1][1]
    assert isinstance(error, ProtocolError)
    assert (error.stream_id, error.code, error.fatal) == (STREAM_ID, Code.ARG_INVALID, False)


def test_unknown_requests_are_told() -> None:
    assert listening().feed(raw(4711, b"abc") + PING) == [
        (STREAM_ID, Unknown(4711)),
        (b"\0\1", Ping()),
    ]


@pytest.mark.parametrize("request_", [Request.WRITE, Request.PGWRITE])
def test_the_data_of_a_bad_write_is_skipped(request_: Request) -> None:
    bad = raw(request_, b"0123456789", body="00000007 ffffffffffffffff 00000000")
    for size in (1, 30, len(bad) + len(PING)):
        decoder = listening()
        said = bad + PING
        items = [
            item
            for start in range(0, len(said), size)
            for item in decoder.feed(said[start : start + size])
        ]
        assert [type(item) for _, item in items] == [ProtocolError, Ping]


@pytest.mark.parametrize("message", [Write(HANDLE, 0, 10, 1), PgWrite(HANDLE, 0, 10, 255)])
def test_a_write_whose_data_comes_elsewhere_is_refused(message: Write | PgWrite) -> None:
    (_, error), (_, ping) = listening().feed(message.encode(STREAM_ID) + PING)
    assert isinstance(error, ProtocolError)
    assert (error.code, error.fatal) == (Code.UNSUPPORTED, False)
    assert ping == Ping()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(raw(Request.PING, length=-1), id="negative length"),
        pytest.param(raw(Request.WRITE, length=-1), id="negative length of data"),
        pytest.param(raw(Request.OPEN, length=USUAL_PAYLOAD_BYTES + 1), id="too long"),
        pytest.param(raw(9999, length=USUAL_PAYLOAD_BYTES + 1), id="too long and unknown"),
        pytest.param(raw(Request.QUERY, length=(16 << 20) + 1), id="too long a question"),
        pytest.param(raw(Request.WRITEV, bytes(15)), id="chunks that make no sense"),
        pytest.param(raw(Request.CHKPOINT, bytes(24), body="00" * 15 + "04"), id="checkpoint"),
    ],
)
def test_nothing_comes_after_what_leaves_no_way_to_go_on(said: bytes) -> None:
    for size in (1, len(said)):
        decoder = listening()
        items = []
        for start in range(0, len(said), size):
            items += decoder.feed(said[start : start + size])
        items += decoder.feed(PING)
        ((stream_id, error),) = items
        assert isinstance(error, ProtocolError)
        assert stream_id == STREAM_ID
        assert error.fatal
    assert len(listening().feed(said + PING)) == 1


@pytest.mark.parametrize("request_", [Request.OPEN, Request.QUERY, Request.READV, Request.FATTR])
def test_payloads_are_taken_up_to_their_limit(request_: Request) -> None:
    limit = MAX_PAYLOAD_BYTES.get(request_, USUAL_PAYLOAD_BYTES)
    decoder = listening()
    said = raw(request_, b"/" * limit) + PING
    (_, first), (_, second) = decoder.feed(said)
    assert not (isinstance(first, ProtocolError) and first.fatal)
    assert second == Ping()


# --- responses -----------------------------------------------------------------------

PAGES = responses.pages(b"\0\4", Request.PGREAD, 4096, 7) + b"1234abc"
SAID = (
    responses.ok(b"\0\1", b"body")
    + responses.partial(b"\0\2", b"some")
    + PAGES
    + responses.pages(b"\0\5", Request.PGWRITE, 0, 0)
    + responses.ok(b"\0\6")
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 32, 33, len(SAID)])
def test_responses_in_pieces(size: int) -> None:
    decoder = ResponseDecoder()
    found = []
    for start in range(0, len(SAID), size):
        found += decoder.feed(SAID[start : start + size])
    assert [(response.stream_id, response.status) for response in found] == [
        (b"\0\1", Status.OK),
        (b"\0\2", Status.OKSOFAR),
        (b"\0\4", Status.STATUS),
        (b"\0\5", Status.STATUS),
        (b"\0\6", Status.OK),
    ]
    assert found[0] == Response(b"\0\1", 0, b"body")
    assert found[2].body == PAGES[8:]


def feed_in_pieces(decoder: ResponseDecoder, said: bytes, size: int) -> None:
    for start in range(0, len(said), size):
        decoder.feed(said[start : start + size])


def with_checksum(said: str) -> bytes:
    """A whole status that bears the right checksum."""
    body = bytes.fromhex(said)
    checksum = google_crc32c.value(body).to_bytes(4, "big")
    return responses.header(b"\0\1", 4 + len(body), Status.STATUS) + checksum + body


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(responses.header(b"\0\1", -1), Code.BAD_PAYLOAD, id="negative"),
        pytest.param(
            responses.header(b"\0\1", MAX_RESPONSE_BYTES + 1), Code.BAD_PAYLOAD, id="too long"
        ),
        pytest.param(
            responses.header(b"\0\1", 15, Status.STATUS) + bytes(15),
            Code.BAD_PAYLOAD,
            id="status cut off",
        ),
        pytest.param(
            PAGES[:8] + b"\0" + PAGES[9:], Code.CHECKSUM_ERROR, id="status with a wrong checksum"
        ),
        pytest.param(
            with_checksum("0001 1e 00 00000000 ffffffff"), Code.BAD_PAYLOAD, id="negative data"
        ),
        pytest.param(
            with_checksum("0001 1e 00 00000000 04000001"), Code.BAD_PAYLOAD, id="too much data"
        ),
    ],
)
def test_what_no_server_may_send_is_an_error_for_ever(said: bytes, code: Code) -> None:
    for size in (1, len(said)):
        decoder = ResponseDecoder()
        assert len(decoder.feed(responses.ok(b"\0\1"))) == 1
        with pytest.raises(ProtocolError) as refused:
            feed_in_pieces(decoder, said, size)
        assert (refused.value.code, refused.value.fatal) == (code, True)
        assert refused.value.stream_id == said[:2]
        with pytest.raises(ProtocolError):
            decoder.feed(responses.ok(b"\0\1"))
