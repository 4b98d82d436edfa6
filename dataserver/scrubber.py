"""Verifying replicas again, in the background, for as long as the server lives.

Disks change bytes without a word. So every replica whose checksum is known is read again now
and then, slowly (see `core.scrub`), and compared. What is damaged is taken out and told: the
redirector has it recalled from the archive, if that has it; if not, the file is kept apart,
for people to look at.

A file is only called damaged if it was read twice with the wrong outcome, and is still the
one whose checksum it was compared with. A file is open while it is read, so no purge takes
it, but that is no use of it; and what nobody has used lately does not push out of memory
what others read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from common import wording
from common.errors import PackhorseError
from common.units import format_duration
from dataserver import checksum as checksums
from dataserver.core.events import Lost
from dataserver.core.scrub import FILE_BYTES
from dataserver.idle_io import be_idle
from dataserver.threads import Threads, finished

if TYPE_CHECKING:
    from dataserver.catalogue import Catalogue, Row
    from dataserver.checksum import Checksum
    from dataserver.core.replica import Replica
    from dataserver.core.scrub import Scrub
    from dataserver.engine import Engine
    from dataserver.replicas import Replicas

log = logging.getLogger(__name__)

#: Names looked up together.
PAGE_FILES: Final = 200
#: The place a round has come to is kept so often.
SAVE_EVERY_S: Final = 30.0
#: How often it is looked whether a round is due, or the disk is back.
LOOK_EVERY_S: Final = 60.0
#: What was used more lately is left in memory.
FRESH_S: Final = 3600.0


class Scrubber:
    """Carries out what `scrub` decides, in one thread of its own."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, replicas: Replicas, scrub: Scrub
    ) -> None:
        self._engine = engine
        self._rows = catalogue.scrub
        self._catalogue = catalogue
        self._replicas = replicas
        self.scrub = scrub
        self._thread = Threads(f"{engine.name} scrubber", 1)
        self._stopped = threading.Event()
        self._changed = asyncio.Event()
        self._saved_s = 0.0

    def set_limits(self, bytes_per_s: int, interval_s: float) -> None:
        """Other limits hold from here on."""
        self.scrub.set_limits(bytes_per_s, interval_s)
        self._changed.set()

    async def run(self) -> None:
        """Goes round for ever."""
        try:
            await self._thread.call(be_idle)
            while True:
                due_s = self.scrub.due_in_s(self._engine.now_s())
                if due_s == 0.0 and not self._engine.node.pool.away:
                    await self._go_on()
                else:
                    await self._wait(LOOK_EVERY_S if not due_s else min(due_s, LOOK_EVERY_S))
        finally:
            self._stopped.set()
            self._thread.close()

    async def save(self) -> None:
        """Keeps the place the round has come to."""
        try:
            await self._rows.save(self.scrub.round)
        except PackhorseError as error:
            log.warning("%s: how far scrubbing has come is not kept: %s", self._engine.name, error)

    # --- inside -------------------------------------------------------------

    async def _wait(self, limit_s: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _go_on(self) -> None:
        """Visits the next replicas, or ends the round."""
        scrub = self.scrub
        scrub.begin(self._engine.now_s())
        try:
            names = await self._rows.next_names(scrub.round.after, PAGE_FILES)
        except PackhorseError as error:
            log.warning("%s: not scrubbed for now: %s", self._engine.name, error)
            await self._wait(LOOK_EVERY_S)
            return
        for lfn in names:
            if self._engine.node.pool.away or not scrub.is_on:
                return
            await self._visit(lfn)
            if self._engine.now_s() - self._saved_s >= SAVE_EVERY_S:
                self._saved_s = self._engine.now_s()
                await self.save()
        if not names:
            scrub.end()
            await self.save()
            if scrub.round.files:
                self._report()

    def _report(self) -> None:
        told = self.scrub.round
        log.info(
            "%s: scrubbed %s, %s, in %s; %d damaged",
            self._engine.name,
            wording.count(told.files, "file"),
            wording.size(told.size_bytes),
            format_duration(max(0.0, self._engine.now_s() - told.began_s)),
            told.damaged,
        )

    async def _visit(self, lfn: str) -> None:
        try:
            replica, fd = await self._replicas.open(lfn, is_use=False)
        except PackhorseError as error:
            # It is gone; or it cannot be read, which was dealt with where that was found out.
            log.debug("%s is not scrubbed: %s", lfn, error)
            self.scrub.passed(lfn)
            return
        try:
            row = await self._row_of(lfn)
            if row is None or row.checksum is None:
                self.scrub.passed(lfn)
                return
            found = await self._sum_twice(fd, replica, row.checksum)
            is_damaged = found != row.checksum and await self._is_still(lfn, replica, row)
            self.scrub.verified(lfn, replica.size_bytes, damaged=is_damaged)
            if is_damaged:
                why = f"it has {found}, and had {row.checksum} when it came"
                self._engine.post(Lost(lfn, "damaged", why, apart=True))
        except OSError as error:
            self._replicas.losses.unreadable(replica, error)
            self.scrub.passed(lfn)
        finally:
            os.close(fd)
            self._replicas.give_back(replica, is_use=False)

    async def _row_of(self, lfn: str) -> Row | None:
        try:
            return await self._catalogue.row(lfn)
        except PackhorseError as error:
            log.warning("%s is not scrubbed: %s", lfn, error)
            return None

    async def _is_still(self, lfn: str, replica: Replica, row: Row) -> bool:
        """Whether the replica that was read is the one the row speaks of."""
        node = self._engine.node
        now = await self._row_of(lfn)
        return (
            now is not None
            and (now.size_bytes, now.mtime_ns, now.checksum)
            == (row.size_bytes, row.mtime_ns, row.checksum)
            and node.pool.get(lfn) is replica
            and not node.is_moving(lfn)
        )

    async def _sum_twice(self, fd: int, replica: Replica, expected: Checksum) -> Checksum:
        """What a file has; read once more, and from the disk, if that is not what it should."""
        is_fresh = self._engine.now_s() - replica.last_use_s < FRESH_S
        found = await self._sum(fd, replica.size_bytes, expected.algorithm, forget=not is_fresh)
        if found != expected:
            found = await self._sum(fd, replica.size_bytes, expected.algorithm, forget=True)
        return found

    async def _sum(self, fd: int, size_bytes: int, algorithm: str, *, forget: bool) -> Checksum:
        work = self._thread.call(lambda: self._read(fd, size_bytes, algorithm, forget=forget))
        found = await finished(work, self._stopped.set)
        assert found is not None, "only a scrubber that is stopped reads no file to its end"
        return found

    def _read(self, fd: int, size_bytes: int, algorithm: str, *, forget: bool) -> Checksum | None:
        """The checksum of an open file, read at the scrubber's pace; blocks. Raises OSError."""
        left_bytes = size_bytes
        pace = self.scrub.pace

        def goes_on() -> bool:
            nonlocal left_bytes
            # Of the last read, which finds the end, nothing is left to be paid.
            read_bytes = min(left_bytes, checksums.READ_BYTES)
            left_bytes -= read_bytes
            return not self._stopped.wait(pace.wait_s(read_bytes, time.monotonic()))

        if forget:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        pace.wait_s(FILE_BYTES, time.monotonic())
        found = checksums.of_fd(fd, algorithm, goes_on)
        if forget:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return found
