"""root:// comes out as it went in, however it is cut; and garbage does no harm."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.root_messages import ENCODED
from tests.support.root_strategies import (
    codes,
    conversations,
    cuts,
    garbage,
    offset,
    said_by_servers,
    stream_ids,
    text_without,
    with_data,
)
from tests.support.root_wire import plain
from xroot import pages, texts
from xroot.decoder import Data, RequestDecoder, ResponseDecoder
from xroot.errors import Misuse, ProtocolError
from xroot.protocol import (
    MAX_PAYLOAD_BYTES,
    REQUEST_HEADER_BYTES,
    USUAL_PAYLOAD_BYTES,
    Code,
    Request,
)
from xroot.requests import Login, Unknown, Write, parse
from xroot.texts import Location, StatText

if TYPE_CHECKING:
    from xroot.decoder import Item
    from xroot.responses import Response


def pieces(said: bytes, where: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(said)) for cut in where), len(said)]
    return [said[start:stop] for start, stop in itertools.pairwise(edges)]


def heard(parts: list[bytes]) -> list[Item]:
    decoder = RequestDecoder(handshake=False)
    return [item for part in parts for item in decoder.feed(part)]


def answers(parts: list[bytes]) -> tuple[list[Response], ProtocolError | None]:
    decoder = ResponseDecoder()
    found: list[Response] = []
    for part in parts:
        try:
            found += decoder.feed(part)
        except ProtocolError as error:
            return found, error
    return found, None


# --- what is promised --------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(stream_ids, with_data)
def test_every_request_comes_out_as_it_went_in(
    stream_id: bytes, said: tuple[Any, bytes | None]
) -> None:
    message, data = said
    expected = [(stream_id, message)] + ([] if data is None else [(stream_id, data)])
    assert plain(heard([message.encode(stream_id) + (data or b"")])) == expected


@settings(deadline=None)
@given(conversations, cuts)
def test_however_a_conversation_is_cut_it_is_the_same(
    conversation: list[tuple[bytes, tuple[Any, bytes | None]]], where: list[int]
) -> None:
    said = b"".join(
        message.encode(stream_id) + (data or b"") for stream_id, (message, data) in conversation
    )
    whole = plain(heard([said]))
    assert plain(heard([said[at : at + 1] for at in range(len(said))])) == whole
    assert plain(heard(pieces(said, where))) == whole
    assert len(whole) == sum(1 + (data is not None) for _, (_, data) in conversation)


@settings(max_examples=500, deadline=None)
@given(garbage, cuts)
def test_garbage_is_the_same_however_it_is_cut_and_gives_no_more_than_it_is(
    said: bytes, where: list[int]
) -> None:
    items = heard([said])
    for parts in ([said[at : at + 1] for at in range(len(said))], pieces(said, where)):
        assert plain(heard(parts)) == plain(items)
    data = sum(len(item.data) for _, item in items if isinstance(item, Data))
    requests = [item for _, item in items if not isinstance(item, Data)]
    assert data + REQUEST_HEADER_BYTES * len(requests) <= len(said)
    assert len(items) <= 2 * len(requests)
    errors = [item for item in requests if isinstance(item, ProtocolError)]
    assert all(Code.ARG_INVALID <= error.code <= Code.TIMER_EXPIRED for error in errors)
    # After a fatal error nothing comes.
    assert not any(error.fatal for error in errors[:-1])
    if errors and errors[-1].fatal:
        assert items[-1][1] is errors[-1]


@settings(max_examples=500, deadline=None)
@given(
    codes, st.binary(min_size=16, max_size=16), st.binary(max_size=200) | st.sampled_from(ENCODED)
)
def test_what_is_read_can_be_written_and_read_again(code: int, body: bytes, payload: bytes) -> None:
    if code in (Request.WRITE, Request.PGWRITE):
        payload = payload[:4].rjust(4, b"\0")
        if payload[0] > 127:  # the decoder refuses negative lengths itself
            payload = b"\0" + payload[1:]
    try:
        message = parse(code, body, payload)
    except ProtocolError:
        return
    if isinstance(message, Unknown):
        assert message.code == code
        return
    try:
        encoded = message.encode(b"\0\1")
    except Misuse:
        # Odd bytes in a user's name are replaced by more than there is room for.
        assert isinstance(message, Login)
        assert "\ufffd" in message.user
        return
    again = encoded[24:] if code not in (Request.WRITE, Request.PGWRITE) else encoded[20:24]
    assert parse(code, encoded[4:20], again) == message


@settings(max_examples=500, deadline=None)
@given(said_by_servers, cuts)
def test_answers_are_the_same_however_they_are_cut(said: bytes, where: list[int]) -> None:
    one_by_one, error = answers([said[at : at + 1] for at in range(len(said))])
    for parts in ([said], pieces(said, where)):
        found, other = answers(parts)
        if error is None:
            assert other is None
            assert found == one_by_one
        else:
            assert other is not None
            assert (other.code, other.message) == (error.code, error.message)
            assert found == one_by_one[: len(found)]
    assert sum(8 + len(response.body) for response in one_by_one) <= len(said)


# --- memory and work ---------------------------------------------------------------------


class CountedBuffer(bytearray):
    """Counts the bytes that are copied into it and out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.copied = 0
        self.longest = 0

    def __iadd__(self, more: Any) -> Self:  # type: ignore[override, misc]
        self.copied += len(more)
        super().__iadd__(more)
        self.longest = max(self.longest, len(self))
        return self

    def __bytes__(self) -> bytes:
        self.copied += len(self)
        return bytes(memoryview(self))


