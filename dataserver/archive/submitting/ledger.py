"""The book of submissions, its copy on the disk, and who waits for what in it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from common.clock import Clock
from common.errors import PackhorseError
from dataserver.archive.submitting.book import Book
from dataserver.archive.submitting.kept import KeptSubmissions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataserver.archive.model import FetchOrder
    from dataserver.archive.submitting.book import Submission

log = logging.getLogger(__name__)


class Ledger:
    """What all parts of a Submitter share; `path` None: nothing outlives this process."""

    def __init__(self, path: Path | None) -> None:
        self.book = Book()
        self.clock = Clock()
        #: The fetches under way, by LFN.
        self.orders: dict[str, FetchOrder] = {}
        #: Set when there is something to be polled, or to be cancelled or released.
        self.to_poll = asyncio.Event()
        self.to_end = asyncio.Event()
        self._path = path
        self._kept: KeptSubmissions | None = None
        self._turned: dict[str, asyncio.Event] = {}

    async def open(self) -> None:
        """Takes up what an earlier life has ordered. Raises ConfigError, Damaged."""
        if self._path is None:
            return
        self._kept = await asyncio.to_thread(KeptSubmissions, self._path)
        self.book.load(await self._kept.load(), self.clock.now_s())
        if len(self.book):
            log.info("%d files are on order in the archive from before", len(self.book))

    async def close(self) -> None:
        """Lets go of the disk."""
        if self._kept is not None:
            await self._kept.close()

    async def keep(self, submissions: Sequence[Submission]) -> None:
        """Has them on the disk. Raises PackhorseError."""
        if self._kept is not None and submissions:
            await self._kept.put(submissions)

    async def note(self, taken: Sequence[Submission], gone: Sequence[Submission]) -> None:
        """Writes down what has happened already.

        A disk that fails must not stop what works: at worst, a restart asks the archive for
        something twice, or tells it something twice.
        """
        try:
            await self.keep(taken)
            if self._kept is not None and gone:
                await self._kept.remove(gone)
        except PackhorseError as error:
            log.warning("what is on order in the archive cannot be noted: %s", error)

    def tell(self, one: Submission, note: str) -> None:
        """Tells who waits for a file what the archive says of it."""
        order = self.orders.get(one.lfn)
        if order is not None and order.on_note is not None:
            order.on_note(note)

    def end(self, one: Submission, why: str) -> None:
        """Has the archive told that a file is not needed any more."""
        self.book.leave(one, self.clock.now_s())
        self.book.end(one, self.clock.now_s(), why)
        self.turn(one)
        self.to_end.set()

    def turn_of(self, one: Submission) -> asyncio.Event:
        """Set when the submission comes to another state, or gets a failure."""
        return self._turned.setdefault(one.key, asyncio.Event())

    def turn(self, one: Submission) -> None:
        """Wakes who waits for that."""
        turned = self._turned.pop(one.key, None)
        if turned is not None:
            turned.set()


def ordering(one: Submission, size_bytes: int | None) -> dict[str, Any]:
    """What a submitcmd is told of a file."""
    return {"key": one.key, "source": one.source, "lfn": one.lfn, "size": size_bytes}


def asking(one: Submission) -> dict[str, Any]:
    """What other commands are told of a submission."""
    return {"key": one.key, "id": one.archive_id, "source": one.source, "lfn": one.lfn}
