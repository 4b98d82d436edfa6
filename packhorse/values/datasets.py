"""Datasets: named lists of files with a tree name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied, state_of
from packhorse.values.files import Checksum, FileState

if TYPE_CHECKING:
    from protos.packhorse.v1 import redirector_pb2


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One file of a dataset, and how it stood when last verified."""

    lfn: str
    tree: str
    size_bytes: int  # 0: unknown
    checksum: Checksum
    entries: int  # of `tree`
    entries_known: bool
    state: FileState
    reason: str

    @classmethod
    def of(cls, message: redirector_pb2.DatasetFile) -> DatasetFile:
        """The value of a message."""
        return copied(
            cls,
            message,
            checksum=Checksum(message.checksum.algorithm, message.checksum.value),
            state=state_of(FileState, message.state),
        )


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset in figures; its files by state, as last verified."""

    name: str
    tree: str
    group: str
    owner: str
    title: str
    created_unix_s: float
    verified_unix_s: float  # 0: never
    files: int
    online: int
    staging: int
    nearline: int
    missing: int
    corrupt: int
    failed: int
    bytes_known: int
    files_of_unknown_size: int
    entries_known: int
    files_of_unknown_entries: int

    @classmethod
    def of(cls, message: redirector_pb2.DatasetSummary) -> DatasetSummary:
        """The value of a message."""
        return copied(cls, message)


class Registration(NamedTuple):
    """What a registration did; names given more than once are kept once."""

    files: int
    added: int
    duplicates: int
    bytes_known: int


class Group(NamedTuple):
    """A group's registered bytes, and what it may register (0: no limit)."""

    group: str
    registered_bytes: int
    quota_bytes: int


class DatasetListing(NamedTuple):
    """The datasets that match, and the groups there are."""

    datasets: tuple[DatasetSummary, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class DatasetVerification:
    """How far a verification is; `problems` names every file not usable, once complete."""

    summary: DatasetSummary
    complete: bool
    request_id: str  # of the staging, if any was asked for
    problems: tuple[DatasetFile, ...]

    @classmethod
    def of(cls, message: redirector_pb2.VerifyReply) -> DatasetVerification:
        """The value of a message."""
        return copied(
            cls,
            message,
            summary=DatasetSummary.of(message.summary),
            problems=tuple(DatasetFile.of(file) for file in message.problems),
        )
