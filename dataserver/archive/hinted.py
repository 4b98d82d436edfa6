"""Asking the site's `hintcmd` where files lie on tape, many at a time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from common.command import run_command
from common.errors import NameRefused, UsageError
from dataserver.archive.answers import understand_hints
from dataserver.archive.model import ArchiveFile, Presence, beyond_asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataserver.archive.site_commands import SiteCommands

DEADLINE_S: Final = 300.0
"""A hintcmd that takes longer than that is given up."""

OUTPUT_LIMIT_BYTES: Final = 16 << 20
"""The most a hintcmd may print: some kilobytes for each name of the largest question."""


@dataclass(frozen=True, slots=True)
class HintCommand:
    """Asks by running the command once: a line of JSON in for each file, and one out.

    The lines that it reads have `lfn` and `source`, the file's logical name and the archive's.
    """

    argv: Sequence[str]
    commands: SiteCommands

    async def hints(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What the command says of each file, in order.

        A file of which it says nothing is beyond asking. If the command fails, or prints what
        cannot be understood, nothing that it says is believed: every file is UNKNOWN.
        """
        sources = self._sources(lfns)
        try:
            found = await self._ask(sources) if sources else {}
        except UsageError as error:
            return [ArchiveFile(lfn, Presence.UNKNOWN, reason=str(error)) for lfn in lfns]
        untold = "the hintcmd said nothing of it"
        return [found.get(lfn) or beyond_asking(lfn, untold) for lfn in lfns]

    def _sources(self, lfns: Sequence[str]) -> dict[str, str]:
        """LFNs by the archive's names; those without one are left out."""
        sources = {}
        for lfn in lfns:
            try:
                sources[self.commands.names.archive_name(lfn)] = lfn
            except NameRefused:
                continue
        return sources

    async def _ask(self, sources: dict[str, str]) -> dict[str, ArchiveFile]:
        """What it says, by LFN. Raises UsageError with the reason why there is nothing."""
        lines = (json.dumps({"lfn": lfn, "source": source}) for source, lfn in sources.items())
        spec = self.commands.spec(
            self.argv,
            DEADLINE_S,
            stdin="".join(f"{line}\n" for line in lines).encode(),
            output_limit_bytes=OUTPUT_LIMIT_BYTES,
        )
        result = await run_command(spec)
        if result.failure is not None:
            raise UsageError(f"hintcmd: {result.failure.reason}")
        if not result.stdout_complete:
            raise UsageError(f"hintcmd printed more than {OUTPUT_LIMIT_BYTES} bytes")
        # Thousands of lines would hold up the loop.
        return await asyncio.to_thread(understand_hints, sources, result.stdout)
