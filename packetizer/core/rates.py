"""How fast things go, measured."""

from __future__ import annotations

from collections import deque
from math import inf

# After this many packets the first of them counts about a third as much.
_PACKETS_REMEMBERED = 4
_KEPT = 1 - 1 / _PACKETS_REMEMBERED


class Rate:
    """Entries per second of one worker at one function, of late.

    Older packets are forgotten bit by bit. What is summed are entries and
    seconds, not rates, so a tiny packet with a chance rate weighs little.
    """

    __slots__ = ("_busy_s", "_entries", "per_s")

    def __init__(self) -> None:
        self._entries = 0.0
        self._busy_s = 0.0
        #: 0 as long as nothing was measured.
        self.per_s = 0.0

    def measured(self, entries: int, busy_s: float) -> None:
        """A packet was done. A time that makes no sense, or 0 for none, says nothing."""
        if 0.0 < busy_s < inf:
            self._entries = self._entries * _KEPT + entries
            self._busy_s = self._busy_s * _KEPT + busy_s
            self.per_s = self._entries / self._busy_s


class RecentRate:
    """What was counted over the last `window_s` seconds, per second."""

    __slots__ = ("_since_s", "_slices", "_sum", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._slices: deque[list[float]] = deque()  # second it began in, amount
        self._sum = 0.0
        self._since_s: float | None = None

    def count(self, amount: float, now_s: float) -> None:
        """Counts something now."""
        if self._since_s is None:
            self._since_s = now_s
        second = float(int(now_s))
        if self._slices and self._slices[-1][0] == second:
            self._slices[-1][1] += amount
        else:
            self._slices.append([second, amount])
        self._sum += amount
        self._forget(now_s)

    def per_s(self, now_s: float) -> float:
        """The rate now; 0 if nothing was counted lately."""
        self._forget(now_s)
        if self._since_s is None or not self._slices:
            return 0.0
        return self._sum / min(self._window_s, max(now_s - self._since_s, 1.0))

    def _forget(self, now_s: float) -> None:
        slices = self._slices
        while slices and slices[0][0] < now_s - self._window_s:
            self._sum -= slices.popleft()[1]
        if not slices:
            self._sum = 0.0
