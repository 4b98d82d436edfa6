"""What is still to be sent down one connection, in order: bytes, and parts of files.

A part of a file costs no memory while it waits. It is sent in one of two ways:

* small and in the page cache: read into a buffer that all connections share, together with
  what waits before and behind it, and sent in one go by the event loop. The kernel is
  asked to read nothing from a disk for it (`RWF_NOWAIT`), so the loop is never held up.
* anything else: by a thread, with `sendfile`, which copies nothing through this process.
  A client that takes nothing for a moment gives its thread back, and gets another one when
  it does.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from enum import Enum
from typing import Final, Protocol

#: Parts up to this size are read and sent by the event loop if they are in the page cache.
SMALL_BYTES: Final = 128 << 10
#: What is read and joined before it is sent in one go.
SCRATCH_BYTES: Final = 1 << 20
#: Without `RWF_NOWAIT` (other systems than Linux), every part is sent by a thread.
_NOWAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)
#: A thread waits this long for a client to take more.
_THREAD_PATIENCE_MS: Final = 50


def new_scratch() -> memoryview:
    """A buffer for all connections of one event loop."""
    return memoryview(bytearray(SCRATCH_BYTES))


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
    """`length` bytes of a file from `offset` on, behind a response's header."""

    __slots__ = ("file", "header", "length", "offset", "sent")

    def __init__(self, header: bytes, file: OpenedFile, offset: int, length: int) -> None:
        self.header = header
        self.file = file
        self.offset = offset
        self.length = length
        self.sent = 0  # of header and file together
        file.keep()


class CutShortError(Exception):
    """A file had less than was promised of it: the connection can only be closed.

    It ends at `offset`, or cannot be read there.
    """

    def __init__(self, file: OpenedFile, offset: int) -> None:
        super().__init__(f"a file that is being sent ends at {offset} bytes")
        self.file = file
        self.offset = offset


class Outcome(Enum):
    """How an attempt to send ended."""

    EMPTY = "all is sent"
    FULL = "the socket takes no more now"
    NEEDS_THREAD = "what comes next is sent by a thread"


class Outbox:
    """The queue of one connection. The loop and one thread send from it, never both at once."""

    def __init__(self, sock: socket.socket, scratch: memoryview) -> None:
        """`scratch` is shared by all that one loop sends from."""
        self._socket = sock
        self._scratch = scratch
        self._items: deque[bytes | memoryview | FilePart] = deque()
        # Each is counted by one side only, so no lock is needed.
        self._bytes_put = 0
        self._bytes_taken = 0
        self._sent_by_thread: list[FilePart] = []
        self.bytes_sent = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes_waiting(self) -> int:
        """What waits in memory; parts of files do not."""
        return self._bytes_put - self._bytes_taken

    def put(self, item: bytes | FilePart) -> None:
        """Adds to the end."""
        if not isinstance(item, FilePart):
            if not item:
                return
            self._bytes_put += len(item)
        self._items.append(item)

    def send(self) -> Outcome:
        """Sends what can be sent without waiting for a client or a disk; by the loop.

        Raises OSError if the client is gone.
        """
        while self._items:
            size = self._gather()
            if not size:
                return Outcome.NEEDS_THREAD
            try:
                sent = self._socket.send(self._scratch[:size])
            except (BlockingIOError, InterruptedError):
                sent = 0
            self.bytes_sent += sent
            if sent < size:
                self._items.appendleft(bytes(self._scratch[sent:size]))
                self._bytes_taken -= size - sent
                return Outcome.FULL
        return Outcome.EMPTY

    def send_in_thread(self) -> Outcome:
        """Sends until all is gone or the client takes nothing for a moment; by a thread.

        Raises OSError if the client is gone, `CutShortError` if a file is not what it was.
        """
        ready = select.poll()
        ready.register(self._socket, select.POLLOUT)
        while self._items:
            item = self._items[0]
            try:
                done = (
                    self._send_part(item) if isinstance(item, FilePart) else self._send_bytes(item)
                )
            except (BlockingIOError, InterruptedError):
                if not ready.poll(_THREAD_PATIENCE_MS):
                    return Outcome.FULL
                continue
            if done:
                self._items.popleft()
                if isinstance(item, FilePart):
                    self._sent_by_thread.append(item)
        return Outcome.EMPTY

    def settle(self) -> None:
        """Lets go of the files whose parts a thread has sent; by the loop, when it is back."""
        for part in self._sent_by_thread:
            part.file.let_go()
        self._sent_by_thread.clear()

    def clear(self) -> None:
        """Forgets everything: the client is gone, and no thread sends any more."""
        self.settle()
        for item in self._items:
            if isinstance(item, FilePart):
                item.file.let_go()
        self._items.clear()
        self._bytes_taken = self._bytes_put

    # --- by the loop --------------------------------------------------------------

    def _gather(self) -> int:
        """Moves what can be sent at once into the scratch buffer; how much that is."""
        size = 0
        items = self._items
        while items:
            item = items[0]
            taken = self._read(item, size) if isinstance(item, FilePart) else self._copy(item, size)
            if not taken:
                break
            size += taken
        return size

    def _copy(self, item: bytes | memoryview, size: int) -> int:
        """Takes as much of some bytes as there is room for."""
        room = SCRATCH_BYTES - size
        length = len(item)
        if length <= room:
            self._scratch[size : size + length] = item
            self._items.popleft()
        elif room:
            self._scratch[size:] = item[:room]
            self._items[0] = memoryview(item)[room:]
            length = room
        else:
            return 0
        self._bytes_taken += length
        return length

    def _read(self, part: FilePart, size: int) -> int:
        """Takes a whole small part that is in the page cache, or nothing."""
        length = part.length
        if length > SMALL_BYTES or part.sent or _NOWAIT is None:
            return 0
        start = size + len(part.header)
        if start + length > SCRATCH_BYTES:
            # With room made for it, it is taken next time.
            return 0
        try:
            into = [self._scratch[start : start + length]]
            read = os.preadv(part.file.fd, into, part.offset, _NOWAIT)
        except OSError:
            # Not in the page cache; or it cannot be read at all, which a thread will find out.
            return 0
        if read < length:
            return 0
        self._scratch[size:start] = part.header
        self._items.popleft()
        part.file.let_go()
        return start + length - size

    # --- by a thread ----------------------------------------------------------------

    def _send_bytes(self, item: bytes | memoryview) -> bool:
        sent = self._socket.send(item)
        self.bytes_sent += sent
        self._bytes_taken += sent
        if sent < len(item):
            self._items[0] = memoryview(item)[sent:]
            return False
        return True

    def _send_part(self, part: FilePart) -> bool:
        ahead = len(part.header) - part.sent
        if ahead > 0:
            self._send_header(part, ahead)
            return part.sent == len(part.header) + part.length
        done = part.sent - len(part.header)
        try:
            sent = os.sendfile(
                self._socket.fileno(), part.file.fd, part.offset + done, part.length - done
            )
        except (BlockingIOError, InterruptedError, BrokenPipeError, ConnectionError):
            raise
        except OSError as error:
            raise CutShortError(part.file, part.offset + done) from error
        if not sent:
            raise CutShortError(part.file, part.offset + done)
        part.sent += sent
        self.bytes_sent += sent
        return part.sent == len(part.header) + part.length

    def _send_header(self, part: FilePart, ahead: int) -> None:
        more = socket.MSG_MORE if part.length else 0
        sent = self._socket.send(part.header[-ahead:], more)
        part.sent += sent
        self.bytes_sent += sent
