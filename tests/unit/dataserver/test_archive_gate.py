"""The gate before the archive: after a few failures in a row, one file is tried for all."""

from __future__ import annotations

from dataserver.core.archive_gate import CLOSES_AFTER, ArchiveGate, pause_s


def closed_gate() -> ArchiveGate:
    gate = ArchiveGate(60.0, 3600.0)
    for _ in range(CLOSES_AFTER):
        gate.failed("down", 1000.0)
    return gate


def test_an_open_gate_lets_as_many_through_as_there_are_slots() -> None:
    gate = ArchiveGate(60.0, 3600.0)
    assert (gate.room(4, 1, 0.0), gate.is_closed) == (3, False)


def test_a_few_failures_that_were_not_in_a_row_leave_it_open() -> None:
    gate = ArchiveGate(60.0, 3600.0)
    for _ in range(CLOSES_AFTER - 1):
        gate.failed("down", 0.0)
    gate.went_well()
    gate.failed("down", 0.0)
    assert not gate.is_closed


def test_a_closed_gate_lets_one_through_when_its_pause_is_over() -> None:
    gate = closed_gate()
    assert gate.is_closed
    assert gate.room(4, 0, 1059.0) == 0
    assert gate.room(4, 0, 1060.0) == 1
    assert gate.room(4, 1, 1060.0) == 0


def test_the_pauses_double_up_to_the_longest() -> None:
    gate = closed_gate()
    assert gate.next_s == 1060.0
    gate.failed("still down", 1060.0)
    assert (gate.next_s, gate.closed_since_s, gate.why) == (1180.0, 1000.0, "still down")
    for _ in range(2000):
        gate.failed("down", 2000.0)
    assert gate.next_s == 5600.0


def test_one_success_opens_it() -> None:
    gate = closed_gate()
    gate.went_well()
    assert (gate.is_closed, gate.room(4, 0, 0.0)) == (False, 4)


def test_the_first_pause_is_the_shortest() -> None:
    assert [pause_s(failures, 1.0, 5.0) for failures in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
