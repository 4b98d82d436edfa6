"""The value is merged of what workers committed, and the figures are summed."""

from __future__ import annotations

import pickle

import pytest

from common.errors import UsageError
from packhorse.result import Result, merge_parts, report_of
from packhorse.values import MissingRange, PacketRecord, SessionStatus
from protos.packhorse.v1 import packetizer_pb2 as pb


def test_parts_are_merged_in_any_number() -> None:
    assert merge_parts([], None) is None
    parts = [pickle.dumps({"n": 1}), pickle.dumps(None), pickle.dumps({"n": 2, "m": 1})]
    assert merge_parts(parts, None) == {"n": 3, "m": 1}
    assert merge_parts([pickle.dumps(3), pickle.dumps(5)], max) == 5


def test_parts_of_different_workers_that_do_not_merge_are_named() -> None:
    with pytest.raises(UsageError, match="results of different workers: dict and int"):
        merge_parts([pickle.dumps({}), pickle.dumps(1)], None)


def test_figures_are_summed_by_worker() -> None:
    status = SessionStatus.of(
        pb.SessionStatus(session_id="s", entries_done=60, entries_local=45, elapsed_s=2.0)
    )
    records = [
        PacketRecord.of(
            pb.PacketRecord(
                worker=worker, host="h", start=start, stop=start + 20, read_s=0.5, local=local
            )
        )
        for worker, start, local in (("w2", 0, True), ("w1", 20, True), ("w2", 40, False))
    ]
    report = report_of(status, records)
    assert (report.local_fraction, report.entries_per_s) == (0.75, 30.0)
    first, second = report.workers
    assert (first.worker, first.packets, first.entries) == ("w1", 1, 20)
    assert (second.packets, second.packets_local, second.entries, second.read_s) == (2, 1, 40, 1.0)


def test_a_session_of_nothing_divides_by_nothing() -> None:
    report = report_of(SessionStatus.of(pb.SessionStatus()), [])
    assert (report.local_fraction, report.entries_per_s) == (0.0, 0.0)


def test_a_result_is_complete_if_nothing_is_missing() -> None:
    report = report_of(SessionStatus.of(pb.SessionStatus()), [])
    assert Result(1, (), report).complete
    assert not Result(1, (MissingRange("/a", 0, 5, "gone"),), report).complete
