"""The free work of one session, by the data server that holds it.

Every data server has a shelf with the files on it that can be leased from now.
A file with several replicas stands on several shelves. What a worker needs to
know of a shelf is how much work is on it and how many read from it; both are
kept up to date, so that choosing looks at shelves and never at files.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from packetizer.core.files import WorkFile
    from packetizer.core.nodes import Node, Nodes
    from packetizer.core.workers import Worker


class Shelf:
    """The files of one data server that have free entries."""

    __slots__ = ("free_entries", "fresh", "node", "readers", "started")

    def __init__(self, node: Node) -> None:
        self.node = node
        # Ordered dictionaries, because taking the first of a plain one again and
        # again walks over all that was taken before.
        self.started: OrderedDict[WorkFile, None] = OrderedDict()
        self.fresh: OrderedDict[WorkFile, None] = OrderedDict()
        self.free_entries = 0
        #: How many workers are on a file of this server now.
        self.readers = 0

    def __bool__(self) -> bool:
        return bool(self.started or self.fresh)

    @property
    def next_file(self) -> WorkFile:
        """One that is begun, so that it may be finished and released; else the first one."""
        return next(iter(self.started or self.fresh))

    @property
    def work_per_reader(self) -> float:
        """Free entries for each worker here, if one more came."""
        return self.free_entries / (self.readers + 1)


class Levels(NamedTuple):
    """All shelves, as one worker sees them: the nearer, the earlier, each in one place."""

    host: Sequence[Shelf]
    rack: Sequence[Shelf]
    site: Sequence[Shelf]
    far: Sequence[Shelf]


class Shelves:
    """The shelves of one session."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._version = nodes.version
        self._by_node: dict[str, Shelf] = {}
        self._levels: dict[tuple[str, str, str], Levels] = {}
        #: Of all files that stand on shelves, each counted once.
        self.free_entries = 0

    def __iter__(self) -> Iterator[Shelf]:
        return iter(self._by_node.values())

    def offer(self, file: WorkFile) -> None:
        """Puts a file with free entries on the shelves of its replicas."""
        assert file.ledger is not None
        self.withdraw(file)
        free = file.ledger.free.size
        if not free or not file.nodes:
            return
        shelves = tuple(self._shelf(node) for node in file.nodes)
        file.offered_by = shelves
        self.free_entries += free
        for shelf in shelves:
            (shelf.started if file.is_started else shelf.fresh)[file] = None
            shelf.free_entries += free

    def withdraw(self, file: WorkFile) -> None:
        """Takes a file off every shelf, if it is on any."""
        if not file.offered_by:
            return
        assert file.ledger is not None
        free = file.ledger.free.size
        self.free_entries -= free
        for shelf in file.offered_by:
            del (shelf.started if file.is_started else shelf.fresh)[file]
            shelf.free_entries -= free
        file.offered_by = ()

    def took(self, file: WorkFile, entries: int) -> None:
        """Free entries of a file on the shelves have been leased."""
        assert file.ledger is not None
        self.free_entries -= entries
        emptied = not file.ledger.free
        for shelf in file.offered_by:
            shelf.free_entries -= entries
            if emptied:
                del (shelf.started if file.is_started else shelf.fresh)[file]
            elif not file.is_started:
                del shelf.fresh[file]
                shelf.started[file] = None
        file.is_started = True
        if emptied:
            file.offered_by = ()

    def gave_back(self, file: WorkFile, entries: int) -> None:
        """Entries of a ready file have become free again."""
        if not file.offered_by:
            self.offer(file)
            return
        self.free_entries += entries
        for shelf in file.offered_by:
            shelf.free_entries += entries

    def levels(self, worker: Worker) -> Levels:
        """The shelves as a worker with these labels sees them."""
        if self._version != self._nodes.version:
            self._levels.clear()
            self._version = self._nodes.version
        labels = (worker.host, worker.rack, worker.site)
        levels = self._levels.get(labels)
        if levels is None:
            levels = self._levels[labels] = self._sorted_for(*labels)
        return levels

    def _sorted_for(self, host: str, rack: str, site: str) -> Levels:
        levels = Levels([], [], [], [])
        for shelf in self._by_node.values():
            node = shelf.node
            if host and node.host == host:
                place = levels.host
            elif rack and (node.rack, node.site) == (rack, site):
                place = levels.rack
            elif site and node.site == site:
                place = levels.site
            else:
                place = levels.far
            assert isinstance(place, list)
            place.append(shelf)
        return levels

    def _shelf(self, node: Node) -> Shelf:
        shelf = self._by_node.get(node.name)
        if shelf is None:
            shelf = self._by_node[node.name] = Shelf(node)
            self._levels.clear()
        return shelf

    def check(self) -> None:
        """Asserts that every count is that of the files, and every file where it belongs."""
        offered: set[WorkFile] = set()
        for shelf in self._by_node.values():
            free = 0
            for files, started in ((shelf.started, True), (shelf.fresh, False)):
                for file in files:
                    assert file.is_started is started, file
                    assert shelf in file.offered_by, file
                    assert file.ledger is not None
                    assert file.ledger.free, file
                    free += file.ledger.free.size
                    offered.add(file)
            assert shelf.free_entries == free, (shelf.node, shelf.free_entries, free)
            assert shelf.readers >= 0, shelf.node
        total = sum(file.ledger.free.size for file in offered if file.ledger is not None)
        assert self.free_entries == total, (self.free_entries, total)
