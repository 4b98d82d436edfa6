"""How fast files arrive on this node, measured while any do.

Nothing is told before a whole file has arrived: what the first one waits for, a tape
being mounted, looks like a rate of next to nothing, and a node that has only begun would
be shunned as if it were hopeless.
"""

from __future__ import annotations

import math

#: Arrivals this much copying time ago count half.
HALF_LIFE_S = 30.0


class StagingRate:
    """Bytes per second of copying time, the recent past counting most."""

    __slots__ = ("_arrived_bytes", "_busy_s", "_has_whole_file", "_last_s")

    def __init__(self) -> None:
        self._arrived_bytes = 0.0
        self._busy_s = 0.0
        self._last_s: float | None = None
        self._has_whole_file = False

    def pass_time(self, now_s: float, *, busy: bool) -> None:
        """Counts the time since the last call, if a copy was under way during it."""
        if self._last_s is not None and busy:
            passed_s = max(0.0, now_s - self._last_s)
            fade = math.exp2(-passed_s / HALF_LIFE_S)
            self._arrived_bytes *= fade
            self._busy_s = self._busy_s * fade + passed_s
        self._last_s = now_s

    def arrive(self, size_bytes: int) -> None:
        """Counts bytes that have arrived."""
        self._arrived_bytes += size_bytes

    def complete(self) -> None:
        """Counts a file that has arrived as a whole."""
        self._has_whole_file = True

    def bytes_per_s(self) -> float:
        """The rate; 0.0 while next to nothing was measured."""
        if not self._has_whole_file or self._busy_s <= 0.01:
            return 0.0
        return self._arrived_bytes / self._busy_s
