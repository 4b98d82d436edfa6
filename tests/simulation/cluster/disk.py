"""A pool's disk: it knows what is synced, and what only looks as if it were there.

It is what a power cut leaves that counts. A file's bytes are safe once the file was synced,
its name once the directory was; a row of the catalogue is, once it is committed. An unlink
that was not synced may be undone by a power cut, and is then, every other time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

TORN = "torn by a power cut"


class Mood(Enum):
    """What the disk does with what is asked of it."""

    WELL = "well"
    FULL = "full"  # others have filled it: nothing can be written (ENOSPC)
    FAILING = "failing"  # nothing can be read or written (EIO)
    READ_ONLY = "read-only"  # EROFS
    UNMOUNTED = "unmounted"  # an empty mount point; who has it open still sees the disk


#: In these, what is written fails; in those, what is removed; in those, what is read.
_CANNOT_WRITE = {Mood.FULL, Mood.FAILING, Mood.READ_ONLY}
_CANNOT_REMOVE = {Mood.FAILING, Mood.READ_ONLY}
_CANNOT_READ = {Mood.FAILING}


class DiskError(Exception):
    """The disk has refused; `is_no_space` tells ENOSPC from the rest."""

    def __init__(self, mood: Mood) -> None:
        super().__init__(f"this node's disk: {mood.value}")
        self.is_no_space = mood is Mood.FULL


@dataclass(frozen=True, slots=True)
class SimFile:
    """Some bytes: how many, which (`content` stands for them), and whether they are synced."""

    lfn: str
    size_bytes: int
    content: str
    synced: bool = False


class Row(NamedTuple):
    """A committed row of the catalogue. `content` stands for the file's time of change."""

    size_bytes: int
    content: str
    archived: bool
    #: Of one that is not archived: the archive may have some of it; why it was given up.
    sent: bool = False
    failure: str = ""


class SimDisk:
    """What lies in one pool, as a process sees it, and as a power cut would leave it."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        #: Recall or upload id → its file in the incoming directory.
        self.incoming: dict[str, SimFile] = {}
        #: LFN → the replica's file.
        self.files: dict[str, SimFile] = {}
        self.rows: dict[str, Row] = {}
        #: Names as they are on the platters.
        self._durable: dict[str, SimFile] = {}

    def bytes_used(self) -> int:
        """What lies there, finished or not."""
        return sum(one.size_bytes for one in (*self.files.values(), *self.incoming.values()))

    def is_synced(self, lfn: str) -> bool:
        """Whether a file would be whole and at its place after a power cut."""
        file = self.files.get(lfn)
        return file is not None and file.synced and self._durable.get(lfn) == file

    # --- what a shell does; everything raises DiskError -----------------------

    def write(self, holder: str, file: SimFile) -> None:
        """A recall's or an upload's file has this content now."""
        self._need(_CANNOT_WRITE)
        self.incoming[holder] = file

    def sync_incoming(self, holder: str) -> SimFile:
        """Syncs the file of a recall or an upload; what it is."""
        self._need(_CANNOT_READ | {Mood.READ_ONLY})
        self.incoming[holder] = replace(self.incoming[holder], synced=True)
        return self.incoming[holder]

    def move_in(self, holder: str) -> None:
        """Moves a file to its place, over what is there."""
        self._need(_CANNOT_REMOVE)
        file = self.incoming.pop(holder)
        self.files[file.lfn] = file

    def sync_name(self, lfn: str) -> None:
        """Syncs the directory a file is in."""
        self._need(_CANNOT_REMOVE)
        self._durable[lfn] = self.files[lfn]

    def commit(self, lfn: str, row: Row) -> None:
        """Writes a row of the catalogue."""
        self._need(_CANNOT_WRITE)
        self.rows[lfn] = row

    def uncommit(self, lfn: str) -> None:
        """Deletes a row of the catalogue."""
        self._need(_CANNOT_REMOVE)
        self.rows.pop(lfn, None)

    def sync_all(self) -> None:
        """Syncs the whole file system."""
        self._need(_CANNOT_REMOVE)
        self.files = {lfn: replace(file, synced=True) for lfn, file in self.files.items()}
        self._durable = dict(self.files)

    def unlink(self, lfn: str) -> None:
        """Removes a replica's file; fine if it is gone."""
        self._need(_CANNOT_REMOVE)
        self.files.pop(lfn, None)

    def remove_incoming(self, holder: str) -> None:
        """Removes what a recall or an upload has left."""
        self._need(_CANNOT_REMOVE)
        self.incoming.pop(holder, None)

    def read(self, lfn: str) -> SimFile | None:
        """Opens a replica's file; None if there is none."""
        self._need(_CANNOT_READ)
        return self.files.get(lfn)

    def _need(self, bad: set[Mood]) -> None:
        if self.mood in bad:
            raise DiskError(self.mood)

    # --- what happens to it ----------------------------------------------------

    def vanish(self, lfn: str) -> None:
        """Somebody deletes a file behind the server's back, for good."""
        self.files.pop(lfn, None)
        self._durable.pop(lfn, None)

    def cut_power(self, rng: random.Random) -> None:
        """Only what was synced is left; bytes that were not are torn."""
        left: dict[str, SimFile] = {}
        for lfn, file in self._durable.items():
            if lfn not in self.files and rng.random() < 0.5:
                continue
            left[lfn] = file if file.synced else replace(file, content=TORN)
        # A name that was not synced may be on the platters all the same.
        for lfn, file in self.files.items():
            if lfn not in left and rng.random() < 0.5:
                left[lfn] = file if file.synced else replace(file, content=TORN)
        self.files = left
        self._durable = dict(left)
        self.incoming = {
            holder: replace(file, content=TORN)
            for holder, file in self.incoming.items()
            if rng.random() < 0.5
        }
