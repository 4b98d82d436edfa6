"""Data servers join, are heard, fall silent, are dropped, and are drained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from common.errors import NotFound, Refused
from redirector.core.draining import left_on
from redirector.core.instructions import (
    AnswerForget,
    CloseConnection,
    ConfirmHeartbeat,
    NoteUses,
    RefuseNode,
    RemoveNode,
    SaveNode,
    SendInventory,
    Welcome,
)
from redirector.core.states import NodeState

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.claiming import Claiming
    from redirector.core.events import DrainAsked, ForgetAsked, NodeHeartbeat, NodeHello, NodeLost
    from redirector.core.holdings import Holdings
    from redirector.core.node import Node
    from redirector.core.staging import Staging


#: Names in one message about uses, so that it stays well below the largest message.
_USES_AT_A_TIME = 1_000


class Membership:
    """Lets nodes in and out."""

    def __init__(
        self, books: Books, staging: Staging, claiming: Claiming, holdings: Holdings
    ) -> None:
        self._books = books
        self._staging = staging
        self._claiming = claiming
        self._holdings = holdings

    # --- events ---

    def hello(self, event: NodeHello, now_s: float) -> None:
        """A node wants to join, or to join anew."""
        books = self._books
        if books.nodes.connected_by(event.connection) is not None:
            reason = "it said hello twice on one connection"
        else:
            reason = books.nodes.refusal(event, now_s)
        if reason:
            books.out.add(RefuseNode(event.connection, reason))
            return
        known = books.nodes.get(event.address.node)
        if known is not None and known.connection is not None:
            books.out.add(CloseConnection(known.connection, "the node has connected anew"))
        saved = known.record() if known is not None else None
        node = books.nodes.admit(event, now_s)
        if node.record() != saved:
            books.out.add(SaveNode(node.record()))
        settings = books.settings
        lease_s = settings.lost_after_s
        welcome = Welcome(settings.heartbeat_s, lease_s, books.epoch, books.root_address)
        books.out.send(node, welcome)
        books.out.send(node, SendInventory())
        self._holdings.begin_inventory(node)
        self._staging.account(node, event.running, now_s)
        self._claiming.account(node, event.claims, now_s)

    def heartbeat(self, node: Node, event: NodeHeartbeat, now_s: float) -> None:
        """A node is alive, and says how busy it is."""
        books = self._books
        quota_bytes = event.quota_bytes or node.quota_bytes
        if quota_bytes != node.quota_bytes:
            books.nodes.quotas_changed()
        node.beat(event.load, quota_bytes, now_s)
        if event.number:
            books.out.send(node, ConfirmHeartbeat(event.number))
        self._tell_uses(node)
        books.nodes_changed[node] = None

    def heard(self, node: Node, now_s: float) -> None:
        """Anything at all has come from a node."""
        node.last_heard_s = now_s
        if node.state is NodeState.SUSPECT:
            node.move("heard again", now_s)
            self._books.nodes_changed[node] = None

    def lost(self, event: NodeLost, now_s: float) -> None:
        """A connection has ended; the node has the length of its lease to come back."""
        node = self._books.nodes.connected_by(event.connection)
        if node is not None:
            self._books.nodes.disconnect(node)
            node.move("disconnected", now_s)

    def drain(self, event: DrainAsked) -> None:
        """A node shall get no new recalls, or get them again."""
        books = self._books
        node = books.nodes.get(event.node)
        if node is None:
            raise NotFound(f"no data server named {event.node} was ever heard of")
        if event.look:
            books.out.answer(left_on(books, node))
            return
        if event.undo and node.drain_configured:
            raise Refused(f"{event.node} is drained by its own configuration; change it there")
        node.draining = not event.undo
        books.out.add(SaveNode(node.record()))
        books.nodes_changed[node] = None
        books.out.answer(left_on(books, node))

    def forget(self, event: ForgetAsked, now_s: float) -> None:
        """A node is gone for good, or another pool is to take its name."""
        books = self._books
        node = books.nodes.get(event.node)
        if node is None:
            raise NotFound(f"no data server named {event.node} was ever heard of")
        if node.connection is not None:
            raise Refused(f"{event.node} is in touch; stop it first")
        if node.state is not NodeState.DROPPED:
            silent = wording.duration(now_s - node.last_heard_s)
            lease = wording.duration(books.settings.lost_after_s)
            raise Refused(
                f"{event.node} was heard of {silent} ago, and what it stages is its own for {lease}; "
                "try again then"
            )
        if books.index.sweeping:
            raise Refused(f"what {event.node} held is still being forgotten; try again in a moment")
        self._forget(node)
        books.out.answer(AnswerForget())

    # --- time ---

    def check_silence(self, now_s: float) -> None:
        """Measures every node's silence; about once a second."""
        books = self._books
        if now_s >= books.nodes.next_check_s:
            books.nodes.excuse_late_check(now_s)
            books.nodes.measure_site()
            for node in list(books.nodes):
                self._judge(node, now_s)
        until_s = books.nodes.await_until_s
        if until_s is not None and now_s >= until_s:
            books.nodes.await_nobody()
            books.queue_grown = True

    def _tell_uses(self, node: Node) -> None:
        """Tells a node which of its files were used lately, if its door does not."""
        if node.uses:
            used, node.uses = list(node.uses), {}
            for start in range(0, len(used), _USES_AT_A_TIME):
                piece = tuple(used[start : start + _USES_AT_A_TIME])
                self._books.out.send(node, NoteUses(piece))

    def _judge(self, node: Node, now_s: float) -> None:
        settings = self._books.settings
        silent_s = now_s - node.last_heard_s
        if node.state is NodeState.DROPPED:
            if silent_s >= settings.forget_node_after_s and not self._books.index.sweeping:
                self._forget(node)
        elif node.state is NodeState.UP:
            if silent_s >= settings.suspect_after_s:
                node.move("silent", now_s)
        elif silent_s >= settings.lost_after_s:
            self._drop(node, now_s)

    def _forget(self, node: Node) -> None:
        self._books.nodes.forget(node)
        self._books.out.add(RemoveNode(node.name))

    def _drop(self, node: Node, now_s: float) -> None:
        """Gives a node up: its replicas are gone, its recalls go to others."""
        books = self._books
        if node.connection is not None:
            reason = f"not heard for {wording.duration(now_s - node.last_heard_s)}; say hello again"
            books.out.add(CloseConnection(node.connection, reason))
            books.nodes.disconnect(node)
        node.move("lease over", now_s)
        if node.kept_for is not None:
            books.recalls.keep_no_node(node.kept_for)
        self._holdings.give_up(node)
        self._claiming.lease_over(node, now_s)
        self._staging.lease_over(node, now_s)
        books.out.add(SaveNode(node.record()))
        if books.nodes.no_longer_await(node):
            books.queue_grown = True
