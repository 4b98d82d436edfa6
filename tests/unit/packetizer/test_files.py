"""Files come and go: staging ahead, pins, and what is bad as a whole."""

from __future__ import annotations

import pytest

from packetizer.core import events as ev
from packetizer.core.events import Missing, Offline
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from tests.support.packetizer_desk import SESSION, DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    return world


def space(world: DeskWorld, available_bytes: int, quota_bytes: int = 1_000_000) -> None:
    world.send(ev.SpaceSeen(available_bytes, quota_bytes))


# --- the window ------------------------------------------------------------------------


def test_half_of_the_available_space_is_staged_ahead(world: DeskWorld) -> None:
    space(world, 10_000)
    world.open(20)
    assert world.asked == [lfn(number) for number in range(5)]


def test_the_window_moves_on_as_files_are_done(world: DeskWorld) -> None:
    space(world, 4_000)
    world.open(6)
    assert len(world.asked) == 2
    space(world, 2_000)  # space is reserved for the two now
    assert len(world.asked) == 2
    world.accept()
    for number in (0, 1):
        world.online(number)
    space(world, 2_000)
    assert len(world.asked) == 2, "online files still take their space"
    world.join("a", want=1)
    while world.figures().files_done == 0:
        world.commit("a", want=1)
    assert len(world.asked) == 3, "what it has let go of can be staged into at once"
    space(world, 2_000)
    assert len(world.asked) == 3, "the redirector knows of it by now"


def test_what_was_let_go_of_is_counted_until_the_redirector_must_know_of_it(
    world: DeskWorld,
) -> None:
    space(world, 2_000, quota_bytes=2_000)
    world.open(9, survey=False)
    for number in range(4):
        world.online(number)
    space(world, 0, quota_bytes=4_000)
    world.send(ev.FilesSurveyed(SESSION))
    assert len(world.asked) == 1, "all is pinned by what is online already"
    world.join("a", want=1)
    while world.figures().files_done < 4:
        world.commit("a", want=1)
    assert len(world.asked) == 2, "half of what was let go of"
    space(world, 0, quota_bytes=4_000)
    space(world, 0, quota_bytes=4_000)
    world.send(ev.StageRefused(SESSION, world.asked[:1], "no"))
    assert len(world.asked) == 2, "long ago it was let go of, and somebody else has it"


def test_asking_again_and_again_does_not_let_the_window_creep(world: DeskWorld) -> None:
    space(world, 10_000)
    world.open(20)
    for _ in range(10):
        space(world, 10_000)  # queued recalls have reserved nothing yet
        world.later(0.25)
    assert len(world.asked) == 5


def test_one_file_is_asked_for_however_little_space_there_is(world: DeskWorld) -> None:
    space(world, 0)
    world.open(3)
    assert world.asked == [lfn(0)]


def test_several_files_are_asked_for_while_no_size_is_known(world: DeskWorld) -> None:
    """Packets could not be made before the first file has come, if it were alone."""
    space(world, 10_000)
    world.open([FileSpec(lfn(number)) for number in range(20)])
    assert len(world.asked) == 8


def test_a_size_that_was_assumed_is_corrected_when_the_file_comes(world: DeskWorld) -> None:
    space(world, 100_000)
    world.open([FileSpec(lfn(number), "events") for number in range(200)])
    assert len(world.asked) == 8
    world.accept()
    for number in range(8):
        world.online(number, size_bytes=1_000)
    space(world, 92_000)
    assert len(world.asked) == 50, "half of what is there, now that it is known to be small"


def test_files_that_are_online_take_no_part_of_the_window(world: DeskWorld) -> None:
    space(world, 4_000)
    world.open(6, survey=False)
    for number in (0, 2, 4):
        world.online(number)
    world.send(ev.FilesSurveyed(SESSION))
    assert world.asked == [lfn(1), lfn(3)]
    assert world.pinned == {lfn(number) for number in range(5)}


def test_unknown_sizes_are_taken_for_the_usual_one(world: DeskWorld) -> None:
    space(world, 10_000)
    files = [FileSpec(lfn(0), "events", 1000)]
    files += [FileSpec(lfn(number), "events") for number in range(1, 20)]
    world.open(files)
    assert len(world.asked) == 5


def test_a_session_nobody_works_on_for_long_stages_nothing_more(world: DeskWorld) -> None:
    space(world, 2_000)
    world.open(3)
    assert len(world.asked) == 1
    world.later(601.0)
    space(world, 9_000)
    assert len(world.asked) == 1
    assert not world.desk.sessions[SESSION].is_attended(world.now_s)
    world.join("a")
    world.later(1.0)
    assert len(world.asked) == 3


# --- pins --------------------------------------------------------------------------------


