"""Pages and their checksums, both ways."""

from __future__ import annotations

import pytest

from xroot import pages
from xroot.errors import Misuse, ProtocolError
from xroot.pages import Page, PageReader
from xroot.protocol import MAX_BAD_PAGES, Code

DATA = bytes(range(251)) * 60  # 15,060 bytes

SHAPES = [
    # offset, length, pages
    (0, 0, 0),
    (0, 1, 1),
    (0, 4096, 1),
    (0, 4097, 2),
    (4095, 1, 1),
    (4095, 2, 2),
    (100, 3996, 1),
    (100, 3997, 2),
    (8192, 15_060, 4),
    (9000, 15_060, 4),
    (12_000, 15_060, 5),
]


@pytest.mark.parametrize(("offset", "length", "count"), SHAPES)
def test_what_is_sent_is_read(offset: int, length: int, count: int) -> None:
    data = DATA[:length]
    sent = pages.with_checksums(data, offset)
    assert pages.count(offset, length) == count
    assert pages.wire_length(offset, length) == len(sent) == length + 4 * count
    read = PageReader(offset, len(sent)).feed(sent)
    assert len(read) == count
    assert b"".join(page.data for page in read) == data
    assert all(page.is_good for page in read)
    assert [page.offset for page in read][:1] == [offset][:count]
    assert all(page.offset % 4096 == 0 for page in read[1:])


def test_bytes() -> None:
    # CRC32C of "123456789", and of what was captured.
    assert pages.with_checksums(b"123456789", 0) == bytes.fromhex("e3069283") + b"123456789"
    assert pages.with_checksums(b"z" * 3096, 1000)[:4].hex() == "608dbcbc"
    # A range that begins within a page: its rest is one.
    sent = pages.with_checksums(DATA[:10], 4090)
    assert sent[4:10] == DATA[:6]
    assert sent[14:] == DATA[6:10]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 4096, 4100, 5000])
def test_pages_come_as_they_are_complete(size: int) -> None:
    sent = pages.with_checksums(DATA, 9000)
    reader = PageReader(9000, len(sent))
    read: list[Page] = []
    for start in range(0, len(sent), size):
        fed = min(start + size, len(sent))
        read += reader.feed(memoryview(sent)[start:fed])
        # None is held back that could be told, none told before it is whole.
        told = sum(len(page.data) + 4 for page in read)
        assert told <= fed < told + 4100 or told == fed
    assert read == PageReader(9000, len(sent)).feed(sent)


def test_a_wrong_byte_is_found() -> None:
    sent = bytearray(pages.with_checksums(DATA, 12_000))
    sent[0] ^= 1  # of the first page's checksum
    sent[-1] ^= 0x80  # of the last page
    read = PageReader(12_000, len(sent)).feed(bytes(sent))
    assert [page.is_good for page in read] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (0, 4), (0, 4101), (0, 4104), (4095, 9), (9000, 3288 + 4 + 4)]
)
def test_a_last_page_without_bytes_is_refused_at_once(offset: int, length: int) -> None:
    reader = PageReader(offset, length)
    with pytest.raises(ProtocolError) as refused:
        reader.feed(b"")
    assert refused.value.code == Code.BAD_PAYLOAD


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 5), (0, 4100), (0, 4105), (4095, 10)])
def test_other_lengths_are_taken(offset: int, length: int) -> None:
    read = PageReader(offset, length).feed(bytes(length))
    assert sum(len(page.data) + 4 for page in read) == length


def test_more_than_was_announced_is_refused() -> None:
    reader = PageReader(0, 10)
    assert reader.feed(bytes(9)) == []
    with pytest.raises(ProtocolError):
        reader.feed(bytes(2))


@pytest.mark.parametrize(
    "bad", [[(1000, 3096)], [(1000, 3096), (8192, 1808)], [(1000, 3096), (4096, 4096), (8192, 1)]]
)
def test_bad_pages_are_named(bad: list[tuple[int, int]]) -> None:
    assert pages.read_bad_pages(pages.bad_pages(bad)) == bad


def test_the_list_of_bad_pages() -> None:
    told = pages.bad_pages([(1000, 3096), (4096, 4096), (8192, 1808)])
    assert told[4:] == bytes.fromhex("0c18 0710 00000000000003e8 0000000000001000 0000000000002000")


def test_there_are_bad_pages_but_not_too_many() -> None:
    bad = [(4096 * number, 4096) for number in range(MAX_BAD_PAGES + 1)]
    assert pages.read_bad_pages(pages.bad_pages(bad[:-1])) == bad[:-1]
    for wrong in (bad, []):
        with pytest.raises(Misuse):
            pages.bad_pages(wrong)


@pytest.mark.parametrize("spoil", [0, 5, 15])
def test_a_spoilt_list_of_bad_pages_is_refused(spoil: int) -> None:
    told = bytearray(pages.bad_pages([(0, 1)]))
    told[spoil] ^= 1
    with pytest.raises(ProtocolError) as refused:
        pages.read_bad_pages(bytes(told))
    assert refused.value.code == Code.CHECKSUM_ERROR


@pytest.mark.parametrize("length", [0, 4, 8, 15, 17])
def test_a_list_of_bad_pages_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        pages.read_bad_pages(bytes(length))
    assert refused.value.code == Code.BAD_PAYLOAD
