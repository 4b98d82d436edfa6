"""Syncing a whole file system, which Python has no call for."""

from __future__ import annotations

import ctypes
import os

_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def sync_file_system(fd: int) -> None:
    """All that was written to the file system of an open file is on its disk when this returns.

    Where there is no syncfs (it is Linux's), every file system is synced. Raises OSError.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(ctypes.c_int(fd)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
