"""What the packetizer's shell is to do. One class an instruction; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packetizer.core.events import MissingRange, Progress
    from packetizer.core.figures import Figures
    from packetizer.core.leases import Lease

# --- to workers ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GivePackets:
    """These leases are the worker's now."""

    worker: str
    stream: int
    leases: Sequence[Lease]
    #: Nothing is to be gained by holding results back any more.
    commit_soon: bool


@dataclass(frozen=True, slots=True)
class AnswerCommit:
    """A commit is counted, or not."""

    worker: str
    commit_id: int
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TellSessionEnded:
    """The worker may forget the session's function and its uncommitted results."""

    worker: str
    stream: int
    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseStream:
    """The worker is taken for lost, or not admitted."""

    stream: int
    reason: str


# --- to disk ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeepCommit:
    """Write ranges, records and result in one step; then CommitKept or CommitNotKept."""

    session_id: str
    worker: str
    host: str
    commit_id: int
    leases: Sequence[Lease]
    bytes_read: int
    supersedes: Sequence[int]
    payload: object
    progress: Progress


@dataclass(frozen=True, slots=True)
class BadRange:
    """Entries of one file that were given up."""

    index: int  # of the file in its session
    entries: int  # of the whole file; negative: unknown
    missing: MissingRange


@dataclass(frozen=True, slots=True)
class KeepBad:
    """Write down what was given up; nobody waits for it."""

    session_id: str
    ranges: Sequence[BadRange]


@dataclass(frozen=True, slots=True)
class KeepEnd:
    """Write down how a session has ended; then EndKept."""

    session_id: str
    figures: Figures


# --- to the redirector -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocateFiles:
    """Ask where these files are, for no event may tell; then FileOnline, or FileOffline."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class DescribeFiles:
    """Ask what is inside these files; then FileDescribed, or FileOffline."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class StageFiles:
    """Pin these files for the session and have them staged; then StageAccepted or Refused."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class PinFiles:
    """Pin these files for the session until told otherwise."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class UnpinFiles:
    """The session is done with these files."""

    session_id: str
    lfns: Sequence[str]


@dataclass(frozen=True, slots=True)
class ReleaseSession:
    """Cancel the session's stage requests and drop all its pins."""

    session_id: str


# --- to whoever watches ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOver:
    """The session has ended, and its end is kept."""

    session_id: str


Instruction = (
    GivePackets
    | AnswerCommit
    | TellSessionEnded
    | CloseStream
    | KeepCommit
    | KeepBad
    | KeepEnd
    | LocateFiles
    | DescribeFiles
    | StageFiles
    | PinFiles
    | UnpinFiles
    | ReleaseSession
    | SessionOver
)


class Outbox:
    """The instructions of the event being handled. Everybody in the core adds to one."""

    __slots__ = ("_instructions",)

    def __init__(self) -> None:
        self._instructions: list[Instruction] = []

    def add(self, instruction: Instruction) -> None:
        """One more, in order."""
        self._instructions.append(instruction)

    def take(self) -> list[Instruction]:
        """All there are; the outbox is empty after it."""
        instructions = self._instructions
        self._instructions = []
        return instructions
