"""Clients that read from a data server: what they have open, and what they find."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dataserver.core import events as ev
from tests.simulation.cluster.disk import DiskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.disk_node import DiskNode


class Reading:
    """The readers of one life of a data server."""

    def __init__(self, node: DiskNode) -> None:
        #: LFN → how many clients have it open.
        self.readers: Counter[str] = Counter()
        self._node = node

    def open(self, lfn: str, lasts_s: float, done: Callable[[str | None], None]) -> None:
        """A client reads a file; `done` with the content it found, or None if there was none.

        A file that is not there, or cannot be read, is lost: the core is told.
        """
        node = self._node
        if not node.node.is_visible(lfn):
            done(None)
            return
        replica = node.node.pool.open(lfn, node.now_s())
        try:
            file = node.disk.read(lfn)
            reason = "vanished"
        except DiskError:
            file, reason = None, "damaged"
        if file is None:
            node.spoilt.add(lfn)
            node.node.pool.close(replica, node.now_s())
            node.handle(ev.Lost(lfn, reason, "a reader found out"))
            done(None)
            return
        self.readers[lfn] += 1

        def close() -> None:
            self.readers[lfn] -= 1
            node.node.pool.close(replica, node.now_s())
            node.handle(ev.Tick())
            done(file.content)

        node.later(lasts_s, close)
