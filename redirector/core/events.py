"""What can happen to the head node.

The shell turns every message, question and timer into one of these and gives it
to `Head.handle`. Rules:

- A node's events carry the *connection* they came by: a number the shell gives
  to every Join stream and never uses twice. What comes by a connection that is
  not the node's present one is ignored, so nothing of an older life gets in.
- Names are normalised and checked already (`common.names`).
- Durations are durations. The only absolute times are those the head itself
  gave out to be kept on disk, in the records of `Restored`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from redirector.core.model import (
        Checksum,
        Failure,
        FileFacts,
        Hint,
        NodeAddress,
        NodeLoad,
        NodeRecord,
        PinRecord,
        ReplicaChange,
        RequestFile,
        RequestRecord,
        RunningRecall,
    )

# --- from data servers --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeHello:
    """A data server has opened its stream; always a connection's first event."""

    connection: int
    address: NodeAddress
    boot_epoch: str
    pool_id: str
    quota_bytes: int
    max_files: int = 0  # 0: no limit
    recall_slots: int = 1
    running: tuple[RunningRecall, ...] = ()
    version: str = ""
    drain: bool = False
    claims: Sequence[str] = ()  # names that clients write under there now
    served_by_others: bool = False  # its root:// door is another program's


@dataclass(frozen=True, slots=True)
class InventoryPiece:
    """Part of a node's whole pool: columns of equal length."""

    connection: int
    lfns: Sequence[str]
    sizes_bytes: Sequence[int]
    last: bool = False
    change_number: int = 0  # in the last piece: the changes it includes


@dataclass(frozen=True, slots=True)
class ReplicaChanges:
    """Changes since the inventory; their numbers follow one another without a gap."""

    connection: int
    changes: Sequence[ReplicaChange]


@dataclass(frozen=True, slots=True)
class NodeHeartbeat:
    """A node is alive, and this busy. `number` above 0 is confirmed to the node."""

    connection: int
    load: NodeLoad
    quota_bytes: int = 0  # 0: as said in the hello
    number: int = 0


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A connection has ended, for whatever reason."""

    connection: int


@dataclass(frozen=True, slots=True)
class RecallProgressed:
    """How far a node has come with a recall."""

    connection: int
    recall_id: str
    bytes_done: int
    size_bytes: int = 0  # 0: still unknown
    phase: str = ""


@dataclass(frozen=True, slots=True)
class RecallEnded:
    """A node no longer runs a recall: it failed, or (without `failure`) was published."""

    connection: int
    recall_id: str
    lfn: str
    failure: Failure | None = None
    size_bytes: int = 0
    checksum: Checksum | None = None
    command_s: float = 0.0
    total_s: float = 0.0
    exit_code: int = 0
    output_tail: str = ""
    arrived_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ClaimEnded:
    """Nobody writes under this name on a node any more; what was written was told before.

    It may come later than the node's next claim on the name, which has another id.
    """

    connection: int
    lfn: str
    claim_id: str


@dataclass(frozen=True, slots=True)
class ClaimAsked:
    """A data server asks to let a client write under a name. Answered by `AnswerClaim`.

    It comes outside the node's stream, so it says whose it is. If the node has a claim on
    the name already, that one has ended, and the word of it is on its way. Raises
    AlreadyExists if the name is online on another node, or at all if what is written
    `replaces` nothing, or is a directory; Refused if it is being staged, or written
    elsewhere, lies below a file, or the node is not in touch.
    """

    node: str
    boot_epoch: str
    lfn: str
    claim_id: str  # made by the node, another one each time
    replaces: bool = False


# --- from clients and admins --------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageAsked:
    """Somebody wants files online. Answered by `AnswerStage`.

    `request_id` is made by the shell and new; an `idempotency_key` that is
    known already makes the answer name the earlier request instead (with 0 files if
    that is remembered on disk only). Raises UsageError: no files, a bad duration.
    """

    request_id: str
    lfns: Sequence[str]
    owner: str = ""
    priority: int = 0
    pin_s: float = 0.0
    deadline_s: float = 0.0  # 0: the site's default
    idempotency_key: str = ""
    dataset: str = ""
    activity: str = ""
    facts: Mapping[str, FileFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A stage request, or some of its files, is no longer wanted.

    What the request has pinned of them is unpinned, also if it has ended. Answered by
    `AnswerCancel`. Raises NotFound if the request was never heard of
    or has been forgotten; one that has ended gives an answer of 0 files.
    """

    request_id: str
    lfns: Sequence[str] = ()  # none: the whole request
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PinAsked:
    """Files shall not be purged for a while. Answered by `AnswerPin`.

    Raises UsageError: no owner, a lifetime that is not above 0.
    """

    lfns: Sequence[str]
    owner: str
    lifetime_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnpinAsked:
    """An owner lets go of files. Answered by `AnswerUnpin`.

    `done`: those named are of no more use to the owner, and perhaps to nobody.
    """

    owner: str
    lfns: Sequence[str] = ()  # none: every pin of the owner
    done: bool = False


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """A node shall get no new recalls, or get them again. Answered by `AnswerDrain`.

    Raises NotFound for a node never heard of, Refused to undo what its own
    configuration says.
    """

    node: str
    undo: bool = False
    look: bool = False  # only what is left is asked


