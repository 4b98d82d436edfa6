"""Pins: promises, with an owner and an expiry, that a file is not purged.

One owner has at most one pin on a file; setting it again moves its expiry. A
heap finds what has expired: it holds one entry a pin, which is put back if the
pin was prolonged meanwhile, so renewing pins costs no memory.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from redirector.core.figures import PinFigures
from redirector.core.model import FilePins, PinOrder, PinRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

PinKey = tuple[str, str]  # (lfn, owner)


class _Pin(NamedTuple):
    expires_s: float
    reason: str
    wakes_s: float  # its entry in the heap


class Pins:
    """The table of pins."""

    def __init__(self) -> None:
        self._by_lfn: dict[str, dict[str, _Pin]] = {}
        self._by_owner: dict[str, dict[str, None]] = {}
        self._heap: list[tuple[float, str, str]] = []

    def __contains__(self, lfn: str) -> bool:
        return lfn in self._by_lfn

    def __len__(self) -> int:
        return sum(map(len, self._by_lfn.values()))

    def lfns(self) -> Iterable[str]:
        """Every pinned file."""
        return self._by_lfn.keys()

    def set(self, lfn: str, owner: str, expires_s: float, reason: str) -> PinRecord:
        """Pins a file, or moves the expiry of the owner's pin on it."""
        owners = self._by_lfn.setdefault(lfn, {})
        known = owners.get(owner)
        wakes_s = known.wakes_s if known else float("inf")
        if expires_s < wakes_s:
            heappush(self._heap, (expires_s, lfn, owner))
            wakes_s = expires_s
        owners[owner] = _Pin(expires_s, reason, wakes_s)
        self._by_owner.setdefault(owner, {})[lfn] = None
        return PinRecord(lfn, owner, expires_s, reason)

    def remove(self, lfn: str, owner: str) -> bool:
        """Takes a pin away; whether there was one."""
        owners = self._by_lfn.get(lfn)
        if owners is None or owner not in owners:
            return False
        del owners[owner]
        if not owners:
            del self._by_lfn[lfn]
        files = self._by_owner[owner]
        del files[lfn]
        if not files:
            del self._by_owner[owner]
        return True

    def of_owner(self, owner: str) -> list[str]:
        """The files an owner has pinned."""
        return list(self._by_owner.get(owner, ()))

    def expire(self, now_s: float) -> list[PinKey]:
        """Takes away and returns every pin whose time is over."""
        expired: list[PinKey] = []
        while self._heap and self._heap[0][0] <= now_s:
            wakes_s, lfn, owner = heappop(self._heap)
            pin = self._by_lfn.get(lfn, {}).get(owner)
            if pin is None or pin.wakes_s != wakes_s:
                continue  # removed, or set again since
            if pin.expires_s > now_s:
                self._by_lfn[lfn][owner] = pin._replace(wakes_s=pin.expires_s)
                heappush(self._heap, (pin.expires_s, lfn, owner))
                continue
            self.remove(lfn, owner)
            expired.append((lfn, owner))
        return expired

    def next_expiry_s(self) -> float | None:
        """When `expire` has to look next."""
        return self._heap[0][0] if self._heap else None

    def orders(self, lfn: str, now_s: float) -> tuple[PinOrder, ...]:
        """A file's pins as a node is told of them, with what is left of their lifetimes."""
        owners = self._by_lfn.get(lfn, {})
        return tuple(
            PinOrder(owner, pin.expires_s - now_s, pin.reason)
            for owner, pin in owners.items()
            if pin.expires_s > now_s
        )

    def file_pins(self, lfns: Iterable[str], now_s: float) -> tuple[FilePins, ...]:
        """The orders of several files."""
        return tuple(FilePins(lfn, self.orders(lfn, now_s)) for lfn in lfns)

    def figures(self, lfn: str, now_s: float) -> list[PinFigures]:
        """A file's pins as people see them."""
        return [
            PinFigures(owner, pin.expires_s - now_s, pin.reason)
            for owner, pin in self._by_lfn.get(lfn, {}).items()
            if pin.expires_s > now_s
        ]

    def check(self) -> None:
        """Asserts that every pin is found by file, by owner and by time."""
        waking = set(self._heap)
        keys = set()
        for lfn, owners in self._by_lfn.items():
            assert owners
            for owner, pin in owners.items():
                keys.add((lfn, owner))
                assert (pin.wakes_s, lfn, owner) in waking
                assert pin.wakes_s <= pin.expires_s
        by_owner = {(lfn, owner) for owner, lfns in self._by_owner.items() for lfn in lfns}
        assert keys == by_owner
