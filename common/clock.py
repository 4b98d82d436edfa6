"""What time it is, without jumps.

Cores and stores count in Unix seconds, but a wall clock that is set back would
make leases live for ever and stories run backwards. So the wall clock is read
once, at the start, and the monotonic clock does the counting from there.
"""

from __future__ import annotations

import time


class Clock:
    """Unix seconds that never jump and never run backwards."""

    __slots__ = ("_zero_s",)

    def __init__(self) -> None:
        self._zero_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        """Seconds since 1970 by the wall clock of the start plus what has passed since."""
        return self._zero_s + time.monotonic()
