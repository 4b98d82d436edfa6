"""Workers die, functions raise, replicas do not open: what happens to packets then."""

from __future__ import annotations

import pytest

from packetizer.core import events as ev
from packetizer.core.desk import Tuning
from packetizer.core.events import FailureKind
from packetizer.core.figures import SessionState
from packetizer.core.nodes import NodeSeen
from tests.support.packetizer_desk import SESSION, DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(1, packet_entries=10)
    world.online(0, "n1")
    return world


# --- workers that go ---------------------------------------------------------------


def test_what_a_dead_worker_held_goes_to_others_at_once(world: DeskWorld) -> None:
    world.join("a", want=10)
    world.join("b", want=1)
    assert not world.hands["b"]
    world.die("a")
    assert len(world.hands["b"]) == 1
    assert world.figures().packets_retried == 10


def test_a_worker_that_leaves_with_empty_hands_leaves_no_suspects(world: DeskWorld) -> None:
    world.join("a", want=4)
    for _ in range(4):
        world.fail("a", FailureKind.UNDONE)
    world.die("a")
    world.join("b", want=10)
    assert len(world.hands["b"]) == 10
    assert not any(lease.is_alone for lease in world.hands["b"])
    assert world.figures().packets_retried == 0


def test_a_suspect_is_alone_in_a_workers_hands(world: DeskWorld) -> None:
    world.join("a", want=2)
    world.die("a")
    world.join("b", want=5)
    assert [lease.is_alone for lease in world.hands["b"]] == [True]
    assert world.soon["b"], "its result is not to wait for others"
    assert not world.want("b", 5)
    world.commit("b", want=5)
    assert [lease.start for lease in world.hands["b"]] == [10]


