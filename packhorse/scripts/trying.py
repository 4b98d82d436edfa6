"""Trying a kind of script on a real file, as a data server would run it."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.command import CommandSpec, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from common.command import CommandResult
    from packhorse.scripts.kinds import Kind

ASK_DEADLINE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one action: `said` is the answer, or why there is none."""

    action: str
    is_fine: bool
    said: str
    duration_s: float


async def try_kind(
    kind: Kind, name: str, options: Sequence[str], deadline_s: float
) -> AsyncIterator[Trial]:
    """Tries what the script needs, and if a file is named, to ask for it and to stage it.

    Every action runs with the short environment that commands of a data server have. It
    ends after the first one that fails.
    """
    needs = await _run(kind, "check", options, (), ASK_DEADLINE_S)
    yield _trial("needs", needs, "all there")
    if needs.failure is not None or not name:
        return
    asked = await _run(kind, "stat", options, (name,), ASK_DEADLINE_S)
    yield _trial("stat", asked, asked.stdout.decode(errors="replace").strip())
    if asked.failure is not None or json.loads(asked.stdout).get("type") == "dir":
        return
    with tempfile.TemporaryDirectory(prefix="packhorse-") as folder:
        target = Path(folder) / "file"
        staged = await _run(kind, "stage", options, (name, str(target)), deadline_s)
        size_bytes = target.stat().st_size if target.exists() else 0
        yield _trial("stage", staged, f"{size_bytes:,} bytes")


async def _run(
    kind: Kind, action: str, options: Sequence[str], words: Sequence[str], deadline_s: float
) -> CommandResult:
    argv = [sys.executable, str(kind.path), action, *options, *words]
    return await run_command(CommandSpec(argv=argv, deadline_s=deadline_s))


def _trial(action: str, result: CommandResult, said: str) -> Trial:
    failure = result.failure
    return Trial(action, failure is None, failure.reason if failure else said, result.duration_s)
