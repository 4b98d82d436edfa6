"""Pages with their checksums: how pgread sends them, and pgwrite brings them.

A page is 4,096 bytes at a multiple of 4,096 in the file. On the wire each comes behind the
CRC32C of its bytes; the first is short if the range begins within a page, and the last if
the range ends there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

from xroot.errors import ProtocolError
from xroot.protocol import PAGE_BYTES, Code

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKSUM_BYTES: Final = 4
_CHECKSUM: Final = struct.Struct(">I")


def wire_length(offset: int, length: int) -> int:
    """How many bytes a range of a file takes on the wire."""
    return length + CHECKSUM_BYTES * count(offset, length)


def count(offset: int, length: int) -> int:
    """How many pages a range touches."""
    if not length:
        return 0
    return (offset + length - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1


def with_checksums(data: bytes, offset: int) -> bytearray:
    """A range as it goes over the wire. About 1 µs a page, most of it the checksum."""
    out = bytearray(wire_length(offset, len(data)))
    position = start = 0
    value = google_crc32c.value
    while start < len(data):
        page = data[start : start + PAGE_BYTES - (offset + start) % PAGE_BYTES]
        _CHECKSUM.pack_into(out, position, value(page))
        position += CHECKSUM_BYTES
        out[position : position + len(page)] = page
        position += len(page)
        start += len(page)
    return out


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

    def feed(self, data: bytes | memoryview) -> Iterator[Page]:
        """The pages that are complete now. Raises ProtocolError for more than was announced."""
        if len(data) > self._left:
            raise ProtocolError(Code.BAD_PAYLOAD, "more pages than were announced")
        self._left -= len(data)
        self._pending += data
        position = 0
        while True:
            size = self._next_size(len(self._pending) - position)
            if not size:
                break
            start = position + CHECKSUM_BYTES
            page = bytes(memoryview(self._pending)[start : start + size])
            (checksum,) = _CHECKSUM.unpack_from(self._pending, position)
            yield Page(self._offset, page, google_crc32c.value(page) == checksum)
            self._offset += size
            position = start + size
        del self._pending[:position]
        if not self._left and self._pending:
            raise ProtocolError(Code.BAD_PAYLOAD, "a page that is cut off")

    def _next_size(self, there: int) -> int:
        """The size of the next page if it is there whole, else 0."""
        full = PAGE_BYTES - self._offset % PAGE_BYTES
        if there >= full + CHECKSUM_BYTES:
            return full
        # The last page ends where the data does.
        return there - CHECKSUM_BYTES if not self._left and there > CHECKSUM_BYTES else 0