@dataclass(frozen=True, slots=True)
class ForgetAsked:
    """A node is gone for good, or its pool is. Answered by `AnswerForget`.

    Raises NotFound for a node never heard of, Refused for one that may come back to what is
    still its own.
    """

    node: str


@dataclass(frozen=True, slots=True)
class MakeDirectoryAsked:
    """A client makes a directory. Answered by `AnswerDirectory`.

    Raises AlreadyExists if there is a directory or file of the name; NotFound if there is no
    directory to make it in, unless `parents` are to be made too; Refused if one of those is
    a file, or too many were made already.
    """

    lfn: str
    parents: bool = False


@dataclass(frozen=True, slots=True)
class RemoveDirectoryAsked:
    """A client removes a directory. Answered by `AnswerDirectory`.

    Raises NotFound if there is none of the name, Refused if it is not empty.
    """

    lfn: str


# --- from the shell itself ----------------------------------------------------


class RestoredRequest(NamedTuple):
    """A stage request that was active when the head stopped, with all its files."""

    record: RequestRecord
    files: tuple[RequestFile, ...]


@dataclass(frozen=True, slots=True)
class RequestsRestored:
    """More of the requests that were on disk, oldest first. Only directly behind `Restored`,
    before anything else: a million files are not taken in at once."""

    requests: Sequence[RestoredRequest]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was on disk. Always a head's first event, also if there was nothing."""

    nodes: tuple[NodeRecord, ...] = ()
    requests: tuple[RestoredRequest, ...] = ()
    pins: tuple[PinRecord, ...] = ()
    directories: tuple[str, ...] = ()  # those that clients made
    # Of ended requests still within the site's history: key -> request id.
    idempotency_keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HintsTold:
    """What came of an `AskHints`: always one for each, of the same names.

    Those without a hint lie on no tape that the site knows of; those that are `unanswered`
    are asked about again.
    """

    lfns: Sequence[str]
    hints: Mapping[str, Hint] = field(default_factory=dict)
    unanswered: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: `Head.next_wakeup_s` has come."""


# What a node says once it has joined.
NodeReport = (
    InventoryPiece | ReplicaChanges | NodeHeartbeat | RecallProgressed | RecallEnded | ClaimEnded
)

Event = (
    NodeHello
    | NodeReport
    | NodeLost
    | ClaimAsked
    | StageAsked
    | CancelAsked
    | PinAsked
    | UnpinAsked
    | DrainAsked
    | ForgetAsked
    | MakeDirectoryAsked
    | RemoveDirectoryAsked
    | Restored
    | RequestsRestored
    | HintsTold
    | Tick
)