def test_a_worker_empties_its_hands_before_it_gets_a_suspect(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.join("b", want=2)
    suspect = world.hands["a"][0]
    world.die("a")
    first, second = world.hands["b"]
    world.commit("b", [first], want=2)
    assert world.hands["b"] == [second], "nothing is added to what it holds"
    world.commit("b", want=2)
    assert [lease.start for lease in world.hands["b"]] == [suspect.start]


def test_not_more_workers_are_emptied_than_there_are_suspects(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.join("b", want=1)
    world.join("c", want=1)
    world.die("a")
    world.want("b", 1)
    assert len(world.want("c", 1)) == 1


def test_a_packet_that_kills_its_workers_is_found_out(world: DeskWorld) -> None:
    deaths = 0
    for number in range(20):
        name = f"w{number}"
        world.join(name, want=3)
        while world.hands[name]:
            if world.hands[name][0].start == 30:
                world.die(name)
                deaths += 1
                break
            world.commit(name, world.hands[name][:1], want=3)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert figures.entries_done == 90
    (missing,) = figures.missing
    assert (missing.lfn, missing.start, missing.stop) == (lfn(0), 30, 40)
    assert "3 workers died of it" in missing.reason
    assert deaths == 3


def test_a_silent_worker_is_lost(world: DeskWorld) -> None:
    world.join("a", want=10)
    world.join("b", want=1)
    for _ in range(29):
        world.later(1.0)
        world.beat("b")
    assert not world.hands["b"]
    world.later(1.5)
    assert world.hands["b"]
    assert world.closed[0].stream == world.stream("a")
    assert "nothing was heard" in world.closed[0].reason


def test_what_a_lost_worker_says_later_is_refused(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.later(31.0)
    world.commit("a")
    assert not world.answers
    assert world.figures().entries_done == 0


def test_a_worker_that_comes_back_gets_its_packets_again_without_suspicion(
    world: DeskWorld,
) -> None:
    world.join("a", want=3, pid=7)
    old = world.stream("a")
    world.join("a", want=3, pid=7)
    assert [stream.stream for stream in world.closed] == [old]
    assert [lease.start for lease in world.hands["a"]] == [0, 10, 20]
    assert not any(lease.is_alone for lease in world.hands["a"])


def test_a_second_worker_of_the_same_name_is_refused(world: DeskWorld) -> None:
    world.join("a", want=1, pid=7)
    with pytest.raises(Exception, match=r"a worker named a already \(process 7 on h1\)"):
        world.join("a", pid=8)


def test_a_name_whose_bearer_is_silent_can_be_taken_over(world: DeskWorld) -> None:
    world.join("a", want=1, pid=7)
    world.later(4.0)
    world.join("a", want=1, pid=8)
    assert len(world.hands["a"]) == 1


# --- functions that raise ------------------------------------------------------------


def test_a_packet_whose_function_raised_goes_to_another_worker(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.join("b")
    world.fail("a", want=1)
    assert world.hands["a"][0].start == 10, "not to the one it failed with"
    assert world.want("b", 1)[0].start == 0
    assert world.hands["b"][0].tried == 1


def test_with_one_worker_only_it_is_tried_there_again(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.fail("a", want=1)
    assert world.hands["a"][0].start == 0


def test_a_packet_that_waits_for_another_worker_does_not_wait_for_ever(world: DeskWorld) -> None:
    world.join("busy", want=9)
    world.join("a", want=1)
    world.fail("a", want=1)
    assert not world.hands["a"]
    for _ in range(4):
        world.later(1.0)
        world.beat("busy")
    assert len(world.hands["a"]) == 1


def test_after_its_attempts_a_packet_is_named_with_reason_and_traceback(world: DeskWorld) -> None:
    world.join("a", want=1)
    for _ in range(3):
        world.fail("a", want=1, reason="ValueError: no muons")
    while world.hands["a"]:
        world.commit("a", want=1)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert (figures.entries_done, figures.entries_bad, figures.files_bad) == (90, 10, 1)
    (missing,) = figures.missing
    assert (missing.start, missing.stop) == (0, 10)
    assert missing.reason == "ValueError: no muons (worker a, data server n1)"
    assert missing.traceback == "Traceback …"
    assert world.bad[0].missing == missing
    assert world.bad[0].entries == 100
    assert figures.packets_retried == 3


def test_attempts_are_as_configured() -> None:
    world = DeskWorld(Tuning(attempts=1))
    world.nodes(*two_nodes())
    world.open(1, packet_entries=50)
    world.online(0, "n1")
    world.join("a", want=1)
    world.fail("a")
    assert world.figures().entries_bad == 50


def test_too_many_bad_packets_fail_the_session() -> None:
    world = DeskWorld(Tuning(attempts=1))
    world.nodes(*two_nodes())
    world.open(1, packet_entries=10, max_bad_packets=2)
    world.online(0, "n1")
    world.join("a", want=1)
    world.fail("a", want=1)
    world.fail("a", want=1)
    assert world.figures().state is SessionState.RUNNING
    world.fail("a", want=1)
    figures = world.figures()
    assert figures.state is SessionState.FAILED
    assert "more than 2 packets are bad" in figures.reason
    assert world.told[-1].session_id == SESSION
    assert world.released == [SESSION]


def test_a_failure_of_a_lease_nobody_holds_changes_nothing(world: DeskWorld) -> None:
    world.join("a", want=1)
    failure = ev.PacketFailed(12345, FailureKind.FUNCTION, "?")
    world.send(ev.WorkerReported("a", world.stream("a"), 0, None, [failure]))
    assert world.figures().packets_retried == 0


# --- replicas that do not open ---------------------------------------------------------


def test_a_replica_that_does_not_open_is_avoided(world: DeskWorld) -> None:
    world.online(0, "n1", "n2")
    world.join("a", want=1)
    assert world.hands["a"][0].node.name == "n1"
    world.fail("a", FailureKind.OPEN, want=1)
    assert world.hands["a"][0].start == 10
    world.later(2.0)
    again = [lease for lease in world.want("a", 1) if lease.start == 0]
    assert [lease.node.name for lease in again] == ["n2"]


def test_it_is_tried_again_after_a_while_not_at_once(world: DeskWorld) -> None:
    world.join("a", want=10)
    world.commit("a", world.hands["a"][1:])
    world.fail("a", FailureKind.OPEN, want=1)
    assert not world.hands["a"]
    world.later(1.0)
    assert not world.hands["a"]
    world.later(1.1)
    assert world.hands["a"][0].tried == 1


def test_a_server_that_is_down_is_not_the_fault_of_its_files(world: DeskWorld) -> None:
    world.join("a", want=1)
    down = NodeSeen("n1", "h1", "r1", "x", up=False)
    world.nodes(down)
    for _ in range(10):
        world.fail("a", FailureKind.OPEN, want=1)
        world.nodes(NodeSeen("n1", "h1", "r1", "x", up=True))
        world.later(2.1)
        world.nodes(down)
    assert world.hands["a"][0].tried == 0
    assert world.figures().entries_bad == 0


def test_a_server_of_which_several_files_fail_is_to_blame_itself(world: DeskWorld) -> None:
    world.open(3, "more", packet_entries=50)
    for number in range(3):
        world.online(number, "n1", session_id="more")
    world.join("a", want=1, only_session="more")
    while not world.figures("more").files_bad and world.now_s < 1030:
        if world.hands["a"]:
            world.fail("a", FailureKind.OPEN, want=1)
        world.later(0.25)
    assert not world.figures("more").files_bad
    assert world.figures("more").packets_retried < 30, "it is let alone for a while"
    if not world.hands["a"]:
        world.later(20.0)
    world.commit("a", session_id="more", want=1)
    while world.hands["a"]:
        world.commit("a", session_id="more", want=1)
        world.later(10.0)
    assert world.figures("more").entries_done == 300


def test_a_server_that_fails_for_long_does_so_because_of_its_files(world: DeskWorld) -> None:
    world.open(3, "more", packet_entries=100)
    for number in range(3):
        world.online(number, "n1", session_id="more")
    world.join("a", want=1, only_session="more")
    while world.figures("more").state is SessionState.RUNNING and world.now_s < 1500:
        if world.hands["a"]:
            world.fail("a", FailureKind.OPEN, want=1)
        world.later(1.0)
        if "a" in world.hands:
            world.beat("a")
    assert world.figures("more").files_bad == 3


def test_a_file_that_never_opens_is_named_as_a_whole(world: DeskWorld) -> None:
    world.join("a", want=1)
    for delay_s in (2.1, 8.1, 0.0):
        world.fail("a", FailureKind.OPEN, reason="no such file")
        world.later(delay_s)
        world.want("a", 1)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert figures.entries_bad == 100
    assert sorted((m.start, m.stop) for m in figures.missing) == [(0, 10), (10, 100)]
    assert "no such file" in figures.missing[0].reason


def test_a_file_that_breaks_half_way_keeps_what_was_committed(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.commit("a", want=1)
    for _ in range(3):
        assert world.hands["a"][0].start == 10
        world.fail("a", FailureKind.CORRUPT, want=1)
    while world.hands["a"]:
        world.commit("a", want=1)
    figures = world.figures()
    assert (figures.entries_done, figures.entries_bad) == (90, 10)


def test_a_worker_on_a_file_that_is_given_up_may_still_commit(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.join("b", want=2)
    for delay_s in (2.1, 8.1, 0.0):
        world.fail("a", FailureKind.OPEN)
        world.later(delay_s)
        world.beat("b")
        world.want("a", 1)
    assert world.figures().state is SessionState.RUNNING
    first, second = world.hands["b"]
    world.commit("b", [first])
    world.fail("b", FailureKind.FUNCTION)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert (figures.entries_done, figures.entries_bad) == (10, 90)
    assert (lfn(0), second.start, second.stop) in {
        (m.lfn, m.start, m.stop) for m in figures.missing
    }
