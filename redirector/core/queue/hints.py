"""Recalls of which it is not known yet where their files lie on tape."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from redirector.core.recall import FINAL

if TYPE_CHECKING:
    from redirector.core.recall import Recall

#: Instead of a position: it is not known, and the recall is held back until it is.
_HELD: Final = -1


class Unhinted:
    """Those held back until a hint comes, for `wait_s` at most; and those to be asked about.

    With a wait of 0 there are no hints at this site, and so no recall is ever kept here.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        # By when they were wished for. Some are held back no longer, or have ended: a million
        # may come at once, so they are only marked.
        self._held: deque[Recall] = deque()
        self._unasked: deque[Recall] = deque()

    def __contains__(self, recall: Recall) -> bool:
        """Whether a recall is held back."""
        return recall.position == _HELD

    # --- held back ---

    def hold(self, recall: Recall, now_s: float) -> bool:
        """Holds a recall back, unless its place is known or it has waited long enough."""
        if recall.position is not None or now_s >= recall.queued_s + self._wait_s:
            return False
        recall.position = _HELD
        self._held.append(recall)
        return True

    def release(self, recall: Recall) -> bool:
        """A recall is held back no longer; whether it was."""
        if recall.position != _HELD:
            return False
        recall.position = None
        return True

    def first(self) -> Recall | None:
        """The one that has been held back for longest."""
        while self._held and self._held[0].position != _HELD:
            self._held.popleft()
        return self._held[0] if self._held else None

    def due(self, now_s: float) -> Recall | None:
        """One that has been held back long enough."""
        first = self.first()
        return first if first is not None and self.until_s(first) <= now_s else None

    def next_due_s(self) -> float | None:
        """When `due` has something next."""
        first = self.first()
        return None if first is None else self.until_s(first)

    def until_s(self, recall: Recall) -> float:
        """Until when a recall that is held back may be."""
        return recall.queued_s + self._wait_s

    def held(self) -> set[Recall]:
        """All that are held back; for checks."""
        return {recall for recall in self._held if recall.position == _HELD}

    # --- asking ---

    @property
    def any_unasked(self) -> bool:
        """Whether there may be some that nobody was asked about yet."""
        return bool(self._unasked)

    def to_be_asked(self, recall: Recall) -> None:
        """Where a recall's file lies is to be asked, if that is not known."""
        if self._wait_s and not _is_known(recall):
            self._unasked.append(recall)

    def take_unasked(self, limit: int) -> list[Recall]:
        """Recalls that nobody was asked about yet; now somebody is."""
        taken: list[Recall] = []
        while self._unasked and len(taken) < limit:
            recall = self._unasked.popleft()
            if recall.state not in FINAL and not _is_known(recall):
                taken.append(recall)
        return taken


def _is_known(recall: Recall) -> bool:
    return recall.position is not None and recall.position != _HELD