def test_a_file_is_pinned_from_its_request_until_it_is_done(world: DeskWorld) -> None:
    space(world, 10_000)
    world.open(1, packet_entries=50)
    assert world.pinned == {lfn(0)}
    world.accept()
    world.online(0)
    world.join("a", want=1)
    world.commit("a", want=1)
    assert world.pinned == {lfn(0)}
    world.commit("a", want=1)
    assert not world.pinned
    assert world.released == [SESSION]


# --- what is bad as a whole --------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "problem", "said"),
    [("events", "not a ROOT file", "not a ROOT file"), ("other", "", "no tree named 'events'")],
)
def test_a_file_that_cannot_be_planned_is_named_and_the_rest_goes_on(
    world: DeskWorld, tree: str, problem: str, said: str
) -> None:
    world.open(2)
    world.send(ev.FileOnline(SESSION, lfn(0), ("n1",), 1000))
    world.describe(0, tree=tree, problem=problem)
    world.online(1)
    world.join("a", want=1)
    while world.hands["a"]:
        world.commit("a", want=1)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    (missing,) = figures.missing
    assert (missing.lfn, missing.start, missing.stop) == (lfn(0), 0, 0)
    assert said in missing.reason
    assert figures.entries_done == 100
    assert lfn(0) not in world.pinned


def test_a_file_that_cannot_be_staged_is_named_with_the_reason(world: DeskWorld) -> None:
    world.open([FileSpec(lfn(0), "events", 1000, entries=70)])
    world.accept()
    world.offline(0, Offline.LOST, "the archive has no such file")
    figures = world.figures()
    assert figures.state is SessionState.DONE
    (missing,) = figures.missing
    assert (missing.start, missing.stop) == (0, 70), "its entries were known from the dataset"
    assert missing.reason == "the archive has no such file"
    assert figures.entries_bad == 70


def test_an_old_failure_does_not_count_before_the_new_request_is_accepted(
    world: DeskWorld,
) -> None:
    world.open(1)
    world.offline(0, Offline.LOST, "failed last week")
    assert world.figures().state is SessionState.RUNNING
    world.accept()
    world.offline(0, Offline.STAGING)
    world.online(0)
    assert world.figures().files_online == 1


def test_a_request_that_is_refused_names_its_files(world: DeskWorld) -> None:
    world.open(1)
    world.send(ev.StageRefused(SESSION, [lfn(0)], "not under an exported prefix"))
    (missing,) = world.figures().missing
    assert "not under an exported prefix" in missing.reason


def test_a_request_somebody_cancelled_is_made_again_but_not_for_ever(world: DeskWorld) -> None:
    world.open(1)
    for asks in (1, 2, 3):
        assert world.asked == [lfn(0)] * asks
        world.accept()
        world.offline(0, Offline.NEARLINE, "cancelled by an admin")
        assert world.asked == [lfn(0)] * asks, "not before it must have been noticed"
        world.later(11.0)
        world.offline(0, Offline.NEARLINE, "cancelled by an admin")
        world.later(0.25)
    (missing,) = world.figures().missing
    assert "asked for 3 times: cancelled by an admin" in missing.reason


# --- files that go away --------------------------------------------------------------------


def test_a_file_that_comes_back_soon_is_not_staged_again(world: DeskWorld) -> None:
    world.open(1, packet_entries=50, survey=False)
    world.online(0, "n1")
    world.send(ev.FilesSurveyed(SESSION))
    world.join("a", want=1)
    world.offline(0)
    assert not world.want("a", 1)
    world.later(2.0)
    world.online(0, "n2")
    assert world.hands["a"][-1].node.name == "n2"
    world.later(9.0)
    assert not world.asked


def test_a_file_that_stays_away_is_staged_again_before_others(world: DeskWorld) -> None:
    space(world, 2_000)
    world.open(4, packet_entries=50, survey=False)
    world.online(0)
    world.send(ev.FilesSurveyed(SESSION))
    world.join("a", want=1)
    assert world.asked == [lfn(1)]
    world.offline(0)
    world.later(4.9)
    assert world.asked == [lfn(1)]
    world.later(0.2)
    space(world, 4_000)
    assert world.asked == [lfn(1), lfn(0)]
    world.commit("a")  # the packet that was in its hands counts
    world.accept()
    world.online(0)
    assert world.want("a", 1)[0].start == 50
    assert world.figures().files_recalled == 1


def test_a_file_that_is_done_by_what_was_in_hands_is_not_waited_for(world: DeskWorld) -> None:
    world.open(1, packet_entries=50)
    world.online(0)
    world.join("a", want=2)
    world.offline(0)
    world.later(5.1)
    assert world.figures().files_staging == 1
    world.commit("a")
    assert world.figures().state is SessionState.DONE


