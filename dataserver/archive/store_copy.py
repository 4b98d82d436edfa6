"""Copying one file to a mounted archive, in the calling thread.

The copy is made under a name of its own beside the file's, synced, and read back and compared
with the original. Only then does it get its name, which no crash takes from it any more. What
has that name already is left as it is if it is the same; it is replaced if an earlier run of
ours may have left it; and if it is another file, nothing is stored.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass
from dataserver.archive.copier import Copy, CopyError, class_of, reason_of

if TYPE_CHECKING:
    from dataserver.archive.model import ToStore

#: Names of copies that are being made begin so; they are in no listing.
UNFINISHED: Final = ".packhorse-"
_READ_BYTES: Final = 4 << 20
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class StoreCopy:
    """One copy of a file to `target`; `run` works in one thread, the rest is for another."""

    def __init__(self, file: ToStore, target: str) -> None:
        self._file = file
        self._target = Path(target)
        mark = hashlib.sha256(file.lfn.encode()).hexdigest()[:16]
        self._marked = f"{UNFINISHED}{mark}-"
        self._unfinished = self._target.parent / f"{self._marked}{secrets.token_hex(4)}"
        self._copy = Copy(str(file.path), str(self._unfinished), file.size_bytes)
        self._compared_bytes = 0
        self._stopped = False

    @property
    def what(self) -> str:
        """What is being done."""
        return f"storing {self._file.lfn}"

    @property
    def bytes_done(self) -> int:
        """Bytes that were copied, and those that were compared."""
        return self._copy.bytes_done + self._compared_bytes

    def stop(self) -> None:
        """Makes `run` fail soon."""
        self._stopped = True
        self._copy.stop()

    def run(self) -> None:
        """Stores the file; blocks. Raises CopyError."""
        try:
            made = self._make_directories()
            if self._file.again:
                self._remove_unfinished()
            if self._is_there():
                return
            try:
                self._make_copy()
                self._give_name()
            finally:
                with contextlib.suppress(OSError):
                    self._unfinished.unlink()
            for directory in (self._target.parent, *made):
                _sync(directory)
        except OSError as error:
            # A directory that is missing in the archive says nothing of the file.
            found = class_of(error)
            kind = ErrorClass.TRANSIENT if found is ErrorClass.NOT_FOUND else found
            raise CopyError(kind, reason_of(error, str(self._target))) from error

    def _make_directories(self) -> list[Path]:
        """Makes those that are missing; the ones in which there is a new one."""
        changed = []
        missing = self._target.parent
        while not missing.is_dir():
            changed.append(missing.parent)
            missing = missing.parent
        self._target.parent.mkdir(parents=True, exist_ok=True)
        return changed

    def _remove_unfinished(self) -> None:
        """Removes what earlier runs have left beside the file, when they were killed."""
        with os.scandir(self._target.parent) as entries:
            for entry in entries:
                if entry.name.startswith(self._marked):
                    with contextlib.suppress(FileNotFoundError):
                        Path(entry.path).unlink()

    def _is_there(self) -> bool:
        """Whether the file has been stored already. Raises CopyError if it is another one."""
        try:
            same = self._is_same(self._target)
        except FileNotFoundError:
            return False
        if not same and not self._file.again:
            raise self._another()
        return same

    def _make_copy(self) -> None:
        self._copy.run()
        fd = os.open(self._unfinished, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.utime(fd, ns=(self._file.mtime_ns, self._file.mtime_ns))
            os.fsync(fd)
            # What is read back shall come from the archive, and not from this machine's memory.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        if not self._is_same(self._unfinished):
            reason = f"{self._target}: what was written is not what is read back"
            raise CopyError(ErrorClass.TRANSIENT, reason)

    def _give_name(self) -> None:
        if self._stopped:
            raise CopyError(ErrorClass.TRANSIENT, f"{self.what} was stopped")
        if self._file.again:
            self._unfinished.rename(self._target)
            return
        try:
            os.link(self._unfinished, self._target)
        except FileExistsError:
            raise self._another() from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self._target.exists():
                raise self._another() from None
            self._unfinished.rename(self._target)

    def _another(self) -> CopyError:
        reason = f"{self._target} is another file in the archive, and is not overwritten"
        return CopyError(ErrorClass.PERMANENT, reason)

    def _is_same(self, other: Path) -> bool:
        """Whether another file has the content of ours, all of which is read."""
        ours = os.open(self._file.path, _READ)
        try:
            theirs = os.open(other, _READ)
            try:
                return os.fstat(theirs).st_size == self._file.size_bytes and self._agree(
                    ours, theirs
                )
            finally:
                os.close(theirs)
        finally:
            os.close(ours)

    def _agree(self, ours: int, theirs: int) -> bool:
        offset = 0
        while True:
            if self._stopped:
                raise CopyError(ErrorClass.TRANSIENT, f"{self.what} was stopped")
            mine, other = (os.pread(fd, _READ_BYTES, offset) for fd in (ours, theirs))
            if mine != other:
                return False
            if not mine:
                return True
            offset += len(mine)
            self._compared_bytes += len(mine)


def remove_file(path: str) -> None:
    """Removes a file of the archive for good; blocks. Raises CopyError, NOT_FOUND as well."""
    try:
        Path(path).unlink()
        _sync(Path(path).parent)
    except OSError as error:
        raise CopyError(class_of(error), reason_of(error, path)) from error


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
