"""An archive behind commands of the site: `statcmd` asks about a file, `stagecmd` brings it."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from common.command import CommandSpec, ErrorClass, Failure, render_argv, run_command
from common.errors import NameRefused, UsageError
from dataserver import checksum
from dataserver.archive.model import ArchiveFile, Fetched, Presence
from dataserver.checksum import ALGORITHMS, Checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.names import NameMap

STAT_DEADLINE_S: Final = 300.0
"""Asking about a file that takes longer than that is given up."""

_MAX_SIZE_DIGITS: Final = 18


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
            return ArchiveFile(lfn, Presence.UNKNOWN, reason=str(error))
        values = {"source": source, "lfn": lfn, "target": "", "size": None}
        spec = CommandSpec(
            argv=render_argv(self.template, values),
            deadline_s=STAT_DEADLINE_S,
            output_limit_bytes=self.output_limit_bytes,
            owner=self.owner,
        )
        result = await run_command(spec)
        if result.failure is None:
            return understand(lfn, result.stdout)
        missing = result.failure.error_class is ErrorClass.NOT_FOUND
        presence = Presence.NOT_THERE if missing else Presence.UNKNOWN
        return ArchiveFile(lfn, presence, reason=result.failure.reason)


def understand(lfn: str, output: bytes) -> ArchiveFile:
    """What a statcmd that ended well said: JSON with `size` and `checksum`, both optional.

    The checksum is written {"adler32": "07a6c902"} or "adler32:07a6c902". Chatter
    before the JSON is passed over, if the JSON is one line.
    """
    fields = _json_object(output)
    if fields is None:
        reason = 'statcmd printed no JSON object, as in {"size": 123}'
        return ArchiveFile(lfn, Presence.UNKNOWN, reason=reason)
    try:
        size_bytes = _size(fields.get("size"))
        found = _checksum(fields.get("checksum"))
    except UsageError as error:
        return ArchiveFile(lfn, Presence.THERE, reason=f"statcmd: {error}")
    return ArchiveFile(lfn, Presence.THERE, size_bytes, found)


def _json_object(output: bytes) -> dict[str, Any] | None:
    text = output.decode("utf-8", "replace").strip()
    for candidate in (text, text.rpartition("\n")[2]):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _size(written: object) -> int | None:
    if written is None:
        return None
    digits = str(written)
    is_number = isinstance(written, int | str) and digits.isascii() and digits.isdigit()
    if is_number and len(digits) <= _MAX_SIZE_DIGITS:
        return int(digits)
    raise UsageError(f"size {digits[:40]!r} is not a number of bytes")


def _checksum(written: object) -> Checksum | None:
    """The first known one, the cheapest first; None if there is none of a known algorithm."""
    if written is None or written == "":
        return None
    if isinstance(written, str):
        return checksum.parse(written)
    if not isinstance(written, dict):
        raise UsageError(
            f"checksum {str(written)[:40]!r} is not written like {{'adler32': '07a6c902'}}"
        )
    spelt = {checksum.algorithm_of(name): value for name, value in written.items()}
    for algorithm in ALGORITHMS:
        if spelt.get(algorithm):
            return checksum.canonical(algorithm, str(spelt[algorithm]))
    return None


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
