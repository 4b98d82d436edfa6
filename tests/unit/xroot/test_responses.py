"""Every response's bytes, as XRootD's own server would send them; and a client's way back."""

from __future__ import annotations

import pytest

from xroot import responses
from xroot.decoder import ResponseDecoder
from xroot.errors import Misuse, ProtocolError
from xroot.protocol import DATA_SERVER, LOAD_BALANCER, Code, Request, Status
from xroot.requests import Chunk
from xroot.responses import Response

ID = b"\1\0"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (responses.header(ID, 258), "0100 0000 00000102"),
        (responses.header(ID, 1, Status.OKSOFAR), "0100 0fa0 00000001"),
        (responses.ok(ID), "0100 0000 00000000"),
        (responses.ok(ID, b"\0\0\0\7"), "0100 0000 00000004 00000007"),
        (responses.partial(ID, b"ab"), "0100 0fa0 00000002 6162"),
        (responses.error(ID, Code.NOT_FOUND, "no"), "0100 0fa3 00000007 00000bc3 6e6f 00"),
        (responses.redirect(ID, "h", 1094), "0100 0fa4 00000005 00000446 68"),
        (responses.redirect(ID, "h", 1094, "a=b"), "0100 0fa4 00000009 00000446 68 3f 613d62"),
        (responses.wait(ID, 10), "0100 0fa5 00000004 0000000a"),
        (responses.wait(ID, 10, "why"), "0100 0fa5 00000007 0000000a 776879"),
        (responses.wait_for_response(ID, 600), "0100 0fa6 00000004 00000258"),
        # As captured: the sum of a file, which was promised.
        (
            responses.asynchronous(responses.ok(ID, b"adler32 bb0ccabe\0")),
            (
                "0000 0fa1 00000021 00001390 00000000"
                "0100 0000 00000011 61646c65723332206262306363616265 00"
            ),
        ),
        (
            responses.handshake_answer(DATA_SERVER, 0x511),
            "0000 0000 00000008 00000511 00000001",
        ),
        (
            responses.handshake_answer(LOAD_BALANCER, 0x511),
            "0000 0000 00000008 00000511 00000000",
        ),
        # As captured: seven bytes of pages follow; the pages are written.
        (
            responses.pages(ID, Request.PGREAD, 0, 7),
            "0100 0fa7 00000018 e248508b 0100 1e 00 00000000 00000007 0000000000000000",
        ),
        (
            responses.pages(ID, Request.PGWRITE, 0, 0),
            "0100 0fa7 00000018 188c963d 0100 1a 00 00000000 00000000 0000000000000000",
        ),
        (
            responses.pages(ID, Request.PGREAD, 0, 0x200800, final=False),
            "0100 0fa7 00000018 8737d312 0100 1e 01 00000000 00200800 0000000000000000",
        ),
        (
            responses.pages(ID, Request.PGREAD, 0x200000, 0x0DCA34),
            "0100 0fa7 00000018 7a65073f 0100 1e 00 00000000 000dca34 0000000000200000",
        ),
        (
            responses.chunk(Chunk(b"\0\0\0\7", 10, 100)),
            "00000007 0000000a 0000000000000064",
        ),
    ],
    ids=str,
)
def test_bytes(made: bytes, expected: str) -> None:
    assert made == bytes.fromhex(expected)


def test_pages_are_of_requests_for_pages() -> None:
    with pytest.raises(Misuse):
        responses.pages(ID, Request.READ, 0, 0)


def test_an_error_s_text_is_one_that_can_be_sent() -> None:
    body = responses.error(ID, Code.IO_ERROR, "a\0b\udcff")[8:]
    assert responses.text_of(body) == "ab?"
    assert body.endswith(b"\0")
    body = responses.error(ID, Code.IO_ERROR, "a" + "é" * 5000)[8:]
    assert len(body) <= 4 + responses.MAX_ERROR_TEXT_BYTES + 1
    assert responses.text_of(body) == "a" + "é" * 1023


def test_reading() -> None:
    def body(made: bytes) -> bytes:
        (response,) = ResponseDecoder().feed(made)
        return response.body

    failed = body(responses.error(ID, Code.NOT_FOUND, "not here"))
    assert responses.number_of(failed) == Code.NOT_FOUND
    assert responses.text_of(failed) == "not here"
    sent_on = body(responses.redirect(ID, "[::1]", 1094, "tried=a"))
    assert responses.number_of(sent_on) == 1094
    assert responses.text_of(sent_on) == "[::1]?tried=a"
    told = body(responses.asynchronous(responses.wait(ID, 3)))
    assert responses.promised(told) == Response(ID, Status.WAIT, b"\0\0\0\3")
    assert responses.data_length(body(responses.pages(ID, Request.PGREAD, 0, 4) + b"abcd")) == 4


@pytest.mark.parametrize("body", [b"", b"\0\0\0"])
def test_a_body_without_its_number_is_no_answer(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        responses.number_of(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes.fromhex("00001390 00000000 0100 0000 000000"), id="cut off"),
        pytest.param(bytes.fromhex("0000138f 00000000 0100 0000 00000000"), id="another action"),
        pytest.param(bytes.fromhex("00001390 00000000 0100 0000 00000001"), id="too short"),
        pytest.param(bytes.fromhex("00001390 00000000 0100 0000 00000000 00"), id="too long"),
    ],
)
def test_an_attention_without_a_whole_response_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        responses.promised(body)
    assert refused.value.code == Code.BAD_PAYLOAD


def test_a_status_is_checked() -> None:
    body = responses.pages(ID, Request.PGREAD, 0, 7)[8:]
    responses.check_status(body)
    for position in range(len(body)):
        spoilt = bytearray(body)
        spoilt[position] ^= 0x10
        with pytest.raises(ProtocolError) as refused:
            responses.check_status(bytes(spoilt))
        assert refused.value.code == Code.CHECKSUM_ERROR
    with pytest.raises(ProtocolError):
        responses.data_length(body[:15])
