"""The files of a batch: what is known of each, and what lies of it on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from common.command.growth import Growth
    from dataserver.archive.batch_run import BatchRun
    from dataserver.archive.model import Fetched, FetchOrder
    from dataserver.archive.site_commands import SiteCommands


@dataclass(eq=False, slots=True)
class BatchFile:
    """One file of a run, and what its end is told to; `source` is the archive's name."""

    order: FetchOrder
    source: str
    ended: asyncio.Future[Fetched]
    since_s: float
    key: str = ""
    run: BatchRun | None = None
    growth: Growth | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How a batch command is run; `hears_cancel`: its input stays open for what is cancelled."""

    argv: Sequence[str]
    commands: SiteCommands
    deadline_s: float
    stall_s: float
    hears_cancel: bool


def empty(directory: Path) -> None:
    """Removes all that is in a directory, if it is there; blocks."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_written(target: Path) -> bool:
    """Whether anything lies where a file is to be; blocks."""
    try:
        return any(target.parent.iterdir())
    except OSError:
        return False


def grown(files: Sequence[BatchFile], now_s: float) -> list[tuple[BatchFile, int]]:
    """The files that have changed since they were last looked at, and their sizes; blocks."""
    return [
        (file, file.growth.size_bytes)
        for file in files
        if file.growth is not None and file.growth.look(now_s)
    ]
