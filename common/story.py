"""The story of an object: a short ring of what happened to it, and why.

Cores keep one story per file, recall or session. `packhorse explain` prints it,
and an illegal move of a state machine carries it in its message, so a bug
report tells how things came to be.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoryLine(NamedTuple):
    """When (Unix seconds) and what."""

    unix_s: float
    text: str


class Story:
    """The last `limit` things that happened to something."""

    __slots__ = ("_lines",)

    def __init__(self, limit: int = 32) -> None:
        self._lines: deque[StoryLine] = deque(maxlen=limit)

    def tell(self, now_s: float, text: str) -> None:
        """Adds a line; the oldest one is forgotten when the ring is full."""
        self._lines.append(StoryLine(now_s, text))

    def __iter__(self) -> Iterator[StoryLine]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __str__(self) -> str:
        if not self._lines:
            return "(nothing happened yet)"
        first_s = self._lines[0].unix_s
        return "\n".join(f"  +{line.unix_s - first_s:9.3f} s  {line.text}" for line in self._lines)


class IllegalMove(AssertionError):
    """A state machine was asked for a move its table does not have: a bug of ours."""

    def __init__(self, what: str, state: str, event: str, story: Story) -> None:
        super().__init__(f"{what}: no move for {event!r} in state {state!r}\n{story}")
        self.state = state
        self.event = event
