"""A seekable, read-only file over anything that answers "the bytes of this range".

Readers of columnar files hop: a header, a directory, then pieces of columns that
lie close together. Over a network each hop costs a round trip, so bytes are fetched
in blocks and kept for a while, and more is fetched ahead as long as reading goes on
in order. On a local disk the system does all this better, and nothing is kept.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

BLOCK_BYTES = 256 << 10
# At most this much is fetched at once ahead of need, and kept in all.
_AHEAD_BLOCKS = 16
_KEPT_BLOCKS = 64
# Larger reads are not worth keeping: nobody reads them twice.
_LARGE_BYTES = _AHEAD_BLOCKS * BLOCK_BYTES


class ReplicaFile(io.RawIOBase):
    """A file whose bytes come from `read(offset, length)`; counts those fetched."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        size_bytes: int,
        *,
        name: str,
        is_local: bool,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._read_range = read
        self._size_bytes = size_bytes
        self.name = name
        self._is_local = is_local
        self._on_close = on_close
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._ahead = 0
        self._next_block = -1
        self.bytes_read = 0

    def __repr__(self) -> str:
        return self.name

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position, which may lie beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer only at the end; all that is left if negative."""
        if self.closed:
            raise ValueError("read of a closed file")
        left = max(0, self._size_bytes - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        content = self._fetch(self._at, wanted) if wanted else b""
        self._at += len(content)
        return content

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fills the buffer as far as the file goes."""
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Closes the file, and whatever was to be closed with it, once."""
        on_close, self._on_close = self._on_close, None
        super().close()
        if on_close is not None:
            on_close()

    def _fetch(self, offset: int, length: int) -> bytes:
        if self._is_local or length >= _LARGE_BYTES:
            self.bytes_read += length
            return self._read_range(offset, length)
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        content = b"".join([self._block(number) for number in range(first, last + 1)])
        start = offset - first * BLOCK_BYTES
        return content[start : start + length]

    def _block(self, number: int) -> bytes:
        """One block, fetched with some that follow if reading goes on in order."""
        block = self._blocks.get(number)
        if block is not None:
            self._blocks.move_to_end(number)
            return block
        self._ahead = min(2 * self._ahead + 1, _AHEAD_BLOCKS) if number == self._next_block else 0
        fetched = self._read_range(number * BLOCK_BYTES, (1 + self._ahead) * BLOCK_BYTES)
        self.bytes_read += len(fetched)
        for start in range(0, len(fetched), BLOCK_BYTES):
            self._blocks[number + start // BLOCK_BYTES] = fetched[start : start + BLOCK_BYTES]
        self._next_block = number + 1 + self._ahead
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[number]
