"""One recall on this node, from being accepted to its end.

Two rules, and one table.

* Everything that affects a move stands in MOVES. A move the table does not have is a
  bug of ours and raises IllegalMove with the recall's story.
* A recall keeps what it holds until nothing of it is left. A step that is to be
  stopped moves to STOPPING, and the reason waits there until the shell says that no
  process and no file remains; only then is the reservation given back.

PUBLISHING is not stopped: the file is verified and synced already, and a rename takes
no time. What somebody wanted to cancel there simply is online.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from common.story import IllegalMove, Story
from dataserver.core.events import Ran
from dataserver.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from dataserver.core.events import RecallOrdered


class RecallState(Enum):
    """Where a recall stands."""

    ACCEPTED = "accepted"  # waits for a slot
    EXAMINING = "examining"  # the archive is asked for size and checksum
    RESERVING = "reserving"  # waits for room in the pool
    COPYING = "copying"  # the stage command runs
    VERIFYING = "verifying"  # size and checksum are checked, the file synced
    PUBLISHING = "publishing"  # it is moved to its place
    STOPPING = "stopping"  # its step is being ended
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = RecallState

MOVES: Final[dict[tuple[RecallState, str], RecallState]] = {
    (_S.ACCEPTED, "examine"): _S.EXAMINING,
    (_S.ACCEPTED, "reserve"): _S.RESERVING,
    (_S.ACCEPTED, "held already"): _S.DONE,
    (_S.ACCEPTED, "fail"): _S.FAILED,
    (_S.ACCEPTED, "cancel"): _S.CANCELLED,
    (_S.EXAMINING, "examined"): _S.RESERVING,
    (_S.EXAMINING, "fail"): _S.FAILED,
    (_S.EXAMINING, "stop"): _S.STOPPING,
    (_S.RESERVING, "reserved"): _S.COPYING,
    (_S.RESERVING, "fail"): _S.FAILED,
    (_S.RESERVING, "cancel"): _S.CANCELLED,
    (_S.COPYING, "copied"): _S.VERIFYING,
    (_S.COPYING, "fail"): _S.FAILED,
    (_S.COPYING, "stop"): _S.STOPPING,
    (_S.VERIFYING, "verified"): _S.PUBLISHING,
    (_S.VERIFYING, "fail"): _S.FAILED,
    (_S.VERIFYING, "stop"): _S.STOPPING,
    (_S.PUBLISHING, "published"): _S.DONE,
    (_S.PUBLISHING, "fail"): _S.FAILED,
    (_S.STOPPING, "fail"): _S.FAILED,
    (_S.STOPPING, "cancel"): _S.CANCELLED,
}

ENDED: Final = frozenset({_S.DONE, _S.FAILED, _S.CANCELLED})
#: A recall in one of these takes one of the node's slots.
IN_SLOT: Final = frozenset({_S.EXAMINING, _S.RESERVING, _S.COPYING})
#: A recall in one of these has a reservation in the pool's books.
RESERVED: Final = frozenset({_S.COPYING, _S.VERIFYING, _S.PUBLISHING})
#: A recall in one of these has a step under way that can be stopped.
STOPPABLE: Final = frozenset({_S.EXAMINING, _S.COPYING, _S.VERIFYING})


class Recall:
    """The state, the figures and the story of one recall."""

    __slots__ = (
        "accepted_s",
        "bytes_done",
        "checksum",
        "failure",
        "lfn",
        "note",
        "ran",
        "recall_id",
        "reserve_bytes",
        "size_bytes",
        "state",
        "story",
    )

    def __init__(self, order: RecallOrdered, now_s: float) -> None:
        self.recall_id = order.recall_id
        self.lfn = order.lfn
        self.size_bytes = order.size_bytes
        self.checksum = order.checksum
        self.reserve_bytes = order.reserve_bytes
        self.accepted_s = now_s
        self.state = RecallState.ACCEPTED
        self.bytes_done = 0
        self.note = ""
        self.failure: Failure | None = None
        self.ran = Ran()
        self.story = Story()
        self.story.tell(now_s, f"recall {self.recall_id} of {self.lfn} accepted")

    def move(self, event: str, now_s: float, why: str = "") -> None:
        """Makes the move that MOVES has for `event`; raises IllegalMove if it has none."""
        after = MOVES.get((self.state, event))
        if after is None:
            raise IllegalMove(f"recall {self.recall_id}", self.state.value, event, self.story)
        self.state = after
        self.note = ""
        self.story.tell(now_s, f"{event} → {after.value}{': ' if why else ''}{why}")

    @property
    def phase(self) -> str:
        """Where it stands, with what is said of that, for people."""
        return f"{self.state.value} ({self.note})" if self.note else self.state.value

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def end(self, failure: Failure, now_s: float) -> None:
        """Moves to FAILED or CANCELLED, whichever the failure says."""
        self.failure = failure
        event = "cancel" if failure.kind is FailureKind.CANCELLED else "fail"
        self.move(event, now_s, failure.reason)

    def check(self) -> None:
        """Asserts what holds in every state."""
        assert self.bytes_done >= 0
        assert (self.failure is not None) == (
            self.state in {_S.STOPPING, _S.FAILED, _S.CANCELLED}
        ), (self.state, self.failure)
