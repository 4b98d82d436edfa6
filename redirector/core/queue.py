"""The queue of recalls that wait for a node: highest priority first, then oldest wish."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redirector.core.recall import Recall

# A recall's order is one number, priority and place: far more places than a
# head can give out in its life.
_PLACES = 1 << 48
# How many are looked up at a time when the queue is walked.
_BATCH = 64


class RecallQueue:
    """Recalls by their order; every operation takes logarithmic time."""

    def __init__(self) -> None:
        self._by_order: SortedDict[int, Recall] = SortedDict()
        self._next_place = 0

    def __len__(self) -> int:
        return len(self._by_order)

    def give_order(self, recall: Recall) -> None:
        """Gives a new recall its place, which it keeps through all retries."""
        recall.order = -recall.priority * _PLACES + self._next_place
        self._next_place += 1

    def raise_priority(self, recall: Recall, priority: int) -> None:
        """Moves a recall to the place it would have had with a higher priority."""
        queued = self._by_order.pop(recall.order, None)
        recall.order -= (priority - recall.priority) * _PLACES
        recall.priority = priority
        if queued is not None:
            self._by_order[recall.order] = recall

    def add(self, recall: Recall) -> None:
        """Puts a recall at its place."""
        assert recall.order not in self._by_order
        self._by_order[recall.order] = recall

    def remove(self, recall: Recall) -> None:
        """Takes a recall out."""
        del self._by_order[recall.order]

    def walk(self) -> Iterator[Recall]:
        """All recalls in order. Those that were walked over may be removed meanwhile."""
        order: int | None = None
        while True:
            following = self._by_order.irange(minimum=order, inclusive=(False, True))
            batch = list(islice(following, _BATCH))
            if not batch:
                return
            order = batch[-1]
            for one in batch:
                yield self._by_order[one]

    def ahead_of(self, recall: Recall) -> int:
        """How many recalls go before this one."""
        return self._by_order.bisect_left(recall.order)

    def first(self, limit: int) -> list[Recall]:
        """The recalls that go first."""
        return [self._by_order[order] for order in self._by_order.islice(0, limit)]

    def check(self) -> None:
        """Asserts that every recall stands where its order says."""
        assert all(recall.order == order for order, recall in self._by_order.items())
