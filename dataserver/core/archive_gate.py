"""How many files may be stored at a time, as the archive has treated the last ones.

An archive that is down fails every file. So after a few failures in a row, whatever their
kind, one file at a time is tried for all, and the pauses between these tries grow. The first
that goes well opens the gate again. A file that alone fails, among others that do not, never
closes it.
"""

from __future__ import annotations

from typing import Final

#: So many failures in a row, and the archive is to blame rather than the files.
CLOSES_AFTER: Final = 3


class ArchiveGate:
    """Counts failures in a row, and says when the next file may be tried."""

    __slots__ = ("_backoff_max_s", "_backoff_s", "_in_a_row", "closed_since_s", "next_s", "why")

    def __init__(self, backoff_s: float, backoff_max_s: float) -> None:
        self._backoff_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._in_a_row = 0
        #: When the gate was closed; None while it is open.
        self.closed_since_s: float | None = None
        #: While it is closed: when the next file may be tried, and why the last one failed.
        self.next_s = 0.0
        self.why = ""

    @property
    def is_closed(self) -> bool:
        """Whether one file is tried for all."""
        return self.closed_since_s is not None

    def room(self, slots: int, under_way: int, now_s: float) -> int:
        """How many more files may be begun with now."""
        if not self.is_closed:
            return slots - under_way
        return 1 if not under_way and now_s >= self.next_s else 0

    def went_well(self) -> None:
        """A file was stored: the archive works."""
        self._in_a_row = 0
        self.closed_since_s = None

    def failed(self, why: str, now_s: float) -> None:
        """A file was not stored."""
        self._in_a_row += 1
        self.why = why
        if self._in_a_row < CLOSES_AFTER:
            return
        if self.closed_since_s is None:
            self.closed_since_s = now_s
        tries = self._in_a_row - CLOSES_AFTER
        self.next_s = now_s + pause_s(tries, self._backoff_s, self._backoff_max_s)

    def open(self) -> None:
        """Somebody says that the archive is well again."""
        self.went_well()


def pause_s(failures: int, backoff_s: float, backoff_max_s: float) -> float:
    """The pause after one more failure: it doubles with each one before, up to the longest."""
    # A hundred doublings would be no number any more.
    return min(backoff_max_s, backoff_s * 2.0 ** min(failures, 60))
