"""Everything that takes replicas out of the pool: purging, evictions, losses, removals.

A *round* of purging starts when a recall finds no room or the pool is above its high
watermark, and ends when there is room and the pool is below its low one, or when
nothing more may go. The purge command, if the site has one, is asked once a round.
Victims go in batches, and are chosen anew for each: what was opened or pinned since
is vetoed, and a recall gets its room as soon as there is enough.

A replica that leaves is reported as dropped before its file is touched, so nobody is
sent to a file that is about to go; if the file cannot be removed, it is reported as
published again. A damaged one never is: it stays on its way out and is tried again.

Clients may remove what is not in the archive, and only that: even if it is open or pinned,
and whoever reads it keeps it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from common.errors import Refused
from dataserver.core import refusals
from dataserver.core.instructions import (
    AskPurgeCommand,
    RemoveFiles,
    SetApart,
    Tell,
    TellChanged,
    TellEvicted,
)
from dataserver.core.purge import Advice, Goal, advised, choose
from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from dataserver.core.busy import BusyNames
    from dataserver.core.changes import ChangeLog
    from dataserver.core.events import Advised, EvictionOrdered, Lost, RemovalOrdered, Removed
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool

#: Files removed at a time: small, so that what waits for room gets it soon.
BATCH_FILES = 256
#: A file used so lately is not taken for the watermark alone, only if room is needed.
FRESH_S = 10.0
#: How long a round for the watermark alone is put off after one that fell short.
PAUSE_S = 30.0
#: The purge command sees candidates worth this many times what has to go.
CANDIDATES_TIMES = 4
CANDIDATES_MIN_FILES = 1000
CANDIDATES_MAX_FILES = 100_000


class _Round:
    __slots__ = ("advice", "failed", "in_flight", "to_low")

    def __init__(self, to_low: bool) -> None:
        self.to_low = to_low
        self.advice: Advice | None = None
        self.failed: set[str] = set()
        self.in_flight: set[str] = set()


class _Eviction:
    __slots__ = ("gone", "query_id", "refused", "waiting")

    def __init__(self, query_id: int) -> None:
        self.query_id = query_id
        self.waiting: dict[str, None] = {}
        self.gone: list[str] = []
        self.refused: list[tuple[str, str]] = []


class Removals:
    """Decides what leaves, and keeps the books of what is on its way out."""

    def __init__(
        self,
        pool: Pool,
        changes: ChangeLog,
        busy: BusyNames,
        out: list[Instruction],
        *,
        asks_command: bool,
    ) -> None:
        self.files_purged = 0
        self.bytes_purged = 0
        #: No purge and no eviction before the redirector has told all pins.
        self.pins_known = False
        self._pool = pool
        self._changes = changes
        self._busy = busy
        self._out = out
        self._asks_command = asks_command
        self._round: _Round | None = None
        self._pause_until_s = 0.0
        self._evictions: list[_Eviction] = []
        self._hopeless: dict[str, int] = {}  # damaged, and could not be removed: their sizes
        self._lost: set[str] = set()
        self._apart: set[str] = set()  # of those, the only copies
        self._ordered: dict[str, str] = {}  # removed by clients: the ids of their orders

    # --- purging ------------------------------------------------------------

    def can_free(self) -> tuple[int, int]:
        """Bytes and files that are leaving or could be made to."""
        size_bytes, files = self._going()
        if not self.pins_known:
            return size_bytes, files
        return size_bytes + self._pool.idle_bytes, files + self._pool.idle_files

    def _going(self) -> tuple[int, int]:
        """Bytes and files whose removal is under way."""
        stuck_bytes = sum(self._hopeless.values())
        pool = self._pool
        return pool.leaving_bytes - stuck_bytes, pool.leaving_files - len(self._hopeless)

    def goal(self, need_bytes: int, need_files: int, now_s: float) -> Goal:
        """What has to go beyond what is going already, if this much more room is needed."""
        limits = self._pool.limits
        over_bytes, over_files = self._pool.shortfall(need_bytes, need_files)
        going_bytes, going_files = self._going()
        staying_bytes = self._pool.used_bytes - going_bytes
        if self._round is not None:
            to_low = self._round.to_low or over_bytes > 0
        elif need_files or need_bytes or now_s >= self._pause_until_s:
            to_low = over_bytes > 0 or staying_bytes > limits.high_bytes
        else:
            return Goal(0, 0)
        beyond_bytes = over_bytes - going_bytes
        if to_low:
            beyond_bytes = max(beyond_bytes, staying_bytes - limits.low_bytes)
        return Goal(max(0, over_files - going_files), max(0, beyond_bytes))

    def plan_goal(self, target_bytes: int) -> Goal:
        """What has to go until the pool uses no more than this (0: the low watermark)."""
        target_bytes = target_bytes or self._pool.limits.low_bytes
        return Goal(0, max(0, self._pool.used_bytes - self._going()[0] - target_bytes))

    def advance(self, need_bytes: int, need_files: int, now_s: float) -> bool:
        """Starts, continues or ends a round, for recalls that need this much room.

        False: the round ended because nothing more may go, short of what is needed.
        """
        if not self.pins_known or self._pool.away:
            return True
        goal = self.goal(need_bytes, need_files, now_s)
        round_ = self._round or (self._start_round(goal) if goal else None)
        if round_ is None or round_.advice is None or round_.in_flight:
            return True
        if not goal:
            self._round = None
            return True
        # Who has just come is waited for; the watermark alone does not take it.
        in_need = any(self._pool.shortfall(need_bytes, need_files))
        until_s = math.inf if in_need else now_s - FRESH_S
        policy = advised(self._pool, round_.advice, round_.failed, until_s)
        victims = choose(self._pool, policy, goal, now_s, BATCH_FILES)
        if victims:
            round_.in_flight.update(victims)
            self._send_off(victims, "purged")
        elif not self._going()[1]:
            self._round = None
            self._pause_until_s = now_s + PAUSE_S
            return False
        return True

    def _start_round(self, goal: Goal) -> _Round:
        self._round = _Round(to_low=goal.size_bytes > 0)
        if self._asks_command:
            self._out.append(self.question(goal))
        else:
            self._round.advice = Advice()
        return self._round

    def question(self, goal: Goal) -> AskPurgeCommand:
        """The question a purge command would be asked for this goal."""
        enough_bytes = goal.size_bytes * CANDIDATES_TIMES
        enough_files = max(CANDIDATES_MIN_FILES, goal.files * CANDIDATES_TIMES)
        lfns: list[str] = []
        size_bytes = 0
        for replica in self._pool.idle():
            if len(lfns) >= CANDIDATES_MAX_FILES:
                break
            if size_bytes >= enough_bytes and len(lfns) >= enough_files:
                break
            lfns.append(replica.lfn)
            size_bytes += replica.size_bytes
        return AskPurgeCommand(tuple(lfns), goal.size_bytes, goal.files)

    def advised(self, event: Advised) -> None:
        """Takes the purge command's answer into the round that asked."""
        if event.problem:
            self._out.append(Tell(f"{event.problem}; the longest unused go first"))
        if self._round is not None and self._round.advice is None:
            self._round.advice = event.advice

    # --- evictions, removals and losses ---------------------------------------

    def evict(self, order: EvictionOrdered, now_s: float) -> None:
        """Removes what may go of the names given, now; answered when it has gone."""
        eviction = _Eviction(order.query_id)
        for lfn in dict.fromkeys(order.lfns):
            veto = self._pool.veto(lfn, now_s)
            if veto is None and not self.pins_known:
                veto = "this node has not been told its pins yet; try again in a moment"
            if veto is None:
                eviction.waiting[lfn] = None
                self._send_off([lfn], "evicted", remove=False)
            else:
                eviction.refused.append((lfn, veto))
        if eviction.waiting:
            self._out.append(RemoveFiles(tuple(eviction.waiting)))
        self._evictions.append(eviction)
        self._answer_evictions()

    def remove(self, order: RemovalOrdered) -> None:
        """Removes what a client wants gone; answered when it has gone."""
        refusal = refusals.unchangeable(self._pool, self._busy, order.lfn)
        if refusal is not None:
            self._out.append(TellChanged(order.change_id, refusal))
            return
        self._ordered[order.lfn] = order.change_id
        self._send_off([order.lfn], "removed", by_force=True)

    def lose(self, event: Lost) -> None:
        """Takes out a replica that is no good, open and pinned or not.

        A damaged one that may be the only copy is left to people, where it is or apart.
        """
        replica = self._pool.get(event.lfn)
        if replica is None or replica.standing is Standing.LEAVING:
            return
        visible = replica.standing is Standing.HELD
        only_copy = visible and event.reason == "damaged" and not replica.archived
        if only_copy and event.apart:
            self._set_apart(event)
            return
        if only_copy:
            self._out.append(
                Tell(f"{event.lfn} is damaged, and kept, as it is not in the archive: {event.why}")
            )
            return
        self._lost.add(event.lfn)
        self._pool.evict(event.lfn, by_force=True)
        if visible:
            self._changes.enter(event.lfn, replica.size_bytes, dropped=True, reason=event.reason)
        self._out.append(Tell(f"{event.lfn} is {event.reason}: {event.why}"))
        self._out.append(RemoveFiles((event.lfn,), by_force=True))

    def _set_apart(self, event: Lost) -> None:
        lfn = event.lfn
        self._lost.add(lfn)
        self._apart.add(lfn)
        replica = self._pool.evict(lfn, by_force=True)
        reason = "damaged and kept apart, as it is not in the archive"
        self._changes.enter(lfn, replica.size_bytes, dropped=True, reason=reason)
        self._out.append(Tell(f"{lfn} is {reason}: {event.why}"))
        self._out.append(SetApart(lfn))

    def removed(self, event: Removed) -> None:
        """Books what is gone, and takes back in what could not be removed."""
        for lfn in event.gone:
            replica = self._pool.drop(lfn)
            self._lost.discard(lfn)
            self._apart.discard(lfn)
            if self._round is not None and lfn in self._round.in_flight:
                self._round.in_flight.remove(lfn)
                self.files_purged += 1
                self.bytes_purged += replica.size_bytes
            for eviction in self._evictions:
                if lfn in eviction.waiting:
                    del eviction.waiting[lfn]
                    eviction.gone.append(lfn)
            if lfn in self._ordered:
                self._out.append(TellChanged(self._ordered.pop(lfn)))
        for lfn, why in event.failed:
            self._not_removed(lfn, why)
        self._answer_evictions()

    def cannot_remove(self, lfn: str) -> bool:
        """Whether a damaged replica of this name resists being removed."""
        return lfn in self._hopeless

    def retry(self) -> None:
        """Tries once more to remove damaged files that could not be removed."""
        if self._hopeless and not self._pool.away:
            self._out += [SetApart(lfn) for lfn in sorted(self._hopeless.keys() & self._apart)]
            if lost := sorted(self._hopeless.keys() - self._apart):
                self._out.append(RemoveFiles(tuple(lost), by_force=True))
            self._hopeless.clear()

    def _send_off(
        self, lfns: list[str], reason: str, *, remove: bool = True, by_force: bool = False
    ) -> None:
        for lfn in lfns:
            replica = self._pool.evict(lfn, by_force=by_force)
            self._changes.enter(lfn, replica.size_bytes, dropped=True, reason=reason)
        if remove:
            self._out.append(RemoveFiles(tuple(lfns), by_force=by_force))

    def _not_removed(self, lfn: str, why: str) -> None:
        self._out.append(Tell(f"{lfn} could not be removed: {why}"))
        if lfn in self._lost:
            replica = self._pool.get(lfn)
            assert replica is not None, lfn
            self._hopeless[lfn] = replica.size_bytes
        else:
            replica = self._pool.spare(lfn)
            self._changes.enter(lfn, replica.size_bytes)
        if self._round is not None:
            self._round.in_flight.discard(lfn)
            self._round.failed.add(lfn)
        for eviction in self._evictions:
            if lfn in eviction.waiting:
                del eviction.waiting[lfn]
                eviction.refused.append((lfn, f"could not be removed: {why}"))
        if lfn in self._ordered:
            error = Refused(f"{lfn} could not be removed: {why}")
            self._out.append(TellChanged(self._ordered.pop(lfn), error))

    def _answer_evictions(self) -> None:
        for eviction in [one for one in self._evictions if not one.waiting]:
            self._evictions.remove(eviction)
            self._out.append(
                TellEvicted(eviction.query_id, tuple(eviction.gone), tuple(eviction.refused))
            )

    def check(self) -> None:
        """Asserts that everything on its way out is known to be, and nothing else is."""
        leaving = {one.lfn for one in self._pool.everything() if one.standing is Standing.LEAVING}
        in_flight = self._round.in_flight if self._round is not None else set()
        waiting = {lfn for eviction in self._evictions for lfn in eviction.waiting}
        assert leaving == in_flight | waiting | self._lost | self._ordered.keys()
        assert self._hopeless.keys() <= self._lost
        assert self._apart <= self._lost
        assert all(eviction.waiting for eviction in self._evictions)
        assert self.pins_known or not in_flight | waiting
