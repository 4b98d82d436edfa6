"""Why recalls fail here, in one line each, with the numbers that decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import wording
from dataserver.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from dataserver.core.pool import Pool
    from dataserver.core.recall import Recall

CLOSING: Final = Failure(FailureKind.CANCELLED, "this data server is being stopped")


def lease_ended(silence_s: float) -> Failure:
    """The redirector is out of touch for too long."""
    return Failure(
        FailureKind.CANCELLED,
        f"out of touch with the redirector for {wording.duration(silence_s)}; "
        "it may have given the recall to another node",
    )


def recall_is_live(recall: Recall) -> str:
    """What whoever wants something with the name of a live recall is told."""
    return f"recall {recall.recall_id} of {recall.lfn} is under way on this node"


def old_one_stays(lfn: str) -> Failure:
    """The file's place is taken by a damaged one that resists being removed."""
    return Failure(
        FailureKind.TRANSIENT,
        f"an older, damaged {lfn} cannot be removed from this node's disk",
    )


def wrong_size(what: str, size_bytes: int, recall: Recall) -> Failure:
    """What was staged `has`, or `grew to`, another size than the file should have."""
    return Failure(
        FailureKind.TRANSIENT,
        f"the staged file {what} {size_bytes} bytes where {recall.size_bytes} were expected",
    )


def no_room(pool: Pool, lfn: str, want_bytes: int, *, pins_known: bool) -> Failure:
    """Not even purging all that may go would make room."""
    quota_bytes = pool.limits.quota_bytes
    if want_bytes > quota_bytes:
        reason = (
            f"{lfn} needs {wording.size(want_bytes)}, "
            f"more than this pool's quota of {wording.size(quota_bytes)}"
        )
    else:
        reason = f"no room for {wording.size(want_bytes)}: {pool.standing_text()}"
        if not pins_known:
            reason += "; nothing is purged before the redirector has told the pins"
    return Failure(FailureKind.NO_SPACE, reason)


def outgrown(pool: Pool, recall: Recall) -> Failure:
    """A file of unknown size is larger than what could be reserved for it."""
    reserved_bytes = pool.reserved_for(recall.recall_id)
    return Failure(
        FailureKind.NO_SPACE,
        f"{recall.lfn} outgrew the {wording.size(reserved_bytes)} reserved for it, "
        f"and there is no more room: {pool.standing_text()}",
    )
