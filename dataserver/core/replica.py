"""One replica as the pool's books have it, and what a pool may hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dataserver.core.shelves import Place, Shelf


@dataclass(frozen=True, slots=True)
class Limits:
    """What the pool may hold, and where purging starts and ends (always what is used).

    `max_files` 0 means that files are not counted; their watermarks say nothing then.
    """

    quota_bytes: int
    max_files: int = 0
    high_bytes: int = 0
    low_bytes: int = 0
    high_files: int = 0
    low_files: int = 0

    @classmethod
    def of(cls, quota_bytes: int, max_files: int, high: float, low: float) -> Limits:
        """Limits with watermarks given as shares of the quota, and of `max_files`."""
        return cls(
            quota_bytes,
            max_files,
            high_bytes=int(quota_bytes * high),
            low_bytes=int(quota_bytes * low),
            # Rounded up: a pool of very few files may be full of them.
            high_files=math.ceil(max_files * high),
            low_files=math.ceil(max_files * low),
        )


class Standing(Enum):
    """Where a replica stands between being found and being gone."""

    UNCHECKED = "unchecked"  # found on disk at start: counted, but not visible yet
    HELD = "held"
    LEAVING = "leaving"  # on its way out: no longer visible, its bytes still count


class Mark(Enum):
    """What is known of a replica that tells how soon it should go, until it is used again."""

    SOFT = "soft"  # somebody evicted it softly: it goes before all others
    DONE = "done"  # whoever processed it has done with it


class Replica:
    """One verified copy of a file in this pool."""

    __slots__ = (
        "archived",
        "group",
        "mark",
        "opens",
        "place",
        "sent",
        "shelf",
        "size_bytes",
        "standing",
    )

    def __init__(
        self, size_bytes: int, place: Place, standing: Standing, archived: bool, group: str = ""
    ) -> None:
        self.size_bytes = size_bytes
        #: Where it stands among those used before and after it.
        self.place = place
        self.standing = standing
        self.archived = archived
        #: Not known to be archived, but the archive may have it, or a part of it.
        self.sent = False
        self.group = group
        self.mark: Mark | None = None
        self.opens = 0
        #: Where it stands while it is idle.
        self.shelf: Shelf | None = None

    @property
    def lfn(self) -> str:
        """Its logical name."""
        return self.place[2]

    @property
    def last_use_s(self) -> float:
        """When it was last opened, read or published (Unix seconds)."""
        return self.place[0]

    @property
    def idle(self) -> bool:
        """Whether it may go."""
        return self.shelf is not None


class Found(NamedTuple):
    """A replica found on disk at start.

    `checked` False: its bytes count, but it is not visible before `Pool.settle`.
    """

    lfn: str
    size_bytes: int
    last_use_s: float
    checked: bool = True
    archived: bool = True
    mark: Mark | None = None
