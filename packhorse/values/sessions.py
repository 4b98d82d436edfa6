"""Sessions: one run over one dataset, its progress and its packets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from packhorse.values.convert import copied, state_of

if TYPE_CHECKING:
    from protos.packhorse.v1 import packetizer_pb2


class SessionState(StrEnum):
    """How a session stands."""

    UNKNOWN = "unknown"
    OPENING = "opening"  # learning where its files are
    RUNNING = "running"
    DONE = "done"  # every entry is committed, or named as missing
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it will not go on by itself."""
        return self in {SessionState.DONE, SessionState.FAILED, SessionState.CANCELLED}


class MissingRange(NamedTuple):
    """Entries [start, stop) of a file that are not in the result, and why.

    `start` = `stop` = 0: the whole file, whose entries are not known.
    """

    lfn: str
    start: int
    stop: int
    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session at one moment."""

    session_id: str
    dataset: str
    owner: str
    function_name: str
    state: SessionState
    reason: str
    created_unix_s: float
    elapsed_s: float
    files: int
    files_online: int
    files_staging: int
    files_done: int
    files_bad: int
    files_recalled: int  # came online during the session
    files_recalled_at_first_packet: int  # online when the first packet was leased
    files_of_unknown_entries: int
    entries_total: int  # of files whose entries are known
    entries_done: int
    entries_bad: int
    entries_local: int  # of those done, read on the host that holds them
    bytes_read: int
    packets_done: int
    packets_retried: int
    workers: int
    rate: float  # entries per second, lately
    eta_s: float  # negative: unknown
    first_lease_s: float  # from opening; negative: none yet
    first_packet_s: float  # from opening to the first commit; negative: none yet
    missing: tuple[MissingRange, ...]  # once it has ended

    @classmethod
    def of(cls, message: packetizer_pb2.SessionStatus) -> SessionStatus:
        """The value of a message."""
        return copied(
            cls,
            message,
            state=state_of(SessionState, message.state),
            missing=tuple(
                MissingRange(row.lfn, row.start, row.stop, row.reason, row.traceback)
                for row in message.missing
            ),
        )


@dataclass(frozen=True, slots=True)
class PacketRecord:
    """How one committed packet went. Times are seconds on the worker's clock."""

    worker: str
    host: str
    node: str
    lfn: str
    start: int
    stop: int
    local: bool
    started_s: float  # since the worker's hello
    wait_s: float  # idle before it
    open_s: float
    read_s: float
    compute_s: float
    bytes_read: int
    ended_unix_s: float  # when committed, on the packetizer's clock

    @classmethod
    def of(cls, message: packetizer_pb2.PacketRecord) -> PacketRecord:
        """The value of a message."""
        return copied(cls, message)