def counted(decoder: RequestDecoder) -> CountedBuffer:
    """What a decoder keeps, with a count."""
    buffer = CountedBuffer()
    decoder._pending = buffer
    return buffer


@settings(deadline=None)
@given(garbage, st.integers(1, 50))
def test_nothing_is_copied_over_and_over(said: bytes, size: int) -> None:
    decoder = RequestDecoder(handshake=False)
    buffer = counted(decoder)
    for start in range(0, len(said), size):
        decoder.feed(said[start : start + size])
    # Once in and once out, and headers once more.
    assert buffer.copied <= 4 * len(said)


@pytest.mark.parametrize(
    ("request_", "fed"), [(Request.QUERY, 1 << 20), (Request.FATTR, 1 << 20), (Request.OPEN, 32768)]
)
def test_a_long_payload_byte_by_byte_costs_no_more_than_its_length(
    request_: Request, fed: int
) -> None:
    decoder = RequestDecoder(handshake=False)
    buffer = counted(decoder)
    limit = MAX_PAYLOAD_BYTES.get(request_, USUAL_PAYLOAD_BYTES)
    decoder.feed(struct.pack(">2sH16si", b"\0\1", request_, bytes(16), limit))
    for _ in range(fed - 1):
        assert decoder.feed(b"x") == []
    # Its last byte is still to come: each has been copied once, and nothing else is kept.
    assert buffer.copied <= fed + 2 * REQUEST_HEADER_BYTES
    assert len(buffer) == fed - 1 + REQUEST_HEADER_BYTES
    assert buffer.longest <= limit + REQUEST_HEADER_BYTES


@settings(deadline=None)
@given(garbage, cuts)
def test_no_more_is_kept_than_the_longest_message(said: bytes, where: list[int]) -> None:
    decoder = RequestDecoder(handshake=False)
    longest = REQUEST_HEADER_BYTES + max(MAX_PAYLOAD_BYTES.values())
    for part in pieces(said, where):
        decoder.feed(part)
        assert len(decoder._pending) < longest


def test_the_data_of_writes_is_not_kept() -> None:
    decoder = RequestDecoder(handshake=False)
    buffer = counted(decoder)
    decoder.feed(Write(bytes(4), 0, 1 << 20).encode(b"\0\1"))
    for _ in range(1 << 10):
        decoder.feed(bytes(1 << 10))
    assert buffer.longest == 0


# --- pages and texts -----------------------------------------------------------------------

