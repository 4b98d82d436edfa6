"""What is only of interest to the next start, or to people later, written now and then.

Times of last use and marks go to the catalogue, and all that happens to files into the
access log. A kill costs what was not written yet, half a minute's worth.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NoReturn

from common.errors import PackhorseError
from dataserver.core.access import Access, AccessKind
from dataserver.core.replica import Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataserver.access_log import AccessLog
    from dataserver.catalogue import Catalogue
    from dataserver.core.changes import Change
    from dataserver.engine import Engine

log = logging.getLogger(__name__)

FLUSH_EVERY_S: Final = 30.0
#: Lines are written sooner if so many wait.
MOST_LINES_WAITING: Final = 10_000
#: What a disk that hangs does not take is given up beyond this.
MOST_LINES_KEPT: Final = 100_000
#: How a purge's reasons begin.
_PURGED: Final = "purged "
_KINDS: Final = {Mark.SOFT: AccessKind.SOFT, Mark.DONE: AccessKind.DONE}


class Uses:
    """Gathers, and writes in batches."""

    def __init__(self, engine: Engine, catalogue: Catalogue, access_log: AccessLog | None) -> None:
        """`access_log` None: none is kept."""
        self._engine = engine
        self._catalogue = catalogue
        self._access_log = access_log
        self._lines: list[Access] = []
        self._due = asyncio.Event()
        if access_log is not None:
            engine.node.changes.on_enter = self._note_change

    async def work(self) -> NoReturn:
        """Writes every half minute, for ever."""
        while True:
            try:
                async with asyncio.timeout(FLUSH_EVERY_S):
                    await self._due.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def stop(self) -> None:
        """Writes what there is, and lets go of the log."""
        await self.flush()
        if self._access_log is not None:
            await asyncio.to_thread(self._access_log.close)

    async def flush(self) -> None:
        """Writes all that has gathered. What cannot be written is given up, with a warning."""
        self._due.clear()
        pool = self._engine.node.pool
        marks = pool.take_remarked()
        used: Mapping[str, float] = {}
        try:
            used = await self._catalogue.flush_uses()
            await self._catalogue.marks.keep(marks)
        except PackhorseError as error:
            pool.give_back_remarked(marks)
            log.warning("%s: times of last use are not kept: %s", self._engine.name, error)
        if self._access_log is not None:
            lines, self._lines = self._lines, []
            lines += self._uses(used)
            lines += self._marks(marks)
            lines.sort(key=lambda one: one.unix_s)
            await asyncio.to_thread(self._access_log.write, lines)

    def _note_change(self, change: Change) -> None:
        if change.dropped:
            is_purged = change.reason.startswith(_PURGED)
            kind = AccessKind.PURGED if is_purged else AccessKind.GONE
        else:
            kind = AccessKind.RECALLED if change.recall_id else AccessKind.PUT
        if len(self._lines) >= MOST_LINES_KEPT:
            return
        now_s = self._engine.now_s()
        self._lines.append(Access(now_s, kind, change.size_bytes, change.lfn, change.reason))
        if len(self._lines) >= MOST_LINES_WAITING:
            self._due.set()

    def _uses(self, used: Mapping[str, float]) -> list[Access]:
        """The uses since the last time; many of one file are one. What has gone since is left out."""
        pool = self._engine.node.pool
        return [
            Access(used_s, AccessKind.USED, replica.size_bytes, lfn)
            for lfn, used_s in used.items()
            if (replica := pool.get(lfn)) is not None
        ]

    def _marks(self, marks: Mapping[str, Mark | None]) -> list[Access]:
        pool, now_s = self._engine.node.pool, self._engine.now_s()
        return [
            Access(now_s, _KINDS[mark], replica.size_bytes, lfn)
            for lfn, mark in marks.items()
            if mark is not None and (replica := pool.get(lfn)) is not None
        ]
