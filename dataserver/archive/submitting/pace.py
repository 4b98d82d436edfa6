"""How often the archive is asked: soon after news, and ever less often while there are none."""

from __future__ import annotations

from typing import Final

FACTOR: Final = 1.5


class Pace:
    """The pause before the next question, from `first_s` to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = max(first_s, longest_s)
        self.pause_s = first_s

    def news(self) -> None:
        """Something has changed, so something else may soon."""
        self.pause_s = self._first_s

    def no_news(self) -> None:
        """All is as it was."""
        self.pause_s = min(self.pause_s * FACTOR, self._longest_s)
