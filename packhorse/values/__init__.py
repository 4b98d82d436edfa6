"""What the Python API answers with: plain, frozen values.

They have the names and units of the messages in `protos/`, so that one word means
one thing from the wire to the notebook, but hold nothing of gRPC: they can be
kept, compared, pickled, and turned into JSON with `dataclasses.asdict`.
"""

from __future__ import annotations

from packhorse.values.cluster import (
    DrainReport,
    NodeLoad,
    NodeState,
    NodeStatus,
    PinnedFile,
    PurgePlan,
    PurgeVerdict,
    Recall,
    SiteStatus,
)
from packhorse.values.datasets import (
    DatasetFile,
    DatasetListing,
    DatasetSummary,
    DatasetVerification,
    Group,
    Registration,
)
from packhorse.values.files import (
    Checksum,
    Content,
    EventKind,
    Eviction,
    Explanation,
    FileEvent,
    FileInfo,
    FileState,
    Location,
    NodeAddress,
    Pin,
    Pinning,
    Refusal,
    ReplicaOnNode,
    StoryLine,
    Table,
)
from packhorse.values.requests import (
    RequestedFile,
    RequestState,
    StageProgress,
    StageRequest,
)
from packhorse.values.sessions import (
    MissingRange,
    PacketRecord,
    SessionState,
    SessionStatus,
)
from packhorse.values.storing import NodeStores, StoredFile, Storing

__all__ = [
    "Checksum",
    "Content",
    "DatasetFile",
    "DatasetListing",
    "DatasetSummary",
    "DatasetVerification",
    "DrainReport",
    "EventKind",
    "Eviction",
    "Explanation",
    "FileEvent",
    "FileInfo",
    "FileState",
    "Group",
    "Location",
    "MissingRange",
    "NodeAddress",
    "NodeLoad",
    "NodeState",
    "NodeStatus",
    "NodeStores",
    "PacketRecord",
    "Pin",
    "PinnedFile",
    "Pinning",
    "PurgePlan",
    "PurgeVerdict",
    "Recall",
    "Refusal",
    "Registration",
    "ReplicaOnNode",
    "RequestState",
    "RequestedFile",
    "SessionState",
    "SessionStatus",
    "SiteStatus",
    "StageProgress",
    "StageRequest",
    "StoredFile",
    "Storing",
    "StoryLine",
    "Table",
]