def test_a_file_that_is_given_up_is_not_staged_again(world: DeskWorld) -> None:
    world.open(1, packet_entries=25)
    world.online(0)
    world.join("a", want=1)
    world.join("b", want=1)
    for delay_s in (2.1, 8.1, 0.0):
        world.fail("a", ev.FailureKind.OPEN)
        world.later(delay_s)
        world.beat("b")
        world.want("a", 1)
    asked = list(world.asked)
    world.offline(0)
    world.later(5.1)
    assert world.asked == asked
    world.commit("b")
    assert world.figures().state is SessionState.DONE


def test_a_file_that_has_changed_meanwhile_is_not_mixed_with_itself(world: DeskWorld) -> None:
    world.open(1, packet_entries=50)
    world.online(0)
    world.join("a", want=1)
    world.commit("a")
    world.offline(0)
    world.later(5.1)
    world.accept()
    world.online(0, entries=120)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert (figures.entries_done, figures.entries_bad) == (50, 50)
    assert "it had 100 entries, and has 120 now" in figures.missing[0].reason


def test_a_replica_more_or_less_changes_where_not_what(world: DeskWorld) -> None:
    world.open(1, packet_entries=10)
    world.online(0, "n1")
    world.send(ev.FileOnline(SESSION, lfn(0), ("n2",), 1000))
    world.join("a", "h1", want=1)
    assert world.hands["a"][0].node.name == "n2"
    assert world.figures().files_online == 1


def test_late_and_repeated_news_do_no_harm(world: DeskWorld) -> None:
    world.open(1)
    world.online(0)
    world.online(0)
    world.describe(0)
    world.send(ev.FileOnline(SESSION, "/not/ours", ("n1",), 1))
    world.send(ev.FileOffline(SESSION, "/not/ours", Offline.LOST))
    world.send(ev.FileOnline("no-such-session", lfn(0), ("n1",), 1))
    world.join("a", want=1)
    while world.hands["a"]:
        world.commit("a", want=1)
    assert world.figures().state is SessionState.DONE


def test_files_are_looked_at_when_no_event_might_tell(world: DeskWorld) -> None:
    world.open(2, survey=False)
    world.online(0)
    world.send(ev.FilesSurveyed(SESSION))
    assert not world.located
    world.accept()
    assert world.located == [lfn(1)], "it may have come before the request was taken"
    world.located.clear()
    world.offline(0)
    world.later(2.0)
    assert world.located == [lfn(0)], "it may have come back"
    world.located.clear()
    for _ in range(10):
        world.later(1.0)
    assert world.located.count(lfn(1)) == 1, "now and then"


# --- skip and abort ------------------------------------------------------------------------


def test_skip_processes_what_is_online_and_names_the_rest(world: DeskWorld) -> None:
    world.open(4, missing=Missing.SKIP, survey=False)
    world.online(1)
    world.send(ev.FilesSurveyed(SESSION))
    world.join("a", want=1)
    while world.hands["a"]:
        world.commit("a", want=1)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert figures.entries_done == 100
    assert {m.lfn for m in figures.missing} == {lfn(0), lfn(2), lfn(3)}
    assert not world.asked


def test_skip_gives_a_file_that_goes_some_time_to_come_back(world: DeskWorld) -> None:
    world.open(1, missing=Missing.SKIP, packet_entries=50, survey=False)
    world.online(0)
    world.send(ev.FilesSurveyed(SESSION))
    world.join("a", want=1)
    world.commit("a")
    world.offline(0)
    world.later(30.0)
    assert world.figures().state is SessionState.RUNNING
    world.beat("a")
    world.later(30.1)
    figures = world.figures()
    assert figures.state is SessionState.DONE
    assert (figures.entries_done, figures.entries_bad) == (50, 50)


def test_abort_says_how_many_files_are_not_online_and_which_first(world: DeskWorld) -> None:
    world.open(9, missing=Missing.ABORT, survey=False)
    world.online(0)
    world.send(ev.FilesSurveyed(SESSION))
    figures = world.figures()
    assert figures.state is SessionState.FAILED
    assert figures.reason.startswith(
        f"8 of 9 files are not online ({lfn(1)}, {lfn(2)}, {lfn(3)} and 5 more)"
    )


def test_abort_ends_when_a_file_goes_for_good(world: DeskWorld) -> None:
    world.open(1, missing=Missing.ABORT, survey=False)
    world.online(0)
    world.send(ev.FilesSurveyed(SESSION))
    world.offline(0)
    world.later(61.0)
    assert world.figures().state is SessionState.FAILED
    assert "went offline" in world.figures().reason


def test_online_files_are_processed_before_others_are_staged(world: DeskWorld) -> None:
    space(world, 100_000)
    world.open(10, survey=False)
    for number in (3, 7):
        world.online(number)
    world.join("a", want=1)
    assert not world.hands["a"], "not before the survey is over"
    world.send(ev.FilesSurveyed(SESSION))
    assert world.hands["a"][0].file.lfn == lfn(3)
    assert world.figures().files_online_at_first_lease == 2
