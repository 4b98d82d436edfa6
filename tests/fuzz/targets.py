"""What is done with any bytes: each target raises only if a promise of `xroot` is broken.

A target takes bytes and throws at one part of `xroot` what is made of them. Both the fuzzer
and the smoke test in the ordinary suite use them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from tests.support.captured_root import CAPTURED
from tests.support.root_messages import CONVERSATION, ENCODED
from tests.support.root_wire import plain
from xroot import pages, responses, texts
from xroot.decoder import Data, Handshake, RequestDecoder, ResponseDecoder
from xroot.errors import Misuse, ProtocolError
from xroot.protocol import Request, ServerFlag
from xroot.requests import Login, Message, PgWrite, Unknown, Write, parse
from xroot.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from xroot.decoder import Item

_STREAM_ID: Final = b"\1\2"


def requests(data: bytes) -> None:
    """A server hears these bytes, whole and in pieces of a size that they tell."""
    if not data:
        return
    size, said = data[0] + 1, data[1:]
    is_new = size % 2 == 0
    items = _heard(said, len(said) or 1, is_new=is_new)
    assert plain(items) == plain(_heard(said, size, is_new=is_new))
    session = Session(bytes(16), ServerFlag.IS_SERVER)
    for stream_id, item in items:
        if not isinstance(item, Data | ProtocolError):
            session.answer(stream_id, item)
            if not isinstance(item, Handshake | Unknown):
                _check_written_again(item)


def answers(data: bytes) -> None:
    """A client hears these bytes, and takes apart what it understands of them."""
    if not data:
        return
    size, said = data[0] + 1, data[1:]
    whole, in_pieces = _answered(said, len(said) or 1), _answered(said, size)
    assert whole == in_pieces[: len(whole)]
    for body in (said, *(response.body for response in in_pieces)):
        responses.text_of(body)
        readers: tuple[Callable[[bytes], object], ...] = (
            responses.number_of,
            responses.promised,
            responses.data_length,
            responses.check_status,
            pages.read_bad_pages,
        )
        for read in readers:
            with contextlib.suppress(ProtocolError):
                read(body)


def lines(data: bytes) -> None:
    """A client reads these bytes as text of every kind."""
    text = data.decode("utf-8", "replace")
    texts.cgi_values(text)
    with contextlib.suppress(ProtocolError):
        about = texts.read_stat(text)
        assert texts.read_stat(str(about)) == about
    with contextlib.suppress(ProtocolError):
        locations = texts.read_locations(text)
        assert texts.read_locations(" ".join(map(str, locations))) == locations
    with contextlib.suppress(ProtocolError):
        entries = texts.read_listing(text)
        assert texts.read_listing(texts.listing(entries)) == entries


def paged(data: bytes) -> None:
    """These bytes come as pages, and are sent as pages."""
    if len(data) < 8:
        return
    offset = int.from_bytes(data[:5], "big")
    size, said = int.from_bytes(data[5:8], "big") + 1, data[8:]
    with contextlib.suppress(ProtocolError):
        reader = pages.PageReader(offset, len(said))
        read = [
            page
            for start in range(0, len(said), size)
            for page in reader.feed(said[start : start + size])
        ]
        assert sum(4 + len(page.data) for page in read) == len(said)
        assert len(read) == pages.count(offset, len(said) - 4 * len(read))
        for page in read:
            assert page.is_good == (pages.with_checksums(page.data, page.offset)[:4] == said[:4])
            said = said[4 + len(page.data) :]
    sent = pages.with_checksums(data, offset)
    assert len(sent) == pages.wire_length(offset, len(data))
    read = pages.PageReader(offset, len(sent)).feed(sent)
    assert b"".join(page.data for page in read if page.is_good) == data


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "requests": requests,
    "answers": answers,
    "lines": lines,
    "paged": paged,
}

_BODIES: Final = [
    response.body for said in CAPTURED for response in ResponseDecoder().feed(said.server)
]
#: Bytes that make sense, to begin with.
SEEDS: Final[dict[str, list[bytes]]] = {
    "requests": [
        *(b"\0" + encoded for encoded in ENCODED),
        *(b"\x09" + said.client for said in CAPTURED),
        b"\x1f" + CONVERSATION,
    ],
    "answers": [
        *(b"\0" + said.server for said in CAPTURED),
        *(b"\7" + body for body in _BODIES),
        b"\1" + pages.bad_pages([(4096, 10)]),
        b"\x03" + responses.asynchronous(responses.wait(b"\0\1", 5)),
    ],
    "lines": _BODIES,
    "paged": [
        bytes(8),
        b"\0\0\0\x0f\xfe\0\0\4" + pages.with_checksums(b"some bytes", 4094),
        bytes(5) + b"\0\xff\xff" + pages.with_checksums(bytes(5000), 0),
    ],
}


def _heard(said: bytes, size: int, *, is_new: bool) -> list[Item]:
    decoder = RequestDecoder(handshake=is_new)
    return [
        item
        for start in range(0, len(said), size)
        for item in decoder.feed(said[start : start + size])
    ]


def _check_written_again(message: Message) -> None:
    assert not isinstance(message, Unknown)
    try:
        encoded = message.encode(_STREAM_ID)
    except Misuse:
        # Odd bytes in a user's name are replaced by more than there is room for.
        assert isinstance(message, Login)
        assert "\ufffd" in message.user
        return
    payload = encoded[20:24] if isinstance(message, Write | PgWrite) else encoded[24:]
    assert parse(Request(int.from_bytes(encoded[2:4], "big")), encoded[4:20], payload) == message


def _answered(said: bytes, size: int) -> list[responses.Response]:
    decoder = ResponseDecoder()
    found: list[responses.Response] = []
    with contextlib.suppress(ProtocolError):
        for start in range(0, len(said), size):
            found += decoder.feed(said[start : start + size])
    return found
