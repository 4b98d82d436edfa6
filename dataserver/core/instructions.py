"""What a node wants done: the vocabulary `Node.handle` answers in.

Each instruction that starts work is answered by exactly one event, named beside it,
whatever happens: the shell turns every trouble into StepFailed or Removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.errors import PackhorseError
    from dataserver.checksum import Checksum
    from dataserver.core.events import Ran
    from dataserver.core.failure import Failure


@dataclass(frozen=True, slots=True)
class Examine:
    """Ask the archive about the file → Examined or StepFailed."""

    recall_id: str
    lfn: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Bring the file into the incoming directory → Grew now and then, Copied or StepFailed."""

    recall_id: str
    lfn: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Verify:
    """Check size and checksum and sync the file → Verified or StepFailed."""

    recall_id: str
    lfn: str
    size_bytes: int | None
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class Publish:
    """Move the file to its place, sync, write the catalogue → Published or StepFailed."""

    recall_id: str
    lfn: str
    size_bytes: int
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class StopStep:
    """End the step under way and leave nothing of it → Stopped, and nothing else.

    `unwanted`: nobody waits for the file any more; else it will be tried again.
    """

    recall_id: str
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class KeepCommands:
    """Let the commands of recalls live until this time (Unix), unless a later one is told.

    They are to end then even if this process is stopped, and can do nothing about it: the
    redirector will give their files to others.
    """

    until_s: float


@dataclass(frozen=True, slots=True)
class Inspect:
    """Find out what a newly published file holds, when there is time."""

    lfn: str


@dataclass(frozen=True, slots=True)
class TellEnded:
    """Tell the redirector how a recall ended; `failure` None: it was published."""

    recall_id: str
    lfn: str
    failure: Failure | None
    size_bytes: int | None
    checksum: Checksum | None
    ran: Ran
    total_s: float
    arrived_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ClaimName:
    """Ask the redirector for a name, for an upload or a change → Claimed or ClaimRefused.

    `is_new`: the archive must not have it, if it has no replica to be replaced.
    """

    claimant_id: str
    lfn: str
    replaces: bool
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class TellClaimEnded:
    """Tell the redirector, after all changes, that nobody writes under a name any more.

    The next claim on the name may overtake this one's end, so that says whose it is.
    """

    lfn: str
    claimant_id: str


@dataclass(frozen=True, slots=True)
class RefuseUpload:
    """An upload does not even begin; there is nothing of it."""

    upload_id: str
    error: PackhorseError


@dataclass(frozen=True, slots=True)
class GrantRoom:
    """The file may be as large as this; the first time, its client may begin to write.

    Once it is larger than `ask_from_bytes`, the next step is to be wished for.
    """

    upload_id: str
    reserved_bytes: int
    ask_from_bytes: int


@dataclass(frozen=True, slots=True)
class RefuseRoom:
    """The file may not grow as it was to: there is no room. What it has it keeps."""

    upload_id: str
    error: PackhorseError


@dataclass(frozen=True, slots=True)
class PublishUpload:
    """Move the file to its place, over the one it replaces → UploadPublished or UploadFailed."""

    upload_id: str
    lfn: str
    size_bytes: int
    replaces: bool


@dataclass(frozen=True, slots=True)
class EndUpload:
    """Tell the client why its upload is over, and leave nothing of it → UploadGone."""

    upload_id: str
    error: PackhorseError


@dataclass(frozen=True, slots=True)
class MoveFile:
    """Give a replica's file its new name → Renamed or RenameFailed."""

    change_id: str
    lfn: str
    new_lfn: str


@dataclass(frozen=True, slots=True)
class TellChanged:
    """Tell a client that its removal or rename is done, or why it is not."""

    change_id: str
    error: PackhorseError | None = None


@dataclass(frozen=True, slots=True)
class CompareWithArchive:
    """Ask the archive what it has of a file → Compared or StoreStepFailed."""

    step_id: str
    lfn: str


@dataclass(frozen=True, slots=True)
class RunStore:
    """Note that the file is sent, then run the command → StoreRan.

    `again`: an earlier run may have left something in the archive, to be overwritten.
    """

    step_id: str
    lfn: str
    again: bool


@dataclass(frozen=True, slots=True)
class NoteArchived:
    """Tell the catalogue that the archive has the file → ArchivedNoted or StoreStepFailed."""

    step_id: str
    lfn: str


@dataclass(frozen=True, slots=True)
class StopStore:
    """End the step under way and leave no process of it → StoreStopped, and nothing else."""

    step_id: str


@dataclass(frozen=True, slots=True)
class NoteStore:
    """Tell the catalogue how the storing of a file stands; `failure` "": none for good."""

    lfn: str
    sent: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class RemoveFromArchive:
    """Note that a file's replica is the only copy, and remove the archive's → Withdrawn."""

    holder: str
    lfn: str


@dataclass(frozen=True, slots=True)
class TellStores:
    """Answer StoresOrdered: which files are stored now, and why the others are not."""

    query_id: int
    taken: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RemoveFiles:
    """Unlink replicas and their catalogue rows → Removed.

    `by_force` takes what other programs have open as well.
    """

    lfns: tuple[str, ...]
    by_force: bool = False


@dataclass(frozen=True, slots=True)
class SetApart:
    """Move a damaged file that may be the only copy out of everybody's way → Removed."""

    lfn: str


@dataclass(frozen=True, slots=True)
class AskPurgeCommand:
    """Show the site's purge command the likeliest victims → Advised."""

    lfns: tuple[str, ...]
    free_bytes: int
    free_files: int


@dataclass(frozen=True, slots=True)
class TellEvicted:
    """Answer an eviction, once everything it started is gone or has failed to go."""

    query_id: int
    evicted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class JoinAnew:
    """Tell the redirector from the beginning what there is: all of it went, or came back."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Something an admin should read in the log."""

    text: str


Instruction = (
    Examine
    | Copy
    | Verify
    | Publish
    | StopStep
    | KeepCommands
    | Inspect
    | TellEnded
    | ClaimName
    | TellClaimEnded
    | RefuseUpload
    | GrantRoom
    | RefuseRoom
    | PublishUpload
    | EndUpload
    | MoveFile
    | TellChanged
    | CompareWithArchive
    | RunStore
    | NoteArchived
    | StopStore
    | NoteStore
    | RemoveFromArchive
    | TellStores
    | RemoveFiles
    | SetApart
    | AskPurgeCommand
    | TellEvicted
    | JoinAnew
    | Tell
)
