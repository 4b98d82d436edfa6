"""One run of a batch command: many files, each of which ends by itself.

A file is over for those who wait for it as soon as the command says so, and long before the
run may be. Whatever ends the run, an exit, a deadline, silence, fails only the files the
command was at work on; those it had not come to are left over for another run. A file that
is dropped is told to the command, if that listens; the run ends when nobody wants any of
its files.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure, OpenInput, run_command
from common.command.growth import Growth
from common.units import write_duration
from dataserver.archive import batch_files
from dataserver.archive.batch_lines import Said, cancel_line, file_line, understand
from dataserver.archive.batch_roll import OVER, FileState, Roll
from dataserver.archive.commanded import look_at
from dataserver.archive.hearing import Hearing
from dataserver.archive.model import Fetched
from dataserver.archive.run_failure import ABOUT_THE_COMMAND, failure_of_run
from dataserver.disk import is_no_space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.command import CommandResult, CommandSpec
    from dataserver.archive.batch_files import BatchFile, BatchSettings

log = logging.getLogger(__name__)

#: How often the targets are looked at; less often if that takes more than a share of the
#: time, but within so long all the same.
LOOK_EVERY_S: Final = 0.5
LOOKING_SHARE: Final = 0.05
LOOK_WITHIN_S: Final = 10.0
#: How long a file that is being written when it is dropped is waited for.
DROP_GRACE_S: Final = 5.0
#: How long a command may tidy up after its last file; it holds a slot.
LINGER_S: Final = 30.0

#: What a run was at work on, or is through with.
_TOUCHED: Final = frozenset({FileState.STARTED, FileState.DONE, FileState.FAILED, FileState.GONE})


class BatchRun:
    """Runs the command for some files, at least one."""

    def __init__(self, settings: BatchSettings, files: Sequence[BatchFile]) -> None:
        self._settings = settings
        self._files = {str(number): file for number, file in enumerate(files, start=1)}
        self._begun_s = self._alive_s = time.monotonic()
        for key, file in self._files.items():
            file.key, file.run = key, self
            file.growth = Growth(file.order.target, self._begun_s)
        self._roll = Roll(self._files)
        self._hearing = Hearing(self._told)
        #: What the command said of ids it was not given.
        self._strangers = 0
        #: Files that the run failed to come to, for another one.
        self.left_over: list[BatchFile] = []
        self._input: OpenInput | None = None
        self._command: asyncio.Task[CommandResult] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        #: Why we ended the command, if we did.
        self._cut: Failure | None = None
        self._is_stopped = False
        self._task = asyncio.create_task(self._run(), name=f"batch of {len(files)}")

    def when_done(self, call: Callable[[BatchRun], None]) -> None:
        """Calls something when the run is over, and nothing is left of it."""
        self._task.add_done_callback(lambda _: call(self))

    async def stop(self) -> None:
        """Ends the run; returns when nothing is left of it."""
        self._cut = self._cut or Failure(ErrorClass.TRANSIENT, "stopped by the server")
        self._is_stopped = True
        if self._command is not None:
            self._command.cancel()
        await asyncio.wait([self._task])

    async def drop(self, file: BatchFile) -> None:
        """Nobody wants the file any more; returns when the command will not write it.

        Or when it goes on all the same: then its bytes are the file system's until it stops.
        """
        if self._roll[file.key] in OVER:
            return
        self._roll.drop(file.key)
        if not self._roll.is_wanted:
            await self.stop()
            return
        if self._input is not None:
            self._input.write(cancel_line(file.key))
        if await asyncio.to_thread(batch_files.is_written, file.order.target):
            over = asyncio.create_task(file.over.wait())
            await asyncio.wait(
                {over, self._task}, timeout=DROP_GRACE_S, return_when="FIRST_COMPLETED"
            )
            over.cancel()

    # --- the run ------------------------------------------------------------

    async def _run(self) -> None:
        failure: Failure | None = Failure(ErrorClass.TRANSIENT, "internal error, see the log")
        result = None
        try:
            result = await self._run_command()
            failure = self._cut or (failure_of_run(result) if result is not None else None)
        except OSError as error:
            reason = f"the batch command cannot be run: {error.strerror or error}"
            kind = ErrorClass.NO_SPACE if is_no_space(error) else ErrorClass.TRANSIENT
            failure = Failure(kind, reason)
        except Exception:
            log.exception("a batch failed in an unexpected way")
        finally:
            self._hearing.deliver()
            while self._settling:
                await asyncio.wait(self._settling)
            self._end_the_rest(failure, result)
            await asyncio.to_thread(self._tidy)
        if self._strangers:
            log.warning(
                "the batch command said %d times something of an id it was not given",
                self._strangers,
            )

    async def _run_command(self) -> CommandResult | None:
        """How the command ended; None if we ended it."""
        incoming = next(iter(self._files.values())).order.target.parent.parent
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="batch-", dir=incoming))
        try:
            if self._settings.hears_cancel:
                self._input = await OpenInput.open()
                self._input.write(self._lines())
            command = run_command(self._spec(directory), on_start=self._started, on_line=self._hear)
            self._command = asyncio.create_task(command, name="batch command")
            if self._is_stopped:
                self._command.cancel()
            await self._watch(self._command)
            return None if self._command.cancelled() else self._command.result()
        finally:
            if self._command is not None and not self._command.done():
                self._command.cancel()
                await asyncio.wait([self._command])
            if self._input is not None:
                self._input.close()
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _spec(self, directory: Path) -> CommandSpec:
        settings = self._settings
        limits = [file.order.limit_bytes for file in self._files.values()]
        largest = max((limit for limit in limits if limit is not None), default=None)
        return settings.commands.spec(
            settings.argv,
            settings.deadline_s,
            owner=settings.commands.recalls,
            cwd=directory,
            stdin=b"" if self._input is not None else self._lines(),
            stdin_fd=None if self._input is None else self._input.fd,
            size_limit_bytes=None if None in limits else largest,
        )

    def _lines(self) -> bytes:
        return b"".join(
            file_line(
                key,
                file.source,
                os.fspath(file.order.target),
                file.order.lfn,
                file.order.size_bytes,
            )
            for key, file in self._files.items()
        )

    def _started(self, pid: int, start_s: float) -> None:
        if self._input is not None:
            self._input.hand_over()
        for file in self._files.values():
            if file.order.on_start is not None:
                file.order.on_start(pid, start_s)

    async def _watch(self, command: asyncio.Task[CommandResult]) -> None:
        """Returns when the command has ended; ends it if it must."""
        pause_s = shortest_s = min(LOOK_EVERY_S, self._settings.stall_s / 2)
        while not command.done():
            await asyncio.wait({command}, timeout=pause_s)
            looking_s = time.monotonic()
            await self._look()
            now_s = time.monotonic()
            pause_s = max(shortest_s, min((now_s - looking_s) / LOOKING_SHARE, LOOK_WITHIN_S))
            silence_s = now_s - self._alive_s
            if self._roll.is_wanted and silence_s >= self._settings.stall_s:
                silence = write_duration(self._settings.stall_s)
                reason = f"killed, for it wrote nothing and said nothing for {silence}"
                self._cut = self._cut or Failure(ErrorClass.TRANSIENT, reason)
                command.cancel()
            elif not self._roll.is_wanted and silence_s >= LINGER_S:
                command.cancel()

    async def _look(self) -> None:
        """Sees how far the files have come."""
        looking = [self._files[key] for key in self._roll.wanted]
        now_s = time.monotonic()
        grown = await asyncio.to_thread(batch_files.grown, looking, now_s)
        for file, size_bytes in grown:
            self._alive_s = max(self._alive_s, now_s)
            if file.order.on_progress is not None and not file.ended.done():
                file.order.on_progress(size_bytes)

    # --- what the command says -----------------------------------------------

    def _hear(self, line: bytes) -> bool:
        """Takes a line, in the command's thread; whether it was about a file."""
        said = understand(line)
        if said is None:
            return False
        if said.key not in self._files:
            self._strangers += 1
            return False
        self._hearing.put((said.key, said.state), said, urgent=said.state != "progress")
        return True

    def _told(self, said: Said) -> None:
        self._alive_s = time.monotonic()
        file = self._files[said.key]
        before = self._roll[said.key]
        complaint = self._roll.hear(said.key, said.state)
        if complaint:
            log.warning("the batch command is confused: %s (%s)", complaint, file.order.lfn)
            return
        if said.note and file.order.on_note is not None and not file.ended.done():
            file.order.on_note(said.note)
        if self._roll[said.key] not in OVER:
            return
        file.over.set()
        if before is not FileState.DROPPED:
            task = asyncio.create_task(self._settle(file, said), name="end of a batch's file")
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        if self._roll.is_over and self._input is not None:
            self._input.end()

    async def _settle(self, file: BatchFile, said: Said) -> None:
        """Tells who waits for a file how it ended."""
        failure = said.failure
        size_bytes, missing = await asyncio.to_thread(look_at, file.order.target)
        if failure is None:
            failure = missing
        self._end(file, Fetched(failure, size_bytes, time.monotonic() - self._begun_s))

    def _end_the_rest(self, failure: Failure | None, result: CommandResult | None) -> None:
        """Ends what the command had not been through with when it ended.

        If it failed at work on some files, the others are not to blame: they are left over
        for another run. Each such run is through with some file, so there is an end to it.
        """
        spares_others = failure is not None and not self._is_stopped and _is_about_files(result)
        was_at_work = any(self._roll[key] in _TOUCHED for key in self._files)
        for key in self._roll.wanted:
            file = self._files[key]
            if spares_others and was_at_work and self._roll[key] is FileState.GIVEN:
                self.left_over.append(file)
            else:
                self._end(file, self._unfinished(file, failure, result))
        for file in self._files.values():
            file.over.set()

    def _unfinished(
        self, file: BatchFile, failure: Failure | None, result: CommandResult | None
    ) -> Fetched:
        why = failure or Failure(
            ErrorClass.TRANSIENT,
            "the batch command ended well but did not say that this file is done",
        )
        size_bytes = file.growth.size_bytes if file.growth is not None else 0
        duration_s = time.monotonic() - self._begun_s
        if result is None:
            return Fetched(why, size_bytes, duration_s)
        return Fetched(why, size_bytes, duration_s, result.exit_code, result.output_tail)

    def _end(self, file: BatchFile, fetched: Fetched) -> None:
        if not file.ended.done():
            file.ended.set_result(fetched)

    def _tidy(self) -> None:
        """Removes what lies where nothing should: of dropped files, and before another run."""
        for key, file in self._files.items():
            if self._roll[key] in {FileState.DROPPED, FileState.GONE}:
                shutil.rmtree(file.order.target.parent, ignore_errors=True)
        for file in self.left_over:
            batch_files.empty(file.order.target.parent)


def _is_about_files(result: CommandResult | None) -> bool:
    """Whether a failed run may have failed for one of its files; None: we ended it."""
    return result is None or result.exit_code not in ABOUT_THE_COMMAND
