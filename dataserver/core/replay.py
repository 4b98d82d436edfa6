"""What another policy, or a pool of another size, would have kept: an access log played again.

The very mechanism that purges a pool purges a pool of names here, so watermarks, shares,
marks and batches count as they do in life. Not in a log, and left out, are what was open,
what was pinned or not yet archived, and what a purge command had to say. A file that was here
before the log begins is in the pool from the start, if the log tells of it at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dataserver.core.access import AccessKind
from dataserver.core.busy import BusyNames
from dataserver.core.changes import ChangeLog
from dataserver.core.events import Removed
from dataserver.core.instructions import RemoveFiles
from dataserver.core.pool import Pool
from dataserver.core.purging import Purging
from dataserver.core.removals import Removals
from dataserver.core.replica import Found, Mark, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.access import Access
    from dataserver.core.groups import Groups
    from dataserver.core.instructions import Instruction
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.replica import Limits

#: What is wanted again within this time was not let go of in between: one access.
SAME_ACCESS_S: Final = 60.0
_HOLDER: Final = "replayed"
_MARKS: Final = {AccessKind.SOFT: Mark.SOFT, AccessKind.DONE: Mark.DONE}
_WANTED: Final = frozenset({AccessKind.RECALLED, AccessKind.USED})


@dataclass(slots=True)
class Outcome:
    """What came of a log: how often files were wanted, were not here, and had been purged before.

    `refused`: files for which there was no room at all.
    """

    wanted: int = 0
    wanted_bytes: int = 0
    recalled: int = 0
    recalled_bytes: int = 0
    recalled_again: int = 0
    recalled_again_bytes: int = 0
    purged: int = 0
    purged_bytes: int = 0
    refused: int = 0

    @property
    def hit_rate(self) -> float:
        """How often what was wanted was here: 0 to 1; 1 if nothing was wanted."""
        return 1.0 - self.recalled / self.wanted if self.wanted else 1.0

    def note_recall(self, size_bytes: int, *, again: bool) -> None:
        """A file was wanted that was not here."""
        self.recalled += 1
        self.recalled_bytes += size_bytes
        if again:
            self.recalled_again += 1
            self.recalled_again_bytes += size_bytes


class Accesses:
    """Tells which lines of a log are accesses of their own."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}

    def is_new(self, access: Access) -> bool:
        """Whether a file is wanted that was not wanted a moment ago."""
        last_s = self._last_s.get(access.lfn)
        self._last_s[access.lfn] = access.unix_s
        return last_s is None or access.unix_s - last_s > SAME_ACCESS_S


def as_it_was(log: Iterable[Access]) -> Outcome:
    """What the pool itself has done, by its log."""
    outcome, accesses = Outcome(), Accesses()
    purged: set[str] = set()
    for access in log:
        if access.kind in _WANTED and accesses.is_new(access):
            outcome.wanted += 1
            outcome.wanted_bytes += access.size_bytes
        if access.kind is AccessKind.RECALLED:
            outcome.note_recall(access.size_bytes, again=access.lfn in purged)
            purged.discard(access.lfn)
        elif access.kind is AccessKind.PURGED:
            outcome.purged += 1
            outcome.purged_bytes += access.size_bytes
            purged.add(access.lfn)
    return outcome


def held_before(log: Iterable[Access]) -> list[Found]:
    """What must have been in the pool when its log begins: it is used, marked or goes first of all.

    When it was used before is not known. What was purged soonest was unused longest.
    """
    seen: set[str] = set()
    purged: list[Access] = []
    others: list[Access] = []
    for access in log:
        if access.lfn not in seen:
            seen.add(access.lfn)
            if access.kind is AccessKind.PURGED:
                purged.append(access)
            elif access.kind not in {AccessKind.RECALLED, AccessKind.PUT}:
                others.append(access)
    return [Found(one.lfn, one.size_bytes, 0.0) for one in (*purged, *others)]


