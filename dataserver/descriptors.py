"""Opening what lies in a directory that is open: never through a link, and only what is expected."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotAFileError(OSError):
    """What lies where a file should be is a directory, a link, or something else."""


@contextlib.contextmanager
def opened(name: str, directory: int) -> Iterator[int]:
    """A descriptor of a directory in a directory. Raises OSError."""
    fd = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def open_regular(name: str, directory: int) -> int:
    """A descriptor of a file, to be read. Raises OSError, NotAFileError."""
    fd = os.open(name, READ, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAFileError(errno.EINVAL, "not a regular file", name)
    return fd
