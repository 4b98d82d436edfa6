"""Recalls: one for a file, given to a node, ended well or badly, tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from redirector.core import events
from redirector.core.instructions import (
    AnswerStage,
    CancelRecall,
    EndRequest,
    PublishFiles,
    SaveRecall,
    SaveRequest,
    SaveRequestFiles,
    SendToNode,
    StartRecall,
)
from redirector.core.model import (
    Checksum,
    FileEvent,
    FileFacts,
    NodeRecord,
    RecallRecord,
    RequestFile,
    RequestRecord,
)
from redirector.core.states import (
    ErrorClass,
    FileEventKind,
    FileState,
    RecallState,
    RequestFileState,
    RequestState,
)
from tests.support.redirector_head import GB, START_S, Site, file_events, of_kind

if TYPE_CHECKING:
    from redirector.core.settings import HeadSettings


@pytest.fixture
def site() -> Site:
    """One node that may have any number of recalls."""
    site = Site()
    site.join("disk1", slots=100)
    return site


@pytest.fixture
def two() -> Site:
    site = Site()
    site.join("disk1")
    site.join("disk2")
    return site


def kinds(site_done: list[object]) -> list[FileEventKind]:
    return [one.kind for one in file_events(site_done)]  # type: ignore[arg-type]


# --- the whole way ----------------------------------------------------------------


def test_a_stage_request_is_saved_started_and_answered(site: Site) -> None:
    facts = {"/f": FileFacts(5 * GB, Checksum("adler32", "0a0b0c0d"))}
    record = RequestRecord("r1", "alice", 2, START_S, START_S + 100.0)
    done = site.give(
        events.StageAsked("r1", ["/f"], "alice", priority=2, deadline_s=100.0, facts=facts)
    )
    assert done == [
        SaveRequest(record, (RequestFile("/f", RequestFileState.WAITING, "", facts["/f"]),)),
        SendToNode(
            1, StartRecall("E.1", "/f", 5 * GB, Checksum("adler32", "0a0b0c0d"), 5 * GB, ())
        ),
        PublishFiles(
            (
                FileEvent("/f", FileState.STAGING, FileEventKind.QUEUED),
                FileEvent("/f", FileState.STAGING, FileEventKind.STARTED, "disk1", 5 * GB),
            )
        ),
        AnswerStage("r1", files=1, online=0),
    ]


def test_a_published_file_ends_its_recall_and_the_request(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.now_s += 10.0
    record = RecallRecord(
        "E.1", "/f", "disk1", RecallState.DONE, START_S, START_S, START_S + 10.0, 3 * GB, 1
    )
    assert site.publish("disk1", start, 3 * GB) == [
        SaveRecall(record),
        SaveRequestFiles("r1", (RequestFile("/f", RequestFileState.DONE),)),
        EndRequest("r1", RequestState.DONE, START_S + 10.0),
        PublishFiles(
            (FileEvent("/f", FileState.ONLINE, FileEventKind.PUBLISHED, "disk1", 3 * GB),)
        ),
    ]
    assert site.head.locate(["/f"], site.now_s).holders == [1]
    assert site.head.status(site.now_s).recalls_done == 1


def test_the_last_report_of_a_published_run_adds_what_the_command_took(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.publish("disk1", start)
    (saved,) = of_kind(site.end("disk1", start, command_s=7.5), SaveRecall)
    assert (saved.record.recall_id, saved.record.command_s) == ("E.1", 7.5)
    assert site.end("disk1", start, command_s=7.5) == [], "once"


def test_the_report_may_come_before_the_change(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    assert site.end("disk1", start) == []
    assert EndRequest in map(type, site.publish("disk1", start))


def test_a_run_that_ended_well_but_brought_nothing_is_tried_again(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.end("disk1", start)
    done = site.wait(65.0)
    assert site.start_of(done, "/f").recall_id == "E.2"


def test_a_thousand_who_ask_for_one_file_cause_one_recall(site: Site) -> None:
    starts = [site.starts(site.stage("/f")) for _ in range(1_000)]
    assert [len(one) for one in starts] == [1] + [0] * 999
    done = site.publish("disk1", starts[0]["/f"][1])
    assert len(of_kind(done, EndRequest)) == 1_000
    assert site.head.status(site.now_s).requests_active == 0


# --- failures ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error_class", "state"),
    [
        (ErrorClass.NOT_FOUND, FileState.MISSING),
        (ErrorClass.PERMANENT, FileState.FAILED),
    ],
)
def test_what_will_fail_again_is_told_at_once(
    site: Site, error_class: ErrorClass, state: FileState
) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    done = site.end("disk1", start, error_class, "no such file on tape", command_s=2.0, exit_code=3)
    (run,) = of_kind(done, SaveRecall)
    assert run.record.state is RecallState.FAILED
    assert (run.record.exit_code, run.record.reason) == (3, "no such file on tape")
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files == (RequestFile("/f", RequestFileState.FAILED, "no such file on tape"),)
    (event,) = file_events(done)
    assert (event.kind, event.state, event.reason) == (
        FileEventKind.FAILED,
        state,
        "no such file on tape",
    )
    assert site.head.locate(["/f"], site.now_s).offline == [(0, state, "no such file on tape")]
    assert site.head.request("r1").state is RequestState.FAILED


def test_a_failure_is_forgotten_after_a_while(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.end("disk1", start, ErrorClass.PERMANENT)
    site.wait(3601.0)
    assert site.head.locate(["/f"], site.now_s).offline == []


def test_a_failed_file_that_is_asked_for_anew_gets_a_new_recall(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.end("disk1", start, ErrorClass.NOT_FOUND)
    again = site.start_of(site.stage("/f"), "/f")
    assert again.recall_id != start.recall_id
    assert site.head.standing(["/f"], site.now_s)[0].state is FileState.STAGING


def test_a_transient_failure_is_tried_again_on_another_node(two: Site) -> None:
    done = two.stage("/f")
    first = two.node_of(done, "/f")
    done = two.end(first, two.start_of(done, "/f"), ErrorClass.TRANSIENT, "drive offline")
    assert kinds(done) == [FileEventKind.RETRYING]
    assert two.starts(done) == {}
    assert two.starts(two.wait(1.9)) == {}
    second = two.node_of(two.wait(0.7), "/f")
    assert {first, second} == {"disk1", "disk2"}


def test_the_wait_doubles_and_the_last_attempt_fails_for_good(site: Site) -> None:
    done = site.stage("/f")
    waits: list[float] = []
    for attempt in range(1, 6):
        done = site.end("disk1", site.start_of(done, "/f"), ErrorClass.TRANSIENT, "drive offline")
        assert of_kind(done, SaveRecall)[0].record.attempt == attempt
        failed_s = site.now_s
        if attempt < 5:
            assert of_kind(done, EndRequest) == []
            while not site.starts(done := site.wait(0.1)):
                assert site.now_s < failed_s + 60
            waits.append(site.now_s - failed_s)
    (ended,) = of_kind(done, EndRequest)
    assert ended.state is RequestState.FAILED
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files[0].reason == "drive offline (given up after 5 failed attempts)"
    for wait_s, least_s in zip(waits, (2.0, 4.0, 8.0, 16.0), strict=True):
        assert least_s <= wait_s <= 1.25 * least_s + 1.2


def test_having_found_no_room_does_not_use_up_attempts(site: Site) -> None:
    done = site.stage("/f")
    for _ in range(8):
        done = site.end("disk1", site.start_of(done, "/f"), ErrorClass.NO_SPACE, "no room")
        assert kinds(done) == [FileEventKind.RETRYING]
        done = site.wait(400.0)
    site.publish("disk1", site.start_of(done, "/f"))
    assert site.head.request("r1").state is RequestState.DONE


def test_having_been_lost_with_its_node_does_not_use_up_attempts(site: Site) -> None:
    done = site.stage("/f")
    for boot in range(8):
        site.start_of(done, "/f")
        site.lose("disk1")
        site.hello("disk1", boot=f"boot{boot + 2}")
        done = site.inventory("disk1")
        assert FileEventKind.RETRYING in kinds(done)
        done = site.wait(400.0)
    site.publish("disk1", site.start_of(done, "/f"))
    assert site.head.request("r1").state is RequestState.DONE


def test_a_run_its_node_stopped_of_its_own_accord_is_given_to_another(two: Site) -> None:
    done = two.stage("/f")
    first = two.node_of(done, "/f")
    two.end(first, two.start_of(done, "/f"), ErrorClass.CANCELLED, "shutting down")
    second = two.node_of(two.wait(3.0), "/f")
    assert first != second


def test_reports_of_old_runs_change_nothing(two: Site) -> None:
    done = two.stage("/f")
    first, start = two.node_of(done, "/f"), two.start_of(done, "/f")
    two.end(first, start, ErrorClass.TRANSIENT)
    two.wait(3.0)
    before = two.head.status(two.now_s)
    assert two.end(first, start, ErrorClass.PERMANENT) == []
    connection = two.connections[first]
    assert two.give(events.RecallProgressed(connection, start.recall_id, 10, GB)) == []
    assert two.head.status(two.now_s) == before


def test_a_node_that_fails_everything_rests(site: Site) -> None:
    done = site.stage("/a", "/b", "/c")
    for lfn in ("/a", "/b", "/c"):
        site.end("disk1", site.start_of(done, lfn), ErrorClass.TRANSIENT)
    assert site.starts(site.stage("/d")) == {}
    assert "node disk1: failed 3 recalls in a row, rests for 2 s" in site.head.stuck(site.now_s)
    assert "/d" in site.starts(site.wait(3.0))


# --- sizes ------------------------------------------------------------------------


def test_a_size_learnt_late_is_what_is_reserved_from_then_on(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    assert start.size_bytes == 0
    site.give(events.RecallProgressed(1, start.recall_id, 1 * GB, 3 * GB, "copying"))
    figures = site.head.node("disk1", site.now_s)
    assert figures.promised_bytes == 3 * GB
    assert site.head.explain("/f", site.now_s).next == (
        "runs on disk1, copying: 1 GB of 3 GB are there"
    )


def test_a_file_larger_than_any_pool_fails_at_once(site: Site) -> None:
    done = site.stage("/f", sizes={"/f": 101 * GB})
    assert site.starts(done) == {}
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files[0].reason == (
        "its 101 GB are more than any pool can hold (the largest: 100 GB)"
    )
    assert of_kind(done, AnswerStage) == [AnswerStage("r1", 1, 0)]


def test_a_file_that_turns_out_larger_than_any_pool_fails_when_that_is_known(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.end("disk1", start, ErrorClass.NO_SPACE, "no room", size_bytes=200 * GB)
    site.wait(3.0)
    assert site.head.request("r1").state is RequestState.FAILED


def test_a_file_of_unknown_size_fails_once_more_has_come_than_any_pool_holds(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    done = site.end("disk1", start, ErrorClass.NO_SPACE, "outgrew it", arrived_bytes=101 * GB)
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files[0].reason == (
        "its 101 GB so far are more than any pool can hold (the largest: 100 GB)"
    )
    assert site.head.request("r1").state is RequestState.FAILED


# --- cancelling -------------------------------------------------------------------


def test_a_queued_recall_is_cancelled_at_once() -> None:
    site = Site()
    site.stage("/f")
    done = site.give(events.CancelAsked("r1"))
    assert kinds(done) == [FileEventKind.CANCELLED]
    assert of_kind(done, EndRequest)[0].state is RequestState.CANCELLED
    site.join("disk1")
    assert site.starts(site.wait(1.0)) == {}


def test_a_running_recall_is_cancelled_on_its_node_when_the_last_who_waited_goes(
    site: Site,
) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.stage("/f")
    assert site.sent(site.give(events.CancelAsked("r1")), "disk1") == []
    done = site.give(events.CancelAsked("r2", reason="changed my mind"))
    assert site.sent(done, "disk1") == [CancelRecall(start.recall_id, "changed my mind")]
    assert site.head.status(site.now_s).recalls_running == 1, "until the node says so"
    (saved,) = of_kind(site.end("disk1", start, ErrorClass.CANCELLED), SaveRecall)
    assert saved.record.state is RecallState.CANCELLED
    assert site.head.status(site.now_s).recalls_running == 0
    assert site.head.node("disk1", site.now_s).promised_bytes == 0


def test_a_file_asked_for_while_its_old_run_is_stopped_is_recalled_only_after_that(
    site: Site,
) -> None:
    start = site.start_of(site.stage("/f", sizes={"/f": 7}), "/f")
    site.give(events.CancelAsked("r1"))
    done = site.stage("/f", priority=3)
    assert site.starts(done) == {}
    assert kinds(done) == [FileEventKind.QUEUED]
    again = site.start_of(site.end("disk1", start, ErrorClass.CANCELLED), "/f")
    assert (again.recall_id, again.size_bytes) == ("E.2", 7)


def test_a_run_that_publishes_before_its_cancel_arrives_has_brought_the_file(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.give(events.CancelAsked("r1"))
    site.stage("/f")
    done = site.publish("disk1", start)
    assert [one.request_id for one in of_kind(done, EndRequest)] == ["r2"]
    assert site.end("disk1", start) != [], "its details are kept"
    assert site.head.status(site.now_s).recalls_running == 0


def test_a_replica_found_elsewhere_ends_the_wait_and_stops_the_run(two: Site) -> None:
    done = two.stage("/f")
    node, start = two.node_of(done, "/f"), two.start_of(done, "/f")
    other = "disk2" if node == "disk1" else "disk1"
    done = two.change(other, "/f", GB)
    assert of_kind(done, EndRequest)[0].state is RequestState.DONE
    assert isinstance(two.sent(done, node)[0], CancelRecall)
    two.end(node, start, ErrorClass.CANCELLED)
    assert two.head.status(two.now_s).recalls_running == 0


def test_a_replica_that_appears_ends_a_recall_that_waits() -> None:
    site = Site()
    site.stage("/f")
    done = site.join("disk1", {"/f": 5})
    assert of_kind(done, EndRequest)[0].state is RequestState.DONE
    assert site.starts(done) == {}


# --- nodes that are lost and return ---------------------------------------------------


def test_a_recall_stays_with_a_lost_node_for_its_lease_and_then_goes_to_another(two: Site) -> None:
    done = two.stage("/f")
    first = two.node_of(done, "/f")
    other = "disk2" if first == "disk1" else "disk1"
    two.lose(first)
    assert two.starts(two.wait(59.0)) == {}
    assert two.head.explain("/f", two.now_s).next.startswith(f"{first} is out of touch")
    assert two.node_of(two.wait(5.0), "/f") == other


def test_a_node_that_returns_in_time_keeps_its_recall(site: Site) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.lose("disk1")
    site.wait(30.0)
    site.hello("disk1", slots=100, running=[(start.recall_id, "/f", start.reserve_bytes)])
    assert site.starts(site.inventory("disk1")) == {}
    site.publish("disk1", start)
    assert site.head.request("r1").state is RequestState.DONE


def test_a_node_that_returns_without_a_recall_gives_it_back_once_its_inventory_is_known(
    site: Site,
) -> None:
    site.stage("/gone", "/brought")
    site.lose("disk1")
    assert site.starts(site.hello("disk1", boot="boot2")) == {}
    done = site.inventory("disk1", {"/brought": 5})
    assert site.head.request("r1").done == 1
    assert kinds(done).count(FileEventKind.RETRYING) == 1
    assert set(site.starts(site.wait(3.0))) == {"/gone"}


def test_a_cancelled_recall_that_a_returning_node_still_runs_is_cancelled_again(
    site: Site,
) -> None:
    start = site.start_of(site.stage("/f"), "/f")
    site.lose("disk1")
    site.give(events.CancelAsked("r1"))
    done = site.hello("disk1", running=[(start.recall_id, "/f", 5)])
    assert CancelRecall(start.recall_id, "it was cancelled") in site.sent(done, "disk1")


def test_a_cancelled_recall_ends_when_its_node_returns_without_it_or_is_dropped() -> None:
    for returns in (True, False):
        site = Site()
        site.join("disk1")
        site.stage("/f")
        site.lose("disk1")
        site.give(events.CancelAsked("r1"))
        assert site.head.status(site.now_s).recalls_running == 1
        if returns:
            site.hello("disk1")
        else:
            site.wait(61.0)
        assert site.head.status(site.now_s).recalls_running == 0


def test_a_run_nobody_waits_for_is_stopped_and_blocks_a_second_one_meanwhile() -> None:
    site = Site()
    done = site.hello("disk1", running=[("old.7", "/f", 5)])
    assert CancelRecall("old.7", "nobody waits for it") in site.sent(done, "disk1")
    site.inventory("disk1")
    assert site.starts(site.stage("/f")) == {}
    ended = events.RecallEnded(site.connections["disk1"], "old.7", "/f")
    assert site.starts(site.give(ended)).keys() == {"/f"}


def test_a_second_run_of_a_file_is_stopped_where_it_is_not_the_one_that_counts(two: Site) -> None:
    done = two.stage("/f")
    first = two.node_of(done, "/f")
    other = "disk2" if first == "disk1" else "disk1"
    two.lose(other)
    done = two.hello(other, running=[("strange.1", "/f", 5)])
    reason = "the file has another recall now"
    assert CancelRecall("strange.1", reason) in two.sent(done, other)


# --- restart of the head ------------------------------------------------------------


def restarted(*node_names: str, settings: HeadSettings | None = None) -> Site:
    """A head restarted with one request for /f, knowing some nodes."""
    record = RequestRecord("r1", "alice", 0, START_S - 50.0, START_S + 1e6)
    files = (
        RequestFile("/f", RequestFileState.WAITING, facts=FileFacts(7)),
        RequestFile("/done", RequestFileState.DONE),
    )
    nodes = tuple(NodeRecord(name, f"pool-{name}") for name in node_names)
    request = events.RestoredRequest(record, files)
    return Site(settings, restored=events.Restored(nodes=nodes, requests=(request,)))


def test_a_restarted_head_takes_its_requests_up_and_writes_nothing() -> None:
    site = restarted()
    assert site.restored == []
    figures = site.head.request("r1")
    assert (figures.files, figures.done, figures.state) == (2, 1, RequestState.ACTIVE)
    start = site.start_of(site.join("disk1"), "/f")
    assert start.size_bytes == 7
    site.publish("disk1", start)
    assert site.head.request("r1").state is RequestState.DONE


def test_a_restarted_head_starts_nothing_until_every_known_node_has_joined() -> None:
    site = restarted("disk1", "disk2")
    assert site.starts(site.join("disk1")) == {}
    assert site.head.explain("/f", site.now_s).next.startswith(
        "no recall is started before disk2 joined again"
    )
    assert site.starts(site.hello("disk2")) == {}
    assert set(site.starts(site.inventory("disk2"))) == {"/f"}


def test_a_restarted_head_waits_no_longer_than_the_lease() -> None:
    site = restarted("disk1", "disk2")
    site.join("disk1")
    assert site.starts(site.wait(59.0)) == {}
    assert site.node_of(site.wait(2.0), "/f") == "disk1"


def test_a_restarted_head_adopts_what_runs() -> None:
    site = restarted("disk1", "disk2")
    site.join("disk2")
    done = site.hello("disk1", running=[("life0.9", "/f", 7)])
    assert site.starts(done) == {}
    assert site.starts(site.inventory("disk1")) == {}
    site.give(events.RecallEnded(site.connections["disk1"], "life0.9", "/f", None, size_bytes=7))
    site.change("disk1", "/f", 7, recall_id="life0.9")
    assert site.head.request("r1").state is RequestState.DONE


def test_a_restarted_head_does_not_wait_for_nodes_that_were_dropped() -> None:
    gone = NodeRecord("old", "pool-old", gone=True)
    site = Site(restored=events.Restored(nodes=(gone,)))
    site.join("disk1")
    assert set(site.starts(site.stage("/f"))) == {"/f"}
