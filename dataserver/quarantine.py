"""The quarantine: what is no good in a pool, but may be the only copy of something.

It lies in the pool's private directory. Each thing in it has a directory of its own, named by
a number, beside a file that tells which name it had; so nothing ever takes another's place.
Only people remove anything from it. All of this blocks.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from dataserver.descriptors import CREATE, opened

QUARANTINE: Final = "quarantine"
#: Tells the name that what lies beside it had.
ORIGIN: Final = ".lfn"


def keep(private: int, source: int, name: str, lfn: str) -> str:
    """Moves what lies in the directory `source` there; its new directory's name.

    Synced, once it returns. Raises OSError, FileNotFoundError if there is nothing.
    """
    os.stat(name, dir_fd=source, follow_symlinks=False)
    with contextlib.suppress(FileExistsError):
        os.mkdir(QUARANTINE, 0o700, dir_fd=private)
    with opened(QUARANTINE, private) as quarantine:
        number = _make_numbered(quarantine)
        with opened(number, quarantine) as target:
            _note_name(target, lfn)
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)
        os.fsync(quarantine)
    os.fsync(private)
    os.fsync(source)
    return number


def count(private: int) -> int:
    """How many things are in it."""
    try:
        with opened(QUARANTINE, private) as quarantine, os.scandir(quarantine) as entries:
            return sum(1 for _ in entries)
    except FileNotFoundError:
        return 0


def _make_numbered(directory: int) -> str:
    """Makes a directory named by the lowest number above all others there."""
    with os.scandir(directory) as entries:
        numbers = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    name = str(max(numbers, default=0) + 1)
    os.mkdir(name, 0o700, dir_fd=directory)
    return name


def _note_name(directory: int, lfn: str) -> None:
    fd = os.open(ORIGIN, CREATE, 0o600, dir_fd=directory)
    try:
        os.write(fd, f"{lfn}\n".encode(errors="surrogateescape"))
        os.fsync(fd)
    finally:
        os.close(fd)
