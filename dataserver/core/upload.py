"""One upload on this node: a file that a client writes, from its claim to its end.

As with recalls, all moves stand in one table, and an upload keeps what it holds until
nothing of it is left: one that comes to nothing moves to ENDING, and only when the shell
says that its file is gone are its room and its name given back.

CLEARING and PUBLISHING are not ended by anybody: the file is verified and synced already.
Either it gets to its place, or the shell says why it did not. Only whoever clears and has lost
its claim meanwhile is ended after it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from common.story import IllegalMove, Story

if TYPE_CHECKING:
    from common.errors import PackhorseError
    from dataserver.core.events import UploadBegun


class UploadState(Enum):
    """Where an upload stands."""

    CLAIMING = "claiming"  # the redirector is asked for the name
    RESERVING = "reserving"  # waits for room in the pool
    WRITING = "writing"  # its client writes
    CLEARING = "clearing"  # what the archive has of the old one is removed
    PUBLISHING = "publishing"  # it is moved to its place
    ENDING = "ending"  # it came to nothing: what there is of it is being removed
    DONE = "done"
    ENDED = "ended"


_S = UploadState

MOVES: Final[dict[tuple[UploadState, str], UploadState]] = {
    (_S.CLAIMING, "claimed"): _S.RESERVING,
    (_S.CLAIMING, "end"): _S.ENDING,
    (_S.RESERVING, "reserved"): _S.WRITING,
    (_S.RESERVING, "end"): _S.ENDING,
    (_S.WRITING, "written"): _S.PUBLISHING,
    (_S.WRITING, "clear"): _S.CLEARING,
    (_S.WRITING, "end"): _S.ENDING,
    (_S.CLEARING, "written"): _S.PUBLISHING,
    (_S.CLEARING, "end"): _S.ENDING,
    (_S.PUBLISHING, "published"): _S.DONE,
    (_S.PUBLISHING, "end"): _S.ENDING,
    (_S.ENDING, "gone"): _S.ENDED,
}

#: An upload in one of these has a reservation in the pool's books.
RESERVED: Final = frozenset({_S.WRITING, _S.CLEARING, _S.PUBLISHING})


class Upload:
    """The state, the figures and the story of one upload.

    `promised_bytes` is what its client said it will write, or what it begins with; 0 if
    nobody knows. `size_bytes` is what it has become, once it is written.
    """

    __slots__ = (
        "lfn",
        "lost_claim",
        "promised_bytes",
        "replaces",
        "size_bytes",
        "state",
        "story",
        "upload_id",
    )

    def __init__(self, begun: UploadBegun, promised_bytes: int, now_s: float) -> None:
        self.upload_id = begun.upload_id
        self.lfn = begun.lfn
        self.replaces = begun.replaces
        self.promised_bytes = promised_bytes
        self.size_bytes: int | None = None
        #: Why it must not be published any more, once it has cleared.
        self.lost_claim: PackhorseError | None = None
        self.state = UploadState.CLAIMING
        self.story = Story()
        whose = f" for {begun.owner}" if begun.owner else ""
        self.story.tell(now_s, f"upload {self.upload_id} of {self.lfn}{whose} begun")

    def move(self, event: str, now_s: float, why: str = "") -> None:
        """Makes the move that MOVES has for `event`; raises IllegalMove if it has none."""
        after = MOVES.get((self.state, event))
        if after is None:
            raise IllegalMove(f"upload {self.upload_id}", self.state.value, event, self.story)
        self.state = after
        self.story.tell(now_s, f"{event} → {after.value}{': ' if why else ''}{why}")

    def check(self) -> None:
        """Asserts what holds in every state."""
        assert self.promised_bytes >= 0
        if self.state in {UploadState.CLEARING, UploadState.PUBLISHING}:
            assert self.size_bytes is not None, self.story
        elif self.state is not UploadState.ENDING:
            assert self.size_bytes is None, self.story
