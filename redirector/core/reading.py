"""Whom to send a client to that wants to read one file; made to take about a microsecond.

Only nodes in touch that have a root:// door count. Of several holders the client's own
host is best, then the least loaded. Loads are as old as the last heartbeat, so holders
that are about as busy as the least busy one take turns: the one that was chosen longest
ago is next. A node whose door is another program's cannot know what is read there: with
its next heartbeat it is told of the files that readers were sent to it for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from redirector.core.books import Books
    from redirector.core.model import NodeAddress
    from redirector.core.node import Node

#: Nodes whose loads, in percent of a machine, differ by less than this are equal.
_EQUAL_LOADS = 10.0


class Reading:
    """Chooses holders of single files."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._readable = books.nodes.readable
        self._choices = 0

    def choose(self, lfn: str, host: str, avoid: Collection[str]) -> NodeAddress | None:
        """The best holder to read a file from that is not in `avoid`, if there is one."""
        number = self._books.index.sole_holder(lfn)
        node = self._readable[number] if number >= 0 else self._best_of_several(lfn, host, avoid)
        if node is None or (avoid and node.name in avoid):
            return None
        if node.served_by_others:
            node.note_use(lfn)
        return node.address

    def holders(self, lfn: str) -> list[NodeAddress]:
        """All that a file can be read from, the least loaded first."""
        nodes = self._books.nodes
        numbers = [number for number, _size_bytes in self._books.index.replicas(lfn)]
        numbers.sort(key=nodes.reading_rank)
        found = [self._readable[number] for number in numbers]
        return [node.address for node in found if node is not None]

    def staging_node(self, lfn: str) -> NodeAddress | None:
        """The node that stages a file now."""
        recall = self._books.recalls.live.get(lfn)
        if recall is None or recall.node is None or recall.is_cancelled:
            return None
        return recall.node.address

    def _best_of_several(self, lfn: str, host: str, avoid: Collection[str]) -> Node | None:
        rank = self._books.nodes.reading_rank
        found = [
            node
            for number, _size_bytes in self._books.index.replicas(lfn)
            if (node := self._readable[number]) is not None and node.name not in avoid
        ]
        if not found:
            return None
        near = [node for node in found if host and node.address.host == host]
        ranks = {node: rank(node.number) for node in near or found}
        limit = min(ranks.values()) + _EQUAL_LOADS
        equal = [node for node, busy in ranks.items() if busy < limit]
        best = min(equal, key=_last_choice)
        self._choices += 1
        best.last_choice = self._choices
        return best


def _last_choice(node: Node) -> int:
    return node.last_choice
