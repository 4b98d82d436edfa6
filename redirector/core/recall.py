"""One recall: how the wish for one file is being fulfilled.

    QUEUED      waits for a node
    HELD        waits until nobody writes the file any more; see Claims
    ASSIGNED    given to a node, which runs it or will
    CANCELLING  nobody wants it any more; its node has been told, and may run it still
    RETRY_WAIT  failed, to be tried again
    DONE, FAILED, CANCELLED are final: the recall is forgotten

A file in CANCELLING that is asked for anew gets its new recall only when the old
run is known to have ended, so there is never a second one. Each time a recall is
given to a node it has a new `recall_id`: the id names one run on one node, and
what is said of any other id is old. The legal moves are the table `MOVES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from common.story import IllegalMove, Story
from redirector.core.states import RecallState

if TYPE_CHECKING:
    from redirector.core.model import Checksum, Failure
    from redirector.core.node import Node
    from redirector.core.queue.shares import Share
    from redirector.core.queue.volumes import Loose, Volume

_Q, _H, _A, _C, _R = (
    RecallState.QUEUED,
    RecallState.HELD,
    RecallState.ASSIGNED,
    RecallState.CANCELLING,
    RecallState.RETRY_WAIT,
)

MOVES: dict[tuple[RecallState, str], RecallState] = {
    (_Q, "assign"): _A,
    (_Q, "adopt"): _A,
    (_Q, "online"): RecallState.DONE,
    (_Q, "fail"): RecallState.FAILED,
    (_Q, "drop"): RecallState.CANCELLED,
    (_Q, "hold"): _H,
    (_H, "release"): _Q,
    (_H, "adopt"): _A,
    (_H, "online"): RecallState.DONE,
    (_H, "drop"): RecallState.CANCELLED,
    (_A, "publish"): RecallState.DONE,
    (_A, "retry later"): _R,
    (_A, "fail"): RecallState.FAILED,
    (_A, "drop"): _C,
    (_C, "publish"): RecallState.DONE,
    (_C, "stopped"): RecallState.CANCELLED,
    (_R, "due"): _Q,
    (_R, "adopt"): _A,
    (_R, "online"): RecallState.DONE,
    (_R, "drop"): RecallState.CANCELLED,
}

T = TypeVar("T")

FINAL = frozenset({RecallState.DONE, RecallState.FAILED, RecallState.CANCELLED})


class _Later(Generic[T]):
    """A figure that a recall has only once something was done about it.

    Until it is set, it is this default, and takes no room in the recall.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type[Recall], name: str) -> None:
        self._name = name

    def __get__(self, recall: Recall, owner: type[Recall]) -> T:
        figures = recall.later
        return self._default if figures is None else figures.get(self._name, self._default)

    def __set__(self, recall: Recall, value: T) -> None:
        if recall.later is None:
            recall.later = {}
        recall.later[self._name] = value


class Recall:
    """The mutable figures of one recall.

    A million may be queued, so what most of them never have is kept apart, in `later`.
    """

    __slots__ = (
        "checksum",
        "later",
        "lfn",
        "order",
        "place",
        "position",
        "priority",
        "queued_s",
        "shares",
        "size_bytes",
        "state",
        "waiting_since_s",
    )

    # While its size is unknown: what to reserve at least, less having been too little, and
    # the most that has come in any run.
    least_bytes = _Later(0)
    arrived_bytes = _Later(0)
    # Its last or present run.
    attempt = _Later(0)
    recall_id = _Later("")
    node: _Later[Node | None] = _Later(None)
    started_s = _Later(0.0)
    progress_s = _Later(0.0)
    bytes_done = _Later(0)
    phase = _Later("")
    reserved_bytes = _Later(0)
    charged_bytes = _Later(0)
    awaiting_publish = _Later(False)  # ended well, but its replica is not reported yet
    unaccounted = _Later(False)  # its node has joined anew and does not run it
    # What went wrong so far.
    failures = _Later(0)
    setbacks = _Later(0)  # runs that ended badly, but not for a fault of the file or command
    failure: _Later[Failure | None] = _Later(None)
    failed_on: _Later[tuple[str, ...]] = _Later(())
    retry_at_s = _Later(0.0)
    # How often others went before it because it fitted nowhere.
    overtaken = _Later(0)
    kept_on: _Later[Node | None] = _Later(None)

    def __init__(self, lfn: str, priority: int, queued_s: float) -> None:
        self.lfn = lfn
        self.state = RecallState.QUEUED
        self.priority = priority
        # Where it stands in the queue: see RecallQueue.admit, which sets them.
        self.order = 0
        self.shares: tuple[Share, ...] = ()
        self.place: Loose | Volume
        self.position: int | None = None  # on its volume; None: not known; see Unhinted
        self.size_bytes = 0  # 0: unknown
        self.checksum: Checksum | None = None
        self.queued_s = queued_s
        self.waiting_since_s = queued_s  # when it last entered the queue
        self.later: dict[str, Any] | None = None

    @property
    def bytes_left(self) -> int:
        """What its node has still to stage for it."""
        return max(0, self.reserved_bytes - self.bytes_done)

    @property
    def waits_for_node(self) -> bool:
        """Whether it is in the queue."""
        return self.state is RecallState.QUEUED

    @property
    def is_cancelled(self) -> bool:
        """Whether it is in a node's hands only until that has stopped it."""
        return self.state is RecallState.CANCELLING

    def move(self, event: str, story: Story) -> None:
        """Makes a move of the table; raises IllegalMove if it is not there."""
        state = MOVES.get((self.state, event))
        if state is None:
            raise IllegalMove(f"recall of {self.lfn}", self.state, event, story)
        self.state = state
