"""Carrying out the storing of files: comparing with the archive, the command, the catalogue.

Each step is one task and answers with one event, whatever goes wrong. A step that is stopped
is cancelled, and its process group is dead before the node is told.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from typing import TYPE_CHECKING, Any

from common.command import ErrorClass
from common.errors import NameRefused, NotFound, PackhorseError, Refused, Unreachable
from dataserver.archive import Presence, ToStore
from dataserver.command_failures import failure_of
from dataserver.core import events, instructions
from dataserver.core.events import Likeness
from dataserver.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from dataserver.archive import Archive, ArchiveFile
    from dataserver.catalogue import Catalogue
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.leftovers import Running
    from dataserver.losses import Losses
    from dataserver.store_rows import FileToStore
    from dataserver.summing import Summing

log = logging.getLogger(__name__)


class StoreError(Exception):
    """A step came to nothing; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Storing:
    """The steps under way, at most one for each file."""

    def __init__(
        self,
        engine: Engine,
        archive: Archive,
        disk: PoolDisk,
        catalogue: Catalogue,
        running: Running,
        summing: Summing,
        losses: Losses,
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._disk = disk
        self._catalogue = catalogue
        self._running = running
        self._summing = summing
        self._losses = losses
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        engine.carry_with(
            {
                instructions.CompareWithArchive: self._start(self._compare),
                instructions.RunStore: self._start(self._run),
                instructions.NoteArchived: self._start(self._note_archived),
                instructions.NoteStore: lambda order: self._spawn(self._note(order)),
                instructions.StopStore: self._stop,
                instructions.RemoveFromArchive: lambda order: self._spawn(self._withdraw(order)),
            }
        )

    async def stop(self) -> None:
        """Ends every step; nothing of their commands is left."""
        steps = list(self._steps.values())
        self._steps.clear()
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, *self._others, return_exceptions=True)

    # --- steps as tasks -----------------------------------------------------

    def _start(self, work: Callable[[Any], Coroutine[Any, Any, events.Event]]) -> Any:
        """What starts a step for an instruction, and posts how it ended."""

        def start(order: Any) -> None:
            task = asyncio.create_task(self._do(work, order), name=f"store {order.lfn}")
            self._steps[order.step_id] = task

        return start

    async def _do(
        self, work: Callable[[Any], Coroutine[Any, Any, events.Event]], order: Any
    ) -> None:
        try:
            event = await work(order)
        except Exception as error:  # noqa: BLE001 - every error becomes the step's failure
            event = events.StoreStepFailed(order.step_id, _failure(order.lfn, error))
        # A step that is being stopped has nothing more to say, even if it came to its end.
        if self._steps.get(order.step_id) is asyncio.current_task():
            del self._steps[order.step_id]
            self._engine.post(event)

    def _stop(self, order: instructions.StopStore) -> None:
        # Taken out at once: the step may be about to end, and must not be heard any more.
        self._spawn(self._end(order.step_id, self._steps.pop(order.step_id, None)))

    async def _end(self, step_id: str, step: asyncio.Task[None] | None) -> None:
        if step is not None:
            step.cancel()
            await asyncio.wait([step])
        self._engine.post(events.StoreStopped(step_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="storing")
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # --- the steps ----------------------------------------------------------

    async def _compare(self, order: instructions.CompareWithArchive) -> events.Event:
        file = await self._remembered(order.lfn)
        (said,) = await self._archive.examine([order.lfn])
        likeness, why = await self._likeness(order.lfn, file, said)
        return events.Compared(order.step_id, likeness, why)

    async def _likeness(
        self, lfn: str, file: FileToStore, said: ArchiveFile
    ) -> tuple[Likeness, str]:
        """How what the archive says of a name compares with the replica here."""
        if said.is_beyond_asking:
            raise StoreError(Failure(FailureKind.PERMANENT, said.reason))
        if said.presence is Presence.UNKNOWN:
            return Likeness.UNKNOWN, said.reason
        if said.is_directory:
            return Likeness.OTHER, "it is a directory there"
        if said.presence is Presence.NOT_THERE:
            return Likeness.ABSENT, said.reason
        if said.size_bytes is not None and said.size_bytes != file.size_bytes:
            return (
                Likeness.OTHER,
                f"it has {said.size_bytes} bytes there, and {file.size_bytes} here",
            )
        if said.checksum is None:
            return Likeness.ALIKE, "it tells no checksum to compare with"
        ours = file.checksum
        if ours is None or ours.algorithm != said.checksum.algorithm:
            ours = await self._summing.checksum(lfn, said.checksum.algorithm)
        if ours != said.checksum:
            return Likeness.OTHER, f"it has {said.checksum} there, and {ours} here"
        return Likeness.SAME, ""

    async def _run(self, order: instructions.RunStore) -> events.Event:
        """First it is remembered that the archive may have the file; then the command runs."""
        file = await self._remembered(order.lfn)
        await self._check_file(order.lfn, file)
        await self._catalogue.stores.note(order.lfn, sent=True)
        path = self._disk.path(order.lfn)
        to_store = ToStore(order.lfn, path, *file, again=order.again)
        try:
            stored = await self._archive.store(
                to_store, on_start=lambda pid, at_s: self._running.note(order.step_id, pid, at_s)
            )
        finally:
            await self._running.forget(order.step_id)
        failure = failure_of(stored.failure) if stored.failure is not None else None
        return events.StoreRan(order.step_id, failure)

    async def _remembered(self, lfn: str) -> FileToStore:
        file = await self._catalogue.stores.file(lfn)
        if file is None:
            reason = f"nothing is remembered of {lfn}; it will be after the next start"
            raise StoreError(Failure(FailureKind.TRANSIENT, reason))
        return file

    async def _check_file(self, lfn: str, file: FileToStore) -> None:
        """Nothing goes to the archive but what was written."""
        found = await self._disk.threads.call(lambda: self._disk.stat(lfn))
        if found is None or not stat.S_ISREG(found.st_mode):
            await self._losses.check([lfn])
            raise StoreError(Failure(FailureKind.TRANSIENT, f"{lfn} has vanished from this node"))
        if (found.st_size, found.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
            reason = f"{lfn} was changed on this node's disk by something else than Packhorse"
            raise StoreError(Failure(FailureKind.PERMANENT, reason))

    async def _note_archived(self, order: instructions.NoteArchived) -> events.Event:
        await self._catalogue.stores.archived(order.lfn)
        return events.ArchivedNoted(order.step_id)

    # --- removing -----------------------------------------------------------

    async def _withdraw(self, order: instructions.RemoveFromArchive) -> None:
        error: PackhorseError | None = None
        try:
            await self._remove(order.lfn)
        except PackhorseError as refusal:
            error = refusal
        except Exception:
            log.exception("removing %s from the archive failed in an unexpected way", order.lfn)
            error = PackhorseError("internal error, see the data server's log")
        self._engine.post(events.Withdrawn(order.holder, error))

    async def _remove(self, lfn: str) -> None:
        """Removes a file from the archive, as the catalogue knows that it may be gone from there.

        Raises NotFound if neither the archive nor the pool has it, Refused or Unreachable if
        the archive does not let it go, and what the catalogue raises.
        """
        await self._catalogue.stores.unarchive(lfn)
        failure = await self._archive.remove(lfn)
        (said,) = await self._archive.examine([lfn])
        if said.presence is Presence.THERE and failure is None:
            raise Refused(f"{lfn} is in the archive still, though its removecmd ended well")
        is_gone = failure is None or failure.error_class is ErrorClass.NOT_FOUND
        if failure is not None and not is_gone and said.presence is not Presence.NOT_THERE:
            kind = Refused if failure.error_class is ErrorClass.PERMANENT else Unreachable
            raise kind(f"{lfn} cannot be removed from the archive: {failure.reason}")
        await self._catalogue.stores.note(lfn, sent=False)
        if failure is not None and self._engine.node.pool.get(lfn) is None:
            raise NotFound(f"{lfn} does not exist: {failure.reason}")

    async def _note(self, order: instructions.NoteStore) -> None:
        try:
            await self._catalogue.stores.note(order.lfn, sent=order.sent, failure=order.failure)
        except PackhorseError as error:
            log.warning("how %s is being stored cannot be remembered: %s", order.lfn, error)


def _failure(lfn: str, error: Exception) -> Failure:
    """What an error of a step means."""
    if isinstance(error, StoreError):
        return error.failure
    if isinstance(error, NameRefused):
        return Failure(FailureKind.PERMANENT, str(error))
    if isinstance(error, PackhorseError):
        return Failure(FailureKind.TRANSIENT, str(error))
    if isinstance(error, OSError):
        return Failure(FailureKind.TRANSIENT, f"this node's disk: {error.strerror or error}")
    log.error("storing %s failed in an unexpected way", lfn, exc_info=error)
    return Failure(FailureKind.TRANSIENT, "internal error, see the data server's log")
