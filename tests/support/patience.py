"""Waiting for what sends no word: processes, files, and a server's own state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT_S = 30.0


async def becomes_true(what: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Looks again and again until something is true; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not what():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


async def text_appears(path: Path) -> str:
    """Waits until a script has written something into a file; what it is."""

    def found() -> str:
        return path.read_text().strip() if path.exists() else ""

    await becomes_true(found)
    return found()