offsets = st.integers(0, 20_000) | offset.filter(lambda at: at < 1 << 62)
some_data = st.integers(0, 20_000).map(lambda size: (bytes(range(251)) * 80)[:size])


@settings(deadline=None)
@given(some_data, offsets, st.lists(st.integers(0, 20_000), max_size=5))
def test_pages_come_back_whole_and_good(data: bytes, at: int, where: list[int]) -> None:
    sent = pages.with_checksums(data, at)
    assert len(sent) == pages.wire_length(at, len(data))
    reader = pages.PageReader(at, len(sent))
    read = [page for part in pieces(sent, where) for page in reader.feed(part)]
    assert b"".join(page.data for page in read) == data
    assert len(read) == pages.count(at, len(data))
    assert all(page.is_good for page in read)
    expected = at
    for page in read:
        assert page.offset == expected
        expected += len(page.data)


@settings(deadline=None)
@given(some_data.filter(bool), offsets, st.data())
def test_a_page_with_a_changed_byte_is_found(data: bytes, at: int, draw: st.DataObject) -> None:
    sent = bytearray(pages.with_checksums(data, at))
    spoilt_at = draw.draw(st.integers(0, len(sent) - 1))
    sent[spoilt_at] ^= draw.draw(st.integers(1, 255))
    read = pages.PageReader(at, len(sent)).feed(bytes(sent))
    (bad,) = [page for page in read if not page.is_good]
    start = pages.wire_length(at, bad.offset - at)
    assert start <= spoilt_at < start + 4 + len(bad.data)


@settings(deadline=None)
@given(offsets, st.binary(max_size=9000), cuts)
def test_any_pages_are_read_or_refused_at_once(at: int, sent: bytes, where: list[int]) -> None:
    reader = pages.PageReader(at, len(sent))
    try:
        reader.feed(b"")
    except ProtocolError:
        return
    read = [page for part in pieces(sent, where) for page in reader.feed(part)]
    assert sum(4 + len(page.data) for page in read) == len(sent)
    assert read == pages.PageReader(at, len(sent)).feed(sent)


words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)
owners = words.filter(lambda word: word != "-") | st.just("")
figures = st.integers(0, (1 << 63) - 1)
times = st.integers(-(1 << 40), 1 << 40)
short_stats = st.tuples(figures, figures, times, times)
long_stats = st.tuples(
    figures, figures, times, times, times, times, st.integers(0, 0o7777), owners, owners
)
stats = (short_stats | long_stats).map(lambda known: StatText(*known))
file_names = st.text(st.characters(codec="utf-8", exclude_characters="\0\n/"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)


@given(stats)
def test_stats_come_back(about: StatText) -> None:
    assert texts.read_stat(f"{about}\0") == about


@given(st.lists(st.builds(Location, words, st.booleans(), st.booleans(), st.booleans())))
def test_locations_come_back(locations: list[Location]) -> None:
    assert texts.read_locations(" ".join(map(str, locations)) + "\0") == locations


@given(
    st.lists(st.tuples(file_names, stats)) | st.lists(st.tuples(file_names, st.none())),
)
def test_listings_come_back(entries: list[tuple[str, StatText | None]]) -> None:
    assert texts.read_listing(texts.listing(entries) + "\0") == entries


@given(st.dictionaries(text_without("&="), text_without("&")))
def test_cgi_values_come_back(values: dict[str, str]) -> None:
    said = "&".join(f"{key}={value}" for key, value in values.items())
    assert texts.cgi_values(said) == values


@settings(max_examples=500, deadline=None)
@given(
    st.text()
    | stats.map(str)
    | st.lists(
        st.sampled_from(["1", " ", "\n", ".", "0", "-", "Sw", "x:1", "\0", "\x85", "²"])
    ).map("".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (texts.read_stat, texts.read_locations, texts.read_listing):
        try:
            read(text)  # type: ignore[operator]
        except ProtocolError as error:
            assert len(error.message) < 500  # noqa: PT017 - it may be accepted as well
