"""How sessions begin, go on, end, and share workers."""

from __future__ import annotations

import pytest

from common.errors import NotFound, Refused
from common.story import IllegalMove
from packetizer.core import events as ev
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from packetizer.core.policies import Policies
from packetizer.core.rates import Rate, RecentRate
from packetizer.core.where import DoneTogether
from packetizer.core.window import ShareOfSpace
from tests.support.packetizer_desk import SESSION, DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    return world


def work_off(world: DeskWorld, worker: str) -> None:
    while world.hands[worker]:
        world.commit(worker, want=1)


def test_a_session_ends_when_every_entry_is_counted(world: DeskWorld) -> None:
    world.open(3)
    for number in range(3):
        world.online(number)
    world.join("a", want=1)
    work_off(world, "a")
    assert world.figures().state is SessionState.DONE
    assert world.over == [SESSION]
    assert world.released == [SESSION]
    assert world.told[-1].session_id == SESSION
    assert SESSION not in world.desk.sessions


def test_its_end_waits_for_the_commits_under_way(world: DeskWorld) -> None:
    world.keeps_at_once = False
    world.open(1, packet_entries=50)
    world.online(0)
    world.join("a", want=2)
    first, second = world.hands["a"]
    world.commit("a", [first])
    world.commit("a", [second])
    assert not world.ends
    world.keep_written()
    assert world.ends[SESSION].figures.entries_done == 100


def test_a_cancelled_session_waits_for_the_commits_under_way_too(world: DeskWorld) -> None:
    world.keeps_at_once = False
    world.open(1, packet_entries=50)
    world.online(0)
    world.join("a", want=2)
    world.commit("a", world.hands["a"][:1])
    world.send(ev.SessionCancelled(SESSION, "changed my mind"))
    assert not world.ends
    assert world.desk.figures(SESSION, world.now_s).state is SessionState.RUNNING
    world.keep_written()
    figures = world.ends[SESSION].figures
    assert (figures.state, figures.reason) == (SessionState.CANCELLED, "changed my mind")
    assert figures.entries_done == 50, "what is on disk counts"


def test_a_session_that_cannot_go_on_says_why(world: DeskWorld) -> None:
    world.open(1)
    world.send(ev.SessionBroken(SESSION, "its files cannot be watched"))
    figures = world.figures()
    assert (figures.state, figures.reason) == (SessionState.FAILED, "its files cannot be watched")


def test_an_ended_session_cannot_be_cancelled(world: DeskWorld) -> None:
    world.open([])
    assert world.figures().state is SessionState.DONE
    with pytest.raises(NotFound, match="no session s1 at work here"):
        world.send(ev.SessionCancelled(SESSION, ""))


def test_a_session_cannot_be_opened_twice(world: DeskWorld) -> None:
    world.open(1)
    with pytest.raises(Refused, match="at work already"):
        world.open(1)


def test_an_illegal_move_tells_the_story(world: DeskWorld) -> None:
    world.open(1)
    session = world.desk.sessions[SESSION]
    with pytest.raises(IllegalMove, match="opened: 1 files of d"):
        session.end_kept("", world.now_s)


def test_a_session_goes_on_where_an_earlier_life_stopped(world: DeskWorld) -> None:
    files = [
        FileSpec(lfn(0), "events", 1000, 100, committed=((0, 100),)),
        FileSpec(lfn(1), "events", 1000, 100, committed=((0, 30),), bad=((50, 60),)),
        FileSpec(lfn(2), "events", 1000, is_lost=True),
        FileSpec(lfn(3), "events", 1000),
    ]
    missing = (
        ev.MissingRange(lfn(1), 50, 60, "broken"),
        ev.MissingRange(lfn(2), 0, 0, "not a ROOT file"),
    )
    progress = ev.Progress(packets_done=13, entries_local=40, first_lease_s=1.5, first_packet_s=2.5)
    spec = ev.SessionSpec("d", packet_entries=100, created_s=world.now_s - 50)
    world.send(ev.SessionOpened(SESSION, spec, files, progress, missing, {"a": [1, 3]}))
    for number in (0, 1, 3):
        world.online(number)
    world.send(ev.FilesSurveyed(SESSION))
    assert world.described == [lfn(1), lfn(3)], "what is settled is not looked into again"
    world.join("a", want=9)
    ranges = sorted((lease.file.lfn, lease.start, lease.stop) for lease in world.hands["a"])
    assert ranges == [(lfn(1), 30, 50), (lfn(1), 60, 100), (lfn(3), 0, 100)]
    world.commit("a", commit_id=3)
    assert world.answers[-1].accepted, "that commit was kept in the earlier life"
    assert world.figures().entries_done == 130
    again = world.desk.sessions[SESSION]
    assert again.books.packets_done == 13
    world.die("a")
    world.join("b", want=1)
    work_off(world, "b")
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert figures.entries_done == 290
    assert set(figures.missing) == set(missing)
    assert (figures.first_lease_s, figures.first_packet_s) == (1.5, 2.5)
    assert figures.entries_local == 40 + 160
    assert figures.files_bad == 2


def test_a_session_with_nothing_left_ends_at_once(world: DeskWorld) -> None:
    files = [FileSpec(lfn(0), "events", 1000, 100, committed=((0, 100),))]
    world.open(files)
    assert world.figures().state is SessionState.DONE


