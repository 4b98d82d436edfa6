"""Stage requests: accepted, counted, ended, cancelled, too late, restored."""

from __future__ import annotations

import pytest

from common.errors import NotFound, UsageError
from redirector.core import events
from redirector.core.instructions import (
    AnswerCancel,
    AnswerStage,
    CancelRecall,
    EndRequest,
    SaveRequest,
    SaveRequestFiles,
)
from redirector.core.model import RequestFile, RequestRecord
from redirector.core.settings import HeadSettings
from redirector.core.states import ErrorClass, RequestFileState, RequestState
from tests.support.redirector_head import GB, START_S, Site, of_kind


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join("disk1", {"/online": 1, "/online2": 2}, slots=50)
    return site


def test_ten_thousand_files_already_online_end_at_once() -> None:
    lfns = [f"/f{number}" for number in range(10_000)]
    site = Site()
    site.join("disk1", dict.fromkeys(lfns, 1))
    done = site.stage(*lfns)
    assert [type(one) for one in done] == [SaveRequest, EndRequest, AnswerStage]
    assert done[-1] == AnswerStage("r1", 10_000, 10_000)
    assert of_kind(done, EndRequest)[0].state is RequestState.DONE


def test_a_name_given_twice_counts_once(site: Site) -> None:
    done = site.stage("/f", "/online", "/f", "/online")
    assert done[-1] == AnswerStage("r1", files=2, online=1)
    (saved,) = of_kind(done, SaveRequest)
    assert [(file.lfn, file.state) for file in saved.files] == [
        ("/f", RequestFileState.WAITING),
        ("/online", RequestFileState.DONE),
    ]


def test_a_request_ends_with_its_last_file_and_is_failed_if_any_failed(site: Site) -> None:
    done = site.stage("/a", "/b")
    ended = site.publish("disk1", site.start_of(done, "/a"))
    assert of_kind(ended, EndRequest) == []
    ended = site.end("disk1", site.start_of(done, "/b"), ErrorClass.PERMANENT)
    assert of_kind(ended, EndRequest) == [EndRequest("r1", RequestState.FAILED, START_S)]
    figures = site.head.request("r1")
    assert (figures.files, figures.done, figures.failed) == (2, 1, 1)


