"""Keeping Python's garbage collector from halting a server that holds millions of objects.

A full collection walks every object there is, some 0.3 µs each: a million queued recalls
would stop the event loop for half a second, again and again while they grow. Nearly all
garbage is freed without the collector; what it looks for are cycles. So whatever has
survived a full collection is set aside (`gc.freeze`), and the next one walks only what
is new. Now and then all of it is looked at, for cycles that were set aside while alive.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How often everything is walked, in seconds.
EVERYTHING_EVERY_S = 3600.0


class ShortPauses:
    """Sets aside what survives full collections, from `begin` to `end`."""

    def __init__(self, everything_every_s: float = EVERYTHING_EVERY_S) -> None:
        self._every_s = everything_every_s
        self._everything_at_s = time.monotonic() + everything_every_s

    def begin(self) -> None:
        """From now on; what there is already is set aside at once."""
        gc.freeze()
        gc.callbacks.append(self._collected)

    def end(self) -> None:
        """No longer, if it has begun; what was set aside is walked again."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
            gc.unfreeze()

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase != "stop" or info["generation"] != 2:
            return
        if time.monotonic() < self._everything_at_s:
            gc.freeze()
        else:
            self._everything_at_s = time.monotonic() + self._every_s
            gc.unfreeze()


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected: very much is made that stays, and nothing else."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
