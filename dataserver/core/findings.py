"""What may be wrong in a pool, and what is to be done about it.

The rule for remedies: what the archive has may go, what it may not have is moved out of the
way and kept. What a data server puts right by itself when it starts is left to it, for it asks
the archive and this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"  # remembered, and not on the disk
    STRAY = "stray"  # on the disk, and not remembered
    SIZE = "size"  # larger or smaller than it was
    CHANGED = "changed"  # of the size it had, and written to since
    CHECKSUM = "checksum"
    UNREADABLE = "unreadable"
    LEFTOVER = "leftover"  # of recalls and uploads that were under way
    FOREIGN = "foreign"  # what can be no replica: links, devices, names that are none
    CATALOGUE = "catalogue"


class Remedy(StrEnum):
    """What a repair does."""

    START = "leave it to the data server's next start"
    FORGET = "forget it"
    REMOVE = "remove it"
    APART = "keep it apart"
    NONE = "nothing can be done here"


#: By what is wrong, and whether the archive has the file.
REMEDIES: Final[Mapping[tuple[Kind, bool], Remedy]] = {
    (Kind.MISSING, True): Remedy.FORGET,
    (Kind.MISSING, False): Remedy.FORGET,
    (Kind.STRAY, True): Remedy.START,
    (Kind.STRAY, False): Remedy.START,
    (Kind.SIZE, True): Remedy.REMOVE,
    # What is not in the archive is its owner's to change.
    (Kind.SIZE, False): Remedy.START,
    (Kind.CHANGED, True): Remedy.START,
    (Kind.CHANGED, False): Remedy.START,
    (Kind.CHECKSUM, True): Remedy.REMOVE,
    (Kind.CHECKSUM, False): Remedy.APART,
    (Kind.UNREADABLE, True): Remedy.REMOVE,
    (Kind.UNREADABLE, False): Remedy.NONE,
    (Kind.LEFTOVER, True): Remedy.REMOVE,
    (Kind.LEFTOVER, False): Remedy.REMOVE,
    (Kind.FOREIGN, True): Remedy.APART,
    (Kind.FOREIGN, False): Remedy.APART,
    (Kind.CATALOGUE, True): Remedy.APART,
    (Kind.CATALOGUE, False): Remedy.APART,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `archived`: the archive is known to have the file."""

    kind: Kind
    path: str  # below the pool: a logical name, if it can be one
    why: str
    size_bytes: int = 0
    archived: bool = False

    @property
    def remedy(self) -> Remedy:
        """What a repair would do."""
        return REMEDIES[self.kind, self.archived]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the catalogue says of a file; times are of its last change."""

    size_bytes: int
    mtime_ns: int
    archived: bool


def missing(path: str, row: Remembered) -> Finding:
    """A file that is remembered, and is not there."""
    why = "it is gone" if row.archived else "it is gone, and the archive was not known to have it"
    return Finding(Kind.MISSING, path, why, row.size_bytes, row.archived)


def compare(path: str, size_bytes: int, mtime_ns: int, row: Remembered | None) -> Finding | None:
    """What is wrong with a file as far as its size and its time of change tell."""
    if row is None:
        return Finding(Kind.STRAY, path, "nothing is remembered of it", size_bytes)
    if size_bytes != row.size_bytes:
        why = f"it has {size_bytes} bytes, {row.size_bytes} are remembered"
        return Finding(Kind.SIZE, path, why, size_bytes, row.archived)
    if mtime_ns != row.mtime_ns:
        why = "it was written to since it came"
        return Finding(Kind.CHANGED, path, why, size_bytes, row.archived)
    return None


def is_to_be_read(finding: Finding | None) -> bool:
    """Whether a file's checksum says more of it than its size and time have."""
    return finding is None or (finding.kind is Kind.CHANGED and finding.archived)


def compare_sums(
    path: str, size_bytes: int, found: str, expected: str, *, archived: bool
) -> Finding | None:
    """What is wrong with a file as its checksum tells, whenever it was written to."""
    if found == expected:
        return None
    why = f"it has {found}, and had {expected} when it came"
    return Finding(Kind.CHECKSUM, path, why, size_bytes, archived)
