"""Keeping what the head decides, in the order it decided it.

The head hands over batches of durable instructions. One task writes them:
while a commit is on its way to the disk, further batches gather, and the next
commit takes them all. Whoever waits for a batch is told when it is on disk, or
that it is not. What could not be written (the disk is full) is written again
later, before anything newer: the disk may lag behind the head, but it never
gets the order wrong. Only the history of recalls and drops is given up then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from common.errors import PackhorseError
from redirector.core.instructions import SaveDrops, SaveRecall
from redirector.store.durable import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.sqlite import Database
    from redirector.core.instructions import Durable

log = logging.getLogger(__name__)

#: The pause before what could not be written is tried again.
RETRY_S = 1.0


class Journal:
    """The one writer of the head's state."""

    def __init__(self, database: Database, retry_s: float = RETRY_S) -> None:
        self._database = database
        self._retry_s = retry_s
        self._unwritten: list[Durable] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._idle = True
        self.trouble = ""  # why nothing can be kept; "" if all is well

    def keep(self, instructions: Sequence[Durable]) -> asyncio.Future[None]:
        """Hands over a batch. The future is done when it and all before it are on disk.

        It has the error if that failed.
        """
        written = asyncio.get_running_loop().create_future()
        if not instructions and self._idle:
            written.set_result(None)
            return written
        # Not everybody waits: what nobody waits for is tried again all the same.
        written.add_done_callback(_retrieve)
        self._unwritten.extend(instructions)
        self._waiting.append(written)
        self._idle = False
        self._wake.set()
        return written

    async def run(self) -> NoReturn:
        """Writes for as long as it is let."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._unwritten = self._unwritten, []
            waiting, self._waiting = self._waiting, []
            if not await self._write(batch, waiting):
                # History is not worth filling the memory while the disk is full.
                kept = [one for one in batch if not isinstance(one, SaveRecall | SaveDrops)]
                self._unwritten[:0] = kept
                await asyncio.sleep(self._retry_s)
                self._wake.set()
            else:
                self._idle = not self._waiting

    async def _write(self, batch: list[Durable], waiting: list[asyncio.Future[None]]) -> bool:
        try:
            await self._database.write(lambda connection: write_all(connection, batch))
        except PackhorseError as error:
            if not self.trouble:
                log.error("state cannot be kept, trying again: %s", error)
            self.trouble = str(error)
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
            return False
        if self.trouble:
            log.info("state is kept again")
            self.trouble = ""
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return True


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
