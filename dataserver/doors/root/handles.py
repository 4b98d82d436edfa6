"""The files one client has open, by the handles it was given for them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from common.errors import Refused
from common.root_server import RootError
from xroot.protocol import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataserver.core.replica import Replica
    from dataserver.doors.root.writing import WrittenFile


class ReadFile:
    """A replica that is open for reading. Its descriptor lives until nothing is sent of it."""

    __slots__ = ("_on_cut_short", "_on_end", "_parts", "fd", "is_closed", "mtime_s", "replica")

    def __init__(
        self,
        fd: int,
        replica: Replica,
        on_end: Callable[[ReadFile], None],
        on_cut_short: Callable[[Replica, int], object],
    ) -> None:
        """`on_end` is called once, when it is closed and nothing is sent of it any more."""
        self.fd = fd
        self.replica = replica
        self.mtime_s = int(os.fstat(fd).st_mtime)
        self.is_closed = False
        self._parts = 0
        self._on_end = on_end
        self._on_cut_short = on_cut_short

    @property
    def lfn(self) -> str:
        """Its logical name."""
        return self.replica.lfn

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return self.replica.size_bytes

    def keep(self, parts: int = 1) -> None:
        """So many more parts of it are on their way."""
        self._parts += parts

    def let_go(self, parts: int = 1) -> None:
        """So many less are."""
        self._parts -= parts
        self._end_if_done()

    def cut_short(self, offset: int) -> None:
        """It ends before it should: it is no replica any more."""
        self._on_cut_short(self.replica, offset)

    def close(self) -> None:
        """Nothing more will be read of it."""
        if not self.is_closed:
            self.is_closed = True
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self.is_closed and not self._parts:
            os.close(self.fd)
            self._on_end(self)


class Handles:
    """What one client has open."""

    def __init__(self, max_files: int) -> None:
        """`max_files` 0: any number."""
        self._max_files = max_files
        self._files: dict[bytes, ReadFile | WrittenFile] = {}
        self._number = 0
        self._opening = 0

    def __len__(self) -> int:
        return len(self._files)

    @contextlib.contextmanager
    def room_for_one(self) -> Iterator[None]:
        """For the time that one more file is being opened. Raises Refused if that is too many."""
        if self._max_files and len(self._files) + self._opening >= self._max_files:
            raise Refused(
                f"this connection has {self._max_files} files open, and may have no more "
                "([root] max_open_files)"
            )
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    def add(self, file: ReadFile | WrittenFile) -> bytes:
        """A new handle; handles are not used again for as long as may be."""
        while True:
            self._number = (self._number + 1) & 0xFFFFFFFF
            handle = self._number.to_bytes(4, "big")
            if handle not in self._files:
                self._files[handle] = file
                return handle

    def get(self, handle: bytes) -> ReadFile | WrittenFile:
        """The file of a handle. Raises RootError."""
        file = self._files.get(handle)
        if file is None:
            raise RootError(Code.FILE_NOT_OPEN, "no file is open under this handle")
        return file

    def to_read(self, handle: bytes) -> ReadFile | None:
        """The same in the usual case: a file that is open for reading; None for any other."""
        file = self._files.get(handle)
        return file if isinstance(file, ReadFile) else None

    def to_write(self, handle: bytes) -> WrittenFile:
        """A file that is open for writing. Raises RootError."""
        file = self.get(handle)
        if isinstance(file, ReadFile):
            raise RootError(Code.FILE_NOT_OPEN, f"{file.lfn} is open for reading only")
        return file

    def take(self, handle: bytes) -> ReadFile | WrittenFile:
        """Takes a file out, to be closed. Raises RootError."""
        file = self.get(handle)
        del self._files[handle]
        return file

    def take_all(self) -> list[ReadFile | WrittenFile]:
        """Takes out all there are."""
        files = list(self._files.values())
        self._files.clear()
        return files
