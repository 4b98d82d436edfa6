"""What is still to be sent down one connection, in order: bytes, and parts of files.

A part of a file costs next to no memory while it waits. It is sent in one of two ways:

* what is in the page cache by the event loop: read into a buffer that all connections share,
  together with what waits before and behind it, and sent in one go. The kernel is asked to
  read nothing from a disk for it (`RWF_NOWAIT`), so the loop is never held up. The buffer
  is small enough to stay in the processor's cache, which makes this copy cheaper than the
  page by page work of `sendfile`; `docs/design/0007-bytes-to-clients.md` has the story.
* anything else by a thread, with `sendfile`, which copies nothing through this process.

Nobody keeps the loop or a thread from the others: both stop after a while even if more
could be sent. A client that takes nothing for a moment gives its thread back, and gets
another one when it does.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections import deque
from enum import Enum
from typing import Final

from common.root_server.parts import CutShortError, FilePart, FileParts, OnePart, OpenedFile

#: With more than this waiting to be sent, a client should ask for nothing more …
WAITING_BYTES: Final = 4 << 20
#: … nor with more things waiting; one request may ask for a thousand parts of files.
WAITING_ITEMS: Final = 2048
#: Bytes up to this size are joined with what waits beside them.
SMALL_BYTES: Final = 64 << 10
#: What is joined before it is sent in one go; well below a processor core's own cache.
SCRATCH_BYTES: Final = 264 << 10  # four parts of 64 KiB fit, with their headers
#: A part of a file is not cut smaller than this to fill the rest of the buffer.
_LEAST_BYTES: Final = 32 << 10
#: The loop sends so often for one connection before it looks after the others.
_ROUNDS: Final = 8
#: A thread sends so long for one connection while others may be waiting for a thread …
_TURN_S: Final = 0.25
#: … of which it waits so long, all in all, for the client to take more.
_PATIENCE_S: Final = 0.02
#: A thread asks for no more at a time, so that it looks at the clock now and then.
_SENDFILE_BYTES: Final = 8 << 20
#: Where `sendfile` does not work, this much is copied at a time.
_COPY_BYTES: Final = 256 << 10

# Other systems than Linux: every part is sent by a thread, and every header by itself.
_NOWAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)
#: Some file systems know no `sendfile`.
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def new_scratch() -> memoryview:
    """A buffer for all connections of one event loop."""
    return memoryview(bytearray(SCRATCH_BYTES))


class Outcome(Enum):
    """How an attempt to send ended."""

    EMPTY = "all is sent"
    FULL = "the client has to take something first, or others have their turn"
    NEEDS_THREAD = "what comes next is sent by a thread"


class Outbox:
    """The queue of one connection. The loop and one thread send from it, never both at once.

    The loop may put something in while a thread sends.
    """

    __slots__ = (
        "_bytes_put",
        "_bytes_taken",
        "_items",
        "_parts_put",
        "_parts_taken",
        "_scratch",
        "_sent_by_thread",
        "_socket",
        "bytes_sent",
    )

    def __init__(self, sock: socket.socket, scratch: memoryview) -> None:
        """`scratch` is shared by all that one loop sends from."""
        self._socket = sock
        self._scratch = scratch
        self._items: deque[bytes | memoryview | FilePart | FileParts] = deque()
        # Each is counted by one side only, so no lock is needed.
        self._bytes_put = 0
        self._bytes_taken = 0
        self._parts_put = 0
        self._parts_taken = 0
        self._sent_by_thread: list[OpenedFile] = []
        #: How much the client has taken, for those who look whether it takes anything.
        self.bytes_sent = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes_waiting(self) -> int:
        """What waits in memory; parts of files do not."""
        return self._bytes_put - self._bytes_taken

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be asked for."""
        return (
            len(self._items) >= WAITING_ITEMS
            or self._parts_put - self._parts_taken >= WAITING_ITEMS
            or self._bytes_put - self._bytes_taken >= WAITING_BYTES
        )

    def put(self, item: bytes | FilePart | FileParts) -> None:
        """Adds to the end."""
        if isinstance(item, FileParts):
            if not item.rest:
                return
            self._parts_put += len(item.rest)
        elif isinstance(item, FilePart):
            if not item.header and not item.length:
                item.file.let_go()
                return
            self._parts_put += 1
        elif not item:
            return
        else:
            self._bytes_put += len(item)
        self._items.append(item)

    def clear(self) -> None:
        """Forgets everything: the client is gone, and no thread sends any more."""
        self.settle()
        items = list(self._items)
        self._items.clear()
        self._bytes_taken = self._bytes_put
        self._parts_taken = self._parts_put
        for item in items:
            if isinstance(item, FilePart):
                item.file.let_go()
            elif isinstance(item, FileParts):
                for _, file, _, _ in item.rest:
                    file.let_go()

    # --- by the loop --------------------------------------------------------------

    def send(self) -> Outcome:
        """Sends what can be sent without waiting for a client or a disk.

        Raises OSError if the client is gone.
        """
        for _ in range(_ROUNDS):
            if not self._items:
                return Outcome.EMPTY
            data = self._next()
            if data is None:
                return Outcome.NEEDS_THREAD
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            self.bytes_sent += sent
            if sent < len(data):
                self._put_back(data, sent)
                return Outcome.FULL
        return Outcome.FULL if self._items else Outcome.EMPTY

    def settle(self) -> None:
        """Lets go of the files whose parts a thread has sent, when it is back."""
        files, self._sent_by_thread = self._sent_by_thread, []
        for file in files:
            file.let_go()

    def _next(self) -> bytes | memoryview | None:
        """Takes out what is sent in one go; None if a thread has to send it."""
        items = self._items
        first = items[0]
        if not isinstance(first, FilePart | FileParts):
            if len(items) == 1 or len(first) > SMALL_BYTES:
                items.popleft()
                self._bytes_taken += len(first)
                return first
            if self._parts_put == self._parts_taken and self.bytes_waiting <= SCRATCH_BYTES:
                joined = b"".join(items)  # type: ignore[arg-type]
                items.clear()
                self._bytes_taken = self._bytes_put
                return joined
        size = self._gather()
        return self._scratch[:size] if size else None

    def _put_back(self, data: bytes | memoryview, sent: int) -> None:
        rest = memoryview(data)[sent:]
        if rest.obj is self._scratch.obj:
            rest = memoryview(bytes(rest))
        self._items.appendleft(rest)
        self._bytes_taken -= len(rest)

    def _gather(self) -> int:
        """Moves what can be sent at once into the scratch buffer; how much that is."""
        size = 0
        items = self._items
        while items:
            item = items[0]
            if isinstance(item, FilePart):
                taken = self._read(item, size)
            elif isinstance(item, FileParts):
                taken = self._read_some(item, size)
            else:
                taken = self._copy(item, size)
            if not taken and items and items[0] is item:
                break
            size += taken
        return size

    def _copy(self, item: bytes | memoryview, size: int) -> int:
        """Takes some bytes, if they are few and there is room for them."""
        length = len(item)
        if length > SMALL_BYTES or size + length > SCRATCH_BYTES:
            return 0
        self._scratch[size : size + length] = item
        self._items.popleft()
        self._bytes_taken += length
        return length

    def _read(self, part: FilePart, size: int) -> int:
        """Takes as much of a part as there is room for and is in the page cache; maybe nothing."""
        if _NOWAIT is None:
            return 0
        ahead = max(0, len(part.header) - part.sent)
        start = size + ahead
        done = part.sent + ahead - len(part.header)
        left = part.length - done
        length = min(left, SCRATCH_BYTES - start)
        if length < left and length < _LEAST_BYTES:
            # With room made for it, it is taken next time.
            return 0
        try:
            into = [self._scratch[start : start + length]]
            read = os.preadv(part.file.fd, into, part.offset + done, _NOWAIT)
        except OSError:
            # Not in the page cache; or it cannot be read at all, which a thread will find out.
            return 0
        if not read and left:
            return 0
        if ahead:
            self._scratch[size:start] = part.header[-ahead:]
        part.sent += ahead + read
        if read == left:
            self._items.popleft()
            self._parts_taken += 1
            part.file.let_go()
        return ahead + read

    def _read_some(self, parts: FileParts, begin: int) -> int:
        """Takes as many whole parts as there is room for and are in the page cache; maybe none.

        A part that cannot be taken whole is split off, and goes by itself.
        """
        if _NOWAIT is None:
            return 0
        taken: list[OnePart] = []
        end = _read_whole(parts, self._scratch, begin, _NOWAIT, taken)
        self._parts_taken += len(taken)
        for _, file, _, _ in taken:
            file.let_go()
        if not end:
            self._split(parts)
        elif not parts.rest:
            self._items.popleft()
        return end - begin

    def _split(self, parts: FileParts) -> None:
        """Puts the next of many parts before the others."""
        part = parts.split()
        if not parts.rest:
            self._items.popleft()
        self._items.appendleft(part)

    # --- by a thread ----------------------------------------------------------------

    def send_in_thread(self) -> Outcome:
        """Sends until all is gone, its turn is over or the client takes too little.

        Raises OSError if the client is gone, `CutShortError` if a file is not what it was.
        """
        ready = select.poll()
        ready.register(self._socket, select.POLLOUT)
        patience_s = _PATIENCE_S
        now_s = time.monotonic()
        end_s = now_s + _TURN_S
        while self._items:
            if now_s >= end_s or len(self._sent_by_thread) >= WAITING_ITEMS:
                return Outcome.NEEDS_THREAD
            try:
                self._send_first()
                now_s = time.monotonic()
            except (BlockingIOError, InterruptedError):
                begun_s = time.monotonic()
                if patience_s <= 0 or not ready.poll(1000 * patience_s):
                    return Outcome.FULL
                now_s = time.monotonic()
                patience_s -= now_s - begun_s
        return Outcome.EMPTY

    def _send_first(self) -> None:
        item = self._items[0]
        if isinstance(item, FileParts):
            self._send_some(item)
            return
        if not isinstance(item, FilePart):
            sent = self._socket.send(item)
            self._bytes_taken += sent
            if sent < len(item):
                self._items[0] = memoryview(item)[sent:]
            else:
                self._items.popleft()
        else:
            ahead = len(item.header) - item.sent
            sent = self._send_header(item, ahead) if ahead > 0 else self._send_part(item)
            item.sent += sent
            if item.sent == len(item.header) + item.length:
                self._sent_by_thread.append(item.file)
                self._items.popleft()
                self._parts_taken += 1
        self.bytes_sent += sent

    def _send_some(self, parts: FileParts) -> None:
        """Reads some parts, waiting for the disk if need be, and sends them in one go."""
        scratch = _scratch_of_thread()
        taken: list[OnePart] = []
        size = _read_whole(parts, scratch, 0, 0, taken)
        self._parts_taken += len(taken)
        self._sent_by_thread.extend(file for _, file, _, _ in taken)
        if not size:
            self._split(parts)
            return
        if not parts.rest:
            self._items.popleft()
        rest = scratch[:size]
        try:
            sent = self._socket.send(rest)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.bytes_sent += sent
        if sent < size:
            self._items.appendleft(memoryview(bytes(rest[sent:])))
            self._bytes_taken -= size - sent

    def _send_header(self, part: FilePart, ahead: int) -> int:
        return self._socket.send(part.header[-ahead:], _MORE if part.length else 0)

    def _send_part(self, part: FilePart) -> int:
        done = part.sent - len(part.header)
        offset, left = part.offset + done, part.length - done
        try:
            sent = os.sendfile(
                self._socket.fileno(), part.file.fd, offset, min(left, _SENDFILE_BYTES)
            )
        except (BlockingIOError, InterruptedError, ConnectionError):
            raise
        except OSError as error:
            # Whose fault it is the file can tell: a client that was lost on its way counts
            # for nothing against it.
            data = self._look_at(part, offset, left)
            if error.errno not in _NO_SENDFILE:
                raise
            return self._socket.send(data)
        if not sent:
            raise CutShortError(part.file, offset)
        return sent

    def _look_at(self, part: FilePart, offset: int, left: int) -> bytes:
        """Some of a file, read in the plain way. Raises `CutShortError`."""
        try:
            data = os.pread(part.file.fd, min(left, _COPY_BYTES), offset)
        except OSError as error:
            raise CutShortError(part.file, offset) from error
        if not data:
            raise CutShortError(part.file, offset)
        return data


def _read_whole(
    parts: FileParts, scratch: memoryview, begin: int, flags: int, taken: list[OnePart]
) -> int:
    """Moves whole parts into a buffer from `begin` on, as long as they fit; where they end."""
    rest, preadv = parts.rest, os.preadv
    size = begin
    while rest:
        header, file, offset, length = rest[0]
        start = size + len(header)
        end = start + length
        if end > SCRATCH_BYTES:
            break
        try:
            read = preadv(file.fd, [scratch[start:end]], offset, flags)
        except OSError:
            # Not in the page cache; or it cannot be read at all, as who sends it will find out.
            break
        if read < length:
            break
        scratch[size:start] = header
        size = end
        taken.append(rest.popleft())
    return size


_of_thread: Final = threading.local()


def _scratch_of_thread() -> memoryview:
    """A buffer of the calling thread's own."""
    scratch: memoryview | None = getattr(_of_thread, "scratch", None)
    if scratch is None:
        scratch = _of_thread.scratch = new_scratch()
    return scratch
