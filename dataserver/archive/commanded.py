"""An archive behind commands of the site.

`stagecmd` brings a file, `statcmd` asks about one, `listcmd` lists a directory.
"""

from __future__ import annotations

import asyncio
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure, progress_in, render_argv, run_command
from common.errors import NameRefused, UsageError
from dataserver.archive.answers import understand_file, understand_listing
from dataserver.archive.hearing import Hearing
from dataserver.archive.model import ArchiveFile, Fetched, Listing, Presence, beyond_asking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.command import CommandSpec
    from common.directories import Directory
    from dataserver.archive.model import FetchOrder
    from dataserver.archive.site_commands import SiteCommands

STAT_DEADLINE_S: Final = 300.0
"""Asking about a file, or listing a directory, that takes longer than that is given up."""

LISTING_LIMIT_BYTES: Final = 64 << 20
"""The most a listcmd may print: some 100 bytes for each of 600,000 entries."""


@dataclass(frozen=True, slots=True)
class StageCommand:
    """Fetches files by running the site's command for each of them."""

    template: Sequence[str]
    commands: SiteCommands
    deadline_s: float
    stall_s: float

    async def fetch(self, order: FetchOrder) -> Fetched:
        """Runs the command for one file. Raises NameRefused."""
        result = await run_command(
            self.spec(order),
            on_start=order.on_start,
            on_progress=order.on_progress,
            on_line=_note_taker(order),
        )
        found_bytes, missing = await asyncio.to_thread(look_at, order.target)
        return Fetched(
            result.failure or missing,
            found_bytes,
            result.duration_s,
            result.exit_code,
            result.output_tail,
        )

    def spec(self, order: FetchOrder) -> CommandSpec:
        """The run for one file. Raises NameRefused."""
        values = {
            "source": self.commands.names.archive_name(order.lfn),
            "target": str(order.target),
            "lfn": order.lfn,
            "size": order.size_bytes,
        }
        return self.commands.spec(
            render_argv(self.template, values),
            self.deadline_s,
            owner=self.commands.recalls,
            cwd=order.target.parent,
            watch=order.target,
            stall_s=self.stall_s,
            size_limit_bytes=order.limit_bytes,
        )


def _note_taker(order: FetchOrder) -> Callable[[bytes], bool]:
    """What hears a command's lines in its thread, and tells its notes in the loop's."""
    hearing = Hearing(order.on_note or (lambda _: None))

    def hear(line: bytes) -> bool:
        note = progress_in(line)
        if note is None:
            return False
        hearing.put("note", note)
        return True

    return hear


@dataclass(frozen=True)
class StatCommand:
    """Asks about files by running the site's command, `parallel` at a time."""

    template: Sequence[str]
    commands: SiteCommands
    parallel: int

    async def examine(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What the command says of each file, in order."""
        found: dict[int, ArchiveFile] = {}
        turns = iter(enumerate(lfns))

        async def ask_in_turn() -> None:
            for turn, lfn in turns:
                async with self._turns:
                    found[turn] = await self._ask(lfn)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.parallel, len(lfns))):
                group.create_task(ask_in_turn())
        return [found[turn] for turn in range(len(lfns))]

    @cached_property
    def _turns(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.parallel)

    async def _ask(self, lfn: str) -> ArchiveFile:
        try:
            source = self.commands.names.archive_name(lfn)
        except NameRefused as error:
            return beyond_asking(lfn, str(error))
        values = {"source": source, "lfn": lfn, "target": "", "size": None}
        spec = self.commands.spec(render_argv(self.template, values), STAT_DEADLINE_S)
        result = await run_command(spec)
        if result.failure is None:
            return understand_file(lfn, result.stdout)
        return ArchiveFile(lfn, _presence(result.failure), reason=result.failure.reason)


@dataclass(frozen=True)
class ListCommand:
    """Lists directories by running the site's command, `parallel` at a time."""

    template: Sequence[str]
    commands: SiteCommands
    parallel: int

    async def list_directory(self, directory: Directory) -> Listing:
        """What the command says of the directory of the archive that this one's rule names."""
        values = {
            "source": directory.archive_name,
            "lfn": directory.lfn,
            "target": "",
            "size": None,
        }
        spec = self.commands.spec(
            render_argv(self.template, values),
            STAT_DEADLINE_S,
            output_limit_bytes=LISTING_LIMIT_BYTES,
        )
        async with self._turns:
            result = await run_command(spec)
        if result.failure is not None:
            return Listing(_presence(result.failure), reason=result.failure.reason)
        if not result.stdout_complete:
            reason = f"listcmd printed more than {LISTING_LIMIT_BYTES} bytes"
            return Listing(Presence.UNKNOWN, reason=reason)
        try:
            # Half a million lines would hold up the loop for seconds.
            entries = await asyncio.to_thread(understand_listing, result.stdout)
        except UsageError as error:
            return Listing(Presence.UNKNOWN, reason=str(error))
        return Listing(Presence.THERE, entries)

    @cached_property
    def _turns(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.parallel)


def _presence(failure: Failure) -> Presence:
    """What a command that failed says of what it was asked about."""
    missing = failure.error_class is ErrorClass.NOT_FOUND
    return Presence.NOT_THERE if missing else Presence.UNKNOWN


def look_at(target: Path) -> tuple[int, Failure | None]:
    """The size of what a command left, and why it will not do if it will not."""
    try:
        found = target.lstat()
    except OSError as error:
        reason = f"the stage command ended well but left no file ({error.strerror})"
        return 0, Failure(ErrorClass.TRANSIENT, reason)
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "something else"
        reason = f"the stage command ended well but left {kind} where the file should be"
        return 0, Failure(ErrorClass.PERMANENT, reason)
    return found.st_size, None
