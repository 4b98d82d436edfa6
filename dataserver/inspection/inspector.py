"""The server's side of inspection: the queue, and the child's life and death."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.inspection.content import Content


class Inspector:
    """Finds out what files hold; never raises because of what a file is like.

    `time_limit_s` is for one file. `memory_limit_bytes` bounds the child's
    address space. The child starts with the first file that needs it.
    """

    def __init__(
        self, *, time_limit_s: float = 60.0, memory_limit_bytes: int = 8 << 30
    ) -> None:
        self._time_limit_s = time_limit_s
        self._memory_limit_bytes = memory_limit_bytes

    async def start(self) -> None:
        """Makes ready; cheap."""
        raise NotImplementedError

    async def inspect(self, path: Path, size_bytes: int) -> Content:
        """What the file holds. Waits its turn; may be cancelled."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Ends the child; inspections that still wait get a Content with a problem."""
        raise NotImplementedError
