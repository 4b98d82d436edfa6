"""What was ordered from the archive, and how it stands: a pure state machine.

Two rules, and one table.

* Everything that affects a submission stands in MOVES. A move the table does not have is a
  bug of ours and raises IllegalMove with the submission's story. What the archive says out of
  turn is no move, and changes nothing.
* A submission is kept until the archive was told that nobody needs it, if it can be told.
  One that nobody wants is kept for a while, because who wanted it may come back: after a
  restart, or for another try.

`key` is ours and known before the archive is asked, so that a command which is asked twice
can know it; `archive_id` is the archive's own.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from common.story import IllegalMove, Story

if TYPE_CHECKING:
    from collections.abc import Iterable

    from common.command import Failure


class State(Enum):
    """Where a submission stands."""

    NEW = "new"  # the archive is yet to be asked, perhaps again
    PLACING = "placing"  # the archive is just being asked
    WAITING = "waiting"  # the archive has taken it on
    READY = "ready"  # it can be copied
    ENDING = "ending"  # the archive is being told that nobody needs it
    GONE = "gone"


_S = State

MOVES: Final[dict[tuple[State, str], State]] = {
    (_S.NEW, "place"): _S.PLACING,
    (_S.NEW, "refused"): _S.GONE,
    (_S.NEW, "forget"): _S.GONE,
    (_S.PLACING, "submitted"): _S.WAITING,
    (_S.PLACING, "no answer"): _S.NEW,
    (_S.PLACING, "refused"): _S.GONE,
    (_S.WAITING, "ready"): _S.READY,
    (_S.WAITING, "failed"): _S.GONE,
    (_S.WAITING, "end"): _S.ENDING,
    (_S.READY, "ask again"): _S.WAITING,
    (_S.READY, "end"): _S.ENDING,
    (_S.ENDING, "ended"): _S.GONE,
}

#: One that nobody wants is kept for so long.
KEPT_S: Final = 600.0


class Submission:
    """One file ordered from the archive; times are Unix seconds."""

    __slots__ = (
        "answered_s",
        "archive_id",
        "failure",
        "is_called_off",
        "key",
        "lfn",
        "note",
        "source",
        "state",
        "story",
        "submitted_s",
        "unanswered",
        "unwanted_s",
        "was_placed",
        "was_ready",
    )

    def __init__(self, key: str, lfn: str, source: str, now_s: float) -> None:
        self.key = key
        self.lfn = lfn
        self.source = source
        self.archive_id = ""
        self.state = State.NEW
        self.submitted_s = now_s
        #: Since when nobody wants it; None while somebody does.
        self.unwanted_s: float | None = None
        #: Nobody will want it again.
        self.is_called_off = False
        #: When the archive last said anything of it, and how often since then it did not.
        self.answered_s = now_s
        self.unanswered = 0
        self.note = ""
        #: The archive may know of it, although nobody knows an id.
        self.was_placed = False
        self.failure: Failure | None = None
        #: What the archive is to be told at its end: that it is released, or cancelled.
        self.was_ready = False
        self.story = Story()
        self.story.tell(now_s, f"{source} is to be ordered, with key {key}")

    def move(self, event: str, now_s: float, why: str = "") -> None:
        """Makes the move that MOVES has for `event`; raises IllegalMove if it has none."""
        after = MOVES.get((self.state, event))
        if after is None:
            raise IllegalMove(f"submission {self.key}", self.state.value, event, self.story)
        self.state = after
        self.story.tell(now_s, f"{event} → {after.value}{': ' if why else ''}{why}")


class Book:
    """All submissions that are not gone, at most one for each file."""

    def __init__(self) -> None:
        self._by_key: dict[str, Submission] = {}
        self._by_lfn: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of_file(self, lfn: str) -> Submission | None:
        """The submission of a file, or None."""
        key = self._by_lfn.get(lfn)
        return None if key is None else self._by_key[key]

    def in_state(self, state: State) -> list[Submission]:
        """All of one state, the oldest first."""
        return [one for one in self._by_key.values() if one.state is state]

    def load(self, kept: Iterable[Submission], now_s: float) -> None:
        """Enters what an earlier life has ordered, which nobody wants yet."""
        for one in kept:
            one.unwanted_s = now_s
            one.was_placed = True
            if one.archive_id:
                one.move("place", one.submitted_s)
                one.move("submitted", one.submitted_s, f"as {one.archive_id}, in an earlier life")
                one.answered_s = now_s
            self._enter(one)

    def order(self, key: str, lfn: str, source: str, now_s: float) -> Submission:
        """Begins a submission of a file that has none."""
        assert lfn not in self._by_lfn, self._by_lfn[lfn]
        one = Submission(key, lfn, source, now_s)
        self._enter(one)
        return one

    def want(self, one: Submission, now_s: float) -> None:
        """Somebody waits for it, perhaps again: whether it is still ready is asked anew."""
        assert one.state is not State.ENDING, one.story
        one.unwanted_s = one.failure = None
        one.is_called_off = False
        one.unanswered = 0
        one.answered_s = now_s
        if one.state is State.READY:
            one.move("ask again", now_s)

    def leave(self, one: Submission, now_s: float) -> None:
        """Nobody waits for it any more."""
        if one.state is not State.GONE and one.unwanted_s is None:
            one.unwanted_s = now_s
            one.story.tell(now_s, "nobody waits for it any more")

    def call_off(self, one: Submission) -> None:
        """Nobody will want it again; what is just being ordered is ended once it is."""
        assert one.unwanted_s is not None, one.story
        one.is_called_off = True

    def place(self, one: Submission, now_s: float) -> None:
        """The archive is asked for it now."""
        one.was_placed = True
        one.move("place", now_s)

    def no_answer(self, one: Submission, failure: Failure, now_s: float) -> None:
        """Nobody knows whether the archive has taken it on: it may be asked again, by the key."""
        one.failure = failure
        one.move("no answer", now_s, failure.reason)

    def submitted(self, one: Submission, archive_id: str, now_s: float) -> None:
        """The archive has taken it on."""
        one.archive_id = archive_id
        one.submitted_s = one.answered_s = now_s
        one.move("submitted", now_s, f"as {archive_id}")

    def refused(self, one: Submission, failure: Failure, now_s: float) -> None:
        """The archive has not, and there is nothing to be told it later."""
        one.failure = failure
        one.move("refused", now_s, failure.reason)
        self._drop(one)

    def waits(self, one: Submission, note: str, now_s: float) -> None:
        """The archive says that it is not ready yet."""
        one.answered_s, one.unanswered = now_s, 0
        one.note = note

    def says_nothing(self, one: Submission) -> None:
        """The archive was asked about it and gave no answer."""
        one.unanswered += 1

    def ready(self, one: Submission, now_s: float) -> None:
        """The archive says that it can be copied."""
        one.answered_s, one.unanswered = now_s, 0
        one.was_ready = True
        one.move("ready", now_s)

    def failed(self, one: Submission, failure: Failure, now_s: float) -> None:
        """The archive says that it will not come; it has forgotten it."""
        one.failure = failure
        one.move("failed", now_s, failure.reason)
        self._drop(one)

    def end(self, one: Submission, now_s: float, why: str) -> None:
        """It is not needed any more, and the archive is to be told."""
        one.move("end", now_s, why)

    def ended(self, one: Submission, now_s: float) -> None:
        """The archive was told, or cannot be."""
        one.move("ended", now_s)
        self._drop(one)

    def forget(self, one: Submission, now_s: float, why: str) -> None:
        """Nobody wants it, and as far as is known the archive was never asked for it."""
        one.move("forget", now_s, why)
        self._drop(one)

    def give_up(self, one: Submission, failure: Failure) -> None:
        """It is not waited for any longer, although it may still come."""
        one.failure = failure

    def left_alone(self, now_s: float) -> list[Submission]:
        """Those that nobody has wanted for so long that nobody will."""
        return [
            one
            for one in self._by_key.values()
            if one.unwanted_s is not None
            and one.state not in {State.PLACING, State.ENDING}
            and now_s - one.unwanted_s >= KEPT_S
        ]

    def _enter(self, one: Submission) -> None:
        self._by_key[one.key] = one
        self._by_lfn[one.lfn] = one.key

    def _drop(self, one: Submission) -> None:
        del self._by_key[one.key]
        del self._by_lfn[one.lfn]

    def check(self) -> None:
        """Asserts that both indexes agree, and that every state has what it needs."""
        assert {one.lfn: one.key for one in self._by_key.values()} == self._by_lfn
        for one in self._by_key.values():
            assert one.state is not State.GONE, one.story
            has_id = one.state not in {State.NEW, State.PLACING}
            assert bool(one.archive_id) == has_id, one.story
            assert one.state is not State.READY or one.was_ready, one.story
            assert one.state is not State.ENDING or one.unwanted_s is not None, one.story
