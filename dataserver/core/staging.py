"""The recalls of this node: queue, slots, and room for each.

A recall waits for a slot, learns the file's size and checksum if the archive can tell,
reserves room, and copies; then the slot is free for the next one while the file is
verified and published. For room it stands in one line with all others (see `room`). A
recall for which there is none, not even after purging all that may go, fails at once and
says what fills the pool.

A file of unknown size starts with the reservation the redirector counted for it, which
is extended ahead of its growth. If it outgrows its reservation all the same, it is
stopped: the quota is a promise.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from common import wording
from common.errors import Refused
from dataserver.core import reasons
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.instructions import (
    Copy,
    Examine,
    Inspect,
    Publish,
    StopStep,
    TellEnded,
    Verify,
)
from dataserver.core.rate import StagingRate
from dataserver.core.recall import IN_SLOT, RESERVED, STOPPABLE, Recall, RecallState
from dataserver.core.replica import Standing
from dataserver.core.room import Want

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.busy import BusyNames
    from dataserver.core.changes import ChangeLog
    from dataserver.core.events import (
        Copied,
        Examined,
        Grew,
        Noted,
        Published,
        RecallOrdered,
        StepFailed,
        Stopped,
        Verified,
    )
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.removals import Removals
    from dataserver.core.room import Room

#: Reserved for a file of unknown size when the redirector did not say how much; at most
#: an even share of the quota, or a small pool would take one such file at a time.
UNKNOWN_SIZE_BYTES = 2_000_000_000


class Staging:
    """Every recall this node has accepted and not ended yet."""

    def __init__(
        self,
        pool: Pool,
        changes: ChangeLog,
        removals: Removals,
        room: Room,
        busy: BusyNames,
        out: list[Instruction],
        *,
        slots: int,
        examines: bool,
        learns_checksums: bool,
    ) -> None:
        self.rate = StagingRate()
        self._pool = pool
        self._changes = changes
        self._removals = removals
        self._room = room
        self._busy = busy
        self._out = out
        self._slots = slots
        self._examines = examines
        self._learns_checksums = learns_checksums
        self._recalls: dict[str, Recall] = {}
        self._by_lfn: dict[str, str] = {}
        self._queue: deque[Recall] = deque()  # ACCEPTED, in order
        self._in_slot = 0
        self._copying = 0
        self._closed = False

    # --- looking ------------------------------------------------------------

    def live(self) -> Iterable[Recall]:
        """Every recall that has not ended."""
        return self._recalls.values()

    @property
    def is_empty(self) -> bool:
        """Whether no recall is live."""
        return not self._recalls

    def get(self, recall_id: str) -> Recall | None:
        """A recall that has not ended, or None."""
        return self._recalls.get(recall_id)

    def is_staging(self, lfn: str) -> bool:
        """Whether a recall of this name is live here."""
        return lfn in self._by_lfn

    @property
    def waiting(self) -> int:
        """How many recalls wait for a slot."""
        return len(self._queue)

    def bytes_left(self) -> int:
        """What all recalls together still have to bring, as far as sizes are known."""
        return sum(max(0, self._expected(one) - one.bytes_done) for one in self._recalls.values())

    def copying(self) -> set[str]:
        """The recalls whose reservations may have to grow."""
        return {
            recall_id
            for recall_id, recall in self._recalls.items()
            if recall.state is RecallState.COPYING
        }

    def _expected(self, recall: Recall) -> int:
        if recall.size_bytes is not None:
            return recall.size_bytes
        quota_bytes = self._pool.limits.quota_bytes
        if recall.reserve_bytes:
            return min(recall.reserve_bytes, quota_bytes)
        return min(UNKNOWN_SIZE_BYTES, quota_bytes // (2 * self._slots))

    # --- orders -------------------------------------------------------------

    def order(self, order: RecallOrdered, now_s: float) -> None:
        """Takes a recall on; an order that is known already changes nothing."""
        if order.recall_id in self._recalls:
            return
        recall = Recall(order, now_s)
        refusal = self._refusal(order.lfn)
        if refusal is not None:
            recall.end(refusal, now_s)
            self._tell_ended(recall, now_s)
            return
        self._recalls[recall.recall_id] = recall
        self._by_lfn[recall.lfn] = recall.recall_id
        self._busy.take(recall.lfn, Refused(reasons.recall_is_live(recall)))
        self._queue.append(recall)

    def _refusal(self, lfn: str) -> Failure | None:
        if self._closed:
            return reasons.CLOSING
        if self._pool.away:
            return Failure(FailureKind.TRANSIENT, self._pool.away)
        what = self._busy.get(lfn)
        return None if what is None else Failure(FailureKind.TRANSIENT, what)

    def close(self, now_s: float) -> None:
        """Revokes every recall, and takes on no more."""
        self._closed = True
        self.revoke_all(reasons.CLOSING, now_s)

    def revoke(
        self, recall_id: str, failure: Failure, now_s: float, *, unwanted: bool = False
    ) -> None:
        """Ends a recall, or starts to; one that is being published is left to it.

        `unwanted`: nobody waits for the file any more, so that it will not come back.
        """
        recall = self._recalls.get(recall_id)
        if recall is None or recall.state in {RecallState.PUBLISHING, RecallState.STOPPING}:
            return
        if recall.state in STOPPABLE:
            self._stop(recall, failure, now_s, unwanted=unwanted)
        else:
            self._end(recall, failure, now_s)

    def revoke_all(self, failure: Failure, now_s: float) -> None:
        """Revokes every recall there is."""
        for recall_id in list(self._recalls):
            self.revoke(recall_id, failure, now_s)

    # --- steps --------------------------------------------------------------

    def examined(self, event: Examined, now_s: float) -> None:
        """Enters what the archive told, and asks for room."""
        recall = self._recalls[event.recall_id]
        if recall.size_bytes is None:
            recall.size_bytes = event.size_bytes
        if recall.checksum is None:
            recall.checksum = event.checksum
        size_bytes = recall.size_bytes
        self._move(
            recall, "examined", now_s, "" if size_bytes is None else wording.size(size_bytes)
        )
        self._ask_for_room(recall, now_s)

    def grew(self, event: Grew, now_s: float) -> None:
        """Follows a copy's growth, and keeps its reservation ahead of it."""
        recall = self._recalls.get(event.recall_id)
        if recall is None or recall.state is not RecallState.COPYING:
            return
        self._arrive(recall, event.bytes_done)
        if recall.size_bytes is not None:
            if recall.bytes_done > recall.size_bytes:
                self._stop(recall, reasons.wrong_size("grew to", recall.bytes_done, recall), now_s)
        elif not self._room.growth.follow(recall, now_s):
            self._stop(recall, reasons.outgrown(self._pool, recall), now_s)

    def noted(self, event: Noted) -> None:
        """Keeps the latest of what is said of a copy."""
        recall = self._recalls.get(event.recall_id)
        if recall is not None and recall.state is RecallState.COPYING:
            recall.note = event.note

    def copied(self, event: Copied, now_s: float) -> None:
        """Goes on to verify what was copied, if it is of the right size and has room."""
        recall = self._recalls[event.recall_id]
        recall.ran = event.ran
        self._arrive(recall, event.size_bytes)
        self.rate.complete()
        self._room.forget(recall.recall_id)
        if recall.size_bytes is not None and recall.size_bytes != event.size_bytes:
            self._stop(recall, reasons.wrong_size("has", event.size_bytes, recall), now_s)
            return
        beyond_bytes = event.size_bytes - self._pool.reserved_for(recall.recall_id)
        if beyond_bytes > 0 and not self._pool.extend(recall.recall_id, beyond_bytes):
            # Its size is known now, so the next try purges for all of it beforehand.
            recall.size_bytes = event.size_bytes
            self._stop(recall, reasons.outgrown(self._pool, recall), now_s)
            return
        recall.size_bytes = event.size_bytes
        self._move(recall, "copied", now_s, wording.size(event.size_bytes))
        self._out.append(Verify(recall.recall_id, recall.lfn, recall.size_bytes, recall.checksum))

    def verified(self, event: Verified, now_s: float) -> None:
        """Goes on to publish a file that is what it should be."""
        recall = self._recalls[event.recall_id]
        recall.checksum = event.checksum
        self._move(recall, "verified", now_s, str(event.checksum or "size only"))
        self._out.append(Publish(recall.recall_id, recall.lfn, event.size_bytes, event.checksum))

    def published(self, event: Published, now_s: float) -> None:
        """Makes the file visible: from here on it exists."""
        recall = self._recalls[event.recall_id]
        assert recall.size_bytes is not None, recall.story
        self._move(recall, "published", now_s)
        self._pool.publish(recall.recall_id, recall.lfn, recall.size_bytes, now_s)
        self._changes.enter(recall.lfn, recall.size_bytes, recall_id=recall.recall_id)
        self._out.append(Inspect(recall.lfn))
        self._forget(recall, now_s)

    def step_failed(self, event: StepFailed, now_s: float) -> None:
        """Ends a recall whose step failed."""
        recall = self._recalls[event.recall_id]
        if event.ran is not None:
            recall.ran = event.ran
        if event.size_bytes is not None and recall.size_bytes is None:
            recall.size_bytes = event.size_bytes
        self._end(recall, event.failure, now_s)

    def stopped(self, event: Stopped, now_s: float) -> None:
        """Ends a recall that was being stopped."""
        recall = self._recalls[event.recall_id]
        assert recall.failure is not None, recall.story
        if event.ran is not None:
            recall.ran = event.ran
        self._end(recall, recall.failure, now_s)

    # --- slots and room -----------------------------------------------------

    def pass_time(self, now_s: float) -> None:
        """Counts time for the staging rate."""
        self.rate.pass_time(now_s, busy=self._copying > 0)

    def start(self, now_s: float) -> None:
        """Starts what waits for a slot and has one."""
        if not self._queue:
            return
        blocked: list[Recall] = []
        while self._queue:
            recall = self._queue.popleft()
            replica = self._pool.get(recall.lfn)
            if replica is not None and replica.standing is Standing.HELD:
                recall.size_bytes = replica.size_bytes
                self._move(recall, "held already", now_s)
                self._forget(recall, now_s)
            elif self._removals.cannot_remove(recall.lfn):
                self._queue.appendleft(recall)
                self._end(recall, reasons.old_one_stays(recall.lfn), now_s)
            elif replica is not None or self._in_slot >= self._slots:
                blocked.append(recall)
            elif self._examines and self._has_unknowns(recall):
                self._move(recall, "examine", now_s)
                self._out.append(Examine(recall.recall_id, recall.lfn))
            else:
                self._move(recall, "reserve", now_s)
                self._ask_for_room(recall, now_s)
        self._queue.extend(blocked)

    def _has_unknowns(self, recall: Recall) -> bool:
        """Whether the archive should be asked before a recall begins.

        Also about a file of known size: without the archive's checksum nothing could tell
        a wrong copy of the right size.
        """
        return recall.size_bytes is None or (self._learns_checksums and recall.checksum is None)

    def _ask_for_room(self, recall: Recall, now_s: float) -> None:
        want_bytes = self._expected(recall)

        def granted(now_s: float) -> None:
            self._move(recall, "reserved", now_s, wording.size(want_bytes))
            self._out.append(Copy(recall.recall_id, recall.lfn, recall.size_bytes))

        def refused(now_s: float) -> None:
            self._end(recall, self._no_room(recall), now_s)

        self._room.ask(Want(recall.recall_id, want_bytes, True, granted, refused), now_s)

    def _no_room(self, recall: Recall) -> Failure:
        return reasons.no_room(
            self._pool,
            recall.lfn,
            self._expected(recall),
            pins_known=self._removals.pins_known,
        )

    # --- moves --------------------------------------------------------------

    def _arrive(self, recall: Recall, bytes_done: int) -> None:
        if bytes_done > recall.bytes_done:
            self.rate.arrive(bytes_done - recall.bytes_done)
            recall.bytes_done = bytes_done

    def _move(self, recall: Recall, event: str, now_s: float, why: str = "") -> None:
        before = recall.state
        recall.move(event, now_s, why)
        self._count(before, recall.state, now_s)

    def _count(self, before: RecallState, after: RecallState, now_s: float) -> None:
        self._in_slot += (after in IN_SLOT) - (before in IN_SLOT)
        if (before is RecallState.COPYING) != (after is RecallState.COPYING):
            self.pass_time(now_s)
            self._copying += 1 if after is RecallState.COPYING else -1

    def _stop(
        self, recall: Recall, failure: Failure, now_s: float, *, unwanted: bool = False
    ) -> None:
        recall.failure = failure
        self._room.forget(recall.recall_id)
        self._move(recall, "stop", now_s, failure.reason)
        self._out.append(StopStep(recall.recall_id, unwanted))

    def _end(self, recall: Recall, failure: Failure, now_s: float) -> None:
        if recall.state is RecallState.ACCEPTED:
            self._queue.remove(recall)
        before = recall.state
        recall.end(failure, now_s)
        self._count(before, recall.state, now_s)
        self._forget(recall, now_s)

    def _forget(self, recall: Recall, now_s: float) -> None:
        self._room.forget(recall.recall_id)
        self._pool.release(recall.recall_id)
        del self._recalls[recall.recall_id]
        del self._by_lfn[recall.lfn]
        self._busy.free(recall.lfn)
        self._tell_ended(recall, now_s)

    def _tell_ended(self, recall: Recall, now_s: float) -> None:
        self._out.append(
            TellEnded(
                recall.recall_id,
                recall.lfn,
                recall.failure,
                recall.size_bytes,
                recall.checksum,
                recall.ran,
                now_s - recall.accepted_s,
                recall.bytes_done,
            )
        )

    def check(self) -> None:
        """Asserts that queue, slots and reservations agree with the recalls' states."""
        by_state: dict[RecallState, list[Recall]] = {}
        for recall_id, recall in self._recalls.items():
            recall.check()
            assert not recall.ended, recall.story
            assert recall.recall_id == recall_id
            assert self._by_lfn[recall.lfn] == recall_id
            assert self._busy.get(recall.lfn) == reasons.recall_is_live(recall)
            by_state.setdefault(recall.state, []).append(recall)
            reserved = self._pool.reserved_for(recall_id)
            assert recall.state in RESERVED | {RecallState.STOPPING} or not reserved
            if recall.state in {RecallState.VERIFYING, RecallState.PUBLISHING}:
                assert recall.size_bytes is not None
                assert reserved >= recall.size_bytes
            replica = self._pool.get(recall.lfn)
            assert replica is None or recall.state is RecallState.ACCEPTED, recall.story
        assert len(self._by_lfn) == len(self._recalls)
        assert list(self._queue) == by_state.get(RecallState.ACCEPTED, [])
        in_line = {one for one in self._room.waiting() if one in self._recalls}
        assert in_line == {one.recall_id for one in by_state.get(RecallState.RESERVING, ())}
        assert self._in_slot == sum(len(by_state.get(state, ())) for state in IN_SLOT)
        assert self._in_slot <= self._slots
        assert self._copying == len(self.copying())
