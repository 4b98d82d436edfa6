"""One replica as the pool's books have it, and what a pool may hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Limits:
    """What the pool may hold, and where purging starts and ends (always used bytes).

    `max_files` 0 means that files are not counted.
    """

    quota_bytes: int
    max_files: int = 0
    high_bytes: int = 0
    low_bytes: int = 0

    @classmethod
    def of(cls, quota_bytes: int, max_files: int, high: float, low: float) -> Limits:
        """Limits with watermarks given as shares of the quota."""
        return cls(quota_bytes, max_files, int(quota_bytes * high), int(quota_bytes * low))


class Standing(Enum):
    """Where a replica stands between being found and being gone."""

    UNCHECKED = "unchecked"  # found on disk at start: counted, but not visible yet
    HELD = "held"
    LEAVING = "leaving"  # on its way out: no longer visible, its bytes still count


class Replica:
    """One verified copy of a file in this pool."""

    __slots__ = ("archived", "idle", "opens", "place", "size_bytes", "standing")

    def __init__(
        self, size_bytes: int, place: tuple[float, int, str], standing: Standing, archived: bool
    ) -> None:
        self.size_bytes = size_bytes
        #: (last use, running number, LFN): where it stands among the idle ones.
        self.place = place
        self.standing = standing
        self.archived = archived
        self.opens = 0
        self.idle = False

    @property
    def lfn(self) -> str:
        """Its logical name."""
        return self.place[2]

    @property
    def last_use_s(self) -> float:
        """When it was last opened, read or published (Unix seconds)."""
        return self.place[0]


class Found(NamedTuple):
    """A replica found on disk at start.

    `checked` False: its bytes count, but it is not visible before `Pool.settle`.
    """

    lfn: str
    size_bytes: int
    last_use_s: float
    checked: bool = True
    archived: bool = True
