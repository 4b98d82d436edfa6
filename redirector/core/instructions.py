"""What the head node wants done.

`Head.handle` returns a list of these, in order. Rules the shell keeps:

- Everything of the *durable* kind in one list is written in one transaction;
  answers of the same list are given only when that transaction is on disk.
- What is sent to one node is sent in order. If the connection is gone by then,
  the message is dropped in silence: the node's next hello sorts it out.
- Durable instructions are upserts and deletes: doing one twice does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redirector.core.model import (
        Checksum,
        DropRecord,
        FileEvent,
        FilePins,
        NodeRecord,
        PinOrder,
        PinRecord,
        RecallRecord,
        RequestFile,
        RequestRecord,
    )
    from redirector.core.states import RequestState

# --- to data servers ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """The node is in; `recall_lease_s` out of touch ends its recalls."""

    heartbeat_s: float
    recall_lease_s: float
    redirector_epoch: str
    root_address: str = ""  # of the redirector's root:// door; "": it has none


@dataclass(frozen=True, slots=True)
class SendInventory:
    """Tell all you hold, from the beginning."""


@dataclass(frozen=True, slots=True)
class ConfirmHeartbeat:
    """This heartbeat was seen: the node's recall lease runs from when it sent it."""

    number: int


@dataclass(frozen=True, slots=True)
class StartRecall:
    """Bring this file in. `recall_id` names this one run on this one node."""

    recall_id: str
    lfn: str
    size_bytes: int  # 0: unknown
    checksum: Checksum | None
    reserve_bytes: int
    pins: tuple[PinOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelRecall:
    """Stop this run; answered by RecallEnded, also if there is no such run."""

    recall_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetPins:
    """The pins of these files; if `complete`, all other files have none."""

    files: tuple[FilePins, ...]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class NoteUses:
    """Somebody was sent to these replicas, which are served by another program."""

    lfns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DoneWith:
    """Whoever had these pinned has done with them, and nobody else is known to want them."""

    lfns: tuple[str, ...]


NodeCommand = (
    Welcome
    | SendInventory
    | ConfirmHeartbeat
    | StartRecall
    | CancelRecall
    | SetPins
    | DoneWith
    | NoteUses
)


@dataclass(frozen=True, slots=True)
class SendToNode:
    """Send a command down a connection."""

    connection: int
    command: NodeCommand


@dataclass(frozen=True, slots=True)
class RefuseNode:
    """End a connection that was not let in, with this reason."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """End a connection that its node has replaced by a newer one."""

    connection: int
    reason: str


# --- durable ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """Keep an accepted stage request, with all its files as they stand.

    Without files, only the record is said again; the files on disk stay.
    """

    record: RequestRecord
    files: tuple[RequestFile, ...]


@dataclass(frozen=True, slots=True)
class SaveRequestFiles:
    """Keep how some files of a request stand now: their states and reasons, and nothing else."""

    request_id: str
    files: tuple[RequestFile, ...]


@dataclass(frozen=True, slots=True)
class EndRequest:
    """A request has ended: keep that, and let those who watch it go."""

    request_id: str
    state: RequestState
    ended_unix_s: float


@dataclass(frozen=True, slots=True)
class SavePins:
    """Keep these pins; one of the same (lfn, owner) is replaced."""

    pins: tuple[PinRecord, ...]


@dataclass(frozen=True, slots=True)
class RemovePins:
    """Forget the pins of these (lfn, owner)."""

    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SaveDirectories:
    """Keep directories that a client made."""

    lfns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Forget a directory that a client made."""

    lfn: str


@dataclass(frozen=True, slots=True)
class SaveNode:
    """Keep what must be known of a node after a restart."""

    record: NodeRecord


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """Forget a node that has been gone for long."""

    node: str


@dataclass(frozen=True, slots=True)
class SaveRecall:
    """Keep a run that ended (upsert by recall id: details may follow)."""

    record: RecallRecord


@dataclass(frozen=True, slots=True)
class SaveDrops:
    """Keep why replicas went; of several of one file on one node, the latest."""

    drops: tuple[DropRecord, ...]


# --- to be found out ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskHints:
    """Find out where these files lie on tape; answered by HintsTold."""

    lfns: tuple[str, ...]


# --- to those who watch and ask -----------------------------------------------


@dataclass(frozen=True, slots=True)
class PublishFiles:
    """Tell those who watch what happened to files, in order. At most one a list, and last
    but for answers."""

    events: tuple[FileEvent, ...]


@dataclass(frozen=True, slots=True)
class AnswerStage:
    """To StageAsked: the request that stands for it, maybe an earlier one."""

    request_id: str
    files: int
    online: int


@dataclass(frozen=True, slots=True)
class AnswerCancel:
    """To CancelAsked."""

    files_cancelled: int


@dataclass(frozen=True, slots=True)
class AnswerPin:
    """To PinAsked: files pinned, and which of them are not online yet."""

    pinned: int
    not_online: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerUnpin:
    """To UnpinAsked: how many pins there were."""

    unpinned: int


@dataclass(frozen=True, slots=True)
class AnswerDrain:
    """To DrainAsked: what is still under way on the node, and which pinned files only it has."""

    recalls_left: int
    recalls_left_bytes: int = 0
    writes_left: int = 0
    pinned_files: int = 0
    pinned_bytes: int = 0
    pinned: tuple[tuple[str, int], ...] = ()  # the first of them: (lfn, size in bytes)


@dataclass(frozen=True, slots=True)
class AnswerForget:
    """To ForgetAsked: nothing is known of the node any more."""


@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """To ClaimAsked: the name is the node's to write under. Rests on nothing that is kept.

    `archive_was_asked`: a moment ago, and it does not have the name.
    """

    archive_was_asked: bool = False


@dataclass(frozen=True, slots=True)
class AnswerDirectory:
    """To MakeDirectoryAsked and RemoveDirectoryAsked: how many were made, or removed."""

    directories: int


Durable = (
    SaveRequest
    | SaveRequestFiles
    | EndRequest
    | SavePins
    | RemovePins
    | SaveDirectories
    | RemoveDirectory
    | SaveNode
    | RemoveNode
    | SaveRecall
    | SaveDrops
)
Answer = (
    AnswerStage
    | AnswerCancel
    | AnswerPin
    | AnswerUnpin
    | AnswerDrain
    | AnswerForget
    | AnswerClaim
    | AnswerDirectory
)
Instruction = SendToNode | RefuseNode | CloseConnection | Durable | AskHints | PublishFiles | Answer
