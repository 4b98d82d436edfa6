"""What the user's function gets: a packet, a range of entries of one file."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from packhorse.replica_file import ReplicaFile
from packhorse.tables import open_table

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator
    from pathlib import Path

    from packhorse.replica import Replica
    from packhorse.tables import Columns, Table

_OPEN_BUFFER_BYTES = 64 << 10


class OpenFile:
    """A replica and the tables opened on it, kept from one packet to the next."""

    def __init__(self, replica: Replica, file_format: str) -> None:
        self.replica = replica
        self._format = file_format
        self._tables: dict[str, Table] = {}
        self._file: ReplicaFile | None = None

    @property
    def is_columnar(self) -> bool:
        """Whether its entries are rows of tables, not bytes."""
        return self._format in {"root", "parquet"}

    @property
    def bytes_read(self) -> int:
        """Bytes fetched for tables so far."""
        return self._file.bytes_read if self._file is not None else 0

    def table(self, tree: str) -> Table:
        """A table of the file, opened when first asked for. Raises ReplicaError, TypeError."""
        table = self._tables.get(tree)
        if table is None:
            if self._file is None:
                self._file = self.replica.file()
            table = open_table(self._format, self._file, self.replica.info.lfn, tree)
            self._tables[tree] = table
        return table

    def close(self) -> None:
        """Lets go of the replica: it may be purged from now on."""
        try:
            for table in self._tables.values():
                table.close()
        finally:
            self.replica.close()


class Packet:
    """A range of entries of one file: `function(packet)` is called once for each.

    Entries are those of `tree`, or a Parquet file's rows, or the bytes of any other
    file. The packet is good for one call of the function: what it opened is closed then.
    """

    def __init__(self, lfn: str, tree: str, start: int, stop: int, file: OpenFile) -> None:
        self.lfn = lfn
        self.tree = tree
        self.start = start
        self.stop = stop
        self._file = file
        self._opened: list[BinaryIO] = []
        # Seconds spent opening and reading, and bytes fetched, for the session's report.
        self.open_s = 0.0
        self.read_s = 0.0
        self._bytes_before = file.bytes_read
        self._own_bytes = 0

    def __repr__(self) -> str:
        return f"<packet {self.lfn} [{self.start}, {self.stop})>"

    @property
    def entries(self) -> int:
        """How many entries the packet has."""
        return self.stop - self.start

    @property
    def size_bytes(self) -> int:
        """The size of the whole file."""
        return self._file.replica.size_bytes

    @property
    def path(self) -> Path | None:
        """Where the file lies, if it can be opened here; None if it must be read from afar."""
        return self._file.replica.local_path

    @property
    def bytes_read(self) -> int:
        """Bytes fetched for this packet so far."""
        return self._file.bytes_read - self._bytes_before + self._own_bytes

    def arrays(self, columns: Columns = None, **options: Any) -> Any:
        """Columns of the packet's entries; all of them if none are named.

        ROOT: as `uproot.TTree.arrays` (`library="ak"`, "np" or "pd", `cut=`, `filter_name=`, …).
        Parquet: `library` "ak", "np", "pd" or "arrow". Raises KeyError for a column that is
        not there, TypeError for a file that has no columns.
        """
        with self._counting("open_s"):
            table = self._file.table(self.tree)
        with self._counting("read_s"):
            return table.arrays(self.start, self.stop, columns, **options)

    def open(self) -> BinaryIO:
        """The whole file, from its beginning, as a binary file that can seek."""
        is_local = self.path is not None
        raw = ReplicaFile(self._read, self.size_bytes, name=self.lfn, is_local=is_local)
        file = cast("BinaryIO", io.BufferedReader(raw, _OPEN_BUFFER_BYTES))
        self._opened.append(file)
        return file

    def bytes(self) -> builtins.bytes:
        """The packet's bytes, of a file whose entries are bytes; TypeError for others."""
        if self._file.is_columnar:
            raise TypeError(f"the entries of {self.lfn} are not bytes: use packet.arrays()")
        return self._read(self.start, self.entries)

    def close(self) -> None:
        """Closes what `open` gave."""
        for file in self._opened:
            file.close()

    def _read(self, offset: int, length: int) -> builtins.bytes:
        with self._counting("read_s"):
            content = self._file.replica.read(offset, length)
        self._own_bytes += len(content)
        return content

    @contextlib.contextmanager
    def _counting(self, what: str) -> Iterator[None]:
        """Adds the time spent inside to `open_s` or `read_s`."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - began_s)
