"""What became of every entry of one file.

Each entry is in exactly one of five places:

- `free`: to be leased, in packets of any size;
- `leased`: in a worker's hands, under a lease id;
- `aside`: it failed once, and will be leased again in the same range as before;
- `committed`: its result is counted;
- `bad`: given up, and named as missing.

    free ──► leased ──► committed
      ▲        │  ▲
      └────────┤  └── aside        (free and aside may also become bad
               ├────────►┘          when the rest of a file is given up)
               └──► bad

Everything that ends a lease names its id. An id that is not known (any more)
changes nothing and returns None, so late and repeated messages do no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packetizer.core.ranges import Range, Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ledger:
    """The entries [0, entries) of one file."""

    __slots__ = ("aside", "bad", "committed", "entries", "free", "leased")

    def __init__(
        self, entries: int, committed: Iterable[Range] = (), bad: Iterable[Range] = ()
    ) -> None:
        """Raises ValueError if what is committed or bad overlaps, or lies outside the file."""
        self.entries = entries
        self.free = Ranges([(0, entries)] if entries else [])
        self.aside = Ranges()
        self.committed = Ranges()
        self.bad = Ranges()
        self.leased: dict[int, Range] = {}
        for ranges, kept in ((committed, self.committed), (bad, self.bad)):
            for start, stop in ranges:
                self.free.remove(start, stop)
                kept.add(start, stop)

    @property
    def settled(self) -> bool:
        """Whether every entry is committed or bad."""
        return not (self.free or self.leased or self.aside)

    def lease(self, lease_id: int, start: int, stop: int) -> None:
        """Leases free entries. Raises ValueError if one of them is not free."""
        assert lease_id not in self.leased, lease_id
        self.free.remove(start, stop)
        self.leased[lease_id] = (start, stop)

    def lease_again(self, lease_id: int, start: int, stop: int) -> None:
        """Leases entries that were set aside. Raises ValueError if one of them was not."""
        assert lease_id not in self.leased, lease_id
        self.aside.remove(start, stop)
        self.leased[lease_id] = (start, stop)

    def commit(self, lease_id: int) -> Range | None:
        """The result of the lease is counted."""
        return self._end(lease_id, self.committed)

    def give_back(self, lease_id: int) -> Range | None:
        """The lease's entries are free again."""
        return self._end(lease_id, self.free)

    def set_aside(self, lease_id: int) -> Range | None:
        """The lease failed; its entries wait to be leased again in the same range."""
        return self._end(lease_id, self.aside)

    def condemn(self, lease_id: int) -> Range | None:
        """The lease's entries are given up."""
        return self._end(lease_id, self.bad)

    def condemn_rest(self) -> list[Range]:
        """Gives up all that is free or aside; what is leased may still be committed."""
        rest = Ranges(self.free.clear())
        for start, stop in self.aside.clear():
            rest.add(start, stop)
        for start, stop in rest:
            self.bad.add(start, stop)
        return list(rest)

    def _end(self, lease_id: int, into: Ranges) -> Range | None:
        ended = self.leased.pop(lease_id, None)
        if ended is not None:
            into.add(*ended)
        return ended

    def check(self) -> None:
        """Asserts that every entry is in exactly one place."""
        places = (self.free, self.aside, self.committed, self.bad)
        for place in places:
            place.check()
        pieces = [piece for place in places for piece in place]
        pieces += self.leased.values()
        end = 0
        for start, stop in sorted(pieces):
            assert start == end, f"entries [{end}, {start}) are nowhere or twice: {pieces}"
            end = stop
        assert end == self.entries, f"entries [{end}, {self.entries}) are nowhere: {pieces}"
