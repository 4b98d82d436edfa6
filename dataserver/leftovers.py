"""Commands that outlive their server: noting them while they run, ending them at a start.

Every command of a pool bears the pool's mark in its environment and is found by it.
For those that clean their environment, the process that was started is also noted in
a file of its own, with its start time, so that a number used anew by somebody else is
not taken for it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from common.command import kill_leftover, kill_leftovers
from dataserver.disk import incoming_name

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from dataserver.threads import Threads

log = logging.getLogger(__name__)


class Running:
    """Notes which commands run for a pool, in a directory of its own."""

    def __init__(self, directory: Path, owner: str, threads: Threads) -> None:
        self.owner = owner
        self._threads = threads
        self._directory = directory
        self._notes: dict[str, asyncio.Future[int]] = {}
        directory.mkdir(exist_ok=True)

    def note(self, recall_id: str, pid: int, start_time_s: float) -> None:
        """Notes a command that has just been started."""
        file, text = self._file(recall_id), f"{pid} {start_time_s!r}\n"
        self._notes[recall_id] = self._threads.call(lambda: file.write_text(text))

    async def forget(self, recall_id: str) -> None:
        """The command has ended, or none was started. A note that fails is only logged."""
        note = self._notes.pop(recall_id, None)
        if note is None:
            return
        file = self._file(recall_id)
        try:
            await note
            await self._threads.call(file.unlink)
        except OSError as error:
            log.warning("cannot note a running command: %s", error)

    def end_leftovers(self) -> None:
        """Ends what an earlier life of the server left running; blocks, some seconds at most."""
        kill_leftovers(self.owner)
        for note in self._directory.iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid, start_time_s = note.read_text().split()
                if kill_leftover(int(pid), float(start_time_s), self.owner):
                    log.warning("killed what recall %s left running", note.name)
            with contextlib.suppress(OSError):
                note.unlink()

    def _file(self, recall_id: str) -> Path:
        return self._directory / incoming_name(recall_id)
