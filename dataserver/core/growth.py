"""Room for files of unknown size: reservations that stay ahead of what arrives.

A reservation is extended before it is full, so that a purge has time to make room. An
extension that finds none is a wish: it is granted when something has gone, and counts
among what the next purge has to free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.core.pool import Pool
    from dataserver.core.recall import Recall

#: A reservation is extended when this share of it is filled, by this share of itself.
EXTEND_FROM = 0.75
EXTEND_BY = 0.5
#: Wishes no purge could fulfil are made again only after this.
PAUSE_S = 5.0


class Growth:
    """The extensions that recalls still wish for."""

    __slots__ = ("_no_wishes_before_s", "_pool", "_wishes")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wishes: dict[str, int] = {}
        self._no_wishes_before_s = 0.0

    @property
    def wished_bytes(self) -> int:
        """What all wishes come to."""
        return sum(self._wishes.values())

    def follow(self, recall: Recall, now_s: float) -> bool:
        """Keeps the reservation ahead of the copy; False if it has been outgrown."""
        reserved_bytes = self._pool.reserved_for(recall.recall_id)
        if recall.bytes_done <= reserved_bytes * EXTEND_FROM:
            return True
        beyond_bytes = max(0, recall.bytes_done - reserved_bytes)
        ahead_bytes = max(1, int(reserved_bytes * EXTEND_BY))
        if self._pool.extend(recall.recall_id, beyond_bytes + ahead_bytes):
            self._wishes.pop(recall.recall_id, None)
            return True
        if beyond_bytes and not self._pool.extend(recall.recall_id, beyond_bytes):
            return False
        if now_s >= self._no_wishes_before_s:
            self._wishes[recall.recall_id] = ahead_bytes
        return True

    def grant(self) -> None:
        """Fulfils the wishes for which there is room by now."""
        for recall_id, more_bytes in list(self._wishes.items()):
            if self._pool.extend(recall_id, more_bytes):
                del self._wishes[recall_id]

    def forget(self, recall_id: str) -> None:
        """The recall grows no more."""
        self._wishes.pop(recall_id, None)

    def fall_short(self, now_s: float) -> None:
        """Purging could not fulfil the wishes; they are put off."""
        self._wishes.clear()
        self._no_wishes_before_s = now_s + PAUSE_S

    def check(self, growing: set[str]) -> None:
        """Asserts that only recalls that copy have wishes."""
        assert self._wishes.keys() <= growing
