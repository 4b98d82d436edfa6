"""Pages with their checksums: how pgread sends them, and pgwrite brings them.

A page is 4,096 bytes at a multiple of 4,096 in the file. On the wire each comes behind the
CRC32C of its bytes; the first is short if the range begins within a page, and the last if
the range ends there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import MAX_BAD_PAGES, PAGE_BYTES, Code

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKSUM_BYTES: Final = 4
_CHECKSUM: Final = struct.Struct(">I")
_LENGTHS: Final = struct.Struct(">hh")


def wire_length(offset: int, length: int) -> int:
    """How many bytes a range of a file takes on the wire."""
    return length + CHECKSUM_BYTES * count(offset, length)


def count(offset: int, length: int) -> int:
    """How many pages a range touches."""
    if not length:
        return 0
    return (offset + length - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1


def with_checksums(data: bytes, offset: int) -> bytes:
    """A range as it goes over the wire. Takes about 0.5 µs a page."""
    first = PAGE_BYTES - offset % PAGE_BYTES
    pieces = []
    start, stop = 0, first
    while start < len(data):
        page = data[start:stop]
        pieces.append(_CHECKSUM.pack(google_crc32c.value(page)))
        pieces.append(page)
        start, stop = stop, stop + PAGE_BYTES
    return b"".join(pieces)


class Page(NamedTuple):
    """One page as it came; `is_good`: its bytes have its checksum."""

    offset: int
    data: bytes
    is_good: bool


class PageReader:
    """Takes pages out of the data of one pgwrite, as it arrives."""

    def __init__(self, offset: int, length: int) -> None:
        """`length` is the wire's, checksums included."""
        self._offset = offset
        self._left = length
        self._pending = bytearray()
        self._is_cut_off = _ends_in_checksum(offset, length)

    def feed(self, data: bytes | memoryview) -> list[Page]:
        """The pages that are complete now.

        Raises ProtocolError, before any page, for a length with which the last one has no
        bytes; and for more than was announced.
        """
        if self._is_cut_off:
            raise ProtocolError(Code.BAD_PAYLOAD, "a page that is cut off")
        if len(data) > self._left:
            raise ProtocolError(Code.BAD_PAYLOAD, "more pages than were announced")
        self._left -= len(data)
        self._pending += data
        pages = []
        position = 0
        with memoryview(self._pending) as pending:
            while size := self._next_size(len(pending) - position):
                start = position + CHECKSUM_BYTES
                position = start + size
                page = bytes(pending[start:position])
                (checksum,) = _CHECKSUM.unpack_from(pending, start - CHECKSUM_BYTES)
                pages.append(Page(self._offset, page, google_crc32c.value(page) == checksum))
                self._offset += size
        del self._pending[:position]
        return pages

    def _next_size(self, there: int) -> int:
        """The size of the next page if it is there whole, else 0."""
        full = PAGE_BYTES - self._offset % PAGE_BYTES
        if there >= full + CHECKSUM_BYTES:
            return full
        # The last page ends where the data does.
        return there - CHECKSUM_BYTES if there and not self._left else 0


def _ends_in_checksum(offset: int, length: int) -> bool:
    """Whether the last page of so many bytes on the wire would have no bytes of its own."""
    first = PAGE_BYTES - offset % PAGE_BYTES + CHECKSUM_BYTES
    last = length if length <= first else (length - first) % (PAGE_BYTES + CHECKSUM_BYTES)
    return 0 < last <= CHECKSUM_BYTES


def bad_pages(pages: Sequence[tuple[int, int]]) -> bytes:
    """What follows the answer to a pgwrite of which some pages are to come again.

    `pages` are their offsets and lengths, in order. Raises Misuse if there is none, or if
    there are more than `MAX_BAD_PAGES`: then the write has to fail.
    """
    if not 0 < len(pages) <= MAX_BAD_PAGES:
        raise Misuse(f"{len(pages)} bad pages; 1 to {MAX_BAD_PAGES} can be named")
    said = _LENGTHS.pack(pages[0][1], pages[-1][1])
    said += struct.pack(f">{len(pages)}q", *(offset for offset, _ in pages))
    return _CHECKSUM.pack(google_crc32c.value(said)) + said


def read_bad_pages(data: bytes) -> list[tuple[int, int]]:
    """Offset and length of each page that has to come again. Raises ProtocolError."""
    number, rest = divmod(len(data) - CHECKSUM_BYTES - _LENGTHS.size, 8)
    if rest or number < 1:
        raise ProtocolError(Code.BAD_PAYLOAD, "a list of bad pages that is cut off")
    (checksum,) = _CHECKSUM.unpack_from(data)
    if checksum != google_crc32c.value(data[CHECKSUM_BYTES:]):
        raise ProtocolError(Code.CHECKSUM_ERROR, "a list of bad pages whose checksum is wrong")
    first, last = _LENGTHS.unpack_from(data, CHECKSUM_BYTES)
    offsets = struct.unpack_from(f">{number}q", data, CHECKSUM_BYTES + _LENGTHS.size)
    lengths = [first, *[PAGE_BYTES] * (number - 2), last][:number]
    return list(zip(offsets, lengths, strict=True))
