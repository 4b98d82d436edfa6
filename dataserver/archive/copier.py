"""Copying one file from a mounted archive, in the calling thread.

The kernel copies, in slices: between two of them the copy can be stopped, and
how far it has come can be seen. Where `copy_file_range` does not work (between
two file systems, on old ones) `sendfile` does, and where that does not, plain
reads and writes. What goes wrong is told as an ErrorClass: whether the file, the
archive or this node is to blame decides what is done about it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

SLICE_BYTES: Final = 8 << 20

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_FOUND: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
# These will be the same the next time, and on every other node.
_PERMANENT: Final = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG})
_NOT_SUPPORTED: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF}
)


class CopyError(Exception):
    """A copy did not come to its end."""

    def __init__(self, error_class: ErrorClass, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(error_class, reason)


class Copy:
    """One copy from `source` to `target`, which must not exist yet.

    `run` works in one thread; `bytes_done` and `stop` are for another one.
    """

    def __init__(self, source: str, target: str, limit_bytes: int | None = None) -> None:
        self.source = source
        self.target = target
        self.limit_bytes = limit_bytes
        self.bytes_done = 0
        self._stopped = False

    @property
    def what(self) -> str:
        """What is being done."""
        return f"copying {self.source}"

    def stop(self) -> None:
        """Makes `run` fail before its next slice."""
        self._stopped = True

    def run(self) -> None:
        """Copies the file; blocks. Raises CopyError."""
        source = self._open_source()
        try:
            before = self._checked(source)
            target = self._open_target()
            try:
                self._copy(source, target, before.st_size)
            finally:
                os.close(target)
            after = os.fstat(source)
        except OSError as error:
            raise _while_copying(error, self.source) from error
        finally:
            os.close(source)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            reason = f"{self.source} changed while it was copied"
            raise CopyError(ErrorClass.TRANSIENT, reason)

    def _open_source(self) -> int:
        try:
            # Opening a named pipe must not wait for somebody to write to it.
            return os.open(self.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CopyError(class_of(error), reason_of(error, self.source)) from error

    def _checked(self, source: int) -> os.stat_result:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise CopyError(ErrorClass.PERMANENT, f"{self.source} is not a regular file")
        if self.limit_bytes is not None and found.st_size > self.limit_bytes:
            reason = f"{self.source} has {found.st_size} bytes, {self.limit_bytes} are reserved"
            raise CopyError(ErrorClass.NO_SPACE, reason)
        return found

    def _open_target(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.target, flags, 0o644)
        except OSError as error:
            # Whatever is wrong with this pool, another node may do better.
            full = error.errno in _NO_SPACE
            error_class = ErrorClass.NO_SPACE if full else ErrorClass.TRANSIENT
            raise CopyError(error_class, reason_of(error, self.target)) from error

    def _copy(self, source: int, target: int, size_bytes: int) -> None:
        methods = iter(_METHODS)
        method = next(methods)
        while self.bytes_done < size_bytes:
            if self._stopped:
                raise CopyError(ErrorClass.TRANSIENT, f"copying {self.source} was stopped")
            count = min(SLICE_BYTES, size_bytes - self.bytes_done)
            try:
                copied = method(source, target, self.bytes_done, count)
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    raise
                copied = 0
            self.bytes_done += copied
            # Some file systems say nothing is there where a plain read finds it.
            if copied == 0 and (following := next(methods, None)) is not None:
                method = following
            elif copied == 0:
                reason = f"{self.source} ended after {self.bytes_done} of {size_bytes} bytes"
                raise CopyError(ErrorClass.TRANSIENT, reason)


def class_of(error: OSError) -> ErrorClass:
    """What an error about a file of the archive means for its recall."""
    if error.errno in _NOT_FOUND:
        return ErrorClass.NOT_FOUND
    return ErrorClass.PERMANENT if error.errno in _PERMANENT else ErrorClass.TRANSIENT


def reason_of(error: OSError, path: str) -> str:
    """The error as a line for people."""
    return f"{path}: {error.strerror}"


def _while_copying(error: OSError, source: str) -> CopyError:
    """Reading and writing fail alike here; only a full disk is certainly ours."""
    if error.errno in _NO_SPACE:
        return CopyError(ErrorClass.NO_SPACE, f"copying {source}: {error.strerror}")
    return CopyError(ErrorClass.TRANSIENT, f"copying {source}: {error.strerror}")


def _copy_file_range(source: int, target: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset, offset)


def _sendfile(source: int, target: int, offset: int, count: int) -> int:
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, count)


def _read_and_write(source: int, target: int, offset: int, count: int) -> int:
    return os.pwrite(target, os.pread(source, count, offset), offset)


_METHODS: Final[tuple[Callable[[int, int, int, int], int], ...]] = (
    _copy_file_range,
    _sendfile,
    _read_and_write,
)
