"""A commit counts once and whole, or not at all."""

from __future__ import annotations

import pytest

from packetizer.core import events as ev
from packetizer.core.figures import SessionState
from packetizer.core.leases import LeaseIds, epoch_of
from tests.support.packetizer_desk import SESSION, DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(1, packet_entries=10)
    world.online(0, "n1")
    return world


def test_a_commit_counts_and_is_answered(world: DeskWorld) -> None:
    world.join("a", want=3)
    number = world.commit("a")
    assert world.answers[-1].accepted
    assert world.answers[-1].commit_id == number
    figures = world.figures()
    assert (figures.entries_done, figures.packets_done) == (30, 3)
    assert world.kept[0].bytes_read == 3


def test_nothing_counts_before_the_disk_has_it(world: DeskWorld) -> None:
    world.keeps_at_once = False
    world.join("a", want=1)
    world.commit("a")
    assert not world.answers
    assert world.figures().entries_done == 0
    world.keep_written()
    assert world.answers[-1].accepted
    assert world.figures().entries_done == 10


def test_a_worker_that_dies_while_its_commit_is_written_loses_nothing(world: DeskWorld) -> None:
    world.keeps_at_once = False
    world.join("a", want=2)
    first, second = world.hands["a"]
    world.commit("a", [first])
    world.die("a")
    world.join("b", want=1)
    assert world.hands["b"][0].start == second.start, "what is being written is not leased again"
    world.keep_written()
    assert world.figures().entries_done == 10


def test_a_commit_said_twice_counts_once(world: DeskWorld) -> None:
    world.join("a", want=1)
    held = list(world.hands["a"])
    number = world.commit("a")
    world.commit("a", held, commit_id=number)
    assert [answer.accepted for answer in world.answers] == [True, True]
    assert world.figures().entries_done == 10
    assert len(world.kept) == 1


def test_a_commit_said_twice_while_it_is_written_is_answered_once(world: DeskWorld) -> None:
    world.keeps_at_once = False
    world.join("a", want=1)
    held = list(world.hands["a"])
    number = world.commit("a")
    world.commit("a", held, commit_id=number)
    world.keep_written()
    assert len(world.answers) == 1
    assert world.figures().entries_done == 10


def test_one_strange_lease_refuses_the_whole_commit_and_frees_the_others(world: DeskWorld) -> None:
    world.join("a", want=2)
    world.join("b", want=1)
    mine, theirs = list(world.hands["a"]), world.hands["b"][0]
    world.commit("a", [*mine, theirs])
    answer = world.answers[-1]
    assert not answer.accepted
    assert "not (or no longer) this worker's" in answer.reason
    assert world.figures().entries_done == 0
    again = world.want("a", 2)
    assert [(lease.start, lease.stop) for lease in again] == [(0, 10), (10, 20)]
    world.commit("b")
    assert world.answers[-1].accepted, "the worker whose lease it was is not touched by that"


def test_a_commit_that_mixes_sessions_is_refused_and_frees_all_of_it(world: DeskWorld) -> None:
    world.open(1, "other", packet_entries=10)
    world.online(0, "n1", session_id="other")
    world.join("a", want=4)
    held = list(world.hands["a"])
    assert {lease.session_id for lease in held} == {SESSION, "other"}
    world.commit("a", held)
    assert not world.answers[-1].accepted
    assert not world.desk.workers["a"].hand
    again = world.want("a", 4)
    assert {(one.session_id, one.start) for one in again} == {
        (one.session_id, one.start) for one in held
    }


def test_a_lease_of_an_earlier_life_is_refused(world: DeskWorld) -> None:
    world.join("a", want=1)
    stale = world.hands["a"][0]
    later = DeskWorld(epoch=2)
    later.nodes(*two_nodes())
    later.open(1, packet_entries=10)
    later.online(0, "n1")
    later.join("a", want=1)
    later.commit("a", [stale])
    assert not later.answers[-1].accepted
    assert "of epoch 1" in later.answers[-1].reason
    assert later.hands["a"][0].lease_id != stale.lease_id


def test_lease_ids_tell_their_epoch_and_never_repeat() -> None:
    ids = LeaseIds(7)
    drawn = [ids.new() for _ in range(100)]
    assert len(set(drawn)) == 100
    assert {epoch_of(each) for each in drawn} == {7}


