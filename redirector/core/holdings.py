"""What nodes hold: inventories, changes, and sweeping out what went with its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.instructions import CloseConnection, SaveDrops, SendInventory
from redirector.core.model import DropRecord
from redirector.core.standing import standing_of
from redirector.core.states import FileEventKind, FileState, NodeState
from redirector.core.telling import dropped_line, tell_if_begun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.books import Books
    from redirector.core.claiming import Claiming
    from redirector.core.events import InventoryPiece, ReplicaChanges
    from redirector.core.model import ReplicaChange
    from redirector.core.node import Node
    from redirector.core.pinning import Pinning
    from redirector.core.staging import Staging


class Holdings:
    """Keeps the index in step with the nodes."""

    def __init__(
        self, books: Books, staging: Staging, claiming: Claiming, pinning: Pinning
    ) -> None:
        self._books = books
        self._staging = staging
        self._claiming = claiming
        self._pinning = pinning

    def begin_inventory(self, node: Node) -> None:
        """A node was asked for its inventory. What it held before stays visible meanwhile."""
        node.slots.append(self._books.index.open_slot(node.number))
        node.filling = True
        node.early_changes = []

    def inventory(self, node: Node, event: InventoryPiece, now_s: float) -> None:
        """A piece of an inventory has come."""
        if not node.filling:
            return
        books = self._books
        if len(event.lfns) != len(event.sizes_bytes):
            self._refuse(node, "its inventory has columns of unequal length", now_s)
            return
        came_online = books.index.put_many(node.slots[-1], event.lfns, event.sizes_bytes)
        if came_online:
            size_of = dict(zip(event.lfns, event.sizes_bytes, strict=True))
            for lfn in came_online:
                self._tell_published(lfn, node, size_of[lfn])
        live = books.recalls.live
        if live:
            for lfn, size_bytes in zip(event.lfns, event.sizes_bytes, strict=True):
                if lfn in live:
                    self._staging.appeared(lfn, node, size_bytes, "", now_s)
        if event.last:
            self._complete(node, event.change_number, now_s)

    def changes(self, node: Node, event: ReplicaChanges, now_s: float) -> None:
        """Replicas were published or dropped."""
        if node.filling:
            node.early_changes.extend(event.changes)
        else:
            self._apply(node, event.changes, now_s)

    def give_up(self, node: Node) -> None:
        """A node is dropped: nothing of it is visible any longer."""
        for slot in node.slots:
            self._books.index.close_slot(slot)
        node.slots = []
        node.filling = False
        node.early_changes = []

    def sweep(self, now_s: float) -> None:
        """Takes some of what is no longer visible out of the index, and tells of it."""
        books = self._books
        if not books.index.sweeping:
            return
        for gone in books.index.sweep(books.settings.sweep_slice):
            node = books.nodes.numbered(gone.node)
            dropped = node.state is NodeState.DROPPED
            reason = f"{node.name} was lost" if dropped else _why_gone(node)
            self._tell_dropped(gone.lfn, node, gone.size_bytes, reason, now_s)

    # --- inside ---

    def _refuse(self, node: Node, reason: str, now_s: float) -> None:
        """Ends the connection of a node that makes no sense; it may say hello again."""
        assert node.connection is not None
        self._books.out.add(CloseConnection(node.connection, reason))
        self._books.nodes.disconnect(node)
        node.move("disconnected", now_s)

    def _complete(self, node: Node, change_number: int, now_s: float) -> None:
        """An inventory is complete: what was known before and is not in it has vanished."""
        books = self._books
        for slot in node.slots[:-1]:
            books.index.close_slot(slot)
        node.slots = node.slots[-1:]
        node.filling = False
        node.change_number = change_number
        early, node.early_changes = node.early_changes, []
        node.move("inventory complete", now_s)
        self._apply(node, early, now_s)
        if node.filling:
            return
        self._pinning.tell_all(node, now_s)
        self._claiming.inventory_complete(node, now_s)
        self._staging.missed(node, now_s)
        books.nodes_changed[node] = None
        if books.nodes.no_longer_await(node):
            books.queue_grown = True

    def _apply(self, node: Node, changes: Sequence[ReplicaChange], now_s: float) -> None:
        drops: list[DropRecord] = []
        self._apply_in_order(node, changes, drops, now_s)
        if drops:
            self._books.out.add(SaveDrops(tuple(drops)))

    def _apply_in_order(
        self,
        node: Node,
        changes: Sequence[ReplicaChange],
        drops: list[DropRecord],
        now_s: float,
    ) -> None:
        """Applies changes until one is missing; what has gone is added to `drops`."""
        for place, change in enumerate(changes):
            if change.number <= node.change_number:
                continue
            if change.number != node.change_number + 1:
                # Something got lost: only a new inventory can tell what.
                self._books.out.send(node, SendInventory())
                self.begin_inventory(node)
                node.early_changes.extend(changes[place:])
                return
            node.change_number = change.number
            if change.dropped:
                if self._drop(node, change, now_s):
                    drops.append(
                        DropRecord(change.lfn, node.name, now_s, change.size_bytes, change.reason)
                    )
            else:
                self._publish(node, change, now_s)

    def _publish(self, node: Node, change: ReplicaChange, now_s: float) -> None:
        books = self._books
        lfn, size_bytes = change.lfn, change.size_bytes
        books.index.put(node.slots[-1], lfn, size_bytes)
        node.fresh_bytes += size_bytes
        self._tell_published(lfn, node, size_bytes)
        self._staging.appeared(lfn, node, size_bytes, change.recall_id, now_s)

    def _drop(self, node: Node, change: ReplicaChange, now_s: float) -> bool:
        """A replica has gone; whether it was known to be there."""
        if not self._books.index.drop(node.slots, change.lfn):
            return False
        self._tell_dropped(change.lfn, node, change.size_bytes, change.reason, now_s)
        if change.reason == "damaged" and not self._books.index.online(change.lfn):
            self._books.damaged[change.lfn] = None
        return True

    def _tell_published(self, lfn: str, node: Node, size_bytes: int) -> None:
        published = FileEventKind.PUBLISHED
        self._books.out.file_event(lfn, FileState.ONLINE, published, node.name, size_bytes)

    def _tell_dropped(
        self, lfn: str, node: Node, size_bytes: int, reason: str, now_s: float
    ) -> None:
        """Tells that a replica went; the file may have others, or be recalled already."""
        books = self._books
        state = standing_of(books, lfn, now_s).state
        books.out.file_event(lfn, state, FileEventKind.DROPPED, node.name, size_bytes, reason)
        tell_if_begun(books, lfn, now_s, dropped_line(node.name, reason))


def _why_gone(node: Node) -> str:
    """Why a node in touch does not have any more what it had; its disk may be away."""
    reason = f"{node.name} no longer has it"
    return f"{reason}: {node.load.trouble}" if node.load.trouble else reason
