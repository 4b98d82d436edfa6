"""Sending parts of files that a disk may have to be waited for: in a thread, with `sendfile`,
which copies nothing through this process."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Final

from common.root_server import from_cache
from common.root_server.outbox import Outcome
from common.root_server.parts import CutShortError, FilePart, FileParts

if TYPE_CHECKING:
    from common.root_server.outbox import Outbox

#: A thread sends so long for one connection while others may be waiting for a thread.
_TURN_S: Final = 0.25
#: No more is asked for at a time, so that a slow client is noticed and the clock looked at.
_SENDFILE_BYTES: Final = 1 << 20
#: Where `sendfile` does not work, this much is copied at a time.
_COPY_BYTES: Final = 256 << 10

# Other systems than Linux: every header is sent by itself.
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)
#: Some file systems know no `sendfile`.
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def send_in_thread(outbox: Outbox) -> Outcome:
    """Sends until all is gone, its turn is over or the client takes too little.

    The socket waits for a slow client for as long as its `SO_SNDTIMEO` says, each time. Raises
    OSError if the client is gone, `CutShortError` if a file is not what it was.
    """
    end_s = time.monotonic() + _TURN_S
    while outbox.items:
        if time.monotonic() >= end_s or outbox.is_to_be_settled:
            return Outcome.MORE
        try:
            if not _send_first(outbox):
                return Outcome.FULL
        except (BlockingIOError, InterruptedError):
            return Outcome.FULL
    return Outcome.EMPTY


def _send_first(outbox: Outbox) -> bool:
    """Sends some of what stands first; whether the client took all that was offered."""
    item = outbox.items[0]
    if isinstance(item, FileParts):
        return _send_parts(outbox)
    if isinstance(item, FilePart):
        return _send_part(outbox, item)
    sent = outbox.socket.send(item)
    outbox.took_bytes(sent)
    outbox.bytes_sent += sent
    if sent < len(item):
        outbox.items[0] = memoryview(item)[sent:]
        return False
    outbox.items.popleft()
    return True


def _send_parts(outbox: Outbox) -> bool:
    """Reads some of many parts, waiting for the disk if need be, and sends them in one go."""
    scratch = from_cache.scratch_of_thread()
    size = from_cache.gather(outbox, scratch, 0)
    # What cannot be read whole stands by itself now.
    return not size or from_cache.send_some(outbox, scratch[:size], 0)


def _send_part(outbox: Outbox, part: FilePart) -> bool:
    ahead = len(part.header) - part.sent
    if ahead > 0:
        offered = ahead
        sent = outbox.socket.send(part.header[-ahead:], _MORE if part.length else 0)
    else:
        offered = min(part.left, _SENDFILE_BYTES)
        sent = _send_content(outbox, part, offered)
    part.sent += sent
    outbox.bytes_sent += sent
    if not part.left:
        outbox.items.popleft()
        outbox.took_parts(part.file, 1)
    return sent == offered


def _send_content(outbox: Outbox, part: FilePart, size_bytes: int) -> int:
    offset = part.offset + part.sent - len(part.header)
    try:
        sent = os.sendfile(outbox.socket.fileno(), part.file.fd, offset, size_bytes)
    except (BlockingIOError, InterruptedError, ConnectionError):
        raise
    except OSError as error:
        # Whose fault it is the file can tell: a client that was lost on its way counts
        # for nothing against it.
        data = _look_at(part, offset, size_bytes)
        if error.errno not in _NO_SENDFILE:
            raise
        return outbox.socket.send(data)
    if not sent:
        raise CutShortError(part.file, offset)
    return sent


def _look_at(part: FilePart, offset: int, size_bytes: int) -> bytes:
    """Some of a file, read in the plain way. Raises `CutShortError`."""
    try:
        data = os.pread(part.file.fd, min(size_bytes, _COPY_BYTES), offset)
    except OSError as error:
        raise CutShortError(part.file, offset) from error
    if not data:
        raise CutShortError(part.file, offset)
    return data
