"""Files: where they are, what is in them, and what happened to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied, state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protos.packhorse.v1 import redirector_pb2, types_pb2


class FileState(StrEnum):
    """Where one file stands, as seen by the redirector."""

    UNKNOWN = "unknown"
    ONLINE = "online"  # at least one verified replica
    STAGING = "staging"  # a recall runs or waits
    NEARLINE = "nearline"  # in the archive, or not known to be missing
    MISSING = "missing"  # neither on a disk nor in the archive
    CORRUPT = "corrupt"  # online, but cannot be read as what it should be
    FAILED = "failed"  # the last recall failed for good; see the reason


class NodeAddress(NamedTuple):
    """Where a data server stands (its labels), and HOST:PORT of its gRPC door."""

    node: str
    address: str
    host: str
    rack: str
    site: str

    @classmethod
    def of(cls, message: types_pb2.NodeAddress) -> NodeAddress:
        """The value of a message."""
        return cls(message.node, message.address, message.host, message.rack, message.site)


class Location(NamedTuple):
    """Where one file is: `nodes` hold it, the best choice first; none if it is not online."""

    lfn: str
    state: FileState
    size_bytes: int
    nodes: tuple[NodeAddress, ...]
    reason: str


def locations_of(lfns: Sequence[str], reply: redirector_pb2.LocateReply) -> list[Location]:
    """One location per name asked for, from the columns of a reply."""
    nodes = [NodeAddress.of(node) for node in reply.nodes]
    alone = [(), *((node,) for node in nodes)]
    holders: list[tuple[NodeAddress, ...]] = [alone[number] for number in reply.holder]
    for copy in reply.more:
        holders[copy.row] = (*holders[copy.row], nodes[copy.holder - 1])
    found = [
        Location(lfn, FileState.ONLINE if held else FileState.NEARLINE, size_bytes, held, "")
        for lfn, size_bytes, held in zip(lfns, reply.size_bytes, holders, strict=True)
    ]
    for row in reply.offline:
        found[row.row] = found[row.row]._replace(
            state=state_of(FileState, row.state), reason=row.reason
        )
    return found


class Checksum(NamedTuple):
    """`algorithm` in lower case, `value` in lower-case hexadecimal."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}" if self.algorithm else ""


class Table(NamedTuple):
    """A TTree, an RNTuple, or the rows of a Parquet file (named "").

    `cluster_ends` is the entry after the last of every cluster or row group; none
    if the table may be cut anywhere.
    """

    name: str
    entries: int
    cluster_ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What is inside a file, found out when it was staged."""

    format: str  # "root", "parquet", "bytes", or "" before it was inspected
    tables: tuple[Table, ...]
    uuid: str
    problem: str  # why it cannot be read as what its name promises

    @classmethod
    def of(cls, message: types_pb2.Content) -> Content:
        """The value of a message."""
        tables = tuple(
            Table(table.name, table.entries, tuple(table.cluster_ends)) for table in message.tables
        )
        return copied(cls, message, format=format_name(message.format), tables=tables)


_FORMATS = ("", "root", "parquet", "bytes")


def format_name(number: int) -> str:
    """One of "root", "parquet" or "bytes"; "" for a format not known (yet)."""
    return _FORMATS[number] if 0 <= number < len(_FORMATS) else ""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """All that is known of one online file."""

    lfn: str
    size_bytes: int
    checksum: Checksum
    content: Content

    @classmethod
    def of(cls, message: types_pb2.FileInfo) -> FileInfo:
        """The value of a message."""
        return copied(
            cls,
            message,
            checksum=Checksum(message.checksum.algorithm, message.checksum.value),
            content=Content.of(message.content),
        )


class EventKind(StrEnum):
    """What happened to a file."""

    SNAPSHOT = "snapshot"  # nothing did: how it stood when the watching began
    PUBLISHED = "published"
    DROPPED = "dropped"
    QUEUED = "queued"
    STARTED = "started"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class FileEvent:
    """What happened to a file, and the state it is in now."""

    lfn: str
    state: FileState
    kind: EventKind
    node: str
    size_bytes: int
    reason: str

    @classmethod
    def of(cls, message: redirector_pb2.FileEvent) -> FileEvent:
        """The value of a message."""
        return copied(
            cls,
            message,
            state=state_of(FileState, message.state),
            kind=state_of(EventKind, message.kind),
        )


class Pinning(NamedTuple):
    """How many files were pinned; those not online are pinned from when they come."""

    pinned: int
    not_online: tuple[str, ...]


class Refusal(NamedTuple):
    """A file that was not evicted, and why."""

    lfn: str
    reason: str


class Eviction(NamedTuple):
    """How many files were evicted, and those that were not."""

    evicted: int
    refused: tuple[Refusal, ...]


class ReplicaOnNode(NamedTuple):
    """One replica of a file."""

    node: str
    size_bytes: int


class Pin(NamedTuple):
    """Someone's promise not to purge a file."""

    owner: str
    expires_in_s: float
    reason: str


class StoryLine(NamedTuple):
    """One line of a file's story."""

    unix_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is: its replicas, pins, requests and story."""

    lfn: str
    state: FileState
    archive_name: str
    replicas: tuple[ReplicaOnNode, ...]
    pins: tuple[Pin, ...]
    request_ids: tuple[str, ...]
    story: tuple[StoryLine, ...]
    next: str
    stores: tuple[str, ...] = ()  # of replicas that are not archived: how that stands, a line each

    @classmethod
    def of(cls, lfn: str, message: redirector_pb2.ExplainReply) -> Explanation:
        """The value of a message."""
        return copied(
            cls,
            message,
            lfn=lfn,
            state=state_of(FileState, message.state),
            replicas=tuple(ReplicaOnNode(row.node, row.size_bytes) for row in message.replicas),
            pins=tuple(Pin(pin.owner, pin.expires_in_s, pin.reason) for pin in message.pins),
            request_ids=tuple(message.request_ids),
            story=tuple(StoryLine(line.unix_s, line.text) for line in message.story),
            stores=tuple(message.stores),
        )
