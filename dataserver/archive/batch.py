"""Bringing files by a batch command: they are gathered, and given to one run together.

A run begins when it would be full, or when its first file has waited for `wait_s`, as soon
as there is a slot. The order within a run is the command's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from dataserver.archive.batch_files import BatchFile
from dataserver.archive.batch_run import BatchRun
from dataserver.threads import finished

if TYPE_CHECKING:
    from dataserver.archive.batch_files import BatchSettings
    from dataserver.archive.model import Fetched, FetchOrder


class BatchCommand:
    """Runs the site's command for up to `most_files` at once, in up to `slots` runs at a time."""

    def __init__(
        self, settings: BatchSettings, *, slots: int, most_files: int, wait_s: float
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._most_files = most_files
        self._wait_s = wait_s
        self._waiting: deque[BatchFile] = deque()
        self._runs: set[BatchRun] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def fetch(self, order: FetchOrder) -> Fetched:
        """Has one file brought by a run. Raises NameRefused."""
        source = self._settings.commands.names.archive_name(order.lfn)
        loop = asyncio.get_running_loop()
        file = BatchFile(order, source, loop.create_future(), loop.time())
        self._waiting.append(file)
        self._consider()
        try:
            return await file.ended
        except asyncio.CancelledError:
            if file.run is None:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(file)
            else:
                await finished(asyncio.create_task(file.run.drop(file)))
            raise

    async def close(self) -> None:
        """Ends every run, and begins no more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*(run.stop() for run in list(self._runs)))

    def _consider(self) -> None:
        """Begins what runs can begin now, and sees to it that the others do in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._runs) < self._slots and not self._is_closed:
            due_s = self._waiting[0].since_s + self._wait_s
            if len(self._waiting) < self._most_files and loop.time() < due_s:
                self._timer = loop.call_at(due_s, self._consider)
                return
            count = min(len(self._waiting), self._most_files)
            run = BatchRun(self._settings, [self._waiting.popleft() for _ in range(count)])
            self._runs.add(run)
            run.when_done(self._ended)

    def _ended(self, run: BatchRun) -> None:
        self._runs.discard(run)
        for file in reversed(run.left_over):
            # Who waited for it may have left meanwhile.
            if not file.ended.done():
                file.run = None
                self._waiting.appendleft(file)
        self._consider()
