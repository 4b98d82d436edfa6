"""A data server's node: events in, instructions out.

`Node.handle` takes one event and the time, and returns what the shell is to do. It
glues together the three parts that do the thinking, which share one pool: `Staging`
(recalls), `Removals` (purges, evictions, losses) and `ChangeLog` (what the redirector
is told of the pool). What belongs to the node as a whole is here: its pins, and its
lease. Out of touch with the redirector for 0.8 of the lease, it ends its own recalls,
so that the redirector can safely give them to others once the whole lease is over;
both count on their own clock, from the last moment they can prove.

Doors look into the pool and use its `open`, `close` and `touch` directly, for these need
an answer and never an instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataserver.core import events, reasons
from dataserver.core.changes import ChangeLog
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.purge import Advice, plan
from dataserver.core.removals import Removals
from dataserver.core.replica import Standing
from dataserver.core.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataserver.core.changes import Inventory
    from dataserver.core.instructions import AskPurgeCommand, Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.purge import Plan

#: Own recalls are ended when this share of the lease has passed without contact.
LEASE_SHARE = 0.8
#: How often damaged files that could not be removed are tried again.
RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of a heartbeat that the core knows; sizes in bytes."""

    used_bytes: int
    reserved_bytes: int
    protected_bytes: int
    files: int
    open_files: int
    recalls_running: int
    recalls_waiting: int
    staging_bytes_left: int
    staging_bytes_per_s: float
    peak_bytes: int
    files_purged: int
    bytes_purged: int
    quota_bytes: int


