"""Learning where files lie on tape, for the order in which they are recalled.

A site that can tell has its new recalls asked about, in batches and a few at a time.
Recalls are held back until the answer comes, for a short while; what is told later
still counts for those that have not started. If nobody can be asked, or an answer
does not come, they are asked about again after a pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.instructions import AskHints
from redirector.core.model import Hint

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.events import HintsTold
    from redirector.core.recall import Recall

#: Names in one question: a command that is asked about many at a time is well used by them.
_BATCH = 5_000
#: Questions under way at a time.
_AT_ONCE = 2
#: What is not told of lies on no tape.
_NOWHERE = Hint("")


class Hinting:
    """Asks for hints, and passes on what is told."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._under_way = 0
        self._resumes_at_s = 0.0

    def told(self, event: HintsTold, now_s: float) -> None:
        """An answer, or word that there will be none."""
        books = self._books
        queue = books.recalls.queue
        self._under_way -= 1
        if event.unanswered:
            self._resumes_at_s = now_s + books.settings.backoff_max_s
        unanswered = frozenset(event.unanswered)
        for lfn in event.lfns:
            recall = books.recalls.live.get(lfn)
            if recall is None:
                continue
            if lfn in unanswered:
                queue.unhinted.to_be_asked(recall)
            else:
                self._learn(recall, event.hints.get(lfn, _NOWHERE))
        books.queue_grown = True

    def ask_more(self, now_s: float) -> None:
        """Asks about recalls that nobody was asked about yet."""
        books = self._books
        unhinted = books.recalls.queue.unhinted
        while unhinted.any_unasked and self._under_way < _AT_ONCE and now_s >= self._resumes_at_s:
            if not books.nodes.usable():
                return
            recalls = unhinted.take_unasked(_BATCH)
            if not recalls:
                return
            self._under_way += 1
            books.out.add(AskHints(tuple(recall.lfn for recall in recalls)))

    def pass_time(self, now_s: float) -> None:
        """Lets recalls go for which no hint came in time."""
        if self._books.recalls.queue.release_unhinted(now_s):
            self._books.queue_grown = True

    def next_due_s(self, now_s: float) -> float | None:
        """When it has something to do next."""
        unhinted = self._books.recalls.queue.unhinted
        release_s = unhinted.next_due_s()
        if unhinted.any_unasked and now_s < self._resumes_at_s:
            return min(self._resumes_at_s, release_s or self._resumes_at_s)
        return release_s

    def _learn(self, recall: Recall, hint: Hint) -> None:
        if not recall.size_bytes and recall.node is None:
            recall.size_bytes = hint.size_bytes
        self._books.recalls.queue.learn_place(recall, hint.volume, hint.position)
