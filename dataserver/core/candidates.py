"""Who goes first, who next, and who last: the order in which replicas are proposed.

1. What the site's purge command names, in its order.
2. What was evicted softly, the longest unused first.
3. As the policy says, of groups that have more than their share, until they have it.
4. As the policy says, of all.

What the purge command keeps is not proposed at all. Everything here is a proposal: the
mechanism, `purge.choose`, vetoes each, and sends back whether it did.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from dataserver.core.policies import LRU
from dataserver.core.replica import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.books import Books
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.replica import Replica
    from dataserver.core.shelves import Place, Shelf


class Ground(Enum):
    """Why a replica is proposed before others."""

    NAMED = "named by the purge command"
    SOFT = "evicted softly"
    OVER_SHARE = "its group has more than its share"
    POLICY = ""


class Proposal(NamedTuple):
    """A replica that might go, and on what ground."""

    lfn: str
    ground: Ground


#: Yields proposals; is sent the veto in words, or None if the replica was taken.
Proposals = Generator[Proposal, str | None, None]


@dataclass(frozen=True, slots=True)
class Advice:
    """What the site's purge command said: whom first, in order, and whom to keep."""

    first: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()


class _Head(NamedTuple):
    """The next replica of a shelf; heads are compared by their scores and places."""

    score: tuple[float, float]
    place: Place
    replica: Replica
    others: Iterator[Replica]


class Candidates:
    """The proposals of one round of purging, which may be heard in several goes.

    Each go takes up where the last one ended, so that what was passed over is not gone
    through again and again. `start_over` is for the end, when there may be new ones behind.
    """

    def __init__(
        self, books: Books, policy: PurgePolicy = LRU, advice: Advice | None = None
    ) -> None:
        self._books = books
        self._policy = policy
        self._advice = advice if advice is not None else Advice()
        self._named = frozenset(self._advice.first)
        self._to_name = deque(self._advice.first)
        self._leave: set[str] = set()
        self._passed: dict[Shelf, Place] = {}

    def leave(self, lfns: Iterable[str]) -> None:
        """Proposes these no more."""
        self._leave.update(lfns)

    def start_over(self) -> bool:
        """Goes back to the beginning; whether anything was passed over at all."""
        anything = bool(self._passed) or len(self._to_name) < len(self._advice.first)
        self._passed.clear()
        self._to_name = deque(self._advice.first)
        return anything

    def propose(self, now_s: float, until_s: float = math.inf) -> Proposals:
        """The next proposals; the pool must not change while this runs.

        Only what is named or marked may have been used after `until_s` (Unix seconds).
        """
        while self._to_name:
            lfn = self._to_name.popleft()
            if lfn not in self._leave:
                yield Proposal(lfn, Ground.NAMED)
        soft: list[_Head] = []
        others: list[_Head] = []
        for shelf in self._books.shelves.names():
            is_soft = shelf.mark is Mark.SOFT
            policy = LRU if is_soft else self._policy
            # A mark says that nobody waits for it, however lately it was used.
            walk = self._walk(shelf, until_s if shelf.mark is None else math.inf)
            head = _next_head(walk, policy, now_s)
            if head is not None:
                (soft if is_soft else others).append(head)
        yield from _in_order(soft, LRU, Ground.SOFT, now_s)
        within: list[_Head] = []
        yield from self._over_share(others, within, now_s)
        yield from _in_order(within, self._policy, Ground.POLICY, now_s)

    def _over_share(self, heads: Iterable[_Head], within: list[_Head], now_s: float) -> Proposals:
        """Of groups with more than their share; what is left of all shelves goes to `within`."""
        over_bytes = self._books.groups.over_bytes()
        heap: list[_Head] = []
        for head in heads:
            (heap if head.replica.group in over_bytes else within).append(head)
        heapq.heapify(heap)
        while heap:
            replica = heap[0].replica
            if over_bytes[replica.group] <= 0:
                within.append(heapq.heappop(heap))
                continue
            veto = yield Proposal(replica.lfn, Ground.OVER_SHARE)
            if veto is None:
                over_bytes[replica.group] -= replica.size_bytes
            _replace_head(heap, self._policy, now_s)

    def _walk(self, shelf: Shelf, until_s: float) -> Iterator[Replica]:
        """A shelf from where the last go ended."""
        for place in self._books.shelves.places(shelf, self._passed.get(shelf)):
            last_use_s, _, lfn = place
            if last_use_s > until_s:
                return
            if lfn not in self._named and lfn not in self._advice.keep and lfn not in self._leave:
                replica = self._books.get(lfn)
                assert replica is not None, lfn
                yield replica
            self._passed[shelf] = place


def _next_head(walk: Iterator[Replica], policy: PurgePolicy, now_s: float) -> _Head | None:
    replica = next(walk, None)
    if replica is None:
        return None
    return _Head(policy.score(replica, now_s), replica.place, replica, walk)


def _replace_head(heap: list[_Head], policy: PurgePolicy, now_s: float) -> None:
    """Puts the next one of its shelf in the place of the heap's first."""
    head = _next_head(heap[0].others, policy, now_s)
    if head is None:
        heapq.heappop(heap)
    else:
        heapq.heapreplace(heap, head)


def _in_order(heap: list[_Head], policy: PurgePolicy, ground: Ground, now_s: float) -> Proposals:
    """The lowest score of all shelves, over and over."""
    heapq.heapify(heap)
    while heap:
        yield Proposal(heap[0].replica.lfn, ground)
        _replace_head(heap, policy, now_s)
