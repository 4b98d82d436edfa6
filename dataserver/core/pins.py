"""Pins: who holds which name back from being purged, and until when.

Pins belong to names, not to replicas: a pin may arrive while its file is still on
its way from the archive, and outlives a replica that was lost. Expiries are kept in
order, so letting them run out costs O(log n) a pin and never a walk over all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Pin(NamedTuple):
    """Who holds a name back, until when (Unix seconds), and what for."""

    owner: str
    expires_s: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.owner} ({self.reason})" if self.reason else self.owner


class PinTable:
    """The pins in force on this node, by name and owner."""

    __slots__ = ("_by_lfn", "_expiries")

    def __init__(self) -> None:
        self._by_lfn: dict[str, dict[str, Pin]] = {}
        self._expiries: SortedList[tuple[float, str, str]] = SortedList()

    def __contains__(self, lfn: str) -> bool:
        return lfn in self._by_lfn

    def __len__(self) -> int:
        return len(self._by_lfn)

    def names(self) -> list[str]:
        """Every name that is pinned now."""
        return list(self._by_lfn)

    def of(self, lfn: str) -> Mapping[str, Pin]:
        """A name's pins by their owners."""
        return self._by_lfn.get(lfn, {})

    def put(self, lfn: str, pin: Pin) -> None:
        """Adds one pin, in place of the one this owner has."""
        owners = self._by_lfn.setdefault(lfn, {})
        before = owners.get(pin.owner)
        if before is not None:
            self._expiries.remove((before.expires_s, lfn, pin.owner))
        owners[pin.owner] = pin
        self._expiries.add((pin.expires_s, lfn, pin.owner))

    def replace(self, lfn: str, pins: Iterable[Pin]) -> None:
        """Makes `pins` all the pins there are on a name."""
        self.remove(lfn)
        for pin in pins:
            self.put(lfn, pin)

    def remove(self, lfn: str) -> None:
        """Forgets every pin on a name."""
        for pin in self._by_lfn.pop(lfn, {}).values():
            self._expiries.remove((pin.expires_s, lfn, pin.owner))

    def expire(self, now_s: float) -> list[str]:
        """Drops the pins that have run out; the names that are pinned no longer."""
        freed = []
        while self._expiries and self._expiries[0][0] <= now_s:
            _, lfn, owner = self._expiries.pop(0)
            owners = self._by_lfn[lfn]
            del owners[owner]
            if not owners:
                del self._by_lfn[lfn]
                freed.append(lfn)
        return freed

    def check(self) -> None:
        """Asserts that both views hold the same pins."""
        flat = {
            (pin.expires_s, lfn, owner)
            for lfn, owners in self._by_lfn.items()
            for owner, pin in owners.items()
        }
        assert flat == set(self._expiries)
        assert len(flat) == len(self._expiries)
        assert all(self._by_lfn.values())
