"""What a walk over a pool finds: files, what is none, and where it could not look."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os


class FileOnDisk(NamedTuple):
    """A regular file found in the pool."""

    lfn: str
    size_bytes: int
    mtime_ns: int


class Odd(NamedTuple):
    """What lies in the pool and can be no replica; or, if not `is_there`, cannot be looked at."""

    path: str
    why: str
    is_there: bool = True

    def __str__(self) -> str:
        try:
            self.path.encode()
        except UnicodeEncodeError:
            return f"{self.path!a}: {self.why}"
        return f"{self.path}: {self.why}"


class Unseen:
    """Where a walk could not look: of what should be there, nothing can be said."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def note(self, odd: Odd) -> None:
        """One thing that a walk has found."""
        if not odd.is_there:
            self._paths.append(odd.path)

    def covers(self, lfn: str) -> bool:
        """Whether a file of this name may be there all the same."""
        return any(lfn == path or lfn.startswith(f"{path}/") for path in self._paths)


def look(above: str, entry: os.DirEntry[str]) -> FileOnDisk | Odd | None:
    """A file, what is none, or None for a directory."""
    path = f"{above}/{entry.name}"
    try:
        path.encode()
    except UnicodeEncodeError:
        return Odd(path, "its name is not UTF-8")
    try:
        if entry.is_dir(follow_symlinks=False):
            return None
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Odd(path, error.strerror or str(error), is_there=False)
    if not stat.S_ISREG(found.st_mode):
        return Odd(path, "not a regular file")
    return FileOnDisk(path, found.st_size, found.st_mtime_ns)
