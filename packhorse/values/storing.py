"""What is on its way to the archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied

if TYPE_CHECKING:
    from packhorse.values.files import Refusal
    from protos.packhorse.v1 import redirector_pb2


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file that is to be stored in the archive."""

    lfn: str
    size_bytes: int
    state: str
    waiting_s: float  # since it was written
    next_try_s: float  # until then; 0: now, or when its turn comes
    attempts: int  # how often its command has run since the server started
    reason: str  # why the last one failed


@dataclass(frozen=True, slots=True)
class NodeStores:
    """What one node has to store, the oldest first."""

    node: str
    stores: tuple[StoredFile, ...]
    problem: str  # why it is not known

    @classmethod
    def of(cls, message: redirector_pb2.ListStoresReply.NodeStores) -> NodeStores:
        """The value of a message."""
        return copied(
            cls, message, stores=tuple(copied(StoredFile, store) for store in message.stores)
        )


class Storing(NamedTuple):
    """Which files are stored now, and those that are not."""

    taken: tuple[str, ...]
    refused: tuple[Refusal, ...]
