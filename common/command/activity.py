"""Telling a command that works elsewhere from one that hangs.

What a command writes to an archive cannot be seen from here, but the kernel counts what each
process reads and writes, files and sockets alike. A command none of whose processes has moved
a byte is not at work; one that polls a slow archive is, as each question counts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from common.command.leftovers import members


class Activity:
    """What the processes of a group have read and written, and since when it is the same."""

    def __init__(self, now_s: float) -> None:
        self.changed_s = now_s
        self._seen: dict[int, str] = {}

    def look(self, group: int, now_s: float) -> None:
        """Looks again at the group's processes; those of other users tell nothing."""
        found: dict[int, str] = {}
        for pid in members(group):
            with contextlib.suppress(OSError):
                read, written, *_ = Path(f"/proc/{pid}/io").read_text().splitlines()
                found[pid] = f"{read} {written}"
        # A process more or less is a sign of life as well.
        if found != self._seen:
            self._seen = found
            self.changed_s = now_s
