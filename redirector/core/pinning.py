"""Pins, and telling the nodes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.instructions import DoneWith, RemovePins, SavePins, SetPins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redirector.core.books import Books
    from redirector.core.node import Node
    from redirector.core.pins import PinKey


class Pinning:
    """Sets and removes pins durably, and tells every node that holds the files."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def pin(
        self, lfns: Iterable[str], owner: str, lifetime_s: float, reason: str, now_s: float
    ) -> None:
        """Pins files of one owner from now on."""
        pinned = list(lfns)
        self.record(((lfn, owner, lifetime_s) for lfn in pinned), reason, now_s)
        self.tell_holders(pinned, now_s)

    def record(self, pins: Iterable[tuple[str, str, float]], reason: str, now_s: float) -> None:
        """Sets pins, given as (lfn, owner, lifetime_s), without telling the nodes yet."""
        table = self._books.pins
        records = tuple(
            table.set(lfn, owner, now_s + lifetime_s, reason) for lfn, owner, lifetime_s in pins
        )
        if records:
            self._books.out.add(SavePins(records))

    def unpin(self, lfns: Iterable[str], owner: str, now_s: float) -> int:
        """Takes an owner's pins off files; returns how many there were."""
        removed = [lfn for lfn in lfns if self._books.pins.remove(lfn, owner)]
        if removed:
            self._books.out.add(RemovePins(tuple((lfn, owner) for lfn in removed)))
            self.tell_holders(removed, now_s)
        return len(removed)

    def expire(self, now_s: float) -> None:
        """Removes what has expired. The nodes count lifetimes themselves."""
        expired: list[PinKey] = self._books.pins.expire(now_s)
        if expired:
            self._books.out.add(RemovePins(tuple(expired)))

    def tell_holders(self, lfns: Iterable[str], now_s: float) -> None:
        """Tells every node its own files among these, with all their pins."""
        books = self._books
        by_node: dict[Node, list[str]] = {}
        for lfn in lfns:
            for number, _size_bytes in books.index.replicas(lfn):
                by_node.setdefault(books.nodes.numbered(number), []).append(lfn)
        for node, held in by_node.items():
            books.out.send(node, SetPins(books.pins.file_pins(held, now_s)))

    def tell_done(self, lfns: Iterable[str]) -> None:
        """Tells the holders of files that somebody has done with them, unless others want them."""
        books = self._books
        by_node: dict[Node, list[str]] = {}
        for lfn in dict.fromkeys(lfns):
            if lfn not in books.pins and not books.requests.waiting_for(lfn):
                for number, _size_bytes in books.index.replicas(lfn):
                    by_node.setdefault(books.nodes.numbered(number), []).append(lfn)
        for node, held in by_node.items():
            books.out.send(node, DoneWith(tuple(held)))

    def tell_all(self, node: Node, now_s: float) -> None:
        """Tells a node, whose inventory is complete, every pin it has to know."""
        books = self._books
        held = [lfn for lfn in books.pins.lfns() if books.index.holds(node.number, lfn)]
        books.out.send(node, SetPins(books.pins.file_pins(held, now_s), complete=True))
