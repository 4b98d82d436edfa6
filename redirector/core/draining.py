"""What still keeps a draining node from being switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redirector.core.instructions import AnswerDrain

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.node import Node

#: So many of the pinned files that only one node has are named.
PINNED_NAMED: Final = 1_000


def left_on(books: Books, node: Node) -> AnswerDrain:
    """What is under way on a node, and which pinned files no other one has.

    Those would have to be recalled elsewhere. Looks at every pinned file, 0.5 µs each.
    """
    named: list[tuple[str, int]] = []
    files, size_bytes = 0, 0
    index = books.index
    for lfn in books.pins.lfns():
        if index.sole_holder(lfn) != node.number:
            continue
        (_number, file_bytes), *_ = index.replicas(lfn)
        files += 1
        size_bytes += file_bytes
        if len(named) < PINNED_NAMED:
            named.append((lfn, file_bytes))
    return AnswerDrain(
        recalls_left=len(node.recalls),
        recalls_left_bytes=node.left_bytes,
        writes_left=len(node.claims),
        pinned_files=files,
        pinned_bytes=size_bytes,
        pinned=tuple(named),
    )
