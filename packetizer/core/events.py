"""What happens to the packetizer. One class an event; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packetizer.core.files import FileSpec
    from packetizer.core.nodes import NodeSeen
    from packetizer.core.plan import TableSeen


class Missing(Enum):
    """What to do about files that are not online."""

    WAIT = "wait"  # have them staged
    SKIP = "skip"  # process the others, and name them
    ABORT = "abort"  # refuse unless all are online


class Offline(Enum):
    """How a file stands that has no replica."""

    NEARLINE = "nearline"
    STAGING = "staging"
    LOST = "lost"  # not in the archive, or staging it failed for good


class FailureKind(Enum):
    """Why a packet was not done."""

    OPEN = "open"  # the replica could not be opened or read
    CORRUPT = "corrupt"  # it opened, but its content is damaged
    FUNCTION = "function"  # the user's function raised
    MERGE = "merge"  # its value could not be merged
    UNDONE = "undone"  # given back untouched


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What a session is about, as its client wants it."""

    dataset: str
    missing: Missing = Missing.WAIT
    owner: str = ""
    function_name: str = ""
    max_bad_packets: int = 0  # stop after that many; 0: never
    packet_entries: int = 0  # fixed packet size; 0: adaptive
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What an earlier life of a session has counted, besides its ranges."""

    packets_done: int = 0
    packets_retried: int = 0
    entries_local: int = 0
    bytes_read: int = 0
    files_recalled: int = 0
    files_online_at_first_lease: int = 0
    first_lease_s: float = -1.0  # since the session was created
    first_packet_s: float = -1.0


@dataclass(frozen=True, slots=True)
class MissingRange:
    """Entries that are not in the result, and why."""

    lfn: str
    start: int
    stop: int  # start = stop = 0: the whole file, its entries unknown
    reason: str
    traceback: str = ""


# --- sessions --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session begins, or goes on after a restart or a resumption."""

    session_id: str
    spec: SessionSpec
    files: Sequence[FileSpec]
    progress: Progress = Progress()
    missing: Sequence[MissingRange] = ()
    #: Worker -> the commits of it whose results are kept.
    commits: Mapping[str, Sequence[int]] | None = None


@dataclass(frozen=True, slots=True)
class FilesSurveyed:
    """How every file of a session stands has been told, once."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionCancelled:
    """Somebody does not want a session to go on."""

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionBroken:
    """A session cannot go on, for a reason outside the core."""

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndKept:
    """The end of a session is on disk, or will not be (`problem`)."""

    session_id: str
    problem: str = ""


# --- files and data servers ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodesSeen:
    """How some data servers stand."""

    nodes: Sequence[NodeSeen]


@dataclass(frozen=True, slots=True)
class SpaceSeen:
    """What the pools of usable data servers could hold, and of that, have to give."""

    available_bytes: int
    quota_bytes: int = 0  # 0: unknown


@dataclass(frozen=True, slots=True)
class FileOnline:
    """The replicas of a file, all of them."""

    session_id: str
    lfn: str
    nodes: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileOffline:
    """A file has no replica."""

    session_id: str
    lfn: str
    state: Offline
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileDescribed:
    """What is inside a file."""

    session_id: str
    lfn: str
    size_bytes: int
    format: int
    tables: Sequence[TableSeen]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StageAccepted:
    """The redirector has taken a stage request for these files."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class StageRefused:
    """The redirector will not stage these files."""

    session_id: str
    lfns: Sequence[str]
    reason: str


# --- workers ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker has opened its stream. Stream numbers are never used again."""

    worker: str
    stream: int
    host: str = ""
    rack: str = ""
    site: str = ""
    only_session: str = ""  # "": any
    pid: int = 0


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker's stream has ended. One that means to leave holds nothing by then."""

    worker: str
    stream: int
    reason: str = "its connection ended"


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A worker lives."""

    worker: str
    stream: int


@dataclass(frozen=True, slots=True)
class CommitOffered:
    """The merged result of some packets. Sequences are parallel, a place per packet."""

    commit_id: int
    session_id: str
    lease_ids: Sequence[int]
    busy_s: Sequence[float]  # 0: not measured
    bytes_read: int
    #: Earlier commits of the worker that the result includes and replaces.
    supersedes: Sequence[int] = ()
    #: Whatever the shell wants to find in the instruction that answers this.
    payload: object = None


@dataclass(frozen=True, slots=True)
class PacketFailed:
    """A worker could not do a packet."""

    lease_id: int
    kind: FailureKind
    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerReported:
    """What was done, what went wrong, and what is wanted next."""

    worker: str
    stream: int
    want: int
    commit: CommitOffered | None = None
    failures: Sequence[PacketFailed] = ()


@dataclass(frozen=True, slots=True)
class CommitKept:
    """A commit is on disk."""

    session_id: str
    worker: str
    commit_id: int


@dataclass(frozen=True, slots=True)
class CommitNotKept:
    """A commit could not be written."""

    session_id: str
    worker: str
    commit_id: int
    problem: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: some four times a second."""


Event = (
    SessionOpened
    | FilesSurveyed
    | SessionCancelled
    | SessionBroken
    | EndKept
    | NodesSeen
    | SpaceSeen
    | FileOnline
    | FileOffline
    | FileDescribed
    | StageAccepted
    | StageRefused
    | WorkerJoined
    | WorkerLeft
    | WorkerBeat
    | WorkerReported
    | CommitKept
    | CommitNotKept
    | Tick
)
