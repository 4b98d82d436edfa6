"""Purge policies: which of the replicas that may go is missed least.

A policy gives each replica a score, and the lowest goes first. It is asked about the first
replica of every shelf only, so of two replicas on one shelf the longer unused must never
have the higher score. Of what is open, pinned or otherwise protected it never hears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from common import wording
from dataserver.core.replica import Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataserver.core.replica import Replica


class PurgePolicy(Protocol):
    """Tells who goes first. It keeps nothing in mind."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    def score(self, replica: Replica, now_s: float, /) -> tuple[float, float]:
        """The lowest goes first; of equal ones, the longest unused."""

    def words(self, replica: Replica, now_s: float, /) -> str:
        """Why this one would go before others."""


class LongestUnused:
    """What was used longest ago goes first."""

    name: Final = "lru"

    def score(self, replica: Replica, _now_s: float, /) -> tuple[float, float]:
        """See `PurgePolicy`."""
        return (replica.last_use_s, 0.0)

    def words(self, replica: Replica, now_s: float, /) -> str:
        """See `PurgePolicy`."""
        return f"unused for {wording.duration(max(0.0, now_s - replica.last_use_s))}"


class LargestAndLongestUnused:
    """What takes most room for longest goes first: its size times the time it is unused.

    Aggarwal, Wolf and Yu's pyramidal selection (1999): compared are the longest unused of
    each class of sizes, so a replica may go before one of its class whose product is larger,
    by a factor of two at most.
    """

    name: Final = "lru-by-size"

    def score(self, replica: Replica, now_s: float, /) -> tuple[float, float]:
        """See `PurgePolicy`."""
        # An empty file frees no room, so it goes after all others, but may go.
        unused_s = max(0.0, now_s - replica.last_use_s)
        return (-float(1 << replica.size_bytes.bit_length() >> 1) * unused_s, replica.last_use_s)

    def words(self, replica: Replica, now_s: float, /) -> str:
        """See `PurgePolicy`."""
        unused = wording.duration(max(0.0, now_s - replica.last_use_s))
        return f"{wording.size(replica.size_bytes)} unused for {unused}"


class DoneFirst:
    """What its session has done with goes first, and then what was used longest ago.

    For sites whose datasets are processed once: such a file is hardly ever read again, while
    one that nobody has read yet was staged because somebody is about to.
    """

    name: Final = "done-first"

    def score(self, replica: Replica, _now_s: float, /) -> tuple[float, float]:
        """See `PurgePolicy`."""
        return (0.0 if replica.mark is Mark.DONE else 1.0, replica.last_use_s)

    def words(self, replica: Replica, now_s: float, /) -> str:
        """See `PurgePolicy`."""
        unused = f"unused for {wording.duration(max(0.0, now_s - replica.last_use_s))}"
        return f"its session has done with it; {unused}" if replica.mark is Mark.DONE else unused


LRU: Final = LongestUnused()
POLICIES: Final[Mapping[str, PurgePolicy]] = {
    policy.name: policy for policy in (LRU, LargestAndLongestUnused(), DoneFirst())
}
