"""Ending with the parent process, however that ends.

A child's standard input is a pipe that its parent holds and never writes to. When
the parent is gone, even by `kill -9`, the pipe is at its end: no polling, and no
mistaking of another process that was given the same number.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def when_parent_ends(do: Callable[[], object]) -> None:
    """Calls `do`, in a thread of its own, once standard input is at its end."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        do()

    threading.Thread(target=wait, name="parent", daemon=True).start()
