"""Parts of files that are to be sent, and the files they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import struct
    from collections.abc import Sequence


class OpenedFile(Protocol):
    """A file that parts are sent of: kept open by `keep` for as long as one is on its way."""

    fd: int

    def keep(self, parts: int = 1) -> None:
        """So many more parts are on their way."""

    def let_go(self, parts: int = 1) -> None:
        """So many less are."""

    def cut_short(self, offset: int) -> None:
        """The file ends at `offset`, before a part of it did, or cannot be read there."""


class FilePart:
    """`length` bytes of a file from `offset` on, behind a response's header.

    It keeps the file from the beginning, so whoever makes one must have it sent.
    """

    __slots__ = ("file", "header", "length", "offset", "sent")

    def __init__(
        self,
        header: bytes,
        file: OpenedFile,
        offset: int,
        length: int,
        *,
        is_kept: bool = False,
    ) -> None:
        """`is_kept`: the file has been kept for this part already."""
        self.header = header
        self.file = file
        self.offset = offset
        self.length = length
        self.sent = 0  # of header and file together
        if not is_kept:
            file.keep()

    @property
    def left(self) -> int:
        """How many bytes are still to be sent, of header and file together."""
        return len(self.header) + self.length - self.sent


class CutShortError(Exception):
    """A file had less than was promised of it: the connection can only be closed.

    It ends at `offset`, or cannot be read there.
    """

    def __init__(self, file: OpenedFile, offset: int) -> None:
        super().__init__(f"a file that is being sent ends at {offset} bytes")
        self.file = file
        self.offset = offset


#: One of many parts of a file: what its header begins with, its length and its offset. A plain
#: tuple, for there may be hundreds of thousands of them a second.
OnePart = tuple[bytes, int, int]


class FileParts:
    """Many parts of one file, each behind a header of its own, that are sent in their order.

    The file is kept as often as there are parts.
    """

    __slots__ = ("done", "file", "layout", "parts", "tells_offset")

    def __init__(
        self,
        file: OpenedFile,
        parts: Sequence[OnePart],
        layout: struct.Struct,
        *,
        tells_offset: bool,
    ) -> None:
        """`layout` makes a header of a part's beginning, its length and, if it `tells_offset`,
        its offset."""
        self.file = file
        self.parts = parts
        self.layout = layout
        self.tells_offset = tells_offset
        #: How many of them have been sent.
        self.done = 0
        file.keep(len(parts))

    def __len__(self) -> int:
        """How many are still to be sent."""
        return len(self.parts) - self.done

    def split(self) -> FilePart:
        """Takes the next part out, to be sent by itself."""
        part = beginning, length, offset = self.parts[self.done]
        self.done += 1
        pack = self.layout.pack
        header = pack(*part) if self.tells_offset else pack(beginning, length)
        return FilePart(header, self.file, offset, length, is_kept=True)

    def let_go(self) -> None:
        """Forgets those that are still to be sent."""
        self.file.let_go(len(self))
        self.done = len(self.parts)
