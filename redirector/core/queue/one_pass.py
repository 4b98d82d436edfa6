"""One pass over the queue: whose turn comes next, and what was passed over.

Among the gates that are open, the share that has had least is asked for a recall. If
what it proposes is passed over, because it fits nowhere now, its turn at that gate comes
again only when all others were asked: many large files of one owner do not keep those
of others from being looked at.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.queue.shares import Share
    from redirector.core.queue.volumes import Gate
    from redirector.core.recall import Recall


class Turn(NamedTuple):
    """A share's turn at a gate, and what it is given there."""

    gate: Gate
    share: Share
    recall: Recall
    tries: int  # how often the share was passed over at this gate


class _Candidate(NamedTuple):
    """A share at a gate, by how soon it is asked."""

    tries: int
    had: float
    number: int
    running: int
    entry: int  # of the heap, so that no two compare equal
    gate: Gate
    share: Share


class OnePass:
    """What was passed over so far."""

    def __init__(self) -> None:
        self._passed: set[Recall] = set()
        self._asked: dict[Gate, set[Share]] = {}
        self._again: list[_Candidate] = []
        self._entries = 0

    def next_turn(self, gates: Sequence[Gate]) -> Turn | None:
        """The next turn at these gates; None if there is nothing that was not passed over."""
        while (candidate := self._best(gates) or self._asked_before(gates)) is not None:
            gate, share = candidate.gate, candidate.share
            recall = gate.propose(share, self._passed)
            if recall is not None:
                return Turn(gate, share, recall, candidate.tries)
            self._asked.setdefault(gate, set()).add(share)
        return None

    def passed_over(self, turn: Turn) -> None:
        """What was proposed was not taken."""
        self._passed.add(turn.recall)
        self._asked.setdefault(turn.gate, set()).add(turn.share)
        heappush(self._again, self._candidate(turn.gate, turn.share, turn.tries + 1))

    def taken(self, turn: Turn) -> None:
        """What was proposed was started, or is wanted no longer."""
        if turn.tries:
            heappush(self._again, self._candidate(turn.gate, turn.share, turn.tries))

    def _best(self, gates: Sequence[Gate]) -> _Candidate | None:
        """The first of those that were not passed over."""
        best: _Candidate | None = None
        for gate in gates:
            share = gate.turns.first(self._asked.get(gate, ()))
            if share is not None:
                candidate = self._candidate(gate, share, 0)
                best = candidate if best is None else min(best, candidate)
        return best

    def _asked_before(self, gates: Sequence[Gate]) -> _Candidate | None:
        """The first of those that were, if it still waits at an open gate."""
        while self._again:
            candidate = heappop(self._again)
            if candidate.gate in gates and candidate.gate.turns in candidate.share.turns:
                return candidate
        return None

    def _candidate(self, gate: Gate, share: Share, tries: int) -> _Candidate:
        self._entries += 1
        return _Candidate(tries, share.had, share.number, gate.running, self._entries, gate, share)
