"""From a command's thread to the event loop: what it says, but never more than is of use.

Of what is said under one key only the latest waits to be told, and what is not urgent waits
a moment for more. So a command that babbles costs the loop no more than one that is brief.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Word = TypeVar("Word")

#: How long news waits for newer ones.
PAUSE_S: Final = 0.25


class Hearing(Generic[Word]):
    """Calls `tell` in the loop it was made in."""

    def __init__(self, tell: Callable[[Word], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, Word] = {}
        self._is_urgent = False

    def put(self, key: Hashable, word: Word, *, urgent: bool = False) -> None:
        """Has something told, from any thread."""
        with self._lock:
            is_first, self._waiting[key] = not self._waiting, word
            hurries = urgent and not self._is_urgent
            self._is_urgent = self._is_urgent or urgent
        if hurries:
            self._call(self.deliver)
        elif is_first:
            self._call(self._wait)

    def deliver(self) -> None:
        """Tells all that waits; for the loop, and for who must know that nothing waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._is_urgent = False
        for word in waiting.values():
            self._tell(word)

    def _wait(self) -> None:
        self._loop.call_later(PAUSE_S, self.deliver)

    def _call(self, function: Callable[[], None]) -> None:
        # A loop that is closed has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)
