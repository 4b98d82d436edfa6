"""What clients remove: from the pool, and before that from the archive, if that may have it.

A file that is in no archive is removed at once. For any other the name is claimed at the
redirector, so that nobody stages or writes it meanwhile; then the archive's copy is removed,
and at last the replica, if there is one here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import Refused
from dataserver.core import refusals
from dataserver.core.instructions import ClaimName, TellChanged, TellClaimEnded

if TYPE_CHECKING:
    from common.errors import PackhorseError
    from dataserver.core.busy import BusyNames
    from dataserver.core.events import Claimed, ClaimRefused, RemovalOrdered
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.removals import Removals
    from dataserver.core.withdrawals import Withdrawals


class ClientRemovals:
    """The removals by clients of what the archive has: each waits for its claim, then for it."""

    def __init__(
        self,
        pool: Pool,
        removals: Removals,
        withdrawals: Withdrawals,
        busy: BusyNames,
        out: list[Instruction],
    ) -> None:
        self._pool = pool
        self._removals = removals
        self._withdrawals = withdrawals
        self._busy = busy
        self._out = out
        self._orders: dict[str, RemovalOrdered] = {}
        self._withdrawing: set[str] = set()  # ids of those that the archive is at
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is being removed from the archive."""
        return not self._orders

    def claims(self) -> list[str]:
        """The names that are claimed for removals."""
        return [order.lfn for order in self._orders.values()]

    def order(self, order: RemovalOrdered) -> None:
        """Removes what a client wants gone, or begins to, or says why not."""
        replica = self._pool.get(order.lfn)
        is_away = replica is None and order.also_archived
        if not self._withdrawals.is_enabled or not (
            is_away or self._withdrawals.is_needed(order.lfn)
        ):
            self._removals.remove(order)
            return
        refusal = self._refusal(order)
        if refusal is not None:
            self._out.append(TellChanged(order.change_id, refusal))
            return
        self._orders[order.change_id] = order
        self._busy.take(order.lfn, Refused(f"{order.lfn} is being removed"))
        held = replica is not None
        self._out.append(ClaimName(order.change_id, order.lfn, replaces=held, is_new=False))

    def _refusal(self, order: RemovalOrdered) -> PackhorseError | None:
        if self._closed:
            return refusals.closing()
        if self._pool.away:
            return Refused(self._pool.away)
        replica = self._pool.get(order.lfn)
        refusal = refusals.bound(replica, withdraws=True) if replica is not None else None
        return refusal or self._busy.refusal(order.lfn)

    def claimed(self, event: Claimed, now_s: float) -> None:
        """Nobody else has to do with the name: the archive's copy may go."""
        order = self._orders.get(event.claimant_id)
        if order is None or order.change_id in self._withdrawing:
            return
        replica = self._pool.get(order.lfn)
        refusal = refusals.bound(replica, withdraws=True) if replica is not None else None
        if refusal is not None:
            self._end(order, refusal)
            return
        self._withdrawing.add(order.change_id)
        self._withdrawals.begin(
            order.change_id, order.lfn, lambda error, _: self._withdrawn(order, error), now_s
        )

    def claim_refused(self, event: ClaimRefused) -> None:
        """The redirector does not let it be removed."""
        order = self._orders.get(event.claimant_id)
        if order is not None and order.change_id not in self._withdrawing:
            self._end(order, event.error)

    def _withdrawn(self, order: RemovalOrdered, error: PackhorseError | None) -> None:
        if error is not None or self._pool.get(order.lfn) is None:
            self._end(order, error)
            return
        self._forget(order)
        self._removals.remove(order)
        self._out.append(TellClaimEnded(order.lfn, order.change_id))

    def close(self) -> None:
        """Ends what has not come to the archive yet, and takes on no more."""
        self._closed = True
        for order in list(self._orders.values()):
            if order.change_id not in self._withdrawing:
                self._end(order, refusals.closing())

    def _end(self, order: RemovalOrdered, error: PackhorseError | None) -> None:
        self._forget(order)
        self._out.append(TellClaimEnded(order.lfn, order.change_id))
        self._out.append(TellChanged(order.change_id, error))

    def _forget(self, order: RemovalOrdered) -> None:
        del self._orders[order.change_id]
        self._withdrawing.discard(order.change_id)
        self._busy.free(order.lfn)

    def check(self) -> None:
        """Asserts that the names are taken."""
        assert self._withdrawing <= self._orders.keys()
        for order in self._orders.values():
            assert self._busy.get(order.lfn) is not None
