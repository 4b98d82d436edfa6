"""Whether it is one redirector that this node speaks to, or several by mistake.

Every life of a redirector has an epoch of its own. A restart brings a new one, and no old one
ever comes back; if one does, two redirectors answer at the same address by turns, as after
a name that leads to two machines. Each would know half of what runs.
"""

from __future__ import annotations


class Epochs:
    """The epochs this node was welcomed with."""

    def __init__(self) -> None:
        self._now = ""
        self._past: set[str] = set()

    def meet(self, epoch: str) -> bool:
        """Notes the epoch of a welcome; whether it is one that another had taken the place of."""
        if epoch == self._now:
            return False
        came_back = epoch in self._past
        if self._now:
            self._past.add(self._now)
        self._now = epoch
        return came_back