def test_a_worker_for_a_session_that_is_gone_is_told_so(world: DeskWorld) -> None:
    world.join("a", only_session="gone", want=1)
    assert world.told[-1].session_id == "gone"


def test_the_last_packets_are_to_be_committed_at_once(world: DeskWorld) -> None:
    world.open(1, packet_entries=50)
    world.online(0)
    world.join("a", want=1)
    assert not world.soon["a"]
    world.want("a", 1)
    assert world.soon["a"]


# --- sharing -----------------------------------------------------------------------------


def test_sessions_share_workers_by_the_time_they_cost(world: DeskWorld) -> None:
    """One with packets thrice as dear gets a third as many."""
    for session_id, entries in (("cheap", 10), ("dear", 30)):
        world.open(1, session_id, packet_entries=entries)
        world.online(0, entries=3000, clusters=300, session_id=session_id)
    world.join("a", want=1)
    given = []
    for _ in range(80):
        (lease,) = world.hands["a"]
        given.append(lease.session_id)
        world.commit("a", session_id=lease.session_id, busy_s=lease.entries * 0.1, want=1)
    late = given[20:]
    assert late.count("cheap") == pytest.approx(3 * late.count("dear"), abs=4)


def test_a_session_that_had_no_work_has_saved_nothing_up(world: DeskWorld) -> None:
    world.open(1, "idle", packet_entries=10)
    world.open(1, "busy", packet_entries=10)
    world.online(0, entries=1000, clusters=100, session_id="busy")
    world.join("a", want=1)
    for _ in range(50):
        world.commit("a", session_id="busy", want=1)
    world.online(0, entries=1000, clusters=100, session_id="idle")
    given = []
    for _ in range(20):
        (lease,) = world.hands["a"]
        given.append(lease.session_id)
        world.commit("a", session_id=lease.session_id, want=1)
    assert 8 <= given.count("idle") <= 12


def test_a_worker_bound_to_a_session_serves_no_other(world: DeskWorld) -> None:
    world.open(1, "mine")
    world.open(1, "other")
    world.online(0, session_id="other")
    world.join("a", want=1, only_session="mine")
    world.later(1.0)
    assert not world.hands["a"]
    world.online(0, session_id="mine")
    assert world.hands["a"][0].session_id == "mine"


def test_when_a_session_ends_its_workers_go_to_the_others(world: DeskWorld) -> None:
    world.open(1, "first")
    world.open(1, "second")
    world.online(0, session_id="second")
    world.join("a")
    world.send(ev.SessionCancelled("first", ""))
    assert world.want("a", 1)[0].session_id == "second"


# --- figures ---------------------------------------------------------------------------------


def test_figures_tell_rate_and_eta(world: DeskWorld) -> None:
    world.open(2, packet_entries=10)
    world.online(0)
    world.join("a", want=1)
    for _ in range(5):
        world.later(1.0)
        world.beat("a")
        world.commit("a", want=1)
    figures = world.figures()
    assert figures.rate == pytest.approx(12.5, rel=0.1)
    assert figures.entries_total == 100
    assert figures.files_of_unknown_entries == 1
    assert figures.eta_s == pytest.approx(150 / figures.rate, rel=0.1), "the other file estimated"
    assert figures.first_lease_s == 0.0
    assert figures.first_packet_s == pytest.approx(1.0)
    assert figures.workers == 1


def test_without_a_rate_there_is_no_eta(world: DeskWorld) -> None:
    world.open(1)
    assert world.figures().eta_s == -1.0


def test_a_recent_rate_forgets_what_is_long_ago() -> None:
    rate = RecentRate(10.0)
    for second in range(100):
        rate.count(5.0, 1000.0 + second)
    assert rate.per_s(1099.9) == pytest.approx(5.0, rel=0.11)
    assert rate.per_s(1105.0) == pytest.approx(2.5, rel=0.25)
    assert rate.per_s(1200.0) == 0.0


def test_a_workers_rate_follows_its_packets() -> None:
    rate = Rate()
    assert rate.per_s == 0.0
    rate.measured(100, 1.0)
    assert rate.per_s == 100.0
    rate.measured(1, 0.0)
    assert rate.per_s == 100.0
    for _ in range(20):
        rate.measured(50, 1.0)
    assert rate.per_s == pytest.approx(50.0, rel=0.02)


# --- policies ----------------------------------------------------------------------------------


def test_how_much_can_be_replaced_alone(world: DeskWorld) -> None:
    class Everything:
        takes_tail = False

        def entries(self, *_: object) -> int:
            return 10**9

    policies = Policies(
        DoneTogether(world.desk.nodes, 3.0), lambda _: Everything(), ShareOfSpace(0.5), 2.0
    )
    other = DeskWorld(policies=policies)
    other.nodes(*two_nodes())
    other.open(1)
    other.online(0)
    other.join("a", want=1)
    assert (other.hands["a"][0].start, other.hands["a"][0].stop) == (0, 100)


def test_where_can_be_replaced_alone() -> None:
    class Never:
        def choose(self, *_: object, **__: object) -> None:
            return None

    world = DeskWorld()
    policies = Policies(Never(), world.desk._policies.how_much, ShareOfSpace(0.5), 2.0)
    other = DeskWorld(policies=policies)
    other.nodes(*two_nodes())
    other.open(1)
    other.online(0)
    other.join("a", want=1)
    assert not other.hands["a"]
