"""What processing a dataset gives: the value, what is missing from it, and the figures."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UsageError
from packhorse.merging import MergeError, merge_values

if TYPE_CHECKING:
    from packhorse.functions import Merge
    from packhorse.values import MissingRange, PacketRecord, SessionStatus
    from protos.packhorse.v1 import packetizer_pb2 as pb


@dataclass(slots=True)
class WorkerFigures:
    """What one worker did. Times are seconds, summed over its packets."""

    worker: str
    host: str
    packets: int = 0
    packets_local: int = 0
    entries: int = 0
    bytes_read: int = 0
    wait_s: float = 0.0
    open_s: float = 0.0
    read_s: float = 0.0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a session."""

    session_id: str
    dataset: str
    seconds: float
    files: int
    files_bad: int
    files_recalled: int
    files_recalled_at_first_packet: int
    entries: int  # in the value
    entries_bad: int
    entries_local: int
    bytes_read: int
    packets: int
    packets_retried: int
    first_lease_s: float  # from opening the session; negative: there was none
    first_packet_s: float
    workers: tuple[WorkerFigures, ...]

    @property
    def local_fraction(self) -> float:
        """The part of the entries that was read on the host that holds them."""
        return self.entries_local / self.entries if self.entries else 0.0

    @property
    def entries_per_s(self) -> float:
        """Entries a second over the whole session."""
        return self.entries / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """`value` is everything that could be processed, merged (None if there was nothing).

    `missing` names every range that is not in it, and why; it is empty when all went well.
    """

    value: Any
    missing: tuple[MissingRange, ...]
    report: Report

    @property
    def complete(self) -> bool:
        """Whether every entry of the dataset is in the value."""
        return not self.missing


def merge_part(value: Any, part: bytes, merge: Merge | None) -> Any:
    """The value with one more of the results that workers committed.

    Raises UsageError if they do not merge.
    """
    try:
        return merge_values(value, pickle.loads(part), merge)  # noqa: S301 - our own workers'
    except MergeError as error:
        raise UsageError(f"results of different workers: {error}") from error


def report_of(status: SessionStatus, workers: WorkerSums) -> Report:
    """The figures of a session that has ended."""
    return Report(
        session_id=status.session_id,
        dataset=status.dataset,
        seconds=status.elapsed_s,
        files=status.files,
        files_bad=status.files_bad,
        files_recalled=status.files_recalled,
        files_recalled_at_first_packet=status.files_recalled_at_first_packet,
        entries=status.entries_done,
        entries_bad=status.entries_bad,
        entries_local=status.entries_local,
        bytes_read=status.bytes_read,
        packets=status.packets_done,
        packets_retried=status.packets_retried,
        first_lease_s=status.first_lease_s,
        first_packet_s=status.first_packet_s,
        workers=workers.figures(),
    )


class WorkerSums:
    """Sums of packets' records by worker; there may be millions of records."""

    def __init__(self) -> None:
        self._figures: dict[str, WorkerFigures] = {}

    def add(self, record: PacketRecord | pb.PacketRecord) -> None:
        """Counts one packet."""
        mine = self._figures.get(record.worker)
        if mine is None:
            mine = self._figures[record.worker] = WorkerFigures(record.worker, record.host)
        mine.packets += 1
        mine.packets_local += record.local
        mine.entries += record.stop - record.start
        mine.bytes_read += record.bytes_read
        mine.wait_s += record.wait_s
        mine.open_s += record.open_s
        mine.read_s += record.read_s
        mine.compute_s += record.compute_s

    def figures(self) -> tuple[WorkerFigures, ...]:
        """What each worker did, by name."""
        return tuple(self._figures[worker] for worker in sorted(self._figures))
