"""The value is merged of what workers committed, and the figures are summed."""

from __future__ import annotations

import pickle

import pytest

from common.errors import UsageError
from packhorse.result import Result, WorkerSums, merge_part, report_of
from packhorse.values import MissingRange, SessionStatus
from protos.packhorse.v1 import packetizer_pb2 as pb


def test_parts_are_merged_in_any_number() -> None:
    value = None
    for part in ({"n": 1}, None, {"n": 2, "m": 1}):
        value = merge_part(value, pickle.dumps(part), None)
    assert value == {"n": 3, "m": 1}
    assert merge_part(3, pickle.dumps(5), max) == 5


def test_parts_of_different_workers_that_do_not_merge_are_named() -> None:
    with pytest.raises(UsageError, match="results of different workers: dict and int"):
        merge_part({}, pickle.dumps(1), None)


def test_figures_are_summed_by_worker() -> None:
    status = SessionStatus.of(
        pb.SessionStatus(session_id="s", entries_done=60, entries_local=45, elapsed_s=2.0)
    )
    workers = WorkerSums()
    for worker, start, local in (("w2", 0, True), ("w1", 20, True), ("w2", 40, False)):
        workers.add(
            pb.PacketRecord(
                worker=worker, host="h", start=start, stop=start + 20, read_s=0.5, local=local
            )
        )
    report = report_of(status, workers)
    assert (report.local_fraction, report.entries_per_s) == (0.75, 30.0)
    first, second = report.workers
    assert (first.worker, first.packets, first.entries) == ("w1", 1, 20)
    assert (second.packets, second.packets_local, second.entries, second.read_s) == (2, 1, 40, 1.0)


def test_a_session_of_nothing_divides_by_nothing() -> None:
    report = report_of(SessionStatus.of(pb.SessionStatus()), WorkerSums())
    assert (report.local_fraction, report.entries_per_s) == (0.0, 0.0)


def test_a_result_is_complete_if_nothing_is_missing() -> None:
    report = report_of(SessionStatus.of(pb.SessionStatus()), WorkerSums())
    assert Result(1, (), report).complete
    assert not Result(1, (MissingRange("/a", 0, 5, "gone"),), report).complete
