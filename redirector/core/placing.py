"""Giving queued recalls to nodes: the least loaded one that has room.

`place` runs at the end of an event that made the queue longer or a node freer,
and only looks at those nodes. It goes through the queue from the front:

- A recall that fits on none of them is looked past, a bounded number of times,
  so it does not hold up smaller ones behind it.
- One that was overtaken too often gets a node kept free for it: others are given
  to that node only if they leave room for both. So it does not starve either.
- A recall goes to a node where it failed before only if there is no other one,
  or when the others have had no place for it for as long as the longest backoff.
- A file larger than any pool fails at once.

The cost of a pass grows with the nodes that are open and the recalls it places,
not with the length of the queue.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from common import wording
from redirector.core.choice import Cost, Order, Weights, cost_of, order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redirector.core.books import Books
    from redirector.core.endings import Endings
    from redirector.core.node import Node
    from redirector.core.recall import Recall
    from redirector.core.staging import Staging


#: A node in the ranking, with what it is ranked by.
_Entry = tuple[Order, Cost, "Node"]


class Placing:
    """Runs passes over the queue."""

    def __init__(self, books: Books, staging: Staging, endings: Endings) -> None:
        self._books = books
        self._staging = staging
        self._endings = endings

    def place_changed(self, now_s: float) -> None:
        """Places what can be placed after what happened since the last time."""
        books = self._books
        grown, changed = books.queue_grown, books.nodes_changed
        books.queue_grown, books.nodes_changed = False, {}
        if not books.recalls.queue or books.nodes.awaited(now_s):
            return
        if grown:
            self._place(books.nodes.open(now_s), now_s)
        else:
            self._place((node for node in changed if node.open(now_s)), now_s)

    def _place(self, nodes: Iterable[Node], now_s: float) -> None:
        books = self._books
        ranking = _Ranking(books, nodes)
        looked_past: list[Recall] = []
        largest_bytes = books.nodes.largest_quota_bytes()
        for recall in books.recalls.queue.proposals(now_s, books.nodes.places):
            if not ranking or len(looked_past) >= books.settings.look_past:
                break
            if recall.size_bytes > largest_bytes > 0:
                self._endings.too_large(recall, largest_bytes, now_s)
                continue
            node = ranking.take_best_for(recall, now_s)
            if node is None:
                looked_past.append(recall)
                continue
            self._staging.start(recall, node, ranking.why, now_s)
            assert node.room_bytes >= 0, "reserved more than there is"
            ranking.put_back(node, now_s)
            for overtaken in looked_past:
                overtaken.overtaken += 1
        self._keep_nodes_for(looked_past)

    def _keep_nodes_for(self, looked_past: Iterable[Recall]) -> None:
        """Keeps a node free for each recall that was overtaken too often."""
        books = self._books
        for recall in looked_past:
            if recall.overtaken < books.settings.overtaken_limit:
                continue
            node = recall.kept_on
            if node is not None and node.usable and _would_fit(books, recall, node):
                continue
            books.recalls.keep_no_node(recall)
            fitting = [
                node
                for node in books.nodes.usable()
                if node.kept_for is None and _would_fit(books, recall, node)
            ]
            if fitting:
                kept = max(fitting, key=lambda node: (node.room_bytes, node.name))
                kept.kept_for = recall
                recall.kept_on = kept


class _Ranking:
    """Open nodes, the cheapest first; taken one by one and put back at their new cost."""

    def __init__(self, books: Books, nodes: Iterable[Node]) -> None:
        settings = books.settings
        self._books = books
        self._assumed_bytes = settings.assumed_size_bytes
        self._weights = Weights(settings.recall_start_s, settings.full_pool_cost_s)
        self._heap = [self._entry(node) for node in nodes]
        heapify(self._heap)
        # What was found to fit nowhere: files of this size or more, those of unknown size.
        self._hopeless_bytes = 1 + max(
            (self._room_bytes(one[-1], None) for one in self._heap), default=0
        )
        self._unknown_hopeless = False
        self._usable: set[str] | None = None
        self.why = ""

    def __len__(self) -> int:
        return len(self._heap)

    def take_best_for(self, recall: Recall, now_s: float) -> Node | None:
        """Takes out the cheapest node that may have this recall; says `why`."""
        if self._is_hopeless(recall):
            return None
        passed: list[_Entry] = []
        chosen: Node | None = None
        avoided = False
        while self._heap and chosen is None:
            entry = heappop(self._heap)
            _order, cost, node = entry
            if self._avoids(recall, node, now_s):
                avoided = True
                passed.append(entry)
            elif not self._fits(recall, node, now_s):
                passed.append(entry)
            else:
                chosen = node
                self.why = self._reason(cost, len(passed))
        for entry in passed:
            heappush(self._heap, entry)
        if chosen is None and not avoided:
            self._give_up_hope(recall)
        return chosen

    def put_back(self, node: Node, now_s: float) -> None:
        """Ranks a node anew after it was given a recall, unless it is full of them."""
        if node.open(now_s):
            heappush(self._heap, self._entry(node))

    def _entry(self, node: Node) -> _Entry:
        cost = cost_of(node.candidate(self._books.nodes.site_rate), self._weights)
        return (order(cost), cost, node)

    def _is_hopeless(self, recall: Recall) -> bool:
        """Whether a recall cannot fit, as one that needs no more did not. One that has a
        node kept for it is not compared with others."""
        if recall.kept_on is not None:
            return False
        if not recall.size_bytes:
            return self._unknown_hopeless and not recall.least_bytes
        return recall.size_bytes >= self._hopeless_bytes

    def _give_up_hope(self, recall: Recall) -> None:
        if recall.kept_on is not None:
            return
        if recall.size_bytes:
            self._hopeless_bytes = recall.size_bytes
        elif not recall.least_bytes:
            self._unknown_hopeless = True

    def _reason(self, cost: Cost, passed: int) -> str:
        """The numbers that decided."""
        parts = [str(cost)]
        if self._heap:
            parts.append(f"next {self._heap[0][1]}")
        if passed:
            parts.append(
                f"{wording.count(passed, 'cheaper node')} without room, or where it failed"
            )
        return "; ".join(parts)

    def _fits(self, recall: Recall, node: Node, now_s: float) -> bool:
        need_bytes = node.need_bytes(recall, self._assumed_bytes)
        if now_s < node.full_until_s and need_bytes >= node.full_for_bytes:
            return False
        return need_bytes <= self._room_bytes(node, recall)

    def _room_bytes(self, node: Node, recall: Recall | None) -> int:
        """The room on a node, less what is kept free there for another recall."""
        kept = node.kept_for
        if kept is None or kept is recall:
            return node.room_bytes
        return node.room_bytes - node.need_bytes(kept, self._assumed_bytes)

    def _avoids(self, recall: Recall, node: Node, now_s: float) -> bool:
        """Whether a recall is rather given to another node, having failed on this one."""
        if node.name not in recall.failed_on:
            return False
        if now_s - recall.waiting_since_s >= self._books.settings.backoff_max_s:
            return False
        if self._usable is None:
            self._usable = {one.name for one in self._books.nodes.usable()}
        return not self._usable.issubset(recall.failed_on)


def _would_fit(books: Books, recall: Recall, node: Node) -> bool:
    """Whether a recall would fit on a node if all its present ones had ended."""
    need_bytes = node.need_bytes(recall, books.settings.assumed_size_bytes)
    return need_bytes <= node.unpinned_bytes
