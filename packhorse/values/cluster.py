"""The cluster: its nodes, their load, their purge plans, and the recalls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied, state_of
from packhorse.values.files import NodeAddress

if TYPE_CHECKING:
    from protos.packhorse.v1 import redirector_pb2


class NodeState(StrEnum):
    """How a data server stands with the redirector."""

    UNKNOWN = "unknown"
    JOINING = "joining"  # connected, its inventory still on the way
    UP = "up"
    SUSPECT = "suspect"  # out of touch, its recalls still its own
    DROPPED = "dropped"  # out of touch for too long


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A data server's last heartbeat."""

    cpu_percent: float
    io_wait_percent: float
    used_bytes: int
    reserved_bytes: int
    pinned_bytes: int
    quota_bytes: int
    files: int
    open_files: int
    recalls_running: int
    recalls_waiting: int
    staging_bytes_left: int
    staging_rate: float  # bytes per second; 0: unknown
    peak_used_bytes: int  # used + reserved, the most since it started
    files_purged: int
    bytes_purged: int
    trouble: str  # why it should get no recalls; "" if it is well
    unarchived_files: int = 0  # what it alone has, for it is not in the archive
    unarchived_bytes: int = 0
    stores_waiting: int = 0  # of these, what is to be stored there
    stores_waiting_bytes: int = 0
    stores_failed: int = 0  # of those, what has failed for good
    stores_oldest_s: float = 0.0  # for how long the first of them has waited
    stores_trouble: str = ""  # why the archive takes nothing; "" if it does
    files_stored: int = 0  # since it started
    bytes_stored: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A data server, as the redirector sees it."""

    address: NodeAddress
    state: NodeState
    draining: bool
    load: NodeLoad
    heartbeat_age_s: float
    cost_s: float  # what a new recall would wait for
    version: str

    @classmethod
    def of(cls, message: redirector_pb2.NodeStatus) -> NodeStatus:
        """The value of a message."""
        return copied(
            cls,
            message,
            address=NodeAddress.of(message.address),
            state=state_of(NodeState, message.state),
            load=copied(NodeLoad, message.load),
        )


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """The whole site in one look."""

    nodes: tuple[NodeStatus, ...]
    packetizers: tuple[str, ...]
    replicas: int
    recalls_queued: int
    recalls_running: int
    recalls_done: int  # since the redirector started
    recalls_failed: int
    requests_active: int
    version: str
    uptime_s: float
    quota_bytes: int  # of usable nodes
    available_bytes: int  # of that, neither reserved nor pinned
    largest_file_bytes: int  # the most that one usable node could hold
    stuck: tuple[str, ...]  # what makes no progress, a line each

    @classmethod
    def of(cls, message: redirector_pb2.StatusReply) -> SiteStatus:
        """The value of a message."""
        return copied(
            cls,
            message,
            nodes=tuple(NodeStatus.of(node) for node in message.nodes),
            packetizers=tuple(message.packetizers),
            stuck=tuple(message.stuck),
        )


class PinnedFile(NamedTuple):
    """A pinned file that only one node has."""

    lfn: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a draining node still has to finish, and what only it has."""

    recalls_left: int
    recalls_left_bytes: int = 0
    writes_left: int = 0  # names that clients write under there
    open_files: int = 0
    unarchived_files: int = 0  # what only it has, for the archive has it not
    unarchived_bytes: int = 0
    pinned_files: int = 0  # what only it has, and would have to be recalled elsewhere
    pinned_bytes: int = 0
    pinned: tuple[PinnedFile, ...] = ()  # the first thousand of them
    out_of_touch: bool = False  # all this is as the node said last

    @property
    def is_drained(self) -> bool:
        """Whether it can be switched off without a loss.

        Pinned files can be had again, and who reads goes on elsewhere.
        """
        return not (self.recalls_left or self.writes_left or self.unarchived_files)

    @classmethod
    def of(cls, message: redirector_pb2.DrainReply) -> DrainReport:
        """The value of a message."""
        pinned = tuple(PinnedFile(one.lfn, one.size_bytes) for one in message.pinned)
        return copied(cls, message, pinned=pinned)


class PurgeVerdict(NamedTuple):
    """Whether a replica would go, and why (not)."""

    lfn: str
    goes: bool
    why: str
    size_bytes: int
    unused_s: float


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What one node's next purge would do; nothing was purged."""

    node: str
    summary: str
    verdicts: tuple[PurgeVerdict, ...]
    problem: str  # why there is no plan

    @classmethod
    def of(cls, message: redirector_pb2.PlanPurgeReply.NodePlan) -> PurgePlan:
        """The value of a message."""
        verdicts = tuple(
            PurgeVerdict(row.lfn, row.goes, row.why, row.size_bytes, row.unused_s)
            for row in message.plan.verdicts
        )
        return copied(cls, message, summary=message.plan.summary, verdicts=verdicts)


@dataclass(frozen=True, slots=True)
class Recall:
    """One run that brings, or brought, one file from the archive to one node."""

    recall_id: str
    lfn: str
    node: str
    state: str
    queued_unix_s: float
    started_unix_s: float
    ended_unix_s: float  # 0: not ended
    size_bytes: int
    command_s: float  # the stage command's own time
    attempt: int
    reason: str

    @classmethod
    def of(cls, message: redirector_pb2.RecallInfo) -> Recall:
        """The value of a message."""
        return copied(cls, message)
