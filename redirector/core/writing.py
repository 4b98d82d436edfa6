"""Whom to send a client to that wants to write a new file.

The node that has the name already, claimed or online, is the only one that may take
it. Else it is the client's own host if that has room, and then the node that costs
least, as with recalls. What clients were sent to a node with counts there from that
moment on, so that many at once do not all go to the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from common.errors import QuotaExceeded, Refused
from redirector.core.choice import Weights, cost_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redirector.core.books import Books
    from redirector.core.claiming import Claiming
    from redirector.core.model import NodeAddress
    from redirector.core.node import Node


class Writing:
    """Chooses the nodes of new files."""

    def __init__(self, books: Books, claiming: Claiming) -> None:
        self._books = books
        self._claiming = claiming
        settings = books.settings
        self._weights = Weights(settings.recall_start_s, settings.full_pool_cost_s)

    def choose(
        self, lfn: str, size_bytes: int, host: str, avoid: Collection[str], now_s: float
    ) -> NodeAddress:
        """The node where a client is to write a file; of `size_bytes` 0 it is not known."""
        writer = self._books.claims.writer_of(lfn)
        if writer is not None:
            return self._only_at(writer, f"{lfn} is being written on {writer.name}", avoid).address
        self._claiming.refuse_while_awaiting(lfn, now_s)
        self._claiming.refuse_if_staged(lfn)
        replicas = self._books.index.replicas(lfn)
        if replicas:
            holder = self._books.nodes.numbered(replicas[0][0])
            return self._only_at(holder, f"{lfn} is online on {holder.name}", avoid).address
        node = self._least_loaded(lfn, size_bytes, host, avoid)
        node.fresh_writes_bytes += self._need_bytes(node, size_bytes)
        return node.address

    def _only_at(self, node: Node, why: str, avoid: Collection[str]) -> Node:
        """The node that has the name already, unless nobody can write there."""
        if node.name in avoid or not self._takes_files(node):
            raise Refused(f"{why}, where no client can write it now")
        return node

    def _least_loaded(self, lfn: str, size_bytes: int, host: str, avoid: Collection[str]) -> Node:
        usable = [
            node
            for node in self._books.nodes.usable()
            if self._takes_files(node) and node.name not in avoid
        ]
        if not usable:
            raise Refused(
                f"{lfn} cannot be written: no data server takes new files now; none with a "
                "root:// door of its own is up, or all are drained, in trouble or were tried"
            )
        roomy = [
            node for node in usable if self._need_bytes(node, size_bytes) <= self._room_bytes(node)
        ]
        if not roomy:
            raise self._no_room(lfn, size_bytes, usable)
        near = [node for node in roomy if host and node.address.host == host]
        return min(near or roomy, key=self._cost)

    def _takes_files(self, node: Node) -> bool:
        """Whether clients can write there; another program's door would pass the pool's books."""
        return self._books.nodes.is_readable(node) and not node.served_by_others

    def _need_bytes(self, node: Node, size_bytes: int) -> int:
        return size_bytes or node.usual_bytes(self._books.settings.assumed_size_bytes)

    def _room_bytes(self, node: Node) -> int:
        """What is neither pinned, promised, being written, nor kept free for a recall."""
        room_bytes = node.room_bytes - node.writes_bytes
        if node.kept_for is not None:
            assumed_bytes = self._books.settings.assumed_size_bytes
            room_bytes -= node.need_bytes(node.kept_for, assumed_bytes)
        return room_bytes

    def _cost(self, node: Node) -> tuple[float, int, str]:
        """As for a recall, but for its slots, which writing needs none of."""
        figures = node.candidate(self._books.nodes.site_rate)
        writes_bytes = node.writes_bytes
        with_writes = figures._replace(
            bytes_left=figures.bytes_left + writes_bytes,
            promised_bytes=figures.promised_bytes + writes_bytes,
        )
        cost = cost_of(with_writes, self._weights)
        return cost.cost_s, -cost.free_bytes, cost.node

    def _no_room(self, lfn: str, size_bytes: int, usable: Sequence[Node]) -> QuotaExceeded:
        largest_bytes = max(node.quota_bytes for node in usable)
        if size_bytes > largest_bytes:
            return QuotaExceeded(
                f"{lfn} cannot be written: its {wording.size(size_bytes)} are more than any pool "
                f"can hold (the largest: {wording.size(largest_bytes)})"
            )
        most = max(usable, key=self._room_bytes)
        need = wording.size(self._need_bytes(most, size_bytes))
        free = wording.size(max(0, self._room_bytes(most)))
        return QuotaExceeded(
            f"{lfn} cannot be written: it needs {need}, and the most that is neither pinned nor "
            f"promised is {free} on {most.name}; try again later"
        )
