"""What to run, and how it went: plain values."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from common.command.credentials import Credentials
from common.command.environment import PASSED_BY_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from common.command.exit_codes import Failure

KIB = 1024


def _new_id() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """One run of a command."""

    argv: Sequence[str]
    # From its start to its end; longer, and it is killed.
    deadline_s: float
    cwd: Path | None = None
    # Besides what `command_environment` passes on; wins over it.
    env: Mapping[str, str] = field(default_factory=dict)
    # Which of our own variables it gets, besides those that every command gets.
    passes: Sequence[str] = PASSED_BY_DEFAULT
    # What the site hands over besides; wins over what is passed on.
    credentials: Credentials = field(default_factory=Credentials)
    # What it reads on its standard input. It may stop reading at any time.
    stdin: bytes = b""
    # An open file that it reads instead, for input that is not all known when it starts.
    # Whoever opened it closes it, once the command has started.
    stdin_fd: int | None = None
    # How much of each of its two outputs is kept, from the end.
    output_limit_bytes: int = 64 * KIB
    # The file it makes, in a directory of its own. It need not exist yet, and
    # files beside it count as well: many tools write to another name first.
    watch: Path | None = None
    # With `watch`: killed when nothing there was written for this long, and nothing
    # was said that counts as progress.
    stall_s: float | None = None
    # Without `watch`: killed when none of its processes has read or written for this long.
    idle_s: float | None = None
    # No file it writes may be much larger: the kernel sees to that. With `watch`:
    # killed when a file there is larger at all.
    size_limit_bytes: int | None = None
    # Whose command it is, for `kill_leftovers`.
    owner: str = "packhorse"
    run_id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        assert self.argv, "a command has at least one word"
        assert "/" not in self.run_id
        assert self.watch is not None or self.stall_s is None
        assert self.watch is None or self.idle_s is None
        assert not (self.stdin and self.stdin_fd is not None)

    @property
    def command_id(self) -> str:
        """Marks every process of this run."""
        return f"{self.owner}/{self.run_id}"


class Cut(Enum):
    """Why a command was killed before it ended by itself."""

    DEADLINE = "deadline"
    STALL = "stall"
    IDLE = "idle"
    OVERSIZE = "oversize"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How a command went. It did its work if `failure` is None."""

    failure: Failure | None
    # Negative: the signal that killed it. None: it never ran, or cannot be killed.
    exit_code: int | None
    cut: Cut | None
    duration_s: float
    # The end of its standard output as it was, and whether that is all of it.
    stdout: bytes = b""
    stdout_complete: bool = True
    # The last lines it wrote for people: of stderr, or of stdout if that is empty.
    output_tail: str = ""