def test_a_lease_named_twice_in_one_commit_refuses_it(world: DeskWorld) -> None:
    world.join("a", want=1)
    held = world.hands["a"][0]
    world.commit("a", [held, held])
    assert world.answers[-1].reason == "the commit names a lease twice"
    assert world.want("a", 1)[0].start == held.start


def test_a_commit_may_replace_earlier_ones_of_its_worker(world: DeskWorld) -> None:
    world.join("a", want=1)
    first = world.commit("a", want=1)
    second = world.commit("a", want=1)
    world.commit("a", supersedes=(first, second))
    assert world.answers[-1].accepted
    assert world.kept[-1].supersedes == (first, second)
    assert world.figures().entries_done == 30


def test_what_was_replaced_cannot_be_replaced_again(world: DeskWorld) -> None:
    world.join("a", want=1)
    first = world.commit("a", want=1)
    world.commit("a", supersedes=(first,), want=1)
    world.commit("a", supersedes=(first,))
    assert not world.answers[-1].accepted
    assert "does not count" in world.answers[-1].reason


def test_a_commit_that_was_refused_cannot_be_replaced(world: DeskWorld) -> None:
    world.join("a", want=2)
    first = world.hands["a"][0]
    refused = world.commit("a", [first, first])
    assert not world.answers[-1].accepted
    world.commit("a", supersedes=(refused,))
    assert not world.answers[-1].accepted


def test_a_commit_of_another_worker_cannot_be_replaced(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.join("b", want=1)
    number = world.commit("a")
    world.commit("b", supersedes=(number,), commit_id=9)
    assert not world.answers[-1].accepted


def test_a_result_may_be_compacted_without_new_packets(world: DeskWorld) -> None:
    world.join("a", want=1)
    first = world.commit("a")
    world.commit("a", [], supersedes=(first,))
    assert world.answers[-1].accepted
    assert world.figures().packets_done == 1


def test_a_commit_that_cannot_be_written_fails_the_session_and_loses_nothing(
    world: DeskWorld,
) -> None:
    world.keeps_at_once = False
    world.join("a", want=1)
    number = world.commit("a")
    world.send(ev.CommitNotKept(SESSION, "a", number, "no space left"))
    assert not world.answers[-1].accepted
    figures = world.figures()
    assert figures.state is SessionState.FAILED
    assert "no space left" in figures.reason
    assert figures.entries_done == 0


def test_a_commit_for_a_session_that_is_gone_is_refused(world: DeskWorld) -> None:
    world.join("a", want=1)
    world.send(ev.SessionCancelled(SESSION, "enough"))
    world.commit("a")
    assert not world.answers[-1].accepted
    assert "not at work here" in world.answers[-1].reason


def test_a_report_of_a_stream_that_was_replaced_is_ignored(world: DeskWorld) -> None:
    world.join("a", want=1, pid=5)
    held = world.hands["a"][0]
    old = world.stream("a")
    world.join("a", want=0, pid=5)
    offered = ev.CommitOffered(1, SESSION, [held.lease_id], [1.0], 0)
    world.send(ev.WorkerReported("a", old, 1, offered))
    assert not world.answers
    assert world.figures().entries_done == 0


def test_packets_count_as_local_where_host_labels_match(world: DeskWorld) -> None:
    world.join("near", "h1", want=1)
    world.join("far", "h2", want=2)
    world.commit("near")
    world.commit("far")
    figures = world.figures()
    assert (figures.entries_done, figures.entries_local) == (30, 10)


def test_ranges_on_disk_are_those_of_the_ledger(world: DeskWorld) -> None:
    world.join("a", want=10)
    world.commit("a")
    assert world.ranges_kept() == [(lfn(0), k * 10, k * 10 + 10) for k in range(10)]
    assert world.figures().state is SessionState.DONE


def test_two_commits_on_their_way_cannot_replace_the_same_one(world: DeskWorld) -> None:
    world.join("a", want=3)
    first, second, third = world.hands["a"]
    number = world.commit("a", [first])
    world.keeps_at_once = False
    world.commit("a", [second], supersedes=(number,))
    world.commit("a", [third], supersedes=(number,))
    assert not world.answers[-1].accepted
    world.keep_written()
    assert world.figures().entries_done == 20
