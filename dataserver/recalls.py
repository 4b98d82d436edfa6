"""Carrying out a recall's steps: examine, copy, verify, publish, or stop.

Each step is one task and answers with one event, whatever goes wrong: a full disk, a
failing one, a command of the worst kind. When a step fails or is stopped, its process
group is dead and its directory gone before the node is told, so the room it held can
be given to others. No error of one recall is an error of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from common.errors import NameRefused, PackhorseError
from dataserver import checksum as checksums
from dataserver.archive import Presence
from dataserver.catalogue import Entry
from dataserver.command_failures import failure_of
from dataserver.core import events, instructions
from dataserver.core.failure import Failure, FailureKind
from dataserver.descriptors import NotAFileError
from dataserver.disk import Publication, is_no_space
from dataserver.threads import Batcher, finished

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from dataserver.archive import Archive, Fetched
    from dataserver.catalogue import Catalogue
    from dataserver.checksum import Checksum
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.leftovers import Running

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Files moved to their places with one sync of each directory. Two such batches run at
#: a time: while the disk syncs for one, files can be moved for the other.
MOVED_AT_A_TIME = 256
#: Rows written with one commit.
ROWS_AT_A_TIME = 256
#: Directories made in one go.
MADE_AT_A_TIME = 64


class StepError(Exception):
    """A step came to nothing; `failure` says why, `ran` how its command went."""

    def __init__(
        self, failure: Failure, ran: events.Ran | None = None, size_bytes: int | None = None
    ) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.ran = ran
        self.size_bytes = size_bytes


class Recalls:
    """The steps under way, at most one for each recall.

    `algorithm` is what is computed where the archive gave no checksum; None for nothing.
    `has_command`: files are brought by a command of the site, which is held to the size
    that is known of a file by the kernel as well, for it may not stop when it is told.
    """

    def __init__(
        self,
        engine: Engine,
        archive: Archive,
        disk: PoolDisk,
        catalogue: Catalogue,
        running: Running,
        algorithm: str | None,
        *,
        has_command: bool,
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._disk = disk
        self._catalogue = catalogue
        self._running = running
        self._algorithm = algorithm
        self._has_command = has_command
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._mtimes_ns: dict[str, int] = {}
        self._directories = Batcher(self._make_directories, MADE_AT_A_TIME)
        self._moves = Batcher(self._move_all, MOVED_AT_A_TIME, parallel=2)
        self._rows = Batcher(self._add_all, ROWS_AT_A_TIME)
        engine.carry_with(
            {
                instructions.Examine: self._start(self._examine),
                instructions.Copy: self._start(self._copy),
                instructions.Verify: self._start(self._verify),
                instructions.Publish: self._start(self._publish),
                instructions.StopStep: self._stop,
            }
        )

    async def stop(self) -> None:
        """Ends every step and leaves nothing of them; what is being published is finished."""
        steps = list(self._steps.values())
        self._steps.clear()
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, *self._stopping, return_exceptions=True)
        await self._moves.finish()
        await self._rows.finish()
        await self._disk.threads.call(self._disk.sweep_incoming)

    # --- steps as tasks -----------------------------------------------------

    def _start(self, work: Callable[[Any], Coroutine[Any, Any, events.Event]]) -> Any:
        """What starts a step for an instruction, and posts how it ended."""

        def start(order: Any) -> None:
            step = asyncio.create_task(self._run(work, order), name=f"recall {order.lfn}")
            self._steps[order.recall_id] = step

        return start

    async def _run(
        self, work: Callable[[Any], Coroutine[Any, Any, events.Event]], order: Any
    ) -> None:
        recall_id = order.recall_id
        try:
            event = await work(order)
        except Exception as error:  # noqa: BLE001 - every error becomes the recall's failure
            event = _failed(recall_id, error)
            await self._clean_up(recall_id)
        # A step that is being stopped has nothing more to say, even if it came to its end.
        if self._steps.get(recall_id) is asyncio.current_task():
            del self._steps[recall_id]
            self._engine.post(event)

    def _stop(self, order: instructions.StopStep) -> None:
        # Taken out at once: the step may be about to end, and must not be heard any more.
        step = self._steps.pop(order.recall_id, None)
        recall = self._engine.node.staging.get(order.recall_id)
        unwanted = recall.lfn if recall is not None and order.unwanted else ""
        ending = self._end(order.recall_id, step, unwanted)
        stopping = asyncio.create_task(ending, name="stop a recall")
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    async def _end(self, recall_id: str, step: asyncio.Task[None] | None, unwanted: str) -> None:
        if step is not None:
            step.cancel()
            await asyncio.wait([step])
        if unwanted:
            self._archive.call_off(unwanted)
        await self._clean_up(recall_id)
        self._engine.post(events.Stopped(recall_id))

    async def _clean_up(self, recall_id: str) -> None:
        self._mtimes_ns.pop(recall_id, None)
        try:
            await self._disk.threads.call(lambda: self._disk.remove_incoming(recall_id))
        except OSError as error:
            log.warning("what recall %s left cannot be removed: %s", recall_id, error)

    # --- the steps ----------------------------------------------------------

    async def _examine(self, order: instructions.Examine) -> events.Event:
        (found,) = await self._archive.examine([order.lfn])
        if found.presence is Presence.NOT_THERE:
            raise StepError(Failure(FailureKind.NOT_FOUND, found.reason))
        return events.Examined(order.recall_id, found.size_bytes, found.checksum)

    async def _copy(self, order: instructions.Copy) -> events.Event:
        recall_id = order.recall_id
        target = await finished(self._directories.do((recall_id, order.lfn)))
        try:
            fetched = await self._archive.fetch(
                order.lfn,
                target,
                size_bytes=order.size_bytes,
                limit_bytes=self._limit_bytes(order),
                on_start=lambda pid, start_s: self._running.note(recall_id, pid, start_s),
                on_progress=lambda size: self._engine.post(events.Grew(recall_id, size)),
                on_note=lambda note: self._engine.post(events.Noted(recall_id, note)),
            )
        finally:
            await self._running.forget(recall_id)
        ran = _ran(fetched)
        if fetched.failure is not None:
            raise StepError(failure_of(fetched.failure), ran)
        return events.Copied(recall_id, fetched.size_bytes, ran)

    def _limit_bytes(self, order: instructions.Copy) -> int | None:
        if order.size_bytes is None:
            return self._engine.node.pool.limits.quota_bytes
        return order.size_bytes if self._has_command else None

    async def _verify(self, order: instructions.Verify) -> events.Event:
        stopped = threading.Event()
        work = self._disk.checkers.call(lambda: self._check(order, stopped))
        found, mtime_ns = await finished(work, stopped.set)
        self._mtimes_ns[order.recall_id] = mtime_ns
        assert order.size_bytes is not None
        return events.Verified(order.recall_id, order.size_bytes, found)

    async def _publish(self, order: instructions.Publish) -> events.Event:
        """The file first, its row next: a crash in between leaves a good file to be adopted."""
        await self._moves.do(order)
        mtime_ns = self._mtimes_ns.pop(order.recall_id)
        now_s = self._engine.now_s()
        entry = Entry(order.lfn, order.size_bytes, mtime_ns, order.checksum, now_s)
        try:
            await self._rows.do(entry)
        except Exception:
            with contextlib.suppress(OSError):
                await self._disk.threads.call(lambda: self._disk.unlink(order.lfn))
            raise
        self._archive.published(order.lfn)
        return events.Published(order.recall_id)

    # --- in threads, and in batches -------------------------------------------

    def _check(
        self, order: instructions.Verify, stopped: threading.Event
    ) -> tuple[Checksum | None, int]:
        """Size, checksum and sync of a staged file: its checksum, and its mtime."""
        fd = self._disk.open_incoming(order.recall_id, order.lfn)
        try:
            found = os.fstat(fd)
            if found.st_size != order.size_bytes:
                reason = f"the staged file has {found.st_size} bytes, not {order.size_bytes}"
                raise StepError(Failure(FailureKind.TRANSIENT, reason))
            computed = self._checksum(order.checksum, fd, stopped)
            if not stopped.is_set():
                os.fsync(fd)
            return computed, found.st_mtime_ns
        finally:
            os.close(fd)

    def _checksum(
        self, expected: Checksum | None, fd: int, stopped: threading.Event
    ) -> Checksum | None:
        algorithm = expected.algorithm if expected is not None else self._algorithm
        if algorithm is None:
            return None
        computed = checksums.of_fd(fd, algorithm, lambda: not stopped.is_set())
        if expected is not None and computed is not None and computed != expected:
            reason = f"the staged file has {computed}, the archive says {expected}"
            raise StepError(Failure(FailureKind.TRANSIENT, reason))
        return computed

    async def _make_directories(self, batch: list[tuple[str, str]]) -> list[Any]:
        def make_all() -> list[Any]:
            made: list[Any] = []
            for recall_id, lfn in batch:
                try:
                    made.append(self._disk.make_incoming(recall_id, lfn))
                except OSError as error:
                    made.append(error)
            return made

        return await self._disk.threads.call(make_all)

    async def _add_all(self, batch: list[Entry]) -> list[Exception | None]:
        await self._catalogue.add(batch)
        return [None] * len(batch)

    async def _move_all(self, batch: list[instructions.Publish]) -> list[Exception | None]:
        moves = [Publication(order.recall_id, order.lfn) for order in batch]
        errors = await self._disk.threads.call(lambda: self._disk.publish(moves))
        return [errors.get(order.recall_id) for order in batch]


def _ran(fetched: Fetched) -> events.Ran:
    return events.Ran(fetched.duration_s, fetched.exit_code, fetched.output)


def _failed(recall_id: str, error: Exception) -> events.StepFailed:
    """What an error of a step means for its recall."""
    if isinstance(error, StepError):
        return events.StepFailed(recall_id, error.failure, error.ran, error.size_bytes)
    if isinstance(error, NameRefused):
        return events.StepFailed(recall_id, Failure(FailureKind.PERMANENT, str(error)))
    if isinstance(error, PackhorseError):
        return events.StepFailed(recall_id, Failure(FailureKind.TRANSIENT, str(error)))
    if isinstance(error, NotAFileError):
        reason = "the stage command left something that is not a regular file"
        return events.StepFailed(recall_id, Failure(FailureKind.PERMANENT, reason))
    if isinstance(error, OSError):
        kind = FailureKind.NO_SPACE if is_no_space(error) else FailureKind.TRANSIENT
        reason = f"this node's disk: {error.strerror or error}"
        return events.StepFailed(recall_id, Failure(kind, reason))
    log.error("recall %s failed in an unexpected way", recall_id, exc_info=error)
    reason = "internal error, see the data server's log"
    return events.StepFailed(recall_id, Failure(FailureKind.TRANSIENT, reason))
