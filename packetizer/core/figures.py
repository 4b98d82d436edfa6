"""How a session stands, in numbers: what people see of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packetizer.core.events import MissingRange, SessionSpec


class SessionState(Enum):
    """How a session stands."""

    OPENING = "opening"  # learning where its files are
    RUNNING = "running"
    ENDING = "ending"  # its end is being written down
    DONE = "done"  # every entry is committed, or named as missing
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Figures:
    """A session's figures at one moment. Durations that are unknown are negative."""

    session_id: str
    spec: SessionSpec
    state: SessionState
    reason: str
    elapsed_s: float
    files: int
    files_online: int
    files_staging: int
    files_done: int
    files_bad: int
    files_recalled: int
    files_online_at_first_lease: int
    files_of_unknown_entries: int
    entries_total: int
    entries_done: int
    entries_bad: int
    entries_local: int
    bytes_read: int
    packets_done: int
    packets_retried: int
    workers: int
    rate: float  # entries per second, lately
    eta_s: float
    first_lease_s: float
    first_packet_s: float
    missing: Sequence[MissingRange]  # once it has ended
