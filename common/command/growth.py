"""Watching a command's work grow on the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Growth:
    """What lies in the directory of a target: how large, and since when unchanged.

    Every file there counts, because many tools write to another name and rename
    at the end. Any change counts as progress, a mere `touch` as well: so a script
    that waits for a tape can say that it is alive, and a tool that fills in a
    preallocated file is not taken for hung.
    """

    def __init__(self, target: Path, now_s: float) -> None:
        self._directory = target.parent
        self._seen: dict[str, tuple[int, int, int]] = {}
        self.changed_s = now_s
        # The size of the largest file there.
        self.size_bytes = 0

    def look(self, now_s: float) -> bool:
        """Looks again; whether anything has changed since the last look."""
        found = self._scan()
        if found == self._seen:
            return False
        self._seen = found
        self.changed_s = now_s
        self.size_bytes = max((size for size, _, _ in found.values()), default=0)
        return True

    def _scan(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    found[entry.name] = (status.st_size, status.st_blocks, status.st_mtime_ns)
        except FileNotFoundError:
            pass
        return found
