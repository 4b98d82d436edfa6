"""What threads do with the file of an upload: write, copy, sum up. All of it blocks.

Raises OSError where the disk does.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from dataserver import checksum as checksums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dataserver.checksum import Checksum

#: Linux takes no more pieces in one call.
PIECES_IN_A_WRITE: Final = 1024
#: Copied between two looks whether the copy is still wanted.
COPIED_AT_A_TIME: Final = 64 << 20

#: What copy_file_range says where it cannot do it: another way may.
_NO_COPY_IN_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
)

Buffer = bytes | bytearray | memoryview


def write_all(fd: int, pieces: Sequence[Buffer], offset: int) -> None:
    """Writes pieces one behind the other."""
    left = [memoryview(piece) for piece in pieces if len(piece)]
    while left:
        written = os.pwritev(fd, left[:PIECES_IN_A_WRITE], offset)
        offset += written
        while written:
            if written < len(left[0]):
                left[0] = left[0][written:]
                break
            written -= len(left.pop(0))


def copy_all(source: int, target: int, size_bytes: int, keep_on: Callable[[], bool]) -> None:
    """Copies a file, without its bytes passing through here where the file system can.

    Ends early if the source does, or `keep_on` says no.
    """
    offset = 0
    in_kernel = True
    while offset < size_bytes and keep_on():
        length = min(COPIED_AT_A_TIME, size_bytes - offset)
        if in_kernel:
            try:
                copied = os.copy_file_range(source, target, length, offset, offset)
            except OSError as error:
                if error.errno not in _NO_COPY_IN_KERNEL:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(source, checksums.READ_BYTES, offset)
            write_all(target, [data], offset)
            copied = len(data)
        if not copied:
            return
        offset += copied


def sum_and_sync(
    fd: int, algorithms: Iterable[str], keep_on: Callable[[], bool]
) -> tuple[os.stat_result, list[Checksum]]:
    """What a file is now that it is whole, and its checksums; it is on the disk then.

    Nothing of that can be relied on once `keep_on` has said no.
    """
    found = [checksums.of_fd(fd, algorithm, keep_on) for algorithm in algorithms]
    if keep_on():
        os.fsync(fd)
    return os.fstat(fd), [checksum for checksum in found if checksum is not None]
