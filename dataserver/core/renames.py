"""Renames: a replica that is not in the archive gets another name.

The new name is claimed at the redirector as for an upload, for nobody else may begin to
write or stage it meanwhile. While the file is being moved its readers keep it, and whoever
opens it waits; then the redirector is told of both names in one go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import PackhorseError, Refused, UsageError
from dataserver.core import refusals
from dataserver.core.instructions import ClaimName, MoveFile, TellChanged, TellClaimEnded

if TYPE_CHECKING:
    from dataserver.core.busy import BusyNames
    from dataserver.core.changes import ChangeLog
    from dataserver.core.events import Claimed, ClaimRefused, Renamed, RenameFailed, RenameOrdered
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool


class Renames:
    """The renames under way: each waits for its claim first, then for the disk."""

    def __init__(
        self, pool: Pool, changes: ChangeLog, busy: BusyNames, out: list[Instruction]
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._busy = busy
        self._out = out
        self._orders: dict[str, RenameOrdered] = {}
        self._moving: set[str] = set()  # ids of those that the disk is at
        self._closed = False

    # --- looking ------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether no rename is under way."""
        return not self._orders

    def claims(self) -> list[str]:
        """The names that are claimed for renames."""
        return [order.new_lfn for order in self._orders.values()]

    def is_moving(self, lfn: str) -> bool:
        """Whether the file of this name is just being moved away, or to it."""
        orders = (self._orders[change_id] for change_id in self._moving)
        return any(lfn in {order.lfn, order.new_lfn} for order in orders)

    # --- steps --------------------------------------------------------------

    def order(self, order: RenameOrdered) -> None:
        """Takes a rename on, or says why not."""
        refusal = self._refusal(order)
        if refusal is not None:
            self._out.append(TellChanged(order.change_id, refusal))
            return
        self._orders[order.change_id] = order
        why_not = Refused(f"{order.lfn} is being renamed to {order.new_lfn}")
        self._busy.take(order.lfn, why_not)
        self._busy.take(order.new_lfn, why_not)
        self._out.append(ClaimName(order.change_id, order.new_lfn, replaces=False))

    def _refusal(self, order: RenameOrdered) -> PackhorseError | None:
        if self._closed:
            return refusals.closing()
        if order.lfn == order.new_lfn:
            return UsageError(f"{order.lfn} has this name already")
        return refusals.unchangeable(self._pool, self._busy, order.lfn) or refusals.taken(
            self._pool, self._busy, order.new_lfn
        )

    def claimed(self, event: Claimed) -> None:
        """The new name is free in the whole site: has the file moved, if it is still there."""
        order = self._orders.get(event.claimant_id)
        if order is None or order.change_id in self._moving:
            return
        refusal = refusals.bound_or_gone(self._pool, order.lfn)
        if refusal is not None:
            self._end(order, refusal)
            return
        self._moving.add(order.change_id)
        self._out.append(MoveFile(order.change_id, order.lfn, order.new_lfn))

    def claim_refused(self, event: ClaimRefused) -> None:
        """The redirector does not let the new name be given here."""
        order = self._orders.get(event.claimant_id)
        if order is not None and order.change_id not in self._moving:
            self._end(order, event.error)

    def renamed(self, event: Renamed) -> None:
        """Makes the replica visible under its new name, and under no other."""
        order = self._orders[event.change_id]
        replica = self._pool.rename(order.lfn, order.new_lfn)
        size_bytes = replica.size_bytes
        self._changes.enter(order.lfn, size_bytes, dropped=True, reason="renamed")
        self._changes.enter(order.new_lfn, size_bytes)
        self._end(order, None)

    def failed(self, event: RenameFailed) -> None:
        """The file could not be moved."""
        self._end(self._orders[event.change_id], event.error)

    def close(self) -> None:
        """Ends what has not come to the disk yet, and takes on no more."""
        self._closed = True
        for order in list(self._orders.values()):
            if order.change_id not in self._moving:
                self._end(order, refusals.closing())

    def _end(self, order: RenameOrdered, error: PackhorseError | None) -> None:
        del self._orders[order.change_id]
        self._moving.discard(order.change_id)
        self._busy.free(order.lfn)
        self._busy.free(order.new_lfn)
        self._out.append(TellClaimEnded(order.new_lfn, order.change_id))
        self._out.append(TellChanged(order.change_id, error))

    def check(self) -> None:
        """Asserts that the names are taken, and that what is moved is there to be moved."""
        assert self._moving <= self._orders.keys()
        for order in self._orders.values():
            assert self._busy.get(order.lfn) == self._busy.get(order.new_lfn) is not None
            assert self._pool.get(order.new_lfn) is None
            if order.change_id in self._moving:
                assert refusals.bound_or_gone(self._pool, order.lfn) is None
