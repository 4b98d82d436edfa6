"""How much of a pool is taken: by replicas, and by reservations for what is on its way.

*Used + reserved never passes the quota*, in bytes and in files. Room is taken only by
`reserve` and `extend`, which refuse. A pool that was already too full when it was loaded
(its quota was lowered), or became so when that was lowered later, may only shrink until it
fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.core.replica import Limits


class Space:
    """Sums of replicas and reservations, and the most they have been since the start."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used_bytes = 0
        self.used_files = 0
        self.reserved_bytes = 0
        self.peak_bytes = 0  # of used + reserved
        self.peak_files = 0
        self._ceiling_bytes = limits.quota_bytes
        self._ceiling_files = limits.max_files
        self._reservations: dict[str, int] = {}

    @property
    def taken_files(self) -> int:
        """Files that count against the limit: replicas and reservations."""
        return self.used_files + len(self._reservations)

    def shortfall(self, more_bytes: int, more_files: int = 0) -> tuple[int, int]:
        """How many bytes and files are too many if that much came on top of all there is."""
        limits = self.limits
        over_bytes = self.used_bytes + self.reserved_bytes + more_bytes - limits.quota_bytes
        over_files = self.taken_files + more_files - limits.max_files if limits.max_files else 0
        return max(0, over_bytes), max(0, over_files)

    def set_limits(self, limits: Limits) -> None:
        """Other limits hold from here on; what is here already may stay, if it is too much."""
        self.limits = limits
        taken_bytes = self.used_bytes + self.reserved_bytes
        self._ceiling_bytes = max(limits.quota_bytes, taken_bytes)
        self._ceiling_files = max(limits.max_files, self.taken_files)

    # --- replicas -----------------------------------------------------------

    def enter(self, size_bytes: int) -> None:
        """A replica counts from now on, whether it fits or not."""
        self.used_bytes += size_bytes
        self.used_files += 1
        self._note_peak()
        self._lower_ceiling()

    def leave(self, size_bytes: int) -> None:
        """A replica counts no longer."""
        self.used_bytes -= size_bytes
        self.used_files -= 1
        self._lower_ceiling()

    def tolerate(self) -> None:
        """What is here now may be here, even if it is too much."""
        self._ceiling_bytes = max(self._ceiling_bytes, self.used_bytes + self.reserved_bytes)
        self._ceiling_files = max(self._ceiling_files, self.taken_files)

    # --- reservations -------------------------------------------------------

    def reserve(self, holder: str, size_bytes: int) -> bool:
        """Sets room for one file aside for a recall or an upload, if there is room."""
        assert holder not in self._reservations, holder
        if any(self.shortfall(size_bytes, 1)):
            return False
        self._reservations[holder] = size_bytes
        self.reserved_bytes += size_bytes
        self._note_peak()
        return True

    def extend(self, holder: str, more_bytes: int) -> bool:
        """Makes a reservation larger, if there is room."""
        if self.shortfall(more_bytes)[0]:
            return False
        self._reservations[holder] += more_bytes
        self.reserved_bytes += more_bytes
        self._note_peak()
        return True

    def reserved_for(self, holder: str) -> int:
        """The bytes a recall or an upload has reserved; 0 if it has no reservation."""
        return self._reservations.get(holder, 0)

    def release(self, holder: str) -> None:
        """Gives a reservation back; quietly does nothing if there is none."""
        self.reserved_bytes -= self._reservations.pop(holder, 0)
        self._lower_ceiling()

    def give_up(self, holder: str) -> None:
        """Gives a reservation back for a replica that enters in its place at once."""
        self.reserved_bytes -= self._reservations.pop(holder)

    def _note_peak(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self.used_bytes + self.reserved_bytes)
        self.peak_files = max(self.peak_files, self.taken_files)

    def _lower_ceiling(self) -> None:
        """An overfull pool may shrink, and never grow back above what it shrank to."""
        taken_bytes = self.used_bytes + self.reserved_bytes
        self._ceiling_bytes = max(self.limits.quota_bytes, min(self._ceiling_bytes, taken_bytes))
        self._ceiling_files = max(self.limits.max_files, min(self._ceiling_files, self.taken_files))

    def check(self, sizes_bytes: list[int]) -> None:
        """Asserts that these are the sizes of all replicas, and that no limit is passed. O(n)."""
        assert (self.used_files, self.used_bytes) == (len(sizes_bytes), sum(sizes_bytes))
        assert self.reserved_bytes == sum(self._reservations.values())
        assert self.used_bytes + self.reserved_bytes <= self._ceiling_bytes
        if self.limits.max_files:
            assert self.taken_files <= self._ceiling_files
        assert self.peak_bytes >= self.used_bytes + self.reserved_bytes
