"""What has happened to the files of a pool: enough to tell what another policy had kept."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class AccessKind(Enum):
    """What happened to a file."""

    RECALLED = "recalled"  # it was wanted, was not here, and has come from the archive
    PUT = "put"  # it came otherwise: a client wrote it, it was renamed, or found at a start
    USED = "used"  # it was wanted, and was here
    SOFT = "soft"  # somebody evicted it softly
    DONE = "done"  # its session has done with it
    PURGED = "purged"  # it went to make room
    GONE = "gone"  # it went for another reason


class Access(NamedTuple):
    """One line of an access log; `note` says why it went, if it did."""

    unix_s: float
    kind: AccessKind
    size_bytes: int
    lfn: str
    note: str = ""
