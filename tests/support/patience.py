"""Waiting for something to become so, in tests of processes that cannot be awaited."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.1


def eventually(condition: Callable[[], T], timeout_s: float = 30.0) -> T:
    """Asks until the answer is true, and returns it; raises AssertionError with the last one."""
    deadline_s = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while not (answer := condition()):
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"still {answer!r} after {timeout_s:g} s")
        time.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
    return answer
