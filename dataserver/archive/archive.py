"""The archive: one class for sites with commands and for mounted file systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.config.model import MssConfig
    from common.names import NameMap
    from dataserver.archive.model import ArchiveFile, Fetched


class Archive:
    """Asks the archive about files and fetches them, as `[mss]` says."""

    def __init__(self, config: MssConfig, names: NameMap, *, parallel_stats: int = 8) -> None:
        self._config = config
        self._names = names
        self._parallel_stats = parallel_stats

    async def examine(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What the archive says of each file, in the order asked; never raises for one."""
        raise NotImplementedError

    async def fetch(
        self,
        lfn: str,
        target: Path,
        *,
        size_bytes: int | None = None,
        limit_bytes: int | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> Fetched:
        """Brings one file to `target`, which must not exist yet; its directory must.

        `size_bytes` is what the file is expected to have and the command's `{size}`
        (0 there if unknown). A target that grows beyond `limit_bytes` is stopped
        as NO_SPACE. `on_start` is given the command's process
        id, which is its group's as well, before anything can fail. When the task
        is cancelled the command's whole group is dead before CancelledError
        leaves here. What lies at `target` after a failure is the caller's to
        remove. Raises NameRefused for a name no rule maps.
        """
        raise NotImplementedError
