"""Claims: which data server lets a client write under which name.

One name has one writer in the whole site. A claim is a node's until it says that
the writing has ended, or joins anew without it, or its lease is over: so long it
may still publish the file. Claims are kept nowhere; nodes that join tell theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redirector.core.node import Node


class Claims:
    """The table of claims, by name; every node has its own names beside it."""

    def __init__(self) -> None:
        self._writers: SortedDict[str, Node] = SortedDict()

    def __contains__(self, lfn: str) -> bool:
        return lfn in self._writers

    def __len__(self) -> int:
        return len(self._writers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._writers)

    def writer_of(self, lfn: str) -> Node | None:
        """The node that writes under a name."""
        return self._writers.get(lfn)

    def has_any_below(self, directory: str) -> bool:
        """Whether there is a claim on any name below a directory, in O(log n)."""
        inside = directory.removesuffix("/") + "/"
        first = next(self._writers.irange(minimum=inside), "")
        return first.startswith(inside)

    def add(self, lfn: str, node: Node, claim_id: str) -> None:
        """A node writes under a name from now on. No other one may be doing so.

        Of the claims of one node on a name only the latest counts, for the node itself lets
        one client at a time write it. The id is "" if it is not known.
        """
        assert self._writers.get(lfn, node) is node, f"two writers of {lfn}"
        self._writers[lfn] = node
        node.claims[lfn] = claim_id
        node.early_claim_ends.pop(lfn, None)

    def remove(self, lfn: str) -> None:
        """Nobody writes under a name any more."""
        node = self._writers.pop(lfn)
        del node.claims[lfn]
        node.early_claim_ends.pop(lfn, None)

    def check(self) -> None:
        """Asserts that every claim is its node's too."""
        for lfn, node in self._writers.items():
            assert lfn in node.claims, f"{node.name} knows nothing of its claim on {lfn}"
