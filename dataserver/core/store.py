"""The storing of one file in the archive, from when it was written to when it is safe there.

All moves stand in one table. What waits to be stored and what failed for good is kept here,
with the reason, until it is stored, or its file is removed, replaced or renamed.

Where the archive can be asked, it is asked twice. Before the command, so that nothing is
stored a second time, and nothing of somebody else's is overwritten. After it, so that no
command has to be trusted; where nobody can ask, its exit code is.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from common.story import IllegalMove, Story

if TYPE_CHECKING:
    from dataserver.core.failure import Failure
    from dataserver.core.replica import Replica


class StoreState(Enum):
    """Where the storing of a file stands."""

    WAITING = "waiting"  # for its delay, a pause after a failure, or a slot
    LOOKING = "looking"  # the archive is asked what it has of this name
    STORING = "storing"  # the command runs
    VERIFYING = "verifying"  # the archive is asked what has become of it
    NOTING = "noting"  # the catalogue is told that the archive has it
    FAILED = "failed"  # for good: until somebody has it tried again
    STOPPING = "stopping"  # its step is being ended
    WITHDRAWN = "withdrawn"  # nothing is done: the file is about to be removed or replaced
    DONE = "done"


_S = StoreState

MOVES: Final[dict[tuple[StoreState, str], StoreState]] = {
    (_S.WAITING, "look"): _S.LOOKING,
    (_S.WAITING, "store"): _S.STORING,
    (_S.WAITING, "again"): _S.WAITING,
    (_S.WAITING, "withdraw"): _S.WITHDRAWN,
    (_S.LOOKING, "store"): _S.STORING,
    (_S.LOOKING, "there"): _S.NOTING,
    (_S.LOOKING, "retry"): _S.WAITING,
    (_S.LOOKING, "fail"): _S.FAILED,
    (_S.LOOKING, "stop"): _S.STOPPING,
    (_S.STORING, "verify"): _S.VERIFYING,
    (_S.STORING, "there"): _S.NOTING,
    (_S.STORING, "retry"): _S.WAITING,
    (_S.STORING, "fail"): _S.FAILED,
    (_S.STORING, "stop"): _S.STOPPING,
    (_S.VERIFYING, "there"): _S.NOTING,
    (_S.VERIFYING, "retry"): _S.WAITING,
    (_S.VERIFYING, "fail"): _S.FAILED,
    (_S.VERIFYING, "stop"): _S.STOPPING,
    (_S.NOTING, "noted"): _S.DONE,
    (_S.NOTING, "retry"): _S.WAITING,
    (_S.NOTING, "stop"): _S.STOPPING,
    (_S.FAILED, "again"): _S.WAITING,
    (_S.FAILED, "withdraw"): _S.WITHDRAWN,
    (_S.STOPPING, "stopped"): _S.WITHDRAWN,
    (_S.WITHDRAWN, "again"): _S.WAITING,
}

#: In one of these a step is under way, which takes one of the slots and can be stopped.
STEPPING: Final = frozenset({_S.LOOKING, _S.STORING, _S.VERIFYING, _S.NOTING})


class Store:
    """The state, the figures and the story of one file's storing.

    `since_s` is when it was written, `due_s` when it is next to be tried, `attempts` how
    often its command has run. `was_sent`: before the last of these, the archive might have
    had something of the file already. `ran_well`: the last one ended well, only it was not
    known yet whether the archive has it.
    """

    __slots__ = (
        "attempts",
        "due_s",
        "failure",
        "failures",
        "lfn",
        "number",
        "ran_well",
        "replica",
        "since_s",
        "state",
        "step_id",
        "story",
        "was_sent",
    )

    def __init__(self, replica: Replica, number: int, since_s: float, due_s: float) -> None:
        self.replica = replica
        #: Its name now; the replica may get another one, which is stored anew.
        self.lfn = replica.lfn
        self.number = number
        self.since_s = since_s
        self.due_s = due_s
        self.state = StoreState.WAITING
        self.step_id = ""
        self.attempts = 0
        self.failures = 0
        self.failure: Failure | None = None
        self.was_sent = False
        self.ran_well = False
        self.story = Story()

    @property
    def place(self) -> tuple[float, int, str]:
        """Where it stands among those that wait."""
        return (self.due_s, self.number, self.lfn)

    def move(self, event: str, now_s: float, why: str = "") -> None:
        """Makes the move that MOVES has for `event`; raises IllegalMove if it has none."""
        after = MOVES.get((self.state, event))
        if after is None:
            raise IllegalMove(f"storing {self.lfn}", self.state.value, event, self.story)
        self.state = after
        self.story.tell(now_s, f"{event} → {after.value}{': ' if why else ''}{why}")

    def check(self) -> None:
        """Asserts what holds in every state."""
        assert (self.state in STEPPING or self.state is _S.STOPPING) == bool(self.step_id)
        assert self.state is not _S.FAILED or self.failure is not None, self.story
        assert self.state not in {_S.STORING, _S.VERIFYING} or self.replica.sent, self.story
        assert not self.replica.archived or self.state is _S.DONE, self.story
