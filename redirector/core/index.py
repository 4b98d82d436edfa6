"""The index of all replicas: which node holds which file, in memory only.

Every replica is one entry of one dict: `lfn -> size << 16 | slot`, or a tuple of
such numbers for the few files that have several. A *slot* is one inventory of
one node; a node has a new one each time it sends its inventory. So:

- The loss of a node costs nothing: its slots are marked dead, which makes their
  entries invisible at once. `sweep` takes them out later, a slice at a time.
- While a node sends its inventory anew, what it held before stays visible, and
  each name moves to the new slot as it arrives. The older slots are closed when
  the inventory is complete; what is still in them then has vanished.

A name is one string in all tables, however often and by whomever it is told: the first
one that came is kept. A replica costs one dict entry, one number, one entry among its
slot's names, one in its directory's list, and its share of the name: about 220 bytes.
`locate` works on columns, about 0.3 µs a name.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from redirector.core.directories import Directories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_SLOT_BITS = 16
_SLOT = (1 << _SLOT_BITS) - 1

Entry = int | tuple[int, ...]

#: Instead of a node's number: more than one node may have the file.
SEVERAL = -1


class Columns(NamedTuple):
    """Rows in the order asked; node numbers, 0 where not online."""

    holders: list[int]
    sizes_bytes: list[int]
    more: list[tuple[int, int]]  # (row, node number) of the other replicas


class Swept(NamedTuple):
    """A replica that went with its slot."""

    lfn: str
    node: int
    size_bytes: int


class ReplicaIndex:
    """All replicas of all nodes. Nodes are numbers from 1 on; 0 means none."""

    def __init__(self) -> None:
        self._held: dict[str, Entry] = {}
        # By slot; slot 0 is never used, so no entry equals 0.
        self._node_of: list[int] = [0]
        # Every name leads to the string that is its key in `_held`. The collector need not
        # look into dicts of strings.
        self._names: list[dict[str, str]] = [{}]
        self._free: list[int] = []
        self._dying: deque[tuple[int, int]] = deque()  # (slot, node it was of)
        self.directories = Directories()
        self.total = 0

    # --- slots ---

    def open_slot(self, node: int) -> int:
        """A new, empty slot of a node."""
        if not self._free and len(self._node_of) > _SLOT:
            # Never seen with fewer than 65,535 inventories between two sweeps.
            self.sweep(sum(len(self._names[slot]) for slot, _node in self._dying) + 1)
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._node_of)
            assert slot <= _SLOT, "more live inventories than slots"
            self._node_of.append(0)
            self._names.append({})
        self._node_of[slot] = node
        return slot

    def close_slot(self, slot: int) -> None:
        """Makes all replicas of a slot invisible; they are swept later."""
        node = self._node_of[slot]
        assert node, f"slot {slot} is not open"
        self._node_of[slot] = 0
        self.total -= len(self._names[slot])
        self._dying.append((slot, node))

    @property
    def sweeping(self) -> bool:
        """Whether there is anything to sweep."""
        return bool(self._dying)

    def sweep(self, limit: int) -> list[Swept]:
        """Takes up to `limit` names of dead slots out; tells the replicas that went."""
        gone: list[Swept] = []
        while self._dying and limit > 0:
            slot, node = self._dying[0]
            names = self._names[slot]
            while names and limit > 0:
                limit -= 1
                lfn, _same = names.popitem()
                gone.append(Swept(lfn, node, self._forget(slot, lfn)))
            if not names:
                self._names[slot] = {}
                self._free.append(slot)
                self._dying.popleft()
        return gone

    def count(self, slot: int) -> int:
        """How many replicas a slot has."""
        return len(self._names[slot])

    # --- replicas ---

    def put(self, slot: int, lfn: str, size_bytes: int) -> bool:
        """Adds a replica, or moves it here from an older slot of its node.

        Returns whether the file was not online before.
        """
        packed = size_bytes << _SLOT_BITS | slot
        old = self._held.get(lfn, 0)
        self.total += 1
        if not old:
            self._held[lfn] = packed
            self._names[slot][lfn] = lfn
            self.directories.add(lfn)
            return True
        known, others, was_online = self._withdraw(old, lfn, slot)
        self._held[known] = (*others, packed) if others else packed
        self._names[slot][known] = known
        return not was_online

    def put_many(self, slot: int, lfns: Sequence[str], sizes_bytes: Sequence[int]) -> list[str]:
        """Adds replicas in bulk; returns the names that were not online before."""
        put = self.put
        pairs = zip(lfns, sizes_bytes, strict=True)
        return [lfn for lfn, size_bytes in pairs if put(slot, lfn, size_bytes)]

    def drop(self, slots: Iterable[int], lfn: str) -> bool:
        """Takes out the replica that one of a node's open slots has; whether there was one."""
        for slot in slots:
            known = self._names[slot].pop(lfn, "")
            if known:
                self.total -= 1
                self._forget(slot, known)
                return True
        return False

    def replicas(self, lfn: str) -> list[tuple[int, int]]:
        """(node number, size in bytes) of every visible replica."""
        entry = self._held.get(lfn, ())
        node_of = self._node_of
        return [
            (node_of[one & _SLOT], one >> _SLOT_BITS)
            for one in (entry if isinstance(entry, tuple) else (entry,))
            if node_of[one & _SLOT]
        ]

    def sole_holder(self, lfn: str) -> int:
        """The number of the one node that has a file; 0 if it is not online, SEVERAL if
        `replicas` must tell."""
        entry = self._held.get(lfn, 0)
        if isinstance(entry, tuple):
            return SEVERAL
        return self._node_of[entry & _SLOT]

    def online(self, lfn: str) -> bool:
        """Whether there is a visible replica."""
        number = self.sole_holder(lfn)
        return number > 0 or (number == SEVERAL and bool(self.replicas(lfn)))

    def sizes_of(self, lfns: Iterable[str]) -> Iterator[tuple[str, int]]:
        """(name, size in bytes) of those that are online, in their order."""
        get, node_of = self._held.get, self._node_of
        for lfn in lfns:
            entry = get(lfn, 0)
            for one in entry if isinstance(entry, tuple) else (entry,):
                if node_of[one & _SLOT]:
                    yield lfn, one >> _SLOT_BITS
                    break

    def holds(self, node: int, lfn: str) -> bool:
        """Whether this node has a visible replica."""
        return any(holder == node for holder, _size in self.replicas(lfn))

    def locate(self, lfns: Sequence[str], rank: Callable[[int], float]) -> Columns:
        """Where files are; of several replicas the one whose node ranks lowest is best."""
        get = self._held.get
        found = [get(lfn, 0) for lfn in lfns]
        more: list[tuple[int, int]] = []
        if tuple in set(map(type, found)):
            found = [
                one if isinstance(one, int) else self._best(row, one, rank, more)
                for row, one in enumerate(found)
            ]
        entries = cast("list[int]", found)
        node_of = self._node_of
        holders = [node_of[entry & _SLOT] for entry in entries]
        sizes = [
            entry >> _SLOT_BITS if holder else 0
            for entry, holder in zip(entries, holders, strict=True)
        ]
        return Columns(holders, sizes, more)

    def check(self) -> None:
        """Asserts that names, entries and counts agree."""
        dying = {slot for slot, _node in self._dying}
        free = set(self._free)
        live_names = 0
        for slot, names in enumerate(self._names):
            live = bool(self._node_of[slot])
            assert live + (slot in dying) + (slot in free) == (slot > 0), f"slot {slot}"
            assert live or slot in dying or not names
            live_names += len(names) if live else 0
        assert live_names == self.total
        in_entries = 0
        for lfn, entry in self._held.items():
            several = entry if isinstance(entry, tuple) else (entry,)
            assert not isinstance(entry, tuple) or len(entry) > 1
            nodes = [self._node_of[one & _SLOT] for one in several if self._node_of[one & _SLOT]]
            assert len(nodes) == len(set(nodes)), f"two replicas of {lfn} on one node"
            for one in several:
                assert self._names[one & _SLOT][lfn] is lfn, f"two strings of {lfn}"
            in_entries += len(several)
        assert in_entries == sum(map(len, self._names))
        self.directories.check(self._held)

    # --- inside ---

    def _withdraw(self, entry: Entry, lfn: str, slot: int) -> tuple[str, tuple[int, ...], bool]:
        """Takes what a new replica in `slot` replaces out of the slots' names.

        That is the dead, and whatever the slot's own node had. Returns the string that
        is the name's, what stays of the entry, and whether any of it was visible.
        """
        node_of = self._node_of
        others: list[int] = []
        was_online = False
        known = lfn
        for one in entry if isinstance(entry, tuple) else (entry,):
            holder = node_of[one & _SLOT]
            was_online = was_online or holder != 0
            if holder and holder != node_of[slot]:
                others.append(one)
                known = self._names[one & _SLOT][lfn]
            else:
                known = self._names[one & _SLOT].pop(lfn)
                self.total -= 1 if holder else 0
        return known, tuple(others), was_online

    def _forget(self, slot: int, lfn: str) -> int:
        """Takes one slot's part out of a name's entry; returns its size in bytes."""
        entry = self._held[lfn]
        if not isinstance(entry, tuple):
            del self._held[lfn]
            self.directories.remove(lfn)
            return entry >> _SLOT_BITS
        gone = next(one for one in entry if one & _SLOT == slot)
        rest = tuple(one for one in entry if one is not gone)
        self._held[lfn] = rest if len(rest) > 1 else rest[0]
        return gone >> _SLOT_BITS

    def _best(
        self,
        row: int,
        entry: tuple[int, ...],
        rank: Callable[[int], float],
        more: list[tuple[int, int]],
    ) -> int:
        """The best visible part of an entry (0 if none); notes the others in `more`."""
        node_of = self._node_of
        visible = [one for one in entry if node_of[one & _SLOT]]
        if not visible:
            return 0
        visible.sort(key=lambda one: rank(node_of[one & _SLOT]))
        more.extend((row, node_of[one & _SLOT]) for one in visible[1:])
        return visible[0]
