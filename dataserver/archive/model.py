"""What the archive says of a file, and how fetching one ended, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.checksum import Checksum


class Presence(Enum):
    """Whether the archive has a file."""

    THERE = "there"
    NOT_THERE = "not there"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file as the archive sees it.

    `size_bytes` and `checksum` are None where nobody told. `reason` is one line
    saying why, when the file is not there or that is not known.
    """

    lfn: str
    presence: Presence
    size_bytes: int | None = None
    checksum: Checksum | None = None
    reason: str = ""


class Outcome(Enum):
    """How a fetch ended, and so what is to be done about it."""

    DONE = "done"
    NOT_FOUND = "not found"
    PERMANENT = "permanent"
    TRANSIENT = "transient"
    NO_SPACE = "no space"


@dataclass(frozen=True, slots=True)
class Fetched:
    """How one fetch ended.

    `reason` is one line for people, empty when done. `size_bytes` is what lies at
    the target. `exit_code` is the command's, negative for the signal that killed
    it; None for the built-in copier, or when the command never ran. `output` is the tail of what the
    command wrote.
    """

    outcome: Outcome
    reason: str = ""
    size_bytes: int = 0
    duration_s: float = 0.0
    exit_code: int | None = None
    output: str = ""
