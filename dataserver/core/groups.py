"""Groups of users: which files are whose, and how much of the pool each may count on.

A file belongs to the group with the longest path above it, or to none. A group's share is
one of the low watermark, and the files of no group have what is left of it: so as long as
the pool holds more than its low watermark, somebody holds more than his share. Shares are
not limits. A group may use what others leave free, and is the first to give it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What the files of no group belong to.
NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class GroupShare:
    """A group, the directories whose files are its own, and its share (0 to 1) of a pool.

    Directories begin and end with a slash.
    """

    name: str
    directories: tuple[str, ...]
    share: float


class Groups:
    """Who has how much of a pool now, and may count on how much."""

    def __init__(self, shares: Iterable[GroupShare] = (), whole_bytes: int = 0) -> None:
        """`whole_bytes` is what the shares are shares of."""
        self._shares = tuple(shares)
        self._share_bytes: dict[str, int] = {}
        self._owners = {path: one.name for one in self._shares for path in one.directories}
        self._used_bytes = dict.fromkeys([*(one.name for one in self._shares), NOBODY], 0)
        self.set_whole(whole_bytes)

    def set_whole(self, whole_bytes: int) -> None:
        """The shares are shares of this from here on."""
        given = {one.name: int(one.share * whole_bytes) for one in self._shares}
        self._share_bytes = {**given, NOBODY: max(0, whole_bytes - sum(given.values()))}

    def of(self, lfn: str) -> str:
        """The group a file belongs to."""
        end = len(lfn) if self._owners else 0
        while end > 0:
            end = lfn.rfind("/", 0, end)
            owner = self._owners.get(lfn[: end + 1])
            if owner is not None:
                return owner
        return NOBODY

    def names(self) -> list[str]:
        """The groups with a share, and those of no group; nobody if there are no shares."""
        return list(self._share_bytes) if self._owners else []

    def used_bytes(self, group: str) -> int:
        """What a group has here, without what is on its way out."""
        return self._used_bytes[group]

    def share_bytes(self, group: str) -> int:
        """What a group may count on."""
        return self._share_bytes[group]

    def over_bytes(self) -> dict[str, int]:
        """The groups that have more than their share, and how much more."""
        if not self._owners:
            return {}
        used = self._used_bytes
        return {
            name: used[name] - share_bytes
            for name, share_bytes in self._share_bytes.items()
            if used[name] > share_bytes
        }

    def add(self, group: str, size_bytes: int) -> None:
        """A file of a group has come, or (less than 0) is going."""
        self._used_bytes[group] += size_bytes

    def check(self, staying: Iterable[tuple[str, int]]) -> None:
        """Asserts that the sums are those of these (group, size). O(n)."""
        sums = dict.fromkeys(self._share_bytes, 0)
        for group, size_bytes in staying:
            sums[group] += size_bytes
        assert sums == self._used_bytes