class Node:
    """One pool and everything that happens to it."""

    def __init__(
        self,
        pool: Pool,
        *,
        slots: int,
        examines: bool,
        learns_checksums: bool = True,
        asks_purge_command: bool = False,
    ) -> None:
        """`examines`: whether the archive can be asked about files before their recalls,
        `learns_checksums`: and may tell a checksum besides the size.
        """
        self.pool = pool
        self.changes = ChangeLog()
        self._out: list[Instruction] = []
        self.removals = Removals(pool, self.changes, self._out, asks_command=asks_purge_command)
        self.staging = Staging(
            pool,
            self.changes,
            self.removals,
            self._out,
            slots=slots,
            examines=examines,
            learns_checksums=learns_checksums,
        )
        self._lease_s: float | None = None
        self._contact_s = 0.0
        self._retry_at_s = 0.0
        staging, removals = self.staging, self.removals
        self._handlers: Mapping[type, Callable[[Any, float], None]] = {
            events.Welcomed: self._welcomed,
            events.InTouch: self._in_touch,
            events.RecallOrdered: self._recall_ordered,
            events.RecallRevoked: self._recall_revoked,
            events.Closing: lambda _, now_s: staging.close(now_s),
            events.PinsOrdered: self._pins_ordered,
            events.EvictionOrdered: removals.evict,
            events.Examined: staging.examined,
            events.Grew: staging.grew,
            events.Copied: staging.copied,
            events.Verified: staging.verified,
            events.Published: staging.published,
            events.StepFailed: staging.step_failed,
            events.Stopped: staging.stopped,
            events.Checked: self._checked,
            events.Lost: lambda event, _: removals.lose(event),
            events.Removed: lambda event, _: removals.removed(event),
            events.Advised: lambda event, _: removals.advised(event),
            events.Tick: self._tick,
        }

    def handle(self, event: events.Event, now_s: float) -> list[Instruction]:
        """What is to be done about one event."""
        self._handlers[type(event)](event, now_s)
        self.staging.advance(now_s)
        while not self.removals.advance(*self.staging.need(), now_s):
            self.staging.fall_short(now_s)
            self.staging.advance(now_s)
        done = self._out[:]
        self._out.clear()
        return done

    # --- for doors ----------------------------------------------------------

    def inventory(self) -> Inventory:
        """All visible replicas, as of the last change."""
        return self.changes.inventory(self.pool.held())

    def is_visible(self, lfn: str) -> bool:
        """Whether a replica of this name can be opened here."""
        replica = self.pool.get(lfn)
        return replica is not None and replica.standing is Standing.HELD

    def load(self, now_s: float) -> Load:
        """The node's figures now."""
        self.staging.pass_time(now_s)
        pool = self.pool
        live = sum(1 for _ in self.staging.live())
        return Load(
            used_bytes=pool.used_bytes,
            reserved_bytes=pool.reserved_bytes,
            protected_bytes=pool.protected_bytes,
            files=len(pool),
            open_files=pool.open_files,
            recalls_running=live - self.staging.waiting,
            recalls_waiting=self.staging.waiting,
            staging_bytes_left=self.staging.bytes_left(),
            staging_bytes_per_s=self.staging.rate.bytes_per_s(),
            peak_bytes=pool.peak_bytes,
            files_purged=self.removals.files_purged,
            bytes_purged=self.removals.bytes_purged,
            quota_bytes=pool.limits.quota_bytes,
        )

    def purge_question(self, target_bytes: int) -> AskPurgeCommand:
        """What the purge command would be asked before a plan for this target."""
        return self.removals.question(self.removals.plan_goal(target_bytes))

    def purge_plan(self, target_bytes: int, limit: int, advice: Advice, now_s: float) -> Plan:
        """What a purge down to `target_bytes` used (0: the low watermark) would do now."""
        goal = self.removals.plan_goal(target_bytes)
        return plan(self.pool, advice, goal, now_s, limit)

    # --- the redirector -----------------------------------------------------

    def _welcomed(self, event: events.Welcomed, _now_s: float) -> None:
        self._lease_s = event.lease_s or None
        self._contact_s = max(self._contact_s, event.since_s)

    def _in_touch(self, event: events.InTouch, _now_s: float) -> None:
        self._contact_s = max(self._contact_s, event.since_s)

    def _recall_ordered(self, event: events.RecallOrdered, now_s: float) -> None:
        self.pool.add_pins(event.lfn, _expiries(event.pins, now_s), now_s)
        self.staging.order(event, now_s)

    def _recall_revoked(self, event: events.RecallRevoked, now_s: float) -> None:
        reason = event.reason or "cancelled"
        self.staging.revoke(event.recall_id, Failure(FailureKind.CANCELLED, reason), now_s)

    def _pins_ordered(self, event: events.PinsOrdered, now_s: float) -> None:
        for lfn, pins in event.files:
            self.pool.set_pins(lfn, _expiries(pins, now_s), now_s)
        if event.complete:
            named = {lfn for lfn, _ in event.files}
            for lfn in self.pool.pinned_names():
                if lfn not in named and not self.staging.is_staging(lfn):
                    self.pool.set_pins(lfn, (), now_s)
            self.removals.pins_known = True

    # --- replicas and time --------------------------------------------------

    def _checked(self, event: events.Checked, _now_s: float) -> None:
        replica = self.pool.get(event.lfn)
        if replica is not None and replica.standing is Standing.UNCHECKED:
            self.pool.settle(event.lfn, archived=event.archived)
            self.changes.enter(event.lfn, replica.size_bytes)
        elif event.archived:
            self.pool.archive(event.lfn)

    def _tick(self, _event: events.Tick, now_s: float) -> None:
        self.pool.expire_pins(now_s)
        self.staging.pass_time(now_s)
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + RETRY_S
            self.removals.retry()
        silence_s = now_s - self._contact_s
        if self._lease_s is not None and silence_s > LEASE_SHARE * self._lease_s:
            self.staging.revoke_all(reasons.lease_ended(silence_s), now_s)

    def check(self) -> None:
        """Asserts every invariant of the node's parts. O(n)."""
        self.pool.check()
        self.changes.check()
        self.staging.check()
        self.removals.check()
        assert not self._out


def _expiries(pins: tuple[events.PinOrder, ...], now_s: float) -> list[tuple[str, float]]:
    return [(pin.owner, now_s + pin.lifetime_s) for pin in pins]