@pytest.mark.parametrize(
    "wishes", [{"pin_s": -1.0}, {"deadline_s": float("nan")}, {"pin_s": float("inf")}]
)
def test_nonsense_is_refused_and_changes_nothing(site: Site, wishes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be a duration"):
        site.stage("/f", **wishes)
    with pytest.raises(UsageError, match="names no files"):
        site.stage()
    assert site.head.requests() == []


# --- idempotency ----------------------------------------------------------------------


def test_the_same_key_again_is_the_same_request(site: Site) -> None:
    first = site.stage("/f", idempotency_key="k")
    record = of_kind(first, SaveRequest)[0].record
    again = site.stage("/f", "/g", idempotency_key="k")
    assert again == [SaveRequest(record, ()), AnswerStage("r1", 1, 0)]
    assert site.stage("/f", idempotency_key="other")[-1] == AnswerStage("r3", 1, 0)


def test_a_key_leads_to_its_request_also_when_that_has_ended(site: Site) -> None:
    site.stage("/online", idempotency_key="k")
    assert site.stage("/f", idempotency_key="k") == [AnswerStage("r1", 1, 1)]


def test_keys_are_known_after_a_restart() -> None:
    restored = events.Restored(idempotency_keys={"k": "old"})
    assert Site(restored=restored).stage("/f", idempotency_key="k") == [AnswerStage("old", 0, 0)]


# --- cancelling -----------------------------------------------------------------------


def test_cancelling_some_files_leaves_the_others(site: Site) -> None:
    done = site.stage("/a", "/b", "/c")
    cancelled = site.give(events.CancelAsked("r1", ["/b", "/nothing", "/b"]))
    assert cancelled[-1] == AnswerCancel(1)
    assert of_kind(cancelled, SaveRequestFiles) == [
        SaveRequestFiles("r1", (RequestFile("/b", RequestFileState.CANCELLED, "cancelled"),))
    ]
    site.publish("disk1", site.start_of(done, "/a"))
    ended = site.publish("disk1", site.start_of(done, "/c"))
    assert of_kind(ended, EndRequest)[0].state is RequestState.DONE
    figures = site.head.request("r1")
    assert (figures.done, figures.cancelled) == (2, 1)


def test_a_request_all_of_whose_files_were_cancelled_is_cancelled(site: Site) -> None:
    site.stage("/a", "/b")
    site.give(events.CancelAsked("r1", ["/a"]))
    ended = site.give(events.CancelAsked("r1", ["/b"]))
    assert of_kind(ended, EndRequest)[0].state is RequestState.CANCELLED


def test_a_cancelled_request_keeps_what_others_wait_for(site: Site) -> None:
    site.stage("/a", "/shared")
    site.stage("/shared")
    done = site.give(events.CancelAsked("r1"))
    stopped = [one for one in site.sent(done, "disk1") if isinstance(one, CancelRecall)]
    assert len(stopped) == 1
    assert [file.lfn for file in site.head.request_files("r2")] == ["/shared"]


def test_cancelling_what_has_ended_does_nothing_and_what_never_was_is_refused(site: Site) -> None:
    site.stage("/online")
    assert site.give(events.CancelAsked("r1")) == [AnswerCancel(0)]
    assert site.head.request("r1").state is RequestState.DONE
    with pytest.raises(NotFound, match="no stage request nonsense"):
        site.give(events.CancelAsked("nonsense"))


# --- deadlines ------------------------------------------------------------------------


def test_a_request_that_is_too_late_fails_and_says_what_it_waited_for() -> None:
    site = Site()
    site.stage("/f", deadline_s=10.0)
    assert of_kind(site.wait(9.0), EndRequest) == []
    done = site.wait(2.0)
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files[0].reason == (
        "not online within 10 s; no data server can take recalls: "
        "none is up, or all are drained or in trouble"
    )
    assert of_kind(done, EndRequest)[0].state is RequestState.FAILED


def test_a_request_that_is_too_late_tells_the_last_failure_and_stops_the_run(site: Site) -> None:
    done = site.stage("/f", deadline_s=10.0)
    site.end("disk1", site.start_of(done, "/f"), ErrorClass.TRANSIENT, "drive offline")
    done = site.wait(12.0)
    (settled,) = of_kind(done, SaveRequestFiles)
    assert settled.files[0].reason.endswith("the last attempt failed: drive offline")
    assert any(isinstance(one, CancelRecall) for one in site.sent(done, "disk1"))


def test_the_sites_deadline_holds_where_none_was_named() -> None:
    site = Site(HeadSettings(request_deadline_s=50.0))
    site.stage("/f")
    site.wait(51.0)
    assert site.head.request("r1").state is RequestState.FAILED


def test_an_overdue_request_lets_others_go_on_waiting(site: Site) -> None:
    done = site.stage("/f", deadline_s=10.0)
    site.stage("/f")
    site.wait(12.0)
    ended = site.publish("disk1", site.start_of(done, "/f"))
    assert [one.request_id for one in of_kind(ended, EndRequest)] == ["r2"]


# --- memory and restart -----------------------------------------------------------------


def test_ended_requests_are_remembered_without_their_files_the_latest_ones() -> None:
    site = Site(HeadSettings(ended_requests_remembered=2))
    site.join("disk1", {"/online": 1})
    for number in range(3):
        site.stage("/online", idempotency_key=f"key{number}")
        site.now_s += 1.0
    assert [one.record.request_id for one in site.head.requests()] == ["r3", "r2"]
    assert site.head.requests(active_only=True) == []
    with pytest.raises(NotFound):
        site.head.request("r1")
    with pytest.raises(NotFound):
        site.head.request_files("r3")
    assert site.stage("/online", idempotency_key="key0")[-1] == AnswerStage("r4", 1, 1)


def test_the_files_of_an_active_request_tell_their_reasons(site: Site) -> None:
    done = site.stage("/a", "/b", "/online")
    site.end("disk1", site.start_of(done, "/a"), ErrorClass.PERMANENT, "bad tape")
    assert site.head.request_files("r1") == [
        RequestFile("/a", RequestFileState.FAILED, "bad tape"),
        RequestFile("/b", RequestFileState.WAITING),
        RequestFile("/online", RequestFileState.DONE),
    ]


def test_restored_requests_are_queued_in_the_order_they_were_asked() -> None:
    waiting = RequestFileState.WAITING
    restored = tuple(
        events.RestoredRequest(
            RequestRecord(name, "me", 0, created_s, START_S + GB), (RequestFile(lfn, waiting),)
        )
        for name, created_s, lfn in (("late", 200.0, "/late"), ("early", 100.0, "/early"))
    )
    site = Site(restored=events.Restored(requests=restored))
    done = site.join("disk1", slots=1)
    assert list(site.starts(done)) == ["/early", "/late"]


def test_a_restored_request_that_became_overdue_ends_at_the_first_tick() -> None:
    record = RequestRecord("r1", "me", 0, START_S - 100.0, START_S - 1.0)
    request = events.RestoredRequest(record, (RequestFile("/f", RequestFileState.WAITING),))
    site = Site(restored=events.Restored(requests=(request,)))
    ended = of_kind(site.wait(1.0), EndRequest)
    assert [one.state for one in ended] == [RequestState.FAILED]
