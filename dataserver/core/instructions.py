"""What a node wants done: the vocabulary `Node.handle` answers in.

Each instruction that starts work is answered by exactly one event, named beside it,
whatever happens: the shell turns every trouble into StepFailed or Removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    """End the step under way and leave nothing of it → Stopped, and nothing else."""

    recall_id: str


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
class RemoveFiles:
    """Unlink replicas and their catalogue rows → Removed.

    `by_force` takes what other programs have open as well.
    """

    lfns: tuple[str, ...]
    by_force: bool = False


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
class Tell:
    """Something an admin should read in the log."""

    text: str


Instruction = (
    Examine
    | Copy
    | Verify
    | Publish
    | StopStep
    | Inspect
    | TellEnded
    | RemoveFiles
    | AskPurgeCommand
    | TellEvicted
    | Tell
)
