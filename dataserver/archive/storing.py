"""Bringing files to the archive, and removing them from it: by commands, or on a mounted one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from common.command import ErrorClass, Failure, render_argv, run_command
from dataserver.archive.copier import CopyError
from dataserver.archive.model import Fetched
from dataserver.archive.mounted import STAT_LIMIT_S, archive_threads, root_of, trouble_with
from dataserver.archive.store_copy import StoreCopy, remove_file
from dataserver.archive.watched import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.config.mss import MssConfig
    from common.names import NameMap, NameRule
    from dataserver.archive.model import ToStore
    from dataserver.archive.site_commands import SiteCommands

REMOVE_DEADLINE_S: Final = 300.0
"""Removing a file that takes longer than that is given up."""


class Storer(Protocol):
    """Stores files in the archive."""

    async def store(
        self, file: ToStore, on_start: Callable[[int, float], None] | None = None
    ) -> Fetched:
        """Stores one, and says how that went. Raises NameRefused."""


class Remover(Protocol):
    """Removes files from the archive."""

    async def remove(self, lfn: str) -> Failure | None:
        """Removes one; NOT_FOUND if there is none. Raises NameRefused."""


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """Stores files by running the site's command."""

    template: Sequence[str]
    commands: SiteCommands
    deadline_s: float
    stall_s: float

    async def store(
        self, file: ToStore, on_start: Callable[[int, float], None] | None = None
    ) -> Fetched:
        """Runs the command for one file. Raises NameRefused."""
        values: dict[str, str | int | None] = {
            "source": str(file.path),
            "target": self.commands.names.archive_name(file.lfn),
            "lfn": file.lfn,
            "size": file.size_bytes,
            "checksum": str(file.checksum or ""),
        }
        argv = render_argv(self.template, values)
        spec = self.commands.spec(argv, self.deadline_s, idle_s=self.stall_s)
        result = await run_command(spec, on_start=on_start)
        return Fetched(
            result.failure,
            file.size_bytes if result.failure is None else 0,
            result.duration_s,
            result.exit_code,
            result.output_tail,
        )


@dataclass(frozen=True, slots=True)
class RemoveCommand:
    """Removes files by running the site's command."""

    template: Sequence[str]
    commands: SiteCommands

    async def remove(self, lfn: str) -> Failure | None:
        """Runs the command for one file. Raises NameRefused."""
        values = {"source": self.commands.names.archive_name(lfn), "lfn": lfn}
        argv = render_argv(self.template, values, appended=("source",))
        # A name that is claimed no longer may be somebody else's, with another content.
        spec = self.commands.spec(argv, REMOVE_DEADLINE_S, owner=self.commands.recalls)
        return (await run_command(spec)).failure


class MountedStorage:
    """Stores files in, and removes them from, a mounted file system.

    A mount can vanish, and what was copied into its empty directory would be in no archive.
    So the directory that the name rule points to must have something in it.
    """

    def __init__(self, names: NameMap, deadline_s: float, stall_s: float) -> None:
        self._names = names
        self._deadline_s = deadline_s
        self._stall_s = stall_s

    async def store(
        self, file: ToStore, _on_start: Callable[[int, float], None] | None = None
    ) -> Fetched:
        """Copies one file. Raises NameRefused."""
        rule, target = self._names.explain(file.lfn)
        copy = StoreCopy(file, target)
        begun_s = time.monotonic()
        failure = await self._trouble(rule)
        if failure is None:
            try:
                await run_watched(copy, archive_threads, self._deadline_s, self._stall_s)
            except CopyError as error:
                failure = error.failure
        return Fetched(failure, copy.bytes_done, time.monotonic() - begun_s)

    async def remove(self, lfn: str) -> Failure | None:
        """Removes one file. Raises NameRefused."""
        rule, path = self._names.explain(lfn)
        if (failure := await self._trouble(rule)) is not None:
            return failure
        try:
            async with asyncio.timeout(STAT_LIMIT_S):
                await archive_threads.call(lambda: remove_file(path))
        except CopyError as error:
            return error.failure
        except TimeoutError:
            return _unanswered()
        return None

    async def _trouble(self, rule: NameRule) -> Failure | None:
        root = root_of(rule)
        if not root.startswith("/"):
            reason = f'"builtin" needs names of files in the archive, and {root} is none'
            return Failure(ErrorClass.PERMANENT, reason)
        try:
            async with asyncio.timeout(STAT_LIMIT_S):
                trouble = await archive_threads.call(lambda: trouble_with(root))
        except TimeoutError:
            return _unanswered()
        if not trouble:
            return None
        return Failure(ErrorClass.TRANSIENT, f"{trouble} If it is new, put any file into it.")


def _unanswered() -> Failure:
    return Failure(ErrorClass.TRANSIENT, f"the archive did not answer for {STAT_LIMIT_S:g} s")


def storer_of(config: MssConfig, names: NameMap, commands: SiteCommands) -> Storer | None:
    """What stores files as `[mss]` says; None if nothing does."""
    if config.storecmd is None:
        return None
    if isinstance(config.storecmd, str):
        return MountedStorage(names, config.deadline, config.stall)
    return StoreCommand(config.storecmd, commands, config.deadline, config.stall)


def remover_of(config: MssConfig, names: NameMap, commands: SiteCommands) -> Remover | None:
    """What removes files as `[mss]` says; None if nothing does."""
    if config.removecmd is None:
        return None
    if isinstance(config.removecmd, str):
        return MountedStorage(names, config.deadline, config.stall)
    return RemoveCommand(config.removecmd, commands)
