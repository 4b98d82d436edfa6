"""Stage requests: someone's wish that files be online."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied, state_of
from packhorse.values.files import FileState

if TYPE_CHECKING:
    from protos.packhorse.v1 import redirector_pb2


class RequestState(StrEnum):
    """How a stage request stands."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    DONE = "done"  # every file came online
    FAILED = "failed"  # ended, and at least one file failed
    CANCELLED = "cancelled"


class RequestedFile(NamedTuple):
    """One file of a stage request."""

    lfn: str
    state: FileState
    reason: str


@dataclass(frozen=True, slots=True)
class StageRequest:
    """A stage request; `file` holds its files if they were asked for."""

    request_id: str
    owner: str
    priority: int
    dataset: str
    created_unix_s: float
    ended_unix_s: float  # 0: not ended
    state: RequestState
    files: int
    done: int
    failed: int
    cancelled: int
    file: tuple[RequestedFile, ...]
    activity: str = ""  # what it is for; recalls are shared out by it

    @classmethod
    def of(cls, message: redirector_pb2.RequestInfo) -> StageRequest:
        """The value of a message."""
        return copied(
            cls,
            message,
            state=state_of(RequestState, message.state),
            file=tuple(
                RequestedFile(row.lfn, state_of(FileState, row.state), row.reason)
                for row in message.file
            ),
        )


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far a staging is. Every file is online, failed, cancelled, or still waited for."""

    files: int
    online: int
    failed: int
    cancelled: int
    bytes_online: int  # of those whose size is known
    problems: tuple[RequestedFile, ...]  # the files that failed, known once all has ended

    @property
    def waiting(self) -> int:
        """How many files are still waited for."""
        return self.files - self.online - self.failed - self.cancelled

    @property
    def ended(self) -> bool:
        """Whether nothing is waited for any more."""
        return self.waiting <= 0
