"""Why clients may not write, rename or remove a file here, as the errors they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from common.errors import AlreadyExists, NotFound, PackhorseError, QuotaExceeded, Refused
from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from dataserver.core.busy import BusyNames
    from dataserver.core.pool import Pool
    from dataserver.core.replica import Replica


def closing() -> Refused:
    """The server takes on nothing more."""
    return Refused("this data server is being stopped")


def out_of_touch(silence_s: float) -> Refused:
    """The redirector may let others write under this name by now."""
    return Refused(
        f"this data server is out of touch with the redirector for {wording.duration(silence_s)}; "
        "it may have let another one write under this name"
    )


def no_room(reason: str) -> QuotaExceeded:
    """Not even purging all that may go makes room for what is written."""
    return QuotaExceeded(reason)


def unchangeable(
    pool: Pool, busy: BusyNames, lfn: str, *, withdraws: bool = False
) -> PackhorseError | None:
    """Why a replica may not be replaced, renamed or removed; None if it may."""
    if pool.away:
        return Refused(pool.away)
    return bound_or_gone(pool, lfn, withdraws=withdraws) or busy.refusal(lfn)


def bound_or_gone(pool: Pool, lfn: str, *, withdraws: bool = False) -> PackhorseError | None:
    """As `unchangeable`, whatever is under way with the name."""
    replica = pool.get(lfn)
    if replica is not None:
        return bound(replica, withdraws=withdraws)
    return NotFound(f"{lfn} is not on this node")


def taken(pool: Pool, busy: BusyNames, lfn: str) -> PackhorseError | None:
    """Why nothing new may get this name; None if it may."""
    if (refusal := busy.refusal(lfn)) is not None:
        return refusal
    replica = pool.get(lfn)
    if replica is None:
        return None
    if replica.standing is Standing.LEAVING:
        return bound(replica)
    return AlreadyExists(f"{lfn} exists already")


def bound(replica: Replica, *, withdraws: bool = False) -> Refused | None:
    """Why a replica is not its owner's to change.

    `withdraws`: what the archive has of it is removed first.
    """
    lfn = replica.lfn
    if replica.standing is Standing.LEAVING:
        return Refused(f"{lfn} is on its way out of this node; try again in a moment")
    if replica.standing is Standing.UNCHECKED:
        return Refused(
            f"{lfn} was found at start and is still being checked; try again in a moment"
        )
    if withdraws:
        return None
    if replica.archived:
        return Refused(f"{lfn} is in the archive: its copy here cannot be changed")
    if replica.sent:
        return Refused(f"{lfn} is being stored in the archive: it cannot be changed any more")
    return None
