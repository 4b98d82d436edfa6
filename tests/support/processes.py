"""Finding the processes of a site under test by what stands in their environments.

A process inherits its environment from whoever started it, over any number of forks
and sessions, so what bears a mark belongs to the site that set it and to no other
one, whoever else is at work on the machine.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def bearing(*marks: str) -> dict[int, str]:
    """The living processes with any of these texts in their environments, and what they run."""
    sought = [mark.encode() for mark in marks]
    return {
        pid: command
        for pid, environment, command in _processes()
        if any(mark in environment for mark in sought)
    }


def is_alive(pid: int) -> bool:
    """Whether a process lives; one that is only waiting to be reaped does not."""
    try:
        return state_of(pid) not in {"Z", "X"}
    except OSError:
        return False


def state_of(pid: int) -> str:
    """The state of a process as `ps` shows it; raises OSError if there is none."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    # The name, in parentheses, may hold anything.
    return stat.rpartition(")")[2].split()[0]


def _processes() -> Iterator[tuple[int, bytes, str]]:
    """Processes whose environment may be read: it, and their command lines."""
    for folder in Path("/proc").iterdir():
        # It may end at any moment, or be another user's.
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                if environment:
                    yield int(folder.name), environment, command.decode(errors="replace")
