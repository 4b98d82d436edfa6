"""Everything that takes replicas out of the pool: purges, evictions, losses, removals.

A replica that leaves is reported as dropped before its file is touched, so nobody is
sent to a file that is about to go; if the file cannot be removed, it is reported as
published again. A damaged one never is: it stays on its way out and is tried again.

Clients may remove what is not in the archive, and only that: even if it is open or pinned,
and whoever reads it keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import Refused
from dataserver.core import refusals
from dataserver.core.instructions import RemoveFiles, SetApart, Tell, TellChanged, TellEvicted
from dataserver.core.replica import Mark, Standing

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dataserver.core.busy import BusyNames
    from dataserver.core.changes import ChangeLog
    from dataserver.core.events import EvictionOrdered, Lost, RemovalOrdered, Removed
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool


class _Eviction:
    __slots__ = ("gone", "query_id", "refused", "waiting")

    def __init__(self, query_id: int) -> None:
        self.query_id = query_id
        self.waiting: dict[str, None] = {}
        self.gone: list[str] = []
        self.refused: list[tuple[str, str]] = []


class Removals:
    """Sends replicas off, and keeps the books of what is on its way out."""

    def __init__(
        self, pool: Pool, changes: ChangeLog, busy: BusyNames, out: list[Instruction]
    ) -> None:
        #: No purge and no eviction before the redirector has told all pins.
        self.pins_known = False
        self._pool = pool
        self._changes = changes
        self._busy = busy
        self._out = out
        self._evictions: list[_Eviction] = []
        self._hopeless: dict[str, int] = {}  # damaged, and could not be removed: their sizes
        self._lost: set[str] = set()
        self._apart: set[str] = set()  # of those, the only copies
        self._ordered: dict[str, str] = {}  # removed by clients: the ids of their orders

    def going(self) -> tuple[int, int]:
        """Bytes and files whose removal is under way."""
        stuck_bytes = sum(self._hopeless.values())
        pool = self._pool
        return pool.leaving_bytes - stuck_bytes, pool.leaving_files - len(self._hopeless)

    def send_off(self, lfn: str, reason: str, *, by_force: bool = False) -> None:
        """A replica is visible no more; its file is to follow with `remove_files`."""
        replica = self._pool.evict(lfn, by_force=by_force)
        self._changes.enter(lfn, replica.size_bytes, dropped=True, reason=reason)

    def remove_files(self, lfns: Sequence[str]) -> None:
        """Has the files of replicas removed that were sent off."""
        self._out.append(RemoveFiles(tuple(lfns)))

    # --- evictions, removals and losses ---------------------------------------

    def evict(self, order: EvictionOrdered, now_s: float) -> None:
        """Removes what may go of the names given, now; answered when it has gone.

        A soft eviction only marks them, even what may not go yet, and is answered at once.
        """
        if order.soft:
            self._out.append(self._mark(order))
            return
        reason = f"evicted by {order.owner}" if order.owner else "evicted"
        eviction = _Eviction(order.query_id)
        for lfn in dict.fromkeys(order.lfns):
            veto = self._pool.veto(lfn, now_s)
            if veto is None and not self.pins_known:
                veto = "this node has not been told its pins yet; try again in a moment"
            if veto is None:
                eviction.waiting[lfn] = None
                self.send_off(lfn, reason)
            else:
                eviction.refused.append((lfn, veto))
        if eviction.waiting:
            self.remove_files(tuple(eviction.waiting))
        self._evictions.append(eviction)
        self._answer_evictions()

    def _mark(self, order: EvictionOrdered) -> TellEvicted:
        """Has replicas go before all others, unless they are used again."""
        marked = []
        refused = []
        for lfn in dict.fromkeys(order.lfns):
            replica = self._pool.get(lfn)
            if replica is None:
                refused.append((lfn, "not held here"))
            elif replica.standing is Standing.LEAVING:
                refused.append((lfn, "on its way out already"))
            else:
                self._pool.mark(lfn, Mark.SOFT)
                marked.append(lfn)
        return TellEvicted(order.query_id, tuple(marked), tuple(refused))

    def remove(self, order: RemovalOrdered) -> None:
        """Removes what a client wants gone; answered when it has gone."""
        refusal = refusals.unchangeable(self._pool, self._busy, order.lfn)
        if refusal is not None:
            self._out.append(TellChanged(order.change_id, refusal))
            return
        self._ordered[order.lfn] = order.change_id
        self.send_off(order.lfn, "removed", by_force=True)
        self._out.append(RemoveFiles((order.lfn,), by_force=True))

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
            self._pool.drop(lfn)
            self._lost.discard(lfn)
            self._apart.discard(lfn)
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

    def _not_removed(self, lfn: str, why: str) -> None:
        self._out.append(Tell(f"{lfn} could not be removed: {why}"))
        if lfn in self._lost:
            replica = self._pool.get(lfn)
            assert replica is not None, lfn
            self._hopeless[lfn] = replica.size_bytes
        else:
            replica = self._pool.spare(lfn)
            self._changes.enter(lfn, replica.size_bytes)
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

    def check(self, purged: Collection[str]) -> None:
        """Asserts that everything on its way out is known to be, and nothing else is.

        `purged`: what goes to make room.
        """
        leaving = {one.lfn for one in self._pool.everything() if one.standing is Standing.LEAVING}
        waiting = {lfn for eviction in self._evictions for lfn in eviction.waiting}
        assert leaving == {*purged, *waiting, *self._lost, *self._ordered}
        assert self._hopeless.keys() <= self._lost
        assert self._apart <= self._lost
        assert all(eviction.waiting for eviction in self._evictions)
        assert self.pins_known or not {*purged, *waiting}
