"""Letting nodes write under names: what is claimed, given back, and told by nodes that join.

A claim and a recall of one name exclude each other: a name that is being staged
is not claimed, and a recall of a claimed name is *held* until the claim has ended.
If the file is online by then, the recall is done; else it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import AlreadyExists, BeingWritten, Refused
from redirector.core.instructions import AnswerClaim
from redirector.core.states import NodeState, RecallState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redirector.core.books import Books
    from redirector.core.browsing import Browsing
    from redirector.core.events import ClaimAsked, ClaimEnded
    from redirector.core.node import Node


class Claiming:
    """Gives claims, and ends them."""

    def __init__(self, books: Books, browsing: Browsing) -> None:
        self._books = books
        self._browsing = browsing

    def claim(self, event: ClaimAsked, now_s: float) -> None:
        """A node asks to let a client write under a name."""
        node = self._asking_node(event)
        lfn = event.lfn
        self.refuse_while_awaiting(lfn, now_s)
        if lfn not in node.claims:
            self._refuse_if_written(lfn)
            self.refuse_if_staged(lfn)
        self._refuse_if_online(node, event)
        self._browsing.refuse_as_file(lfn)
        books = self._books
        books.claims.add(lfn, node, event.claim_id)
        books.stories.tell(lfn, now_s, f"{node.name} lets a client write it")
        books.out.answer(AnswerClaim(books.vacancies.take(lfn, now_s)))

    def ended(self, node: Node, event: ClaimEnded, now_s: float) -> None:
        """A node says that the writing under a name has ended."""
        claim_id = node.claims.get(event.lfn)
        if claim_id is None or claim_id not in ("", event.claim_id):
            return
        if node.filling:
            # What was written may be in the inventory that is on its way.
            node.early_claim_ends[event.lfn] = None
        else:
            self._end(event.lfn, f"{node.name} has ended writing it", now_s)

    def found_vacant(self, lfn: str, now_s: float) -> None:
        """The archive has been asked, and does not have a name: its next claim may count on it."""
        if lfn not in self._books.claims and not self._books.index.online(lfn):
            self._books.vacancies.note(lfn, now_s)

    # --- nodes that come and go ---

    def account(self, node: Node, claims: Iterable[str], now_s: float) -> None:
        """Compares what a joining node writes with what the books say it does.

        What it writes no longer ends once its inventory is complete: the file may be there.
        """
        node.early_claim_ends = dict.fromkeys(node.claims)
        for lfn in claims:
            if lfn in node.claims:
                node.early_claim_ends.pop(lfn, None)
            else:
                self._take_back(node, lfn, now_s)

    def inventory_complete(self, node: Node, now_s: float) -> None:
        """Whatever a node has written is known: the claims that ended before have ended now."""
        for lfn in list(node.early_claim_ends):
            self._end(lfn, f"{node.name} writes it no longer", now_s)

    def lease_over(self, node: Node, now_s: float) -> None:
        """A node is dropped: it publishes nothing any more that it has not told of."""
        for lfn in list(node.claims):
            self._end(lfn, f"{node.name}, which let it be written, was lost", now_s)

    # --- why not ---

    def refuse_while_awaiting(self, lfn: str, now_s: float) -> None:
        """Raises Refused while, after a restart, not all that nodes do is known."""
        awaited = self._books.nodes.awaited(now_s)
        if awaited:
            names = ", ".join(awaited[:3]) + (" and others" if len(awaited) > 3 else "")
            raise Refused(
                f"{lfn} cannot be written yet: {names} must join the restarted redirector first; "
                "try again in a moment"
            )

    def refuse_if_staged(self, lfn: str) -> None:
        """Raises Refused if a file has a live recall."""
        recall = self._books.recalls.live.get(lfn)
        if recall is not None:
            where = f" on {recall.node.name}" if recall.node is not None else ""
            raise Refused(f"{lfn} is being staged{where}; it cannot be written meanwhile")

    # --- inside ---

    def _asking_node(self, event: ClaimAsked) -> Node:
        node = self._books.nodes.get(event.node)
        if node is None:
            raise Refused(f"{event.lfn} cannot be written on {event.node}, which has not joined")
        if node.boot_epoch != event.boot_epoch:
            raise Refused(
                f"{event.lfn} cannot be written on {node.name}: it was asked for in an earlier "
                "life of that data server"
            )
        if node.state is not NodeState.UP:
            raise Refused(
                f"{event.lfn} cannot be written on {node.name}, which is not in touch with the "
                "redirector; try again in a moment"
            )
        return node

    def _refuse_if_written(self, lfn: str) -> None:
        writer = self._books.claims.writer_of(lfn)
        if writer is not None:
            raise BeingWritten(f"{lfn} is being written on {writer.name}; one client at a time can")

    def _refuse_if_online(self, node: Node, event: ClaimAsked) -> None:
        for number, _size_bytes in self._books.index.replicas(event.lfn):
            if number != node.number or not event.replaces:
                holder = self._books.nodes.numbered(number).name
                raise AlreadyExists(f"{event.lfn} is online on {holder}")

    def _take_back(self, node: Node, lfn: str, now_s: float) -> None:
        """A joining node writes under a name of which the books say nothing."""
        books = self._books
        writer = books.claims.writer_of(lfn)
        recall = books.recalls.live.get(lfn)
        joined = f"{node.name} joined and lets a client write it"
        if writer is not None:
            books.stories.tell(lfn, now_s, f"{joined}, but {writer.name} does so already")
        elif recall is not None and recall.state is RecallState.ASSIGNED:
            assert recall.node is not None
            books.stories.tell(lfn, now_s, f"{joined}, but it is staged on {recall.node.name}")
        else:
            books.claims.add(lfn, node, "")
            books.stories.tell(lfn, now_s, joined)
            if recall is not None and recall.state is RecallState.QUEUED:
                books.recalls.move(recall, "hold", now_s)

    def _end(self, lfn: str, line: str, now_s: float) -> None:
        books = self._books
        books.claims.remove(lfn)
        books.stories.tell(lfn, now_s, line)
        recall = books.recalls.live.get(lfn)
        if recall is not None and recall.state is RecallState.HELD:
            books.recalls.move(recall, "release", now_s)
            books.queue_grown = True
