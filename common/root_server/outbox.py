"""What is still to be sent down one connection, in order: bytes, and parts of files.

A part of a file costs next to no memory while it waits. `from_cache` and `from_disk` take
out what they send.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

from common.root_server.parts import FilePart, FileParts

if TYPE_CHECKING:
    import socket

    from common.root_server.parts import OpenedFile

#: With more than this waiting to be sent, a client should ask for nothing more …
WAITING_BYTES: Final = 4 << 20
#: … nor with more things waiting; one request may ask for a thousand parts of files.
WAITING_ITEMS: Final = 2048
#: With this much of one file to be sent, it is worth having a thread do it.
LARGE_BYTES: Final = 512 << 10


class Outcome(Enum):
    """How an attempt to send ended."""

    EMPTY = "all is sent"
    FULL = "the client has to take something first"
    MORE = "more could be sent, but others have their turn"
    UNCACHED = "what comes next has to be read from a disk"


class Outbox:
    """The queue of one connection. The loop and one thread send from it, never both at once.

    The loop may put something in while a thread sends.
    """

    __slots__ = (
        "_bytes_put",
        "_bytes_taken",
        "_parts_put",
        "_parts_taken",
        "_sent_files",
        "bytes_sent",
        "items",
        "socket",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.items: deque[bytes | memoryview | FilePart | FileParts] = deque()
        # Each is counted by one side only, so no lock is needed.
        self._bytes_put = 0
        self._bytes_taken = 0
        self._parts_put = 0
        self._parts_taken = 0
        self._sent_files: list[tuple[OpenedFile, int]] = []
        #: How much the client has taken, for those who look whether it takes anything.
        self.bytes_sent = 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def bytes_waiting(self) -> int:
        """What waits in memory; parts of files do not."""
        return self._bytes_put - self._bytes_taken

    @property
    def parts_waiting(self) -> int:
        """How many parts of files wait."""
        return self._parts_put - self._parts_taken

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be asked for."""
        return (
            len(self.items) >= WAITING_ITEMS
            or self._parts_put - self._parts_taken >= WAITING_ITEMS
            or self._bytes_put - self._bytes_taken >= WAITING_BYTES
        )

    @property
    def is_large(self) -> bool:
        """Whether much of one file is to be sent next, or behind a rest that comes first."""
        items = self.items
        first = items[0] if items else None
        if isinstance(first, memoryview) and len(items) > 1:
            first = items[1]
        return isinstance(first, FilePart) and first.left >= LARGE_BYTES

    def put(self, item: bytes | FilePart | FileParts) -> None:
        """Adds to the end."""
        if isinstance(item, FileParts):
            if not item.parts:
                return
            self._parts_put += len(item.parts)
        elif isinstance(item, FilePart):
            if not item.left:
                item.file.let_go()
                return
            self._parts_put += 1
        elif not item:
            return
        else:
            self._bytes_put += len(item)
        self.items.append(item)

    def clear(self) -> None:
        """Forgets everything: the client is gone, and no thread sends any more."""
        self.settle()
        items = list(self.items)
        self.items.clear()
        self._bytes_taken = self._bytes_put
        self._parts_taken = self._parts_put
        for item in items:
            if isinstance(item, FilePart):
                item.file.let_go()
            elif isinstance(item, FileParts):
                item.let_go()

    # --- for those who send -----------------------------------------------------------

    def took_bytes(self, size_bytes: int) -> None:
        """So much has been taken out of what waits in memory."""
        self._bytes_taken += size_bytes

    def took_parts(self, file: OpenedFile, parts: int) -> None:
        """So many parts of a file have been; it is kept until the loop comes to `settle`."""
        self._parts_taken += parts
        self._sent_files.append((file, parts))

    def take_all_bytes(self) -> bytes:
        """Takes out everything, of which nothing is a part of a file."""
        joined = b"".join(self.items)  # type: ignore[arg-type]
        self.items.clear()
        self._bytes_taken = self._bytes_put
        return joined

    def split_first(self, parts: FileParts) -> None:
        """Has the next of the parts that stand first go by itself, before the others."""
        part = parts.split()
        if not parts:
            self.items.popleft()
        self.items.appendleft(part)

    def put_back(self, rest: memoryview) -> None:
        """Puts what has been taken out, and was not sent, before all else."""
        self.items.appendleft(rest)
        self._bytes_taken -= len(rest)

    @property
    def is_to_be_settled(self) -> bool:
        """Whether a thread has sent so much that the loop should look after the files."""
        return len(self._sent_files) >= WAITING_ITEMS

    def settle(self) -> None:
        """Lets go of the files whose parts have been sent. By the loop only."""
        if self._sent_files:
            sent, self._sent_files = self._sent_files, []
            for file, parts in sent:
                file.let_go(parts)
