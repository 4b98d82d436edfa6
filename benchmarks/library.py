"""A tape library on paper: drives that mount, wind and read, each at its own time.

What is asked of a mounted tape is read in the order asked, and before its drive takes
another tape; then the tape that has been waited for longest comes next. Time is counted,
not spent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNT_S = 90.0
#: From one end of a tape to the other. Two places on a tape are a third of its length apart,
#: on average, so going from one to the other takes 60 s.
WIND_S = 180.0
READ_RATE = 400e6


class OnTape(NamedTuple):
    """Where a file lies: `place` is between 0, the beginning of the tape, and 1."""

    lfn: str
    tape: str
    place: float
    size_bytes: int


@dataclass
class _Drive:
    tape: str = ""
    place: float = 0.0
    is_reading: bool = False


class Library:
    """Reads files with so many drives; `done` tells which, and when."""

    def __init__(self, drives: int) -> None:
        self._drives = [_Drive() for _ in range(drives)]
        self._asked: dict[str, deque[OnTape]] = {}  # by tape, those waited for longest first
        self._reading: list[tuple[float, int, _Drive, OnTape]] = []
        self._numbers = count()
        self.mounts = 0

    def ask(self, file: OnTape, now_s: float) -> None:
        """Somebody wants a file."""
        self._asked.setdefault(file.tape, deque()).append(file)
        self._start(now_s)

    def next_done_s(self) -> float | None:
        """When a file will have been read."""
        return self._reading[0][0] if self._reading else None

    def done(self) -> tuple[float, OnTape]:
        """The next file that has been read, and when."""
        at_s, _number, drive, file = heappop(self._reading)
        drive.is_reading = False
        self._start(at_s)
        return at_s, file

    def _start(self, now_s: float) -> None:
        for drive in self._drives:
            tape = None if drive.is_reading else self._next_tape(drive)
            if tape is None:
                continue
            asked = self._asked[tape]
            file = asked.popleft()
            if not asked:
                del self._asked[tape]
            heappush(
                self._reading,
                (now_s + self._seconds(drive, file), next(self._numbers), drive, file),
            )
            drive.is_reading = True

    def _next_tape(self, drive: _Drive) -> str | None:
        if drive.tape in self._asked:
            return drive.tape
        mounted = {one.tape for one in self._drives}
        return next((tape for tape in self._asked if tape not in mounted), None)

    def _seconds(self, drive: _Drive, file: OnTape) -> float:
        """How long a drive needs for a file; it is at its end then."""
        took_s = 0.0
        if drive.tape != file.tape:
            took_s += MOUNT_S
            self.mounts += 1
            drive.tape, drive.place = file.tape, 0.0
        took_s += WIND_S * abs(file.place - drive.place)
        drive.place = file.place
        return took_s + file.size_bytes / READ_RATE


def best_s(files: Sequence[OnTape], drives: int) -> float:
    """The best order known: every tape is mounted once and read from its beginning to its end,
    the longest ones first, by whichever drive is free."""
    tapes: dict[str, list[OnTape]] = {}
    for file in files:
        tapes.setdefault(file.tape, []).append(file)
    each_s = [
        MOUNT_S
        + WIND_S * max(file.place for file in on_tape)
        + sum(file.size_bytes for file in on_tape) / READ_RATE
        for on_tape in tapes.values()
    ]
    busy_s = [0.0] * drives
    for took_s in sorted(each_s, reverse=True):
        busy_s[busy_s.index(min(busy_s))] += took_s
    return max(busy_s)
