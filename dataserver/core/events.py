"""What can happen to a node: the vocabulary `Node.handle` understands.

Times are durations or the `now_s` handed in beside the event; sizes are bytes, None
where nobody knows. Checksums are values the core passes on and never looks into.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.errors import PackhorseError
    from dataserver.checksum import Checksum
    from dataserver.core.candidates import Advice
    from dataserver.core.failure import Failure
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.replica import Limits

# --- the redirector ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The redirector has taken the node in; recalls live `lease_s` without contact.

    It heard the node's hello no earlier than `since_s` (Unix).
    """

    lease_s: float
    since_s: float


@dataclass(frozen=True, slots=True)
class InTouch:
    """The redirector is known to have heard the node no earlier than `since_s` (Unix)."""

    since_s: float


@dataclass(frozen=True, slots=True)
class PinOrder:
    """A pin as ordered: whose, how long from receipt, and what for."""

    owner: str
    lifetime_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RecallOrdered:
    """The redirector gave this node a recall."""

    recall_id: str
    lfn: str
    size_bytes: int | None = None
    checksum: Checksum | None = None
    reserve_bytes: int = 0
    pins: tuple[PinOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class RecallRevoked:
    """The redirector wants a recall no longer."""

    recall_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The server is being stopped: recalls end, and no new one is begun."""


@dataclass(frozen=True, slots=True)
class PinsOrdered:
    """All the pins of each name given; if `complete`, names left out have none."""

    files: tuple[tuple[str, tuple[PinOrder, ...]], ...]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class EvictionOrdered:
    """`owner` wants replicas gone now, or (`soft`) before all others; answered with `query_id`."""

    query_id: int
    lfns: tuple[str, ...]
    soft: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class DoneWith:
    """Whoever processed these has done with them, and nobody else is known to want them."""

    lfns: tuple[str, ...]


# --- steps of a recall ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Examined:
    """The archive told what it knows of the file."""

    recall_id: str
    size_bytes: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Grew:
    """So much of the file has arrived."""

    recall_id: str
    bytes_done: int


@dataclass(frozen=True, slots=True)
class Noted:
    """What the command or the archive says of a copy under way, for people; a sign of life."""

    recall_id: str
    note: str


@dataclass(frozen=True, slots=True)
class Ran:
    """How the command that brings a file went, well or not."""

    command_s: float = 0.0
    exit_code: int | None = None
    output: str = ""


@dataclass(frozen=True, slots=True)
class Copied:
    """The whole file lies in the incoming directory."""

    recall_id: str
    size_bytes: int
    ran: Ran = field(default_factory=Ran)


@dataclass(frozen=True, slots=True)
class Verified:
    """The file is what it should be, and synced."""

    recall_id: str
    size_bytes: int
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class Published:
    """The file lies at its place, synced, and in the catalogue."""

    recall_id: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The step under way failed; nothing of the recall is left on disk."""

    recall_id: str
    failure: Failure
    ran: Ran | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """After StopStep: no process and no file of the recall is left."""

    recall_id: str
    ran: Ran | None = None


# --- what clients write, rename and remove -------------------------------------


@dataclass(frozen=True, slots=True)
class UploadBegun:
    """A client wants to write a file. The shell makes the id, which no recall may have.

    `size_bytes` is what the client says it will write, 0 if it does not say. `replaces`:
    a replica held here is to be replaced; `copies`: it begins as a copy of that one.
    """

    upload_id: str
    lfn: str
    size_bytes: int = 0
    replaces: bool = False
    copies: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The redirector lets this node write under a name, for an upload or a rename."""

    claimant_id: str


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """The redirector does not, or could not be asked."""

    claimant_id: str
    error: PackhorseError


@dataclass(frozen=True, slots=True)
class RoomWanted:
    """An upload is to be of this size. One at a time of each is answered: see GrantRoom.

    If it has as much room already, it wishes for the next step, and need not be answered.
    """

    upload_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UploadWritten:
    """A file is whole, verified and synced; its size is within its reservation."""

    upload_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UploadPublished:
    """The file lies at its place, synced, and in the catalogue as not archived."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """An upload comes to nothing: its client is gone, or something of it failed."""

    upload_id: str
    error: PackhorseError


@dataclass(frozen=True, slots=True)
class UploadGone:
    """After EndUpload: nothing of the upload is left on disk, and nobody writes it."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class RemovalOrdered:
    """A client wants a file gone → TellChanged.

    `also_archived`: also if there is no replica here, and only the archive may have it.
    """

    change_id: str
    lfn: str
    also_archived: bool = False


@dataclass(frozen=True, slots=True)
class RenameOrdered:
    """A client wants a replica to have another name → TellChanged."""

    change_id: str
    lfn: str
    new_lfn: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """The file lies at its new place, synced, and in the catalogue."""

    change_id: str


@dataclass(frozen=True, slots=True)
class RenameFailed:
    """The file lies at its old place still."""

    change_id: str
    error: PackhorseError


# --- storing what was written in the archive -----------------------------------


class Likeness(Enum):
    """How what the archive has under a name compares with the replica."""

    SAME = "same"  # a checksum agrees, and the size
    ALIKE = "alike"  # nothing that the archive tells speaks against it
    OTHER = "other"  # another size or checksum
    ABSENT = "absent"  # the archive has nothing of the name
    UNKNOWN = "unknown"  # it could not be asked


@dataclass(frozen=True, slots=True)
class Compared:
    """The archive was asked about a file; `why`: what it said, unless it has the same one."""

    step_id: str
    likeness: Likeness
    why: str = ""


@dataclass(frozen=True, slots=True)
class StoreRan:
    """The command that stores a file has ended; `failure` None: well."""

    step_id: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ArchivedNoted:
    """The catalogue knows that the archive has a file."""

    step_id: str


@dataclass(frozen=True, slots=True)
class StoreStepFailed:
    """The step under way came to nothing, for reasons of this node's own."""

    step_id: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class StoreStopped:
    """After StopStore: no process of the step is left."""

    step_id: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The archive has a file no longer, or `error` says why it has, or that it had none."""

    holder: str
    error: PackhorseError | None = None


@dataclass(frozen=True, slots=True)
class StoresOrdered:
    """Somebody wants files stored now; the answer bears `query_id`."""

    query_id: int
    lfns: tuple[str, ...]


# --- replicas ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """A file found at start is good; `archived`: the archive is known to have it.

    May come again for a file whose archive could not be asked the first time.
    """

    lfn: str
    archived: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A replica is no good any more: `reason` is "damaged" or "vanished", `why` the details.

    `apart`: its bytes are certainly wrong, so that nobody should read them even if there are
    no others.
    """

    lfn: str
    reason: str
    why: str
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """How RemoveFiles went: the names that are gone, and why the others are not."""

    gone: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Advised:
    """The purge command has answered; `problem` if it could not, and LRU decides alone."""

    advice: Advice
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DiskWent:
    """The pool's disk is not there, or does not answer; `why` is told to whoever asks for it."""

    why: str


@dataclass(frozen=True, slots=True)
class DiskCame:
    """The pool's disk is there again, with the files it had → JoinAnew."""


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """An admin wants the pool to hold more or less."""

    limits: Limits
    policy: PurgePolicy | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent every second or so."""


Event = (
    Welcomed
    | InTouch
    | RecallOrdered
    | RecallRevoked
    | Closing
    | PinsOrdered
    | EvictionOrdered
    | DoneWith
    | Examined
    | Grew
    | Noted
    | Copied
    | Verified
    | Published
    | StepFailed
    | Stopped
    | UploadBegun
    | Claimed
    | ClaimRefused
    | RoomWanted
    | UploadWritten
    | UploadPublished
    | UploadFailed
    | UploadGone
    | RemovalOrdered
    | RenameOrdered
    | Renamed
    | RenameFailed
    | Compared
    | StoreRan
    | ArchivedNoted
    | StoreStepFailed
    | StoreStopped
    | Withdrawn
    | StoresOrdered
    | Checked
    | Lost
    | Removed
    | Advised
    | DiskWent
    | DiskCame
    | LimitsChanged
    | Tick
)
