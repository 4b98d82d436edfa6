"""Recalls of which it is not known yet where their files lie on tape."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from redirector.core.recall import FINAL

if TYPE_CHECKING:
    from redirector.core.recall import Recall


class Unhinted:
    """Those held back until a hint comes, for `wait_s` at most; and those to be asked about.

    With a wait of 0 there are no hints at this site, and so no recall is ever kept here.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._held_until_s: dict[Recall, float] = {}
        self._unasked: deque[Recall] = deque()  # some of which may have ended

    def __contains__(self, recall: Recall) -> bool:
        """Whether a queued recall is held back."""
        return recall in self._held_until_s

    # --- held back ---

    def hold(self, recall: Recall, now_s: float) -> bool:
        """Holds a recall back, unless its place is known or it has waited long enough."""
        until_s = recall.queued_s + self._wait_s
        if recall.position is not None or now_s >= until_s:
            return False
        self._held_until_s[recall] = until_s
        return True

    def release(self, recall: Recall) -> bool:
        """A recall is held back no longer; whether it was."""
        return self._held_until_s.pop(recall, None) is not None

    def due(self, now_s: float) -> Recall | None:
        """One that has been held back long enough."""
        recall = next(iter(self._held_until_s), None)
        return recall if recall is not None and self._held_until_s[recall] <= now_s else None

    def next_due_s(self) -> float | None:
        """When `due` has something next."""
        return next(iter(self._held_until_s.values()), None)

    def until_s(self, recall: Recall) -> float | None:
        """Until when a recall is held back; None if it is not."""
        return self._held_until_s.get(recall)

    def held(self) -> list[Recall]:
        """All that are held back."""
        return list(self._held_until_s)

    # --- asking ---

    @property
    def any_unasked(self) -> bool:
        """Whether there may be some that nobody was asked about yet."""
        return bool(self._unasked)

    def to_be_asked(self, recall: Recall) -> None:
        """Where a recall's file lies is to be asked, if that was not told by the request."""
        if self._wait_s and recall.position is None:
            self._unasked.append(recall)

    def take_unasked(self, limit: int) -> list[Recall]:
        """Recalls that nobody was asked about yet; now somebody is."""
        taken: list[Recall] = []
        while self._unasked and len(taken) < limit:
            recall = self._unasked.popleft()
            if recall.state not in FINAL and recall.position is None:
                taken.append(recall)
        return taken
