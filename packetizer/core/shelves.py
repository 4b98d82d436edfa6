"""The free work of one session, by the data server that holds it.

Every data server has a shelf with the files on it that can be leased from now.
A file with several replicas stands on several shelves. What a worker needs to
know of a shelf is how much work is on it, how many read from it and how fast
they are; all of it is kept up to date, so that choosing looks at shelves, and
at a shelf's stacks, but never at files.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from packetizer.core.files import WorkFile
    from packetizer.core.nodes import Node, Nodes
    from packetizer.core.workers import Worker

#: How much the last remote read counts in what is known of a server's ease.
_NEWEST_SHARE = 0.2


class Stack:
    """The files of a shelf that stand on the same shelves, and so have the same holders."""

    __slots__ = ("fresh", "holders", "started")

    def __init__(self, holders: tuple[Shelf, ...]) -> None:
        self.holders = holders
        # Ordered dictionaries, because taking the first of a plain one again and
        # again walks over all that was taken before.
        self.started: OrderedDict[WorkFile, None] = OrderedDict()
        self.fresh: OrderedDict[WorkFile, None] = OrderedDict()


class Shelf:
    """The files of one data server that have free entries."""

    __slots__ = (
        "ease",
        "free_entries",
        "guests",
        "node",
        "readers",
        "readers_rate",
        "share_entries",
        "stacks",
        "unmeasured",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.stacks: dict[tuple[Shelf, ...], Stack] = {}
        self.free_entries = 0
        #: The same, but of a file on several shelves each has only its part.
        self.share_entries = 0.0
        #: How many workers are on a file of this server now, how many of them from other
        #: hosts, and how many of an unknown rate; the others' rates together.
        self.readers = 0
        self.guests = 0
        self.unmeasured = 0
        self.readers_rate = 0.0
        #: How fast guests read from here of late, beside what they do at home: 1 is no slower.
        self.ease = 1.0

    def __bool__(self) -> bool:
        return bool(self.stacks)

    def next_file(
        self, *, begun_first: bool, urgency: Callable[[Stack], float] | None = None
    ) -> WorkFile:
        """The first file of the stack that is most urgent."""
        stacks: Iterable[Stack] = self.stacks.values()
        if not begun_first:
            stacks = [one for one in stacks if one.fresh] or stacks
        stack = max(stacks, key=urgency) if urgency is not None else next(iter(stacks))
        first, second = stack.fresh, stack.started
        if begun_first:
            first, second = second, first
        return next(iter(first or second))

    @property
    def work_per_reader(self) -> float:
        """Free entries for each worker here, if one more came."""
        return self.free_entries / (self.readers + 1)

    def seconds_left(self, typical_rate: float) -> float:
        """After how long those who read here now will have done this shelf's share; 0 as long
        as no rate is known."""
        return self.share_entries / self._rate(typical_rate) if typical_rate else 0.0

    def seconds_left_in_all(self, typical_rate: float) -> float:
        """The same for everything here, though other holders may do some of it."""
        return self.free_entries / self._rate(typical_rate) if typical_rate else 0.0

    def _rate(self, typical_rate: float) -> float:
        """Of those who read here; of one if there is nobody."""
        return max(self.readers_rate + self.unmeasured * typical_rate, typical_rate)

    def was_read_by_guest(self, ratio: float) -> None:
        """A worker of another host read from here at this part of its rate at home."""
        self.ease += _NEWEST_SHARE * (min(ratio, 1.0) - self.ease)

    def put(self, file: WorkFile, free: int) -> None:
        """Puts a file here; its `offered_by` says where it stands besides."""
        holders = file.offered_by
        stack = self.stacks.get(holders)
        if stack is None:
            stack = self.stacks[holders] = Stack(holders)
        (stack.started if file.is_started else stack.fresh)[file] = None
        self.count(file, free)

    def remove(self, file: WorkFile) -> None:
        """Takes a file off; its free entries are the caller's to count."""
        stack = self.stacks[file.offered_by]
        del (stack.started if file.is_started else stack.fresh)[file]
        if not stack.started and not stack.fresh:
            del self.stacks[file.offered_by]
            if not self.stacks:
                self.share_entries = 0.0  # without what rounding has left

    def begin(self, file: WorkFile) -> None:
        """The first entries of a fresh file were leased."""
        stack = self.stacks[file.offered_by]
        del stack.fresh[file]
        stack.started[file] = None

    def count(self, file: WorkFile, entries: int) -> None:
        """So many more free entries are here, or fewer."""
        self.free_entries += entries
        self.share_entries += entries / len(file.offered_by)


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

    def get(self, node: Node) -> Shelf | None:
        """The shelf of a data server, if it ever had one."""
        return self._by_node.get(node.name)

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
            shelf.put(file, free)

    def withdraw(self, file: WorkFile) -> None:
        """Takes a file off every shelf, if it is on any."""
        if not file.offered_by:
            return
        assert file.ledger is not None
        free = file.ledger.free.size
        self.free_entries -= free
        for shelf in file.offered_by:
            shelf.count(file, -free)
            shelf.remove(file)
        file.offered_by = ()

    def took(self, file: WorkFile, entries: int) -> None:
        """Free entries of a file on the shelves have been leased."""
        assert file.ledger is not None
        self.free_entries -= entries
        emptied = not file.ledger.free
        for shelf in file.offered_by:
            shelf.count(file, -entries)
            if emptied:
                shelf.remove(file)
            elif not file.is_started:
                shelf.begin(file)
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
            shelf.count(file, entries)

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
            free, share = 0, 0.0
            for holders, stack in shelf.stacks.items():
                assert stack.started or stack.fresh, shelf.node
                for files, started in ((stack.started, True), (stack.fresh, False)):
                    for file in files:
                        assert file.is_started is started, file
                        assert file.offered_by == holders == stack.holders, file
                        assert shelf in holders, file
                        assert file.ledger is not None
                        assert file.ledger.free, file
                        free += file.ledger.free.size
                        share += file.ledger.free.size / len(holders)
                        offered.add(file)
            assert shelf.free_entries == free, (shelf.node, shelf.free_entries, free)
            assert abs(shelf.share_entries - share) < 1e-6 * max(1.0, share), shelf.node
            assert 0 <= max(shelf.guests, shelf.unmeasured) <= shelf.readers, shelf.node
        total = sum(file.ledger.free.size for file in offered if file.ledger is not None)
        assert self.free_entries == total, (self.free_entries, total)
