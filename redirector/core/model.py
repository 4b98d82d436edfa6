"""The small values that events, instructions and every table of the core share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redirector.core.queue.shares import ShareKey

if TYPE_CHECKING:
    from redirector.core.states import (
        ErrorClass,
        FileEventKind,
        FileState,
        RecallState,
        RequestFileState,
    )


class Checksum(NamedTuple):
    """Algorithm in lower case, value in lower-case hexadecimal of full width."""

    algorithm: str
    value: str


class FileFacts(NamedTuple):
    """What is known of a file before it is staged (from its dataset)."""

    size_bytes: int = 0  # 0: unknown
    checksum: Checksum | None = None


class Hint(NamedTuple):
    """Where a file lies on tape, as the site's command tells."""

    volume: str  # "": on none
    position: int = 0  # the higher, the farther from the beginning
    size_bytes: int = 0  # 0: not told


class Failure(NamedTuple):
    """Why something failed, in one line for people, and how bad it is."""

    error_class: ErrorClass
    reason: str


class NodeAddress(NamedTuple):
    """Where a data server stands, and how it is reached."""

    node: str
    address: str
    host: str
    rack: str = ""
    site: str = ""
    root_address: str = ""  # where its files are read by root://; "": nowhere


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """One heartbeat's figures; the fields are those of the wire contract."""

    cpu_percent: float = 0.0
    io_wait_percent: float = 0.0
    used_bytes: int = 0
    reserved_bytes: int = 0
    pinned_bytes: int = 0
    files: int = 0
    open_files: int = 0
    recalls_running: int = 0
    recalls_waiting: int = 0
    staging_bytes_left: int = 0
    staging_rate: float = 0.0  # bytes per second; 0: unknown
    peak_used_bytes: int = 0
    files_purged: int = 0
    bytes_purged: int = 0
    trouble: str = ""
    unarchived_files: int = 0
    unarchived_bytes: int = 0
    stores_waiting: int = 0
    stores_waiting_bytes: int = 0
    stores_failed: int = 0
    stores_oldest_s: float = 0.0
    stores_trouble: str = ""
    files_stored: int = 0
    bytes_stored: int = 0


class RunningRecall(NamedTuple):
    """A recall that a joining node says it runs already."""

    recall_id: str
    lfn: str
    reserved_bytes: int


class DropRecord(NamedTuple):
    """A replica has gone from a node, and why."""

    lfn: str
    node: str
    dropped_unix_s: float
    size_bytes: int
    reason: str


class ReplicaChange(NamedTuple):
    """A replica was published on a node, or dropped by it."""

    number: int
    lfn: str
    size_bytes: int
    dropped: bool = False
    reason: str = ""
    recall_id: str = ""


class PinOrder(NamedTuple):
    """A pin as a node is told of it: it counts the lifetime from receipt."""

    owner: str
    lifetime_s: float
    reason: str = ""


class FilePins(NamedTuple):
    """All pins of one file, replacing what the node knew for it."""

    lfn: str
    pins: tuple[PinOrder, ...]


class FileEvent(NamedTuple):
    """One change of one file, for those who watch."""

    lfn: str
    state: FileState
    kind: FileEventKind
    node: str = ""
    size_bytes: int = 0
    reason: str = ""


class RequestFile(NamedTuple):
    """One file of a stage request, as it is kept on disk."""

    lfn: str
    state: RequestFileState
    reason: str = ""
    facts: FileFacts = FileFacts()


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The head of a stage request, as it is kept on disk (its files are kept beside it)."""

    request_id: str
    owner: str
    priority: int
    created_unix_s: float
    deadline_unix_s: float
    pin_s: float = 0.0
    dataset: str = ""
    idempotency_key: str = ""
    activity: str = ""

    @property
    def share(self) -> ShareKey:
        """Whose share it counts in."""
        return ShareKey(self.activity, self.owner)


class PinRecord(NamedTuple):
    """One pin as it is kept on disk; (lfn, owner) is its key."""

    lfn: str
    owner: str
    expires_unix_s: float
    reason: str = ""


class NodeRecord(NamedTuple):
    """What is kept on disk of a data server."""

    node: str
    pool_id: str
    draining: bool = False
    gone: bool = False  # dropped: after a restart nobody waits for it


@dataclass(frozen=True, slots=True)
class RecallRecord:
    """One run of one recall that has ended, for timelines and accounting."""

    recall_id: str
    lfn: str
    node: str
    state: RecallState
    queued_unix_s: float
    started_unix_s: float
    ended_unix_s: float
    size_bytes: int
    attempt: int
    command_s: float = 0.0
    exit_code: int = 0
    reason: str = ""
