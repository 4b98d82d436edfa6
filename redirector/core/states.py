"""The states that files, requests, nodes and recalls can be in, and kinds of events.

The numbers of the enumerations are those of the wire contract, so the shell
converts them without tables of its own; a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class FileState(IntEnum):
    """Where one file stands, as the head sees it."""

    ONLINE = 1
    STAGING = 2
    NEARLINE = 3
    MISSING = 4
    CORRUPT = 5
    FAILED = 6


class FileEventKind(IntEnum):
    """What happened to a file, beside how it stands now."""

    PUBLISHED = 1
    DROPPED = 2
    QUEUED = 3
    STARTED = 4
    RETRYING = 5
    FAILED = 6
    CANCELLED = 7


class ErrorClass(IntEnum):
    """How bad a failure is, and so what is done about it."""

    NOT_FOUND = 1
    PERMANENT = 2
    TRANSIENT = 3
    NO_SPACE = 4
    CANCELLED = 5


class RequestState(IntEnum):
    """How a stage request stands."""

    ACTIVE = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4


class RequestFileState(IntEnum):
    """How one file of a stage request stands; every state but WAITING is final."""

    WAITING = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4


class NodeState(IntEnum):
    """How a data server stands with the head."""

    JOINING = 1
    UP = 2
    SUSPECT = 3
    DROPPED = 4


class RecallState(StrEnum):
    """How a recall stands; the last three are final."""

    QUEUED = "queued"
    HELD = "held"
    ASSIGNED = "assigned"
    CANCELLING = "cancelling"
    RETRY_WAIT = "retry-wait"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