def replay(
    log: Iterable[Access],
    limits: Limits,
    policy: PurgePolicy,
    groups: Groups | None = None,
    found: Iterable[Found] = (),
) -> Outcome:
    """What a pool with these limits and this policy would have done, beginning with `found`.

    `groups` is used up.
    """
    pool = _ReplayedPool(limits, policy, groups, found)
    for access in log:
        pool.take(access)
    return pool.outcome


class _ReplayedPool:
    """A pool without a disk, to which files come when they are wanted."""

    def __init__(
        self,
        limits: Limits,
        policy: PurgePolicy,
        groups: Groups | None,
        found: Iterable[Found],
    ) -> None:
        self.outcome = Outcome()
        self._accesses = Accesses()
        self._pool = Pool(limits, groups)
        self._pool.load(found)
        self._out: list[Instruction] = []
        self._removals = Removals(self._pool, ChangeLog(), BusyNames(), self._out)
        self._removals.pins_known = True
        self._purging = Purging(self._pool, self._removals, policy, self._out, asks_command=False)
        self._purged: set[str] = set()

    def take(self, access: Access) -> None:
        """Lets one thing happen."""
        lfn, now_s = access.lfn, access.unix_s
        if access.kind in _WANTED:
            self._want(access)
        elif access.kind is AccessKind.PUT:
            self._come(lfn, access.size_bytes, now_s)
        elif access.kind in _MARKS:
            self._pool.mark(lfn, _MARKS[access.kind])
        elif access.kind is AccessKind.GONE:
            self._go(lfn)

    def _want(self, access: Access) -> None:
        lfn, size_bytes, now_s = access.lfn, access.size_bytes, access.unix_s
        if self._accesses.is_new(access):
            self.outcome.wanted += 1
            self.outcome.wanted_bytes += size_bytes
        if self._pool.get(lfn) is not None:
            self._pool.touch(lfn, now_s)
            return
        again = lfn in self._purged
        if again or access.kind is AccessKind.RECALLED:
            self.outcome.note_recall(size_bytes, again=again)
        self._come(lfn, size_bytes, now_s)

    def _come(self, lfn: str, size_bytes: int, now_s: float) -> None:
        if self._pool.get(lfn) is not None:
            self._go(lfn)
        if any(self._pool.shortfall(size_bytes, 1)):
            self._purge(size_bytes, 1, now_s)
        if self._pool.reserve(_HOLDER, size_bytes):
            self._pool.publish(_HOLDER, lfn, size_bytes, now_s)
            self._purged.discard(lfn)
        else:
            self.outcome.refused += 1
        self._purge(0, 0, now_s)

    def _go(self, lfn: str) -> None:
        """A file goes that no policy had a say in."""
        self._purged.discard(lfn)
        replica = self._pool.get(lfn)
        if replica is not None and replica.standing is Standing.HELD:
            self._pool.evict(lfn, by_force=True)
            self._pool.drop(lfn)

    def _purge(self, need_bytes: int, need_files: int, now_s: float) -> None:
        """Has the mechanism purge, until it has nothing more to remove."""
        over_bytes, over_files = self._pool.shortfall(need_bytes, need_files)
        can_bytes, can_files = self._purging.can_free()
        if over_bytes > can_bytes or over_files > can_files:
            return
        while True:
            self._purging.advance(need_bytes, need_files, now_s)
            lfns = [lfn for one in self._out if isinstance(one, RemoveFiles) for lfn in one.lfns]
            self._out.clear()
            if not lfns:
                return
            for lfn in lfns:
                replica = self._pool.get(lfn)
                assert replica is not None, lfn
                self.outcome.purged += 1
                self.outcome.purged_bytes += replica.size_bytes
            self._purged.update(lfns)
            removed = Removed(tuple(lfns))
            self._purging.removed(removed)
            self._removals.removed(removed)
