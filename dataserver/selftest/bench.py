"""Where commands are tried: a directory like a recall's, and names that are in no archive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import stat
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from common.command import CommandSpec, Cut, command_environment, kill_leftovers, run_command
from common.command.run import DEFAULT_GRACE_S
from common.errors import ConfigError, NameRefused
from common.units import write_duration
from dataserver import checksum as checksums
from dataserver.archive import Archive, Presence
from dataserver.archive.site_commands import SiteCommands

if TYPE_CHECKING:
    from types import TracebackType

    from common.config.mss import MssConfig
    from common.names import NameMap
    from dataserver.archive import ArchiveFile
    from dataserver.selftest.finding import Finding, Subject

#: A command is stopped after a share of the time it took to do its work, but soon enough.
STOP_SHARE = 0.3
STOP_WITHIN_S = 1.0
STOP_AFTER_S = 0.02
#: As a data server does, it is killed when it has not ended so long after SIGTERM.
GRACE_S = DEFAULT_GRACE_S


class Bench:
    """A site's commands, run in a directory of their own below `within`.

    `patience_s` is how long an archive that takes orders is waited for. To be used as an
    async context; at its end nothing of the commands is left.
    """

    def __init__(
        self, config: MssConfig, names: NameMap, within: Path, patience_s: float = 600.0
    ) -> None:
        self.config = config
        self.names = names
        self.patience_s = patience_s
        self._within = within
        self._token = secrets.token_hex(4)
        self.commands = SiteCommands.of(config, names, f"check-{self._token}")
        # Copying alone: orders are tried apart.
        alone = {"submitcmd": None, "pollcmd": None, "cancelcmd": None, "releasecmd": None}
        self.archive = Archive(
            config.model_copy(update=alone), names, owner=self.commands.owner, slots=1
        )
        self.directory = Path()

    async def __aenter__(self) -> Self:
        """Raises ConfigError if the directory cannot be made."""
        try:
            made = await asyncio.to_thread(
                tempfile.mkdtemp, prefix=f"check-{self._token}-", dir=self._within
            )
        except OSError as error:
            raise ConfigError(
                f"{self._within}: commands cannot be tried there: {error.strerror}"
            ) from None
        self.directory = Path(made)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.archive.close()
        await asyncio.to_thread(kill_leftovers, self.commands.owner)
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    def variables(self) -> list[str]:
        """The names of the variables that the commands get."""
        credentials = self.commands.credentials
        configured = dict.fromkeys([*credentials.paths, *credentials.contents], "")
        owner, passes = self.commands.owner, self.commands.passes
        return sorted(command_environment(os.environ, configured, owner, passes))

    def target(self, lfn: str) -> Path:
        """A path to be written, in an empty directory of its own."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        return directory / PurePosixPath(lfn).name

    def missing(self, lfn: str) -> str:
        """A name beside the file's that no archive has.

        Rules may be strict about names: where they know no other, it is the file's own with
        nines for its last number. Raises NameRefused if they do not know that either.
        """
        path = PurePosixPath(lfn)
        plain = path.with_name(f"packhorse-check-{self._token}-missing")
        nines = re.sub(r"\d+(?=\D*$)", lambda number: "9" * len(number[0]), path.name)
        for candidate in (plain, plain.with_name(f"{plain.name}{path.suffix}")):
            with contextlib.suppress(NameRefused):
                self.names.archive_name(str(candidate))
                return str(candidate)
        self.names.archive_name(missing := str(path.with_name(nines)))
        return missing

    async def examined(self, lfn: str) -> ArchiveFile | None:
        """What the archive says of a file, if it can be asked and has it."""
        if not self.archive.can_examine:
            return None
        (found,) = await self.archive.examine([lfn])
        return found if found.presence is Presence.THERE else None

    def others(self) -> set[str]:
        """What lies in the bench's directory; a command has no business there."""
        return {path.name for path in self.directory.iterdir()}

    async def stops(self, subject: Subject, spec: CommandSpec, usual_s: float) -> Finding:
        """Whether a command that takes `usual_s` ends when it gets SIGTERM."""
        check = "ends when it is told to (SIGTERM)"
        after_s = max(STOP_AFTER_S, min(STOP_WITHIN_S, usual_s * STOP_SHARE))
        stopped = replace(spec, deadline_s=after_s, stall_s=None)
        result = await run_command(stopped, grace_s=GRACE_S)
        if result.cut is not Cut.DEADLINE:
            return subject.skipped(
                check, "it was done before it could be told to", "name a larger file to try this"
            )
        took_s = result.duration_s - after_s
        if result.exit_code is None or result.exit_code == -signal.SIGKILL:
            return subject.failed(
                check,
                f"it ignored SIGTERM for {took_s:.1f} s, and was killed",
                "do not catch SIGTERM, or end when it comes; in a shell script, no trap '' TERM",
            )
        return subject.ok(check, f"ended {took_s:.2f} s after SIGTERM")


def looks_right(subject: Subject, target: Path, expected: ArchiveFile | None) -> list[Finding]:
    """Whether what lies at a target is what the archive says of it; blocks."""
    found = target.lstat()
    assert stat.S_ISREG(found.st_mode)
    findings = []
    if expected is None or expected.size_bytes is None:
        why = "the archive tells no size" if expected is not None else "the archive cannot be asked"
        findings.append(subject.skipped("size and checksum agree", why, "give a statcmd"))
        return findings
    if found.st_size != expected.size_bytes:
        said = f"{found.st_size} bytes were brought, the archive says {expected.size_bytes}"
        advice = "exit with 0 only when the whole file is there; check statcmd's size too"
        return [subject.failed("size agrees", said, advice)]
    findings.append(subject.ok("size agrees", f"{found.st_size} bytes"))
    if expected.checksum is None:
        findings.append(subject.skipped("checksum agrees", "the archive tells no checksum"))
        return findings
    with target.open("rb") as file:
        computed = checksums.of_fd(file.fileno(), expected.checksum.algorithm)
    if computed != expected.checksum:
        said = f"what was brought has {computed}, the archive says {expected.checksum}"
        advice = "the copy is damaged, or statcmd tells another file's checksum"
        findings.append(subject.failed("checksum agrees", said, advice))
    else:
        findings.append(subject.ok("checksum agrees", str(computed)))
    return findings


def took(duration_s: float) -> str:
    """How long something took, for people."""
    return write_duration(round(duration_s, 2))
