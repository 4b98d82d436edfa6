"""What the head tells about itself: values for queries, made when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from common.story import StoryLine
    from redirector.core.model import (
        NodeAddress,
        NodeLoad,
        RequestRecord,
    )
    from redirector.core.states import FileState, NodeState, RequestState


@dataclass(frozen=True, slots=True)
class LocateColumns:
    """Where files are: columns with one row per name asked for.

    Row i: `holders[i]` is 0 if the file is not online, else k > 0 means that
    `nodes[k - 1]` is the best node to read it from; `sizes_bytes[i]` is 0 where
    not online. `more` has (row, holder) of replicas beyond the best; `offline`
    has (row, state, reason) of rows not online, NEARLINE ones left out.
    """

    nodes: list[NodeAddress]
    holders: list[int]
    sizes_bytes: list[int]
    more: list[tuple[int, int]]
    offline: list[tuple[int, FileState, str]]


class FileStanding(NamedTuple):
    """How one file stands now."""

    lfn: str
    state: FileState
    node: str = ""
    size_bytes: int = 0
    reason: str = ""


class HolderGroups(NamedTuple):
    """Files by the node that shall be asked about them (in touch, best holder)."""

    by_connection: dict[int, list[str]]
    not_online: list[str]


class EvictPlan(NamedTuple):
    """Which node is asked to evict which files, and what is refused at once."""

    by_connection: dict[int, list[str]]
    refused: list[tuple[str, str]]  # (lfn, reason)


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One data server as people see it."""

    address: NodeAddress
    state: NodeState
    draining: bool
    connection: int | None  # None: not in touch
    load: NodeLoad
    quota_bytes: int
    heartbeat_age_s: float
    cost_s: float
    version: str
    replicas: int
    recalls: int  # ours, running or waiting there
    claims: int  # names that clients write under there
    promised_bytes: int  # reserved for them
    served_by_others: bool  # its root:// door is another program's


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """One stage request as people see it."""

    record: RequestRecord
    state: RequestState
    ended_unix_s: float  # 0: not ended
    files: int
    done: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """The site at a glance."""

    uptime_s: float
    replicas: int
    recalls_queued: int  # waiting for a node, or for a retry
    recalls_running: int  # given to nodes
    requests_active: int
    recalls_done: int  # since start
    recalls_failed: int
    quota_bytes: int  # of usable nodes
    available_bytes: int  # of that, neither promised nor pinned
    largest_room_bytes: int  # the same of the node with the most
    largest_file_bytes: int


class PinFigures(NamedTuple):
    """One pin of a file."""

    owner: str
    expires_in_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The story of a file, whole: `next` says in words what happens next."""

    lfn: str
    state: FileState
    reason: str
    replicas: list[tuple[str, int]]  # (node, size_bytes)
    pins: list[PinFigures]
    request_ids: list[str]
    story: list[StoryLine]
    next: str
