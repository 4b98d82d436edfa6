"""Sending what is in memory: bytes, and the parts of files that are in the page cache.

It is read into a buffer, together with what waits before and behind it, and sent in one go.
The kernel is asked to read nothing from a disk for it (`RWF_NOWAIT`), so nobody is held up by
one. The buffer is small enough to stay in the processor's cache, which makes this copy cheaper
than the page by page work of `sendfile`; `docs/design/0007-bytes-to-clients.md` has the story.

The event loop sends so until the client has enough for the moment. With much of a large file
to go to a client that takes it quickly, a thread goes on: several such clients then use
several processors.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from common.root_server.outbox import Outcome
from common.root_server.parts import FilePart, FileParts

if TYPE_CHECKING:
    from common.root_server.outbox import Outbox

#: Bytes up to this size are joined with what waits beside them.
SMALL_BYTES: Final = 64 << 10
#: What is joined before it is sent in one go; well below a processor core's own cache.
SCRATCH_BYTES: Final = 264 << 10  # four parts of 64 KiB fit, with their headers
#: A part of a file is not cut smaller than this to fill the rest of the buffer.
_LEAST_BYTES: Final = 32 << 10
#: The loop sends so often for one connection before it looks after the others.
_ROUNDS: Final = 8
#: A thread sends so long for one connection while others may be waiting for a thread.
_TURN_S: Final = 0.05

# On other systems than Linux nothing is known of the page cache: all goes by `from_disk`.
_NOWAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)


def new_scratch() -> memoryview:
    """A buffer for everything that one thread sends."""
    return memoryview(bytearray(SCRATCH_BYTES))


def send(outbox: Outbox, scratch: memoryview) -> Outcome:
    """Sends, in the event loop, what can be sent without waiting for a client or a disk.

    Raises OSError if the client is gone.
    """
    try:
        for _ in range(_ROUNDS):
            if not outbox.items:
                return Outcome.EMPTY
            data = _only_bytes(outbox) or _next(outbox, scratch)
            if not data:
                return Outcome.UNCACHED
            if not send_some(outbox, data, socket.MSG_DONTWAIT):
                return Outcome.FULL
        return Outcome.MORE if outbox.items else Outcome.EMPTY
    finally:
        outbox.settle()


def send_in_thread(outbox: Outbox) -> Outcome:
    """Sends, in a thread, until all is gone, its turn is over or the client takes too little.

    The socket waits for a slow client for as long as its `SO_SNDTIMEO` says, each time. Raises
    OSError if the client is gone.
    """
    scratch = scratch_of_thread()
    end_s = time.monotonic() + _TURN_S
    while outbox.items:
        if time.monotonic() >= end_s or outbox.is_to_be_settled:
            return Outcome.MORE
        data = _next(outbox, scratch)
        if not data:
            return Outcome.UNCACHED
        if not send_some(outbox, data, 0):
            return Outcome.FULL
    return Outcome.EMPTY


def send_some(outbox: Outbox, data: bytes | memoryview, flags: int) -> bool:
    """Sends what has been taken out; whether the client took it all."""
    try:
        sent = outbox.socket.send(data, flags)
    except (BlockingIOError, InterruptedError):
        sent = 0
    outbox.bytes_sent += sent
    if sent < len(data):
        rest = memoryview(data)[sent:]
        # The buffer is used again.
        outbox.put_back(memoryview(bytes(rest)) if isinstance(rest.obj, bytearray) else rest)
        return False
    return True


# --- taking out what is sent next -----------------------------------------------------


def _only_bytes(outbox: Outbox) -> bytes | None:
    """All that waits, if it is not much and no part of a file. In the loop only."""
    if outbox.parts_waiting or outbox.bytes_waiting > SCRATCH_BYTES or len(outbox.items) == 1:
        return None
    return outbox.take_all_bytes()


def _next(outbox: Outbox, scratch: memoryview) -> bytes | memoryview | None:
    """Takes out what is sent in one go; nothing if it has to be read from a disk."""
    first = outbox.items[0]
    if isinstance(first, FilePart | FileParts) or (
        len(outbox.items) > 1 and len(first) <= SMALL_BYTES
    ):
        return scratch[: gather(outbox, scratch, _NOWAIT)]
    outbox.items.popleft()
    outbox.took_bytes(len(first))
    return first


def gather(outbox: Outbox, scratch: memoryview, flags: int | None) -> int:
    """Moves what can be sent at once into a buffer; how much that is.

    `flags` are `preadv`'s; None: files cannot be read here.
    """
    size = 0
    items = outbox.items
    while items:
        item = items[0]
        if isinstance(item, FileParts):
            taken = 0 if flags is None else _read_some(outbox, item, scratch, size, flags)
        elif isinstance(item, FilePart):
            taken = 0 if flags is None else _read(outbox, item, scratch, size, flags)
        else:
            taken = _copy(outbox, item, scratch, size)
        if not taken and items and items[0] is item:
            break
        size += taken
    return size


def _copy(outbox: Outbox, item: bytes | memoryview, scratch: memoryview, size: int) -> int:
    """Takes some bytes, if they are few and there is room for them."""
    length = len(item)
    if length > SMALL_BYTES or size + length > SCRATCH_BYTES:
        return 0
    scratch[size : size + length] = item
    outbox.items.popleft()
    outbox.took_bytes(length)
    return length


def _read(outbox: Outbox, part: FilePart, scratch: memoryview, size: int, flags: int) -> int:
    """Takes as much of a part as there is room for and can be read; maybe nothing."""
    ahead = max(0, len(part.header) - part.sent)
    start = size + ahead
    done = part.sent + ahead - len(part.header)
    left = part.length - done
    length = min(left, SCRATCH_BYTES - start)
    if length < left and length < _LEAST_BYTES:
        # With room made for it, it is taken next time.
        return 0
    try:
        into = [scratch[start : start + length]]
        read = os.preadv(part.file.fd, into, part.offset + done, flags)
    except OSError:
        # Not in the page cache; or it cannot be read at all, as who sends it will find out.
        return 0
    if not read and left:
        return 0
    if ahead:
        scratch[size:start] = part.header[-ahead:]
    part.sent += ahead + read
    if read == left:
        outbox.items.popleft()
        outbox.took_parts(part.file, 1)
    return ahead + read


def _read_some(
    outbox: Outbox, parts: FileParts, scratch: memoryview, begin: int, flags: int
) -> int:
    """Takes as many whole parts as there is room for and can be read; maybe none.

    A part that cannot be taken whole even from the beginning is split off, and goes by itself.
    """
    fd, preadv, pack_into = parts.file.fd, os.preadv, parts.layout.pack_into
    header_bytes, tells_offset = parts.layout.size, parts.tells_offset
    size = begin
    taken = 0
    # A call for each part would take as long as the reading of it.
    for beginning, length, offset in islice(parts.parts, parts.done, None):
        start = size + header_bytes
        end = start + length
        if end > SCRATCH_BYTES:
            break
        try:
            if preadv(fd, (scratch[start:end],), offset, flags) < length:
                break
        except OSError:
            # As above.
            break
        if tells_offset:
            pack_into(scratch, size, beginning, length, offset)
        else:
            pack_into(scratch, size, beginning, length)
        size = end
        taken += 1
    if taken:
        parts.done += taken
        outbox.took_parts(parts.file, taken)
        if not parts:
            outbox.items.popleft()
    elif not begin:
        outbox.split_first(parts)
    return size - begin


_of_thread: Final = threading.local()


def scratch_of_thread() -> memoryview:
    """The calling thread's own buffer."""
    scratch: memoryview | None = getattr(_of_thread, "scratch", None)
    if scratch is None:
        scratch = _of_thread.scratch = new_scratch()
    return scratch
