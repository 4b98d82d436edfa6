"""When the scrubber verifies which replica: rounds through the pool at a bounded rate.

A *round* visits every replica in the order of their names, and the next one begins
`interval_s` after it began, or at once if it took longer. The place it has come to is a name,
so nothing is kept of single files, what comes or goes meanwhile needs no care, and a restart
goes on where the last life was.

Bytes are paid for before they are read: whoever wants to read some asks how long to wait
first. A rate of 0 means that nothing is verified. Every file costs something, however small it
is, or a million of them would keep the disk's heads busy at any rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

#: What opening a file costs, as if so many bytes were read.
FILE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Round:
    """How far a round has come; what is kept over restarts. `is_over`: the next is waited for."""

    began_s: float = 0.0  # Unix
    is_over: bool = True
    after: str = ""  # the name visited last
    files: int = 0
    size_bytes: int = 0
    damaged: int = 0


class Pace:
    """Bounds how fast bytes are read. Its times are of any one clock that never goes back."""

    def __init__(self, bytes_per_s: int) -> None:
        self.bytes_per_s = bytes_per_s
        self._paid_until_s = 0.0

    def wait_s(self, size_bytes: int, now_s: float) -> float:
        """Pays for bytes that are to be read; how long to wait before they are."""
        if not self.bytes_per_s:
            return 0.0
        start_s = max(self._paid_until_s, now_s)
        self._paid_until_s = start_s + size_bytes / self.bytes_per_s
        return start_s - now_s


class Scrub:
    """Decides what is verified next."""

    def __init__(self, round_: Round, bytes_per_s: int, interval_s: float) -> None:
        self.pace = Pace(bytes_per_s)
        self.round = round_
        self._interval_s = interval_s

    def set_limits(self, bytes_per_s: int, interval_s: float) -> None:
        """Other limits hold from here on."""
        self.pace.bytes_per_s = bytes_per_s
        self._interval_s = interval_s

    @property
    def is_on(self) -> bool:
        """Whether anything is verified at all."""
        return self.pace.bytes_per_s > 0

    def due_in_s(self, now_s: float) -> float | None:
        """How long until there is something to verify; None for never."""
        if not self.is_on:
            return None
        if not self.round.is_over:
            return 0.0
        # A clock that was set back a long way must not put it off for as long.
        waited_s = now_s - self.round.began_s
        return max(0.0, self._interval_s - waited_s) if waited_s >= 0 else 0.0

    def begin(self, now_s: float) -> None:
        """A round begins, if none is under way."""
        if self.round.is_over:
            self.round = Round(began_s=now_s, is_over=False)

    def passed(self, lfn: str) -> None:
        """A replica could not be verified, or was gone: the round goes on behind it."""
        assert not self.round.is_over
        assert lfn > self.round.after, (lfn, self.round.after)
        self.round = replace(self.round, after=lfn)

    def verified(self, lfn: str, size_bytes: int, *, damaged: bool) -> None:
        """A replica was read as a whole, and compared."""
        self.passed(lfn)
        self.round = replace(
            self.round,
            files=self.round.files + 1,
            size_bytes=self.round.size_bytes + size_bytes,
            damaged=self.round.damaged + damaged,
        )

    def end(self) -> None:
        """No replica is behind the last one."""
        self.round = replace(self.round, is_over=True, after="")

    def check(self) -> None:
        """Asserts that a round is either under way or has no place in it."""
        assert not (self.round.is_over and self.round.after)
        assert 0 <= self.round.damaged <= self.round.files
