"""Keeping what the core decides, in the order it decided it.

One task writes. While a transaction is on its way to the disk, more commits gather,
and the next transaction takes them all: durability costs one fsync for many workers'
commits instead of one for each.

A full disk is waited for: nothing is answered meanwhile, and nothing lost. Any other
failure is told to the core, which fails the sessions concerned; they can be resumed.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from common.errors import Damaged, PackhorseError
from packetizer.writing import CommitRow, keep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.clock import Clock
    from common.sqlite import Database
    from packetizer.writing import Keep

log = logging.getLogger(__name__)

RETRY_S = 1.0


class Journal:
    """The one writer of what running sessions decide."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        when_kept: Callable[[Keep, str], None],
        retry_s: float = RETRY_S,
    ) -> None:
        """`when_kept` is called for each row, with "" or why it is not kept, in order."""
        self._database = database
        self._clock = clock
        self._when_kept = when_kept
        self._retry_s = retry_s
        self._waiting: list[Keep] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        #: Why nothing can be kept at the moment; "" if all is well.
        self.trouble = ""

    def keep(self, row: Keep) -> None:
        """Takes a row; `when_kept` will tell what became of it."""
        self._waiting.append(row)
        self._idle.clear()
        self._wake.set()

    async def idle(self) -> None:
        """Waits until there is nothing left to write."""
        await self._idle.wait()

    async def run(self) -> NoReturn:
        """Writes for as long as it is let."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            rows, self._waiting = self._waiting, []
            problem = await self._write(rows)
            if problem and len(rows) > 1:
                # One row that cannot be written is not to take the others down with it.
                for row in rows:
                    self._when_kept(row, await self._write([row]))
            else:
                for row in rows:
                    self._when_kept(row, problem)
            if not self._waiting:
                self._idle.set()

    async def _write(self, rows: Sequence[Keep]) -> str:
        """Writes all of them or none; returns why not."""
        while True:
            try:
                await self._database.write(partial(keep, rows, self._clock.now_s()))
            except Damaged as error:
                log.error("%d commits cannot be kept: %s", _commits(rows), error)
                self.trouble = ""
                return str(error)
            except PackhorseError as error:
                if not self.trouble:
                    log.error("nothing can be kept, trying again: %s", error)
                self.trouble = str(error)
                await asyncio.sleep(self._retry_s)
            except Exception as error:
                # A row that cannot be written must not stop all others from being written.
                log.exception("%d commits cannot be kept", _commits(rows))
                self.trouble = ""
                return str(error)
            else:
                if self.trouble:
                    log.info("state is kept again")
                    self.trouble = ""
                return ""


def _commits(rows: Sequence[Keep]) -> int:
    return sum(isinstance(row, CommitRow) for row in rows)
