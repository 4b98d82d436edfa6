"""The worker's logic, against a packetizer that follows a script."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import NotFound
from packhorse.functions import Work, dump_work
from packhorse.worker.engine import IDLE_CLOSE_S, MAX_WANT, Engine
from packhorse.worker.running import Outcome, failure
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection

    from packhorse.functions import Function
    from packhorse.worker.running import Key


class World:
    """An engine with a clock, a runner and a packetizer that tests move by hand."""

    def __init__(self, only_session: str = "", *, work: Work | None = None) -> None:
        self.now_s = 100.0
        self.packet_s = 1.0
        self.sent: list[pb.WorkerReport] = []
        self.ran: list[int] = []
        self.kept: list[set[str]] = []
        self.broken: set[int] = set()
        self.values: dict[int, Any] = {}
        self.function = dump_work(work or Work(len))  # type: ignore[arg-type]
        self.engine = Engine(
            self, self.fetch, self.sent.append, only_session, clock=lambda: self.now_s
        )

    def fetch(self, session_id: str) -> bytes:
        if session_id == "gone":
            raise NotFound("no such session")
        return self.function

    def run(self, packet: pb.Packet, function: Function) -> Outcome:
        self.ran.append(packet.lease_id)
        self.now_s += self.packet_s
        record = pb.PacketRecord(lease_id=packet.lease_id)
        if packet.lease_id in self.broken:
            kind = pb.PacketFailure.KIND_OPEN
            return Outcome(record, failure=failure(packet.lease_id, kind, "not there"))
        return Outcome(record, self.values.get(packet.lease_id, 1))

    def keep(self, keys: Collection[Key]) -> None:
        self.kept.append({lfn for _, _, lfn in keys})

    # --- the packetizer's side ------------------------------------------------

    def welcome(self, commit_s: float = 1.0) -> None:
        self.engine.connected(pb.WorkerWelcome(heartbeat_s=1.0, commit_s=commit_s))
        self.engine.settle()

    def give(self, *leases: int, session: str = "s", lfn: str = "/a", soon: bool = False) -> None:
        packets = [pb.Packet(lease_id=lease, session_id=session, lfn=lfn) for lease in leases]
        self.engine.take(pb.Packets(packets=packets, commit_soon=soon))

    def answer(self, commit: pb.Commit, *, accepted: bool = True) -> None:
        self.engine.answered(pb.CommitAnswer(commit_id=commit.commit_id, accepted=accepted))
        self.engine.settle()

    def work(self) -> None:
        """Runs all that is at hand, as the process does."""
        while self.engine.has_work:
            self.engine.run_next()
            self.engine.settle()

    def do_chores(self) -> int:
        """Lets the worker get ready; returns how many things it did."""
        done = 0
        while self.engine.has_chores:
            self.engine.do_chore()
            done += 1
        return done

    def commits(self) -> list[pb.Commit]:
        return [report.commit for report in self.sent if report.HasField("commit")]

    def failures(self) -> list[pb.PacketFailure]:
        return [one for report in self.sent for one in report.failures]

    def wants(self) -> list[int]:
        return [report.want for report in self.sent]


def leases_of(commit: pb.Commit) -> list[int]:
    return [record.lease_id for record in commit.packets]


def test_a_worker_asks_for_work_once_it_is_welcome() -> None:
    world = World()
    world.engine.settle()
    assert not world.sent
    world.welcome()
    assert world.wants() == [1]


def test_the_next_packet_is_asked_for_before_the_last_one_is_begun() -> None:
    world = World()
    world.welcome()
    world.give(1)
    asked: list[int] = []
    world.broken.add(1)
    before = len(world.sent)
    run = world.run

    def spy(packet: pb.Packet, function: Function) -> Outcome:
        asked.append(len(world.sent) - before)
        return run(packet, function)

    world.run = spy  # type: ignore[method-assign]
    world.engine.run_next()
    assert asked == [1]
    assert world.sent[before].want == 1


def test_quick_packets_are_asked_for_in_larger_numbers() -> None:
    world = World()
    world.packet_s = 0.00001
    world.welcome()
    lease = 0
    for _ in range(200):
        want = world.sent[-1].want
        world.give(*range(lease + 1, lease + want + 1))
        lease += want
        world.work()
    assert max(world.wants()) == MAX_WANT
    assert len(world.sent) < lease / 20


def test_results_are_committed_when_there_is_nothing_else_to_do() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.give(1, 2)
    world.work()
    (commit,) = world.commits()
    assert leases_of(commit) == [1, 2]
    assert pickle.loads(commit.result) == 2


def test_results_are_not_held_back_for_longer_than_the_packetizer_allows() -> None:
    world = World()
    world.packet_s = 0.4
    world.welcome(commit_s=1.0)
    world.give(*range(1, 10))
    while world.engine.has_work:
        world.engine.run_next()
        world.engine.settle()
        for commit in world.commits():
            world.answer(commit)
    # The first of three is done 0.8 s before the last: a fourth would hold it back for 1.2 s.
    assert [leases_of(commit) for commit in world.commits()] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_one_commit_is_on_its_way_at_a_time() -> None:
    world = World()
    world.welcome(commit_s=0.0)
    world.give(1, 2, 3)
    world.work()
    (first,) = world.commits()
    assert leases_of(first) == [1]
    world.answer(first)
    assert [leases_of(commit) for commit in world.commits()] == [[1], [2, 3]]


def test_near_the_end_a_commit_does_not_wait() -> None:
    world = World()
    world.packet_s = 0.01
    world.welcome(commit_s=60)
    world.give(1, 2, soon=True)
    world.give(3, 4)
    world.work()
    assert leases_of(world.commits()[0]) == [1, 2]


def test_a_failure_is_reported_at_once_and_the_rest_goes_on() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.broken.add(2)
    world.give(1, 2, 3)
    world.work()
    (one,) = world.failures()
    assert (one.lease_id, one.kind, one.reason) == (2, pb.PacketFailure.KIND_OPEN, "not there")
    assert leases_of(world.commits()[0]) == [1, 3]


def test_a_value_that_does_not_merge_fails_its_own_packet() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.values[2] = "text"
    world.give(1, 2, 3)
    world.work()
    (one,) = world.failures()
    assert (one.lease_id, one.kind) == (2, pb.PacketFailure.KIND_MERGE)
    assert "int and str" in one.reason
    assert leases_of(world.commits()[0]) == [1, 3]


def test_a_result_that_cannot_be_committed_fails_its_packets() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.values[1] = threading.Lock()
    world.give(1)
    world.work()
    (one,) = world.failures()
    assert (one.lease_id, one.kind) == (1, pb.PacketFailure.KIND_MERGE)
    assert not world.commits()


def test_a_function_that_cannot_be_loaded_fails_every_packet_with_the_reason() -> None:
    world = World()
    world.function = b"packhorse-function 2.7\n"
    world.welcome()
    world.give(1, 2)
    world.work()
    assert {one.lease_id for one in world.failures()} == {1, 2}
    assert all(one.kind == pb.PacketFailure.KIND_FUNCTION for one in world.failures())
    assert "Python 2.7" in world.failures()[0].reason
    assert not world.ran


def test_packets_of_a_session_that_is_gone_are_given_back() -> None:
    world = World()
    world.welcome()
    world.give(1, session="gone")
    world.work()
    (one,) = world.failures()
    assert one.kind == pb.PacketFailure.KIND_UNDONE


def test_a_lost_connection_drops_leases_and_results() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.give(1, 2)
    world.engine.run_next()
    world.engine.disconnected()
    assert not world.engine.has_work
    world.engine.settle()
    assert not world.commits()
    world.welcome()
    world.give(3)
    world.work()
    assert [leases_of(commit) for commit in world.commits()] == [[3]]
    assert not world.commits()[0].supersedes


def test_after_a_refusal_the_results_begin_anew() -> None:
    world = World()
    world.welcome()
    world.give(1)
    world.work()
    world.answer(world.commits()[0])
    world.give(2)
    world.work()
    assert list(world.commits()[1].supersedes) == [world.commits()[0].commit_id]
    world.answer(world.commits()[1], accepted=False)
    world.give(3)
    world.work()
    assert not world.commits()[2].supersedes
    assert pickle.loads(world.commits()[2].result) == 1


def test_the_end_of_a_session_drops_its_packets_only() -> None:
    world = World()
    world.welcome()
    world.give(1, session="s")
    world.give(2, session="t")
    world.engine.session_ended(pb.SessionEnded(session_id="s"))
    world.work()
    assert world.ran == [2]
    assert not world.engine.finished


def test_the_end_of_its_only_session_is_the_workers_end() -> None:
    world = World(only_session="s")
    world.welcome()
    world.engine.session_ended(pb.SessionEnded(session_id="s"))
    assert world.engine.finished


def test_sessions_are_committed_apart() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.give(1, session="s")
    world.give(2, session="t")
    world.give(3, session="s")
    world.work()
    assert {(commit.session_id, *leases_of(commit)) for commit in world.commits()} == {
        ("s", 1, 3),
        ("t", 2),
    }


def test_a_worker_that_stops_gives_back_commits_and_waits_for_the_answer() -> None:
    world = World()
    world.welcome(commit_s=60)
    world.give(1, 2, 3)
    world.engine.run_next()
    world.engine.stop()
    world.engine.settle()
    assert {one.lease_id for one in world.failures()} == {2, 3}
    assert all(one.kind == pb.PacketFailure.KIND_UNDONE for one in world.failures())
    (commit,) = world.commits()
    assert leases_of(commit) == [1]
    assert not world.engine.finished
    world.give(4)
    world.engine.settle()
    assert not world.engine.has_work
    assert {one.lease_id for one in world.failures()} == {2, 3, 4}
    world.answer(commit)
    assert world.engine.finished


def test_a_worker_that_stops_without_a_connection_is_finished() -> None:
    world = World()
    world.engine.stop()
    assert world.engine.finished


def test_files_are_let_go_of_when_another_one_is_begun_and_when_idle() -> None:
    world = World()
    world.welcome()
    world.give(1, lfn="/a")
    world.give(2, lfn="/b")
    world.give(3, lfn="/c")
    world.engine.run_next()
    assert world.kept[-1] == {"/a", "/b", "/c"}
    world.engine.run_next()
    assert world.kept[-1] == {"/b", "/c"}
    world.engine.run_next()
    world.engine.settle()
    assert world.kept[-1] == {"/c"}
    due_s = world.engine.due_in_s()
    assert due_s == pytest.approx(IDLE_CLOSE_S)
    world.now_s += IDLE_CLOSE_S
    world.engine.settle()
    assert world.kept[-1] == set()
    assert world.engine.due_in_s() is None


def test_waiting_is_counted_before_the_packet_that_ended_it() -> None:
    world = World()
    world.welcome(commit_s=0)
    world.now_s += 5
    world.give(1, 2)
    world.work()
    records = [record for commit in world.commits() for record in commit.packets]
    assert (records[0].started_s, records[0].wait_s) == (5.0, 5.0)
    world.answer(world.commits()[0])
    record = world.commits()[1].packets[0]
    assert (record.started_s, record.wait_s) == (6.0, 0.0)


def test_idle_time_before_the_first_packet_is_used_to_load_the_function() -> None:
    world = World(only_session="s")
    assert world.do_chores() == 0
    world.welcome()
    assert world.wants() == [1]
    assert world.do_chores() == 2
    world.function = b"not asked for again"
    world.give(1)
    world.work()
    assert world.ran == [1]


def test_a_worker_with_packets_gets_nothing_else_ready() -> None:
    world = World(only_session="s")
    world.welcome()
    world.give(1)
    world.work()
    assert world.do_chores() == 0


def test_a_function_that_cannot_be_fetched_early_is_fetched_with_its_packet() -> None:
    world = World(only_session="gone")
    world.welcome()
    assert world.do_chores() == 2
    assert not world.failures()
    world.give(1, session="gone")
    world.work()
    assert world.failures()[0].kind == pb.PacketFailure.KIND_UNDONE


def test_others_can_see_what_is_being_worked_on() -> None:
    world = World()
    world.welcome()
    seen: list[tuple[int, str]] = []
    run = world.run

    def spy(packet: pb.Packet, function: Function) -> Outcome:
        seen.append((world.engine.lease_id, world.engine.session_id))
        return run(packet, function)

    world.run = spy  # type: ignore[method-assign]
    world.give(9)
    world.work()
    assert seen == [(9, "s")]
    assert (world.engine.lease_id, world.engine.session_id) == (0, "")
