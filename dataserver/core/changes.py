"""The numbered log of what came to the pool and what left it.

The redirector follows a pool by one inventory and then every change, numbered without
gaps. The log makes a gap impossible rather than unlikely: numbers are given where the
change is entered, changes are taken out in order and once, and taking an inventory
empties the log in the same step, so the inventory is exactly the changes up to its
number. A log nobody reads from keeps nothing: whoever comes next needs an inventory
anyway. So it is while the pool's disk is away, and nothing of it is visible: the log is
closed, and opened with the inventory that is told when the disk is back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dataserver.core.replica import Replica


@dataclass(frozen=True, slots=True)
class Change:
    """A replica became visible, or (`dropped`) is visible no longer."""

    number: int
    lfn: str
    size_bytes: int
    dropped: bool
    reason: str = ""
    recall_id: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every visible replica after change `number`, in two columns."""

    lfns: list[str]
    size_bytes: list[int]
    number: int


class ChangeLog:
    """The changes a reader has not taken yet, and the number of the last one entered."""

    __slots__ = ("_followed", "_waiting", "closed", "number", "on_enter")

    def __init__(self) -> None:
        self.number = 0
        self.closed = False
        #: Is told of every change, whether there is a reader or not.
        self.on_enter: Callable[[Change], None] | None = None
        self._waiting: deque[Change] = deque()
        self._followed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(
        self,
        lfn: str,
        size_bytes: int,
        *,
        dropped: bool = False,
        reason: str = "",
        recall_id: str = "",
    ) -> None:
        """Gives the change its number and keeps it for the reader, if there is one."""
        if self.closed:
            return
        self.number += 1
        if not self._followed and self.on_enter is None:
            return
        change = Change(self.number, lfn, size_bytes, dropped, reason, recall_id)
        if self._followed:
            self._waiting.append(change)
        if self.on_enter is not None:
            self.on_enter(change)

    def inventory(self, held: Iterable[Replica]) -> Inventory:
        """All that is visible now; changes from here on are kept for `take`."""
        self._waiting.clear()
        self._followed = True
        lfns = []
        size_bytes = []
        for replica in held:
            lfns.append(replica.lfn)
            size_bytes.append(replica.size_bytes)
        return Inventory(lfns, size_bytes, self.number)

    def take(self, limit: int) -> list[Change]:
        """The next changes in order, at most `limit`; they are the reader's now."""
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def abandon(self) -> None:
        """The reader is gone; nothing is kept until the next inventory."""
        self._waiting.clear()
        self._followed = False

    def check(self) -> None:
        """Asserts that the waiting changes are the last ones, without a gap."""
        first = self.number - len(self._waiting) + 1
        assert [one.number for one in self._waiting] == list(range(first, self.number + 1))
        assert self._followed or not self._waiting
