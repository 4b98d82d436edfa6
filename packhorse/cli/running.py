"""Running a command's work against a site."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from common.config.load import LoadedConfig
    from packhorse.aio import AsyncSite
    from packhorse.listing import Listing

T = TypeVar("T")


def with_site(config: Path | None, redirector: str, work: Callable[[AsyncSite], Awaitable[T]]) -> T:
    """Connects to the site, does the work, and disconnects. Ctrl-C cancels the work."""
    from packhorse.aio import connect

    async def main() -> T:
        async with await connect(config, redirector) as site:
            return await work(site)

    return asyncio.run(main())


def load_config(config: Path | None) -> LoadedConfig:
    """The configuration file given, or the one PACKHORSE_CONFIG names; raises ConfigError."""
    from common.config.load import load

    path = config or os.environ.get("PACKHORSE_CONFIG")
    if not path:
        raise UsageError("which configuration? Give its file (--config), or set PACKHORSE_CONFIG")
    return load(path)


def names_of(names: Sequence[str] | None, listed: str) -> list[str]:
    """The names given as arguments, then those of a list; raises UsageError if there are none."""
    found = [*(names or ()), *(file.lfn for file in files_of(listed).files)]
    if not found:
        raise UsageError("no file is named: give LFNs, or a list of them with --from")
    return found


def files_of(listed: str, pick: str = "") -> Listing:
    """The list given with --from; an empty one without. `pick` is which of a fileset."""
    from packhorse.listing import Listing, read_listing

    return read_listing(listed, pick) if listed else Listing(())
