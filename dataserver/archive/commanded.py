"""An archive behind commands of the site.

`stagecmd` brings a file, `statcmd` asks about one, `listcmd` lists a directory.
"""

from __future__ import annotations

import asyncio
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from common.command import CommandSpec, ErrorClass, Failure, render_argv, run_command
from common.errors import NameRefused, UsageError
from dataserver.archive.answers import understand_file, understand_listing
from dataserver.archive.model import ArchiveFile, Fetched, Listing, Presence, beyond_asking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.directories import Directory
    from common.names import NameMap

STAT_DEADLINE_S: Final = 300.0
"""Asking about a file, or listing a directory, that takes longer than that is given up."""

LISTING_LIMIT_BYTES: Final = 64 << 20
"""The most a listcmd may print: some 100 bytes for each of 600,000 entries."""


@dataclass(frozen=True, slots=True)
class StageCommand:
    """Fetches files by running the site's command. `owner` marks its processes."""

    template: Sequence[str]
    names: NameMap
    owner: str
    deadline_s: float
    stall_s: float
    output_limit_bytes: int

    async def fetch(
        self,
        lfn: str,
        target: Path,
        size_bytes: int | None,
        limit_bytes: int | None,
        on_start: Callable[[int, float], None] | None,
        on_progress: Callable[[int], None] | None,
    ) -> Fetched:
        """Runs the command for one file. Raises NameRefused."""
        values = {
            "source": self.names.archive_name(lfn),
            "target": str(target),
            "lfn": lfn,
            "size": size_bytes,
        }
        spec = CommandSpec(
            argv=render_argv(self.template, values),
            deadline_s=self.deadline_s,
            cwd=target.parent,
            output_limit_bytes=self.output_limit_bytes,
            watch=target,
            stall_s=self.stall_s,
            size_limit_bytes=limit_bytes,
            owner=self.owner,
        )
        result = await run_command(spec, on_start=on_start, on_progress=on_progress)
        found_bytes, missing = _look_at(target)
        return Fetched(
            result.failure or missing,
            found_bytes,
            result.duration_s,
            result.exit_code,
            result.output_tail,
        )


@dataclass(frozen=True, slots=True)
class StatCommand:
    """Asks about files by running the site's command, `parallel` at a time."""

    template: Sequence[str]
    names: NameMap
    owner: str
    output_limit_bytes: int
    parallel: int

    async def examine(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What the command says of each file, in order."""
        found: dict[int, ArchiveFile] = {}
        turns = iter(enumerate(lfns))

        async def ask_in_turn() -> None:
            for turn, lfn in turns:
                found[turn] = await self._ask(lfn)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.parallel, len(lfns))):
                group.create_task(ask_in_turn())
        return [found[turn] for turn in range(len(lfns))]

    async def _ask(self, lfn: str) -> ArchiveFile:
        try:
            source = self.names.archive_name(lfn)
        except NameRefused as error:
            return beyond_asking(lfn, str(error))
        values = {"source": source, "lfn": lfn, "target": "", "size": None}
        spec = CommandSpec(
            argv=render_argv(self.template, values),
            deadline_s=STAT_DEADLINE_S,
            output_limit_bytes=self.output_limit_bytes,
            owner=self.owner,
        )
        result = await run_command(spec)
        if result.failure is None:
            return understand_file(lfn, result.stdout)
        return ArchiveFile(lfn, _presence(result.failure), reason=result.failure.reason)


@dataclass(frozen=True)
class ListCommand:
    """Lists directories by running the site's command, `parallel` at a time."""

    template: Sequence[str]
    owner: str
    parallel: int

    async def list_directory(self, directory: Directory) -> Listing:
        """What the command says of the directory of the archive that this one's rule names."""
        values = {
            "source": directory.archive_name,
            "lfn": directory.lfn,
            "target": "",
            "size": None,
        }
        spec = CommandSpec(
            argv=render_argv(self.template, values),
            deadline_s=STAT_DEADLINE_S,
            output_limit_bytes=LISTING_LIMIT_BYTES,
            owner=self.owner,
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


def _look_at(target: Path) -> tuple[int, Failure | None]:
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
