"""What processing a dataset gives: the value, what is missing from it, and the figures."""

from __future__ import annotations

import pickle
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UsageError
from packhorse.merging import MergeError, merge_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packhorse.functions import Merge
    from packhorse.values import MissingRange, PacketRecord, SessionStatus


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """What one worker did. Times are seconds, summed over its packets."""

    worker: str
    host: str
    packets: int
    packets_local: int
    entries: int
    bytes_read: int
    wait_s: float
    open_s: float
    read_s: float
    compute_s: float


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


def merge_parts(parts: Iterable[bytes], merge: Merge | None) -> Any:
    """One value of the results that workers committed. Raises UsageError if they do not merge."""
    value = None
    for part in parts:
        try:
            value = merge_values(value, pickle.loads(part), merge)  # noqa: S301 - our own workers'
        except MergeError as error:
            raise UsageError(f"results of different workers: {error}") from error
    return value


def report_of(status: SessionStatus, records: Iterable[PacketRecord]) -> Report:
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
        workers=_figures(records),
    )


def _figures(records: Iterable[PacketRecord]) -> tuple[WorkerFigures, ...]:
    by_worker: dict[str, list[PacketRecord]] = defaultdict(list)
    for record in records:
        by_worker[record.worker].append(record)
    return tuple(
        WorkerFigures(
            worker=worker,
            host=mine[0].host,
            packets=len(mine),
            packets_local=sum(record.local for record in mine),
            entries=sum(record.stop - record.start for record in mine),
            bytes_read=sum(record.bytes_read for record in mine),
            wait_s=sum(record.wait_s for record in mine),
            open_s=sum(record.open_s for record in mine),
            read_s=sum(record.read_s for record in mine),
            compute_s=sum(record.compute_s for record in mine),
        )
        for worker, mine in sorted(by_worker.items())
    )
