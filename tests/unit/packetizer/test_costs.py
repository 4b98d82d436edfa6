"""What an event costs does not depend on how many files, packets or workers there are.

Counted in steps of the interpreter, not in seconds: so the tests are exact, and the
same on every machine.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from packetizer.core import events as ev
from packetizer.core import instructions as ins
from packetizer.core.desk import Desk, Tuning
from packetizer.core.files import FileSpec
from packetizer.core.nodes import NodeSeen
from packetizer.core.plan import TableSeen
from tests.support.packetizer_desk import SESSION, TREE, lfn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

NOW_S = 1000.0
TABLE = [TableSeen(TREE, 1000, ())]


def steps(what: Callable[[], object]) -> int:
    """How many opcodes it takes."""
    counted = 0

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal counted
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        counted += kind == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        what()
    finally:
        sys.settrace(before)
    return counted


def desk_with(files: int, workers: int = 1) -> Desk:
    """A session at work, all of its files ready, spread over ten data servers."""
    desk = Desk(1, Tuning())
    desk.handle(ev.NodesSeen([NodeSeen(f"n{k}", f"h{k}") for k in range(10)]), NOW_S)
    spec = ev.SessionSpec("d", packet_entries=100, created_s=NOW_S)
    specs = [FileSpec(lfn(number), TREE, 1000) for number in range(files)]
    desk.handle(ev.SessionOpened(SESSION, spec, specs), NOW_S)
    for number in range(files):
        come_online(desk, number)
    desk.handle(ev.FilesSurveyed(SESSION), NOW_S)
    for number in range(workers):
        joined = ev.WorkerJoined(f"w{number}", number, f"h{number % 10}", pid=number)
        desk.handle(joined, NOW_S)
    return desk


def come_online(desk: Desk, number: int) -> None:
    desk.handle(ev.FileOnline(SESSION, lfn(number), (f"n{number % 10}",), 1000), NOW_S)
    desk.handle(ev.FileDescribed(SESSION, lfn(number), 1000, 1, TABLE), NOW_S)


def lease_and_commit(desk: Desk, packets: int) -> None:
    """One worker does some packets, one by one."""
    instructions = desk.handle(ev.WorkerReported("w0", 0, 1), NOW_S)
    for number in range(packets):
        (given,) = (each for each in instructions if isinstance(each, ins.GivePackets))
        offered = ev.CommitOffered(number, SESSION, [given.leases[0].lease_id], [0.1], 0)
        instructions = desk.handle(ev.WorkerReported("w0", 0, 1, offered), NOW_S)
        desk.handle(ev.CommitKept(SESSION, "w0", number), NOW_S)


@pytest.mark.parametrize("workers", [1, 200])
def test_leasing_and_committing_cost_the_same_with_many_files(workers: int) -> None:
    few, many = desk_with(50, workers), desk_with(3000, workers)
    assert steps(lambda: lease_and_commit(many, 40)) < 1.1 * steps(
        lambda: lease_and_commit(few, 40)
    )


def test_a_file_that_comes_costs_the_same_with_many_files() -> None:
    few, many = desk_with(50), desk_with(3000)

    def leave_and_come(desk: Desk) -> None:
        for number in range(20):
            desk.handle(ev.FileOffline(SESSION, lfn(number), ev.Offline.NEARLINE), NOW_S)
            come_online(desk, number)

    assert steps(lambda: leave_and_come(many)) < 1.1 * steps(lambda: leave_and_come(few))


def test_a_lost_worker_costs_the_same_with_many_files() -> None:
    few, many = desk_with(50), desk_with(3000)

    def lose(desk: Desk) -> None:
        desk.handle(ev.WorkerReported("w0", 0, 10), NOW_S)
        desk.handle(ev.WorkerLeft("w0", 0), NOW_S)

    assert steps(lambda: lose(many)) < 1.1 * steps(lambda: lose(few))


def test_the_passing_of_time_costs_the_same_with_many_files() -> None:
    few, many = desk_with(50), desk_with(3000)

    def pass_time(desk: Desk) -> None:
        for second in range(10):
            desk.handle(ev.Tick(), NOW_S + second)
            desk.handle(ev.SpaceSeen(10**9, 10**9), NOW_S + second)

    assert steps(lambda: pass_time(many)) < 1.1 * steps(lambda: pass_time(few))
