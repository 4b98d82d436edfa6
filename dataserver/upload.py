"""One upload, as its client has it in hand.

Writes go to the disk side by side, in any order. As long as they stay within what is
reserved, the core hears nothing of them; a step before that is used up it is asked for the
next one, and a write beyond it waits until there is room.

What could not be written once is not there, whatever comes after: such an upload can only
be given up, and `finish` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from common.errors import Damaged, PackhorseError, Refused, UsageError
from dataserver.core import events
from dataserver.disk_errors import explained
from dataserver.open_file import OpenFile
from dataserver.upload_file import Buffer, copy_all, sum_and_sync, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataserver.checksum import Checksum
    from dataserver.core.instructions import GrantRoom
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.link import Link


class Upload:
    """A file that is being written. Made by `Uploads.begin`.

    All its errors are PackhorseErrors: QuotaExceeded if there is no room, Damaged if the
    disk fails or the file is not what it should be, Refused if it had to be ended.
    """

    def __init__(
        self,
        upload_id: str,
        lfn: str,
        engine: Engine,
        disk: PoolDisk,
        link: Link,
        algorithm: str | None,
    ) -> None:
        self.upload_id = upload_id
        self.lfn = lfn
        #: How large it is by now: the end of what was written furthest behind.
        self.size_bytes = 0
        self.mtime_ns = 0
        self.checksums: list[Checksum] = []
        self._engine = engine
        self._disk = disk
        self._link = link
        self._algorithm = algorithm
        self._file: OpenFile | None = None
        self._opening: asyncio.Future[int] | None = None
        self._reserved_bytes = 0
        self._ask_from_bytes = 0
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer: tuple[int, asyncio.Future[None]] | None = None
        self._asking = asyncio.Lock()
        self._problem: PackhorseError | None = None
        self._streams = 0
        self._streamed = asyncio.Event()
        self._is_closing = False
        self._is_finishing = False
        self._unwanted = threading.Event()
        self._over = asyncio.Event()

    # --- for its client -------------------------------------------------------

    async def write(self, data: Buffer | Sequence[Buffer], offset: int) -> None:
        """Writes pieces one behind the other, from `offset` on."""
        pieces = [data] if isinstance(data, Buffer) else data
        end = offset + sum(map(len, pieces))
        file = self._usable_file()
        if offset < 0:
            raise UsageError(f"{self.lfn}: nothing can be written at {offset}")
        with self._or_nothing():
            if end > self._ask_from_bytes:
                await self._make_room(end)
            await file.use(self._disk.writers, lambda fd: write_all(fd, pieces, offset))
        self.size_bytes = max(self.size_bytes, end)

    async def read(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes of what was written."""
        file = self._usable_file()
        if length < 0 or offset < 0:
            raise UsageError(f"{self.lfn}: there are no {length} bytes at {offset}")
        try:
            return await file.use(self._disk.readers, lambda fd: os.pread(fd, length, offset))
        except OSError as error:
            raise explained(self.lfn, "read", error) from error

    async def truncate(self, size_bytes: int) -> None:
        """Cuts the file short, or makes it longer with zeros."""
        file = self._usable_file()
        if size_bytes < 0:
            raise UsageError(f"{self.lfn}: no file has {size_bytes} bytes")
        with self._or_nothing():
            if size_bytes > self._ask_from_bytes:
                await self._make_room(size_bytes)
            await file.until_idle()
            await file.use(self._disk.writers, lambda fd: os.ftruncate(fd, size_bytes))
        self.size_bytes = size_bytes

    async def sync(self) -> None:
        """What was written so far is on the disk when this returns."""
        file = self._usable_file()
        with self._or_nothing():
            await file.use(self._disk.writers, os.fsync)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """For as long as several writes make up one, whose data is with us: `finish` waits for
        all of them. If it is broken off, something between them is missing.
        """
        self._streams += 1
        try:
            yield
        except asyncio.CancelledError:
            self._problem = self._problem or Refused(f"{self.lfn}: a write was broken off")
            raise
        finally:
            self._streams -= 1
            if not self._streams:
                self._streamed.set()

    async def until_streamed(self) -> None:
        """Waits until no write is under way whose data is with us."""
        while self._streams:
            self._streamed.clear()
            await self._streamed.wait()

    async def finish(
        self, expected_size: int | None = None, expected_checksum: Checksum | None = None
    ) -> None:
        """Publishes the file; it is there, and the redirector knows it, when this returns.

        Raises what kept it from that, and then nothing of it is left.
        """
        if self._is_closing:
            raise UsageError(f"{self.lfn} is being closed already")
        self._is_closing = True
        try:
            await self.until_streamed()
            self._is_finishing = True
            await self._verify(expected_size, expected_checksum)
        except PackhorseError as error:
            self.give_up(error)
            await self._over.wait()
            raise
        except BaseException:
            self.give_up(Refused(f"{self.lfn}: its end was broken off"))
            raise
        self._engine.post(events.UploadWritten(self.upload_id, self.size_bytes))
        await self._over.wait()
        await self._link.until_heard()
        self._raise_problem()

    async def abandon(self) -> None:
        """Gives the upload up, and leaves nothing of it; fine if it has ended already.

        One that is being finished is left to that.
        """
        if not self._is_closing:
            self.give_up(Refused(f"{self.lfn}: its client gave it up"))
            await self._over.wait()

    # --- for those who carry it out ---------------------------------------------

    async def until_begun(self) -> None:
        """Waits until it may be written. Raises why it may not."""
        await asyncio.shield(self._begun)

    async def open(self, mode: int) -> None:
        """Makes its file."""
        opening = self._opening = self._disk.threads.call(
            lambda: self._disk.create_incoming(self.upload_id, self.lfn, mode)
        )
        # Called before anybody who waits goes on: `close` is to find the file.
        opening.add_done_callback(self._opened)
        await asyncio.shield(opening)
        self._raise_problem()

    async def copy_from(self, source: int, size_bytes: int) -> None:
        """Begins with the content of another file, of which nothing else is done meanwhile."""
        file = self._usable_file()
        try:
            await file.use(
                self._disk.checkers,
                lambda fd: copy_all(source, fd, size_bytes, self._is_wanted),
            )
        except asyncio.CancelledError:
            self._unwanted.set()
            await file.until_idle()
            raise
        self._raise_problem()
        copied = await file.use(self._disk.threads, lambda fd: os.fstat(fd).st_size)
        if copied != size_bytes:
            raise Damaged(f"{self.lfn} ends at {copied} bytes instead of {size_bytes}")
        self.size_bytes = size_bytes

    async def close(self) -> None:
        """Closes its file, when no thread is at it any more."""
        self._unwanted.set()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._file is not None:
            self._file.close()
            await self._file.until_idle()

    def give_up(self, error: PackhorseError) -> None:
        """Has it ended, unless it has ended already; not to be called once it is published."""
        self._unwanted.set()
        if not self._over.is_set():
            self._engine.post(events.UploadFailed(self.upload_id, error))

    async def until_over(self) -> None:
        """Waits until it is published, or nothing is left of it."""
        await self._over.wait()

    def grant(self, room: GrantRoom) -> None:
        """There is room for so much."""
        self._reserved_bytes = room.reserved_bytes
        self._ask_from_bytes = room.ask_from_bytes
        if not self._begun.done():
            self._begun.set_result(None)
        if self._answer is not None and room.reserved_bytes >= self._answer[0]:
            _settle(self._answer[1], None)

    def deny(self, error: PackhorseError) -> None:
        """There is no room for what was asked for."""
        self._problem = self._problem or error
        if self._answer is not None:
            _settle(self._answer[1], error)

    def fail(self, error: PackhorseError) -> None:
        """It has to end; who waits for something is told why."""
        self._unwanted.set()
        self.deny(error)
        _settle(self._begun, error)

    def end(self, problem: PackhorseError | None = None) -> None:
        """It is over: nothing is left of it, or it is published, perhaps with a problem."""
        self._problem = self._problem or problem
        self._over.set()

    # --- inside -----------------------------------------------------------------

    def _opened(self, opening: asyncio.Future[int]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._file = OpenFile(opening.result())

    def _usable_file(self) -> OpenFile:
        self._raise_problem()
        if self._is_finishing or self._file is None:
            raise UsageError(f"{self.lfn} is not open for writing any more")
        return self._file

    def _raise_problem(self) -> None:
        if self._problem is not None:
            # Several may be told: each gets an error of its own.
            raise type(self._problem)(self._problem.message)

    def _is_wanted(self) -> bool:
        return not self._unwanted.is_set()

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """What goes wrong inside makes the whole file worth nothing."""
        try:
            yield
        except PackhorseError as error:
            self._problem = self._problem or error
            raise
        except Exception as error:
            self._problem = self._problem or explained(self.lfn, "written", error)
            raise self._problem from error
        except BaseException:
            self._problem = self._problem or Refused(f"{self.lfn}: a write was broken off")
            raise

    async def _make_room(self, size_bytes: int) -> None:
        """Waits until the file may be of this size, or has the next step asked for."""
        if size_bytes <= self._reserved_bytes:
            # Once is enough, until there is an answer.
            self._ask_from_bytes = self._reserved_bytes
            self._engine.post(events.RoomWanted(self.upload_id, size_bytes))
            return
        async with self._asking:
            self._raise_problem()
            if size_bytes > self._reserved_bytes:
                answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._answer = (size_bytes, answer)
                self._engine.post(events.RoomWanted(self.upload_id, size_bytes))
                await answer

    async def _verify(self, expected_size: int | None, expected: Checksum | None) -> None:
        """Finds out what has been written, and that it is what it should be and on disk."""
        self._raise_problem()
        assert self._file is not None
        await self._file.until_idle()
        self._raise_problem()
        algorithms = [self._algorithm] if self._algorithm is not None else []
        if expected is not None and expected.algorithm != self._algorithm:
            algorithms.append(expected.algorithm)
        try:
            found, self.checksums = await self._file.use(
                self._disk.checkers, lambda fd: sum_and_sync(fd, algorithms, self._is_wanted)
            )
        except OSError as error:
            raise explained(self.lfn, "verified", error) from error
        self._raise_problem()
        self.mtime_ns = found.st_mtime_ns
        for size_bytes, whose in ((self.size_bytes, "were written"), (expected_size, "expected")):
            if size_bytes is not None and found.st_size != size_bytes:
                raise Damaged(f"{self.lfn} has {found.st_size} bytes, {size_bytes} {whose}")
        for checksum in self.checksums:
            if (
                expected is not None
                and checksum.algorithm == expected.algorithm
                and checksum != expected
            ):
                raise Damaged(f"{self.lfn} has {checksum}, {expected} was expected")


def _settle(waiting: asyncio.Future[None], error: PackhorseError | None) -> None:
    """Answers somebody who may be answered already, or gone."""
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(type(error)(error.message))
        waiting.exception()
