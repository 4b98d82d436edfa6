"""Parts of files that are to be sent, and the files they are of."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class OpenedFile(Protocol):
    """A file that parts are sent of: kept open by `keep` for as long as one is on its way."""

    fd: int

    def keep(self) -> None:
        """One more part is on its way."""

    def let_go(self) -> None:
        """One part less is."""

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


class CutShortError(Exception):
    """A file had less than was promised of it: the connection can only be closed.

    It ends at `offset`, or cannot be read there.
    """

    def __init__(self, file: OpenedFile, offset: int) -> None:
        super().__init__(f"a file that is being sent ends at {offset} bytes")
        self.file = file
        self.offset = offset


#: One of many parts: its header, its file, its offset and its length. A plain tuple, for there
#: may be hundreds of thousands of them a second.
OnePart = tuple[bytes, OpenedFile, int, int]


class FileParts:
    """Many parts of files, each behind a header of its own, that are sent one after the other.

    It keeps the file of every part, as often as it has parts.
    """

    __slots__ = ("rest",)

    def __init__(self, parts: Iterable[OnePart]) -> None:
        #: Those that are still to be sent.
        self.rest = deque(parts)
        for _, file, _, _ in self.rest:
            file.keep()

    def split(self) -> FilePart:
        """Takes the next part out, to be sent by itself."""
        return FilePart(*self.rest.popleft(), is_kept=True)
