"""A data server's node: events in, instructions out.

`Node.handle` takes one event and the time, and returns what the shell is to do. It
glues together the parts that do the thinking, which share one pool: `Staging` (recalls),
`Uploads` and `Renames` (what clients do), `Purging` (when room is to be made, and what
goes for it), `Removals` (what leaves, for whatever reason), `Room` (who waits for room, in one line) and `ChangeLog` (what the
redirector is told of the pool). What belongs to the node as a whole is here: its pins, and
its lease. Out of touch with the redirector for 0.8 of the lease, it ends its own recalls
and uploads, so that the redirector can safely give their names to others once the whole
lease is over; both count on their own clock, from the last moment they can prove.

Doors look into the pool and use its `open`, `close` and `touch` directly, for these need
an answer and never an instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import Refused
from dataserver.core import events, reasons, refusals
from dataserver.core.busy import BusyNames
from dataserver.core.changes import ChangeLog
from dataserver.core.client_removals import ClientRemovals
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.instructions import JoinAnew, KeepCommands, TellStores
from dataserver.core.load import load_of
from dataserver.core.pins import Pin
from dataserver.core.policies import LRU
from dataserver.core.purging import Purging
from dataserver.core.removals import Removals
from dataserver.core.renames import Renames
from dataserver.core.replica import Mark, Replica, Standing
from dataserver.core.room import Room
from dataserver.core.staging import Staging
from dataserver.core.stores import Stores
from dataserver.core.uploads import Uploads
from dataserver.core.withdrawals import Withdrawals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from common.errors import PackhorseError
    from dataserver.core.changes import Inventory
    from dataserver.core.instructions import Instruction
    from dataserver.core.load import Load
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.pool import Pool
    from dataserver.core.stores import StoreRules

#: Own recalls are ended when this share of the lease has passed without contact.
LEASE_SHARE = 0.8
#: Their commands are ended by this share of it, if the node could not do so: it was stopped.
COMMANDS_SHARE = 0.9
#: How often damaged files that could not be removed are tried again.
RETRY_S = 60.0


class Node:
    """One pool and everything that happens to it."""

    def __init__(
        self,
        pool: Pool,
        *,
        slots: int,
        examines: bool,
        learns_checksums: bool = True,
        policy: PurgePolicy = LRU,
        asks_purge_command: bool = False,
        store_rules: StoreRules | None = None,
        withdraws: bool = False,
    ) -> None:
        """`examines`: whether the archive can be asked about files before their recalls,
        `learns_checksums`: and may tell a checksum besides the size. Without
        `store_rules` what clients write is not stored in it; `withdraws`: clients may
        remove and replace what is in it.
        """
        self.pool = pool
        self.changes = ChangeLog()
        self._out: list[Instruction] = []
        self._busy = BusyNames()
        self.removals = Removals(pool, self.changes, self._busy, self._out)
        self.purging = Purging(
            pool, self.removals, policy, self._out, asks_command=asks_purge_command
        )
        self._room = Room(pool, self.purging)
        self.staging = Staging(
            pool,
            self.changes,
            self.removals,
            self._room,
            self._busy,
            self._out,
            slots=slots,
            examines=examines,
            learns_checksums=learns_checksums,
        )
        self.stores = Stores(pool, self._busy, self._out, store_rules)
        self.withdrawals = Withdrawals(pool, self.stores, self._out, is_enabled=withdraws)
        self.uploads = Uploads(
            pool,
            self.changes,
            self.removals,
            self._room,
            self._busy,
            self.withdrawals,
            self._out,
        )
        self.client_removals = ClientRemovals(
            pool, self.removals, self.withdrawals, self._busy, self._out
        )
        self.renames = Renames(pool, self.changes, self._busy, self._out)
        self._lease_s: float | None = None
        self._contact_s = 0.0
        self._retry_at_s = 0.0
        staging, removals, uploads, renames, stores = (
            self.staging,
            self.removals,
            self.uploads,
            self.renames,
            self.stores,
        )
        self._handlers: Mapping[type, Callable[[Any, float], None]] = {
            events.Welcomed: self._welcomed,
            events.InTouch: self._in_touch,
            events.RecallOrdered: self._recall_ordered,
            events.RecallRevoked: self._recall_revoked,
            events.Closing: self._closing,
            events.PinsOrdered: self._pins_ordered,
            events.EvictionOrdered: removals.evict,
            events.DoneWith: self._done_with,
            events.Examined: self._covered(staging.examined),
            events.Grew: staging.grew,
            events.Noted: lambda event, _: staging.noted(event),
            events.Copied: staging.copied,
            events.Verified: self._covered(staging.verified),
            events.Published: staging.published,
            events.StepFailed: staging.step_failed,
            events.Stopped: staging.stopped,
            events.UploadBegun: uploads.begin,
            events.Claimed: self._claimed,
            events.ClaimRefused: self._claim_refused,
            events.RoomWanted: uploads.want,
            events.UploadWritten: self._upload_written,
            events.UploadPublished: uploads.published,
            events.UploadFailed: uploads.failed,
            events.UploadGone: uploads.gone,
            events.RemovalOrdered: lambda event, _: self.client_removals.order(event),
            events.Withdrawn: self.withdrawals.withdrawn,
            events.RenameOrdered: lambda event, _: renames.order(event),
            events.Renamed: lambda event, _: renames.renamed(event),
            events.RenameFailed: lambda event, _: renames.failed(event),
            events.Compared: stores.compared,
            events.StoreRan: stores.ran,
            events.ArchivedNoted: stores.noted,
            events.StoreStepFailed: stores.step_failed,
            events.StoreStopped: stores.stopped,
            events.StoresOrdered: self._stores_ordered,
            events.Checked: self._checked,
            events.Lost: self._lost,
            events.Removed: self._removed,
            events.Advised: lambda event, _: self.purging.advised(event),
            events.DiskWent: self._disk_went,
            events.DiskCame: self._disk_came,
            events.LimitsChanged: self._limits_changed,
            events.Tick: self._tick,
        }

    def handle(self, event: events.Event, now_s: float) -> list[Instruction]:
        """What is to be done about one event."""
        self._handlers[type(event)](event, now_s)
        self._end_uncovered(now_s)
        self._advance(now_s)
        while not self.purging.advance(*self._room.need(), now_s):
            self._room.fall_short(now_s)
            self._advance(now_s)
        done = self._out[:]
        self._out.clear()
        return done

    def _advance(self, now_s: float) -> None:
        """Grants room that has become free, and starts what has a slot."""
        self._room.grant(now_s)
        self.staging.start(now_s)
        self.stores.follow(now_s)
        self.stores.start(now_s)

    # --- for doors ----------------------------------------------------------

    def inventory(self) -> Inventory:
        """All visible replicas, as of the last change."""
        return self.changes.inventory(self.pool.held())

    def is_visible(self, lfn: str) -> bool:
        """Whether a replica of this name can be opened here."""
        replica = self.pool.get(lfn)
        return replica is not None and replica.standing is Standing.HELD and not self.pool.away

    def is_moving(self, lfn: str) -> bool:
        """Whether the file of this name is just being replaced or renamed on the disk.

        What is opened by name meanwhile may be the one or the other.
        """
        return self.uploads.is_publishing(lfn) or self.renames.is_moving(lfn)

    def can_replace(self, replica: Replica) -> bool:
        """Whether the archive is no reason why clients should not remove or replace a file."""
        return self.withdrawals.is_enabled or not (replica.archived or replica.sent)

    def unchangeable(self, lfn: str) -> PackhorseError | None:
        """Why the replica of this name is not a client's to change now; None if it is."""
        return refusals.unchangeable(self.pool, self._busy, lfn)

    def claims(self) -> list[str]:
        """The names that the redirector lets this node write under, as far as it knows."""
        return [
            *(one.lfn for one in self.uploads.live()),
            *self.renames.claims(),
            *self.client_removals.claims(),
        ]

    @property
    def is_idle(self) -> bool:
        """Whether no recall, upload or rename is under way, and nothing is being stored."""
        return (
            self.staging.is_empty
            and self.uploads.is_empty
            and self.renames.is_empty
            and self.client_removals.is_empty
            and self.stores.is_idle
        )

    def load(self, now_s: float) -> Load:
        """The node's figures now."""
        self.staging.pass_time(now_s)
        return load_of(self.pool, self.staging, self.purging, self.stores, now_s)

    # --- the redirector -----------------------------------------------------

    def _welcomed(self, event: events.Welcomed, _now_s: float) -> None:
        self._lease_s = event.lease_s or None
        self._note_contact(event.since_s)

    def _in_touch(self, event: events.InTouch, _now_s: float) -> None:
        self._note_contact(event.since_s)

    def _note_contact(self, since_s: float) -> None:
        self._contact_s = max(self._contact_s, since_s)
        if self._lease_s is not None:
            self._out.append(KeepCommands(self._contact_s + COMMANDS_SHARE * self._lease_s))

    def _recall_ordered(self, event: events.RecallOrdered, now_s: float) -> None:
        self.pool.add_pins(event.lfn, _expiries(event.pins, now_s), now_s)
        self.staging.order(event, now_s)

    def _recall_revoked(self, event: events.RecallRevoked, now_s: float) -> None:
        reason = event.reason or "cancelled"
        failure = Failure(FailureKind.CANCELLED, reason)
        self.staging.revoke(event.recall_id, failure, now_s, unwanted=True)

    def _pins_ordered(self, event: events.PinsOrdered, now_s: float) -> None:
        for lfn, pins in event.files:
            self.pool.set_pins(lfn, _expiries(pins, now_s), now_s)
        if event.complete:
            named = {lfn for lfn, _ in event.files}
            for lfn in self.pool.pinned_names():
                if lfn not in named and not self.staging.is_staging(lfn):
                    self.pool.set_pins(lfn, (), now_s)
            self.removals.pins_known = True

    def _done_with(self, event: events.DoneWith, _now_s: float) -> None:
        for lfn in event.lfns:
            self.pool.mark(lfn, Mark.DONE)

    # --- clients ------------------------------------------------------------

    def _claimed(self, event: events.Claimed, now_s: float) -> None:
        self.uploads.claimed(event, now_s)
        self.renames.claimed(event)
        self.client_removals.claimed(event, now_s)

    def _claim_refused(self, event: events.ClaimRefused, now_s: float) -> None:
        self.uploads.claim_refused(event, now_s)
        self.renames.claim_refused(event)
        self.client_removals.claim_refused(event)

    def _closing(self, _event: events.Closing, now_s: float) -> None:
        self.staging.close(now_s)
        self.uploads.close(now_s)
        self.renames.close()
        self.client_removals.close()
        self.stores.close(now_s)

    def _stores_ordered(self, event: events.StoresOrdered, now_s: float) -> None:
        answers = {lfn: self.stores.again(lfn, now_s) for lfn in event.lfns}
        self._out.append(
            TellStores(
                event.query_id,
                tuple(lfn for lfn, refusal in answers.items() if refusal is None),
                tuple((lfn, refusal) for lfn, refusal in answers.items() if refusal is not None),
            )
        )

    # --- replicas and time --------------------------------------------------

    def _checked(self, event: events.Checked, _now_s: float) -> None:
        replica = self.pool.get(event.lfn)
        if replica is not None and replica.standing is Standing.UNCHECKED:
            self.pool.settle(event.lfn, archived=event.archived)
            self.changes.enter(event.lfn, replica.size_bytes)
        elif event.archived and not self.is_moving(event.lfn) and not self._is_sent(event.lfn):
            self.pool.archive(event.lfn)

    def _is_sent(self, lfn: str) -> bool:
        """Whether the archive may have a part of a file, so that only its storing can tell."""
        replica = self.pool.get(lfn)
        return replica is not None and replica.sent

    def _lost(self, event: events.Lost, _now_s: float) -> None:
        """What was found missing or damaged; what is just being moved is found anew."""
        if not self.is_moving(event.lfn) and not self.pool.away:
            self.removals.lose(event)

    def _disk_went(self, event: events.DiskWent, now_s: float) -> None:
        """Nothing is forgotten, but nothing is held either as long as that lasts."""
        if not self.pool.away:
            self._out.append(JoinAnew())
        self.pool.away = event.why
        self.changes.closed = True
        self.staging.revoke_all(Failure(FailureKind.TRANSIENT, event.why), now_s)
        self.uploads.end_all(Refused(event.why), now_s)

    def _disk_came(self, _event: events.DiskCame, _now_s: float) -> None:
        if self.pool.away:
            self._out.append(JoinAnew())
        self.pool.away = ""
        self.changes.closed = False

    def _removed(self, event: events.Removed, _now_s: float) -> None:
        self.purging.removed(event)
        self.removals.removed(event)

    def _limits_changed(self, event: events.LimitsChanged, _now_s: float) -> None:
        self.pool.set_limits(event.limits)
        if event.policy is not None:
            self.purging.policy = event.policy

    def _tick(self, _event: events.Tick, now_s: float) -> None:
        self.pool.expire_pins(now_s)
        self.staging.pass_time(now_s)
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + RETRY_S
            self.removals.retry()

    # --- the lease ------------------------------------------------------------
    #
    # The process may have been stopped for long between any two events. So the lease is
    # looked at with each of them, and before a command is started or anything published.

    def _covered(self, step: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
        """What leads a recall to its next step, unless it is ended first."""

        def handle(event: Any, now_s: float) -> None:
            self._end_uncovered(now_s)
            if not self._is_lease_over(now_s):
                step(event, now_s)

        return handle

    def _upload_written(self, event: events.UploadWritten, now_s: float) -> None:
        self._end_uncovered(now_s)
        self.uploads.written(event, now_s)

    def _is_lease_over(self, now_s: float) -> bool:
        silence_s = now_s - self._contact_s
        return self._lease_s is not None and silence_s > LEASE_SHARE * self._lease_s

    def _end_uncovered(self, now_s: float) -> None:
        """Ends what others may be given, once out of touch for most of the lease."""
        if self._is_lease_over(now_s):
            silence_s = now_s - self._contact_s
            self.staging.revoke_all(reasons.lease_ended(silence_s), now_s)
            self.uploads.end_all(refusals.out_of_touch(silence_s), now_s)

    def check(self) -> None:
        """Asserts every invariant of the node's parts. O(n)."""
        self.pool.check()
        self.changes.check()
        self._room.check(self.staging.copying(), self.uploads.growing())
        self.staging.check()
        self.uploads.check()
        self.renames.check()
        self.removals.check(self.purging.in_flight())
        self.stores.check()
        self.withdrawals.check()
        self.client_removals.check()
        assert not self._out


def _expiries(pins: tuple[events.PinOrder, ...], now_s: float) -> list[Pin]:
    return [Pin(pin.owner, now_s + pin.lifetime_s, pin.reason) for pin in pins]
