"""What the archive says of files and directories, and how fetching one ended, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.command import Failure
    from dataserver.checksum import Checksum


class Presence(Enum):
    """Whether the archive has a file."""

    THERE = "there"
    NOT_THERE = "not there"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file as the archive sees it.

    `size_bytes`, `checksum` and `mtime_s` (Unix time) are None where nobody told.
    `reason` is one line saying why the file is not there, or what about it is not known.
    A directory is NOT_THERE as a file, so nobody stages it, and `is_directory`.
    `is_beyond_asking`: UNKNOWN for good, for the site has no way to ask about this name.
    `volume` is the tape it lies on ("" if none was told), `position` where, counted from its
    beginning in any unit.
    """

    lfn: str
    presence: Presence
    size_bytes: int | None = None
    checksum: Checksum | None = None
    reason: str = ""
    mtime_s: float | None = None
    is_directory: bool = False
    is_beyond_asking: bool = False
    volume: str = ""
    position: int = 0


def beyond_asking(lfn: str, reason: str) -> ArchiveFile:
    """What is told of a name about which the site has no way to ask."""
    return ArchiveFile(lfn, Presence.UNKNOWN, reason=reason, is_beyond_asking=True)


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """What lies in a directory of the archive: a file, or a directory.

    `size_bytes` of a file and `mtime_s` (Unix time) are None where nobody told.
    """

    name: str
    is_directory: bool = False
    size_bytes: int | None = None
    mtime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What the archive has in one directory, in no order.

    `presence` says whether there is such a directory. If that is UNKNOWN, there may be
    more than the `entries`. `reason` is one line saying why it is not there or not known.
    """

    presence: Presence
    entries: Sequence[ArchiveEntry] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOrder:
    """One file to be brought to `target`, which must not exist yet, in a directory of its own.

    `size_bytes` is what the file is expected to have, None if unknown; a file that grows
    beyond `limit_bytes` is stopped. `on_start` is given the command's process id, which is
    its group's as well, and its start time, as soon as it runs; `on_progress` the bytes that
    are there, and `on_note` what is said of the work under way, now and then.
    """

    lfn: str
    target: Path
    size_bytes: int | None = None
    limit_bytes: int | None = None
    on_start: Callable[[int, float], None] | None = None
    on_progress: Callable[[int], None] | None = None
    on_note: Callable[[str], None] | None = None


class Fetcher(Protocol):
    """A way of bringing files."""

    async def fetch(self, order: FetchOrder) -> Fetched:
        """Brings one file. Raises NameRefused; when cancelled, nothing of it is left."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """How one fetch ended: a regular file lies at the target if `failure` is None.

    `size_bytes` is that file's, or how far it came. `exit_code` is the command's,
    negative for the signal that killed it; None for the built-in copier, or when
    the command never ran. `output` is the tail of what the command said.
    """

    failure: Failure | None
    size_bytes: int = 0
    duration_s: float = 0.0
    exit_code: int | None = None
    output: str = ""


@dataclass(frozen=True, slots=True)
class ToStore:
    """One file to be stored: where it lies, what it is, and what is known of it.

    `again`: an earlier run may have left something in the archive, which is to be
    overwritten, whatever it is.
    """

    lfn: str
    path: Path
    size_bytes: int
    mtime_ns: int
    checksum: Checksum | None = None
    again: bool = False
