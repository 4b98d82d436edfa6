"""Whose turn it is: shares, priorities, limits, and the order of tapes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from redirector.core import events
from redirector.core.instructions import AskHints
from redirector.core.model import Hint, NodeLoad
from redirector.core.queue import ArchiveLimit, Limits, Weights
from redirector.core.settings import HeadSettings
from redirector.core.states import ErrorClass
from tests.support.redirector_head import GB, Site, of_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redirector.core.instructions import Instruction, StartRecall

HOUR_S = 3600.0


class Line:
    """A site with one node, whose recalls end one after another; who was served, in order."""

    def __init__(self, settings: HeadSettings | None = None, slots: int = 1) -> None:
        self.site = Site(settings)
        self.slots = slots
        self.running: list[StartRecall] = []
        self.started: list[str] = []

    def stage(self, *lfns: str, size_bytes: int = GB, **wishes: object) -> list[Instruction]:
        """Asks for files of one size."""
        return self.note(self.site.stage(*lfns, sizes=dict.fromkeys(lfns, size_bytes), **wishes))  # type: ignore[arg-type]

    def join(self) -> None:
        self.note(self.site.join("disk1", slots=self.slots, quota_bytes=10_000 * GB))

    def note(self, done: list[Instruction]) -> list[Instruction]:
        if "disk1" in self.site.connections:
            starts = [start for _node, start in self.site.starts(done).values()]
            self.running += starts
            self.started += [start.lfn for start in starts]
        return done

    def finish(self, count: int = 1) -> None:
        """So many of the running recalls publish, the oldest first."""
        for _ in range(count):
            start = self.running.pop(0)
            self.note(self.site.publish("disk1", start, start.size_bytes or GB))

    def finish_all(self) -> list[str]:
        """Everything is brought; in which order it was started."""
        while self.running:
            self.finish()
        return self.started


def names(prefix: str, count: int) -> list[str]:
    return [f"/{prefix}/{number:03}" for number in range(count)]


def owners(lfns: Sequence[str]) -> Counter[str]:
    return Counter(lfn.split("/")[1] for lfn in lfns)


# --- shares ---------------------------------------------------------------------------


def test_one_who_asks_for_little_does_not_wait_for_one_who_asked_for_much() -> None:
    line = Line()
    line.stage(*names("many", 100), owner="many")
    line.stage(*names("few", 3), owner="few")
    line.join()
    line.finish(6)
    assert owners(line.started[:6]) == {"many": 3, "few": 3}


def test_what_counts_is_bytes_and_not_files() -> None:
    line = Line()
    line.stage(*names("large", 40), owner="large", size_bytes=10 * GB)
    line.stage(*names("small", 200), owner="small")
    line.join()
    line.finish(70)
    served = owners(line.started)
    assert 8 <= served["small"] / served["large"] <= 10


def test_sizes_that_become_known_set_the_charge_right() -> None:
    line = Line(HeadSettings(assumed_size_bytes=GB))
    line.note(line.site.stage(*names("large", 60), owner="large"))
    line.note(line.site.stage(*names("small", 60), owner="small"))
    line.join()
    for _ in range(60):
        start = line.running.pop(0)
        size_bytes = 5 * GB if start.lfn.startswith("/large") else GB
        line.note(line.site.publish("disk1", start, size_bytes))
    served = owners(line.started)
    assert served["small"] > 3.5 * served["large"]


def test_weights_divide_between_activities_and_then_between_owners() -> None:
    weights = Weights(activities={"production": 3.0}, owners={"alice": 2.0})
    line = Line(HeadSettings(weights=weights))
    line.stage(*names("prod", 300), owner="prod", activity="production")
    for owner in ("alice", "bob", "carol"):
        line.stage(*names(owner, 300), owner=owner, activity="analysis")
    line.join()
    line.finish(160)
    served = owners(line.started[:160])
    assert served["prod"] == pytest.approx(120, abs=2), "three times what analysis gets"
    assert served["alice"] == pytest.approx(20, abs=2)
    assert served["bob"] == pytest.approx(10, abs=2)
    assert served["carol"] == pytest.approx(10, abs=2)


def test_weights_and_times_can_change_while_recalls_wait() -> None:
    line = Line()
    line.stage(*names("alice", 300), owner="alice")
    line.stage(*names("bob", 300), owner="bob")
    line.join()
    line.finish(40)
    assert owners(line.started[:40]) == {"alice": 20, "bob": 20}
    weights = Weights(owners={"alice": 3.0})
    line.site.head.reconfigure(HeadSettings(weights=weights, limits=Limits(volume_s=5.0)))
    line.site.head.check()
    begun = len(line.started)
    line.finish(40)
    assert owners(line.started[begun:])["alice"] == pytest.approx(30, abs=1)


def test_nobody_saves_up_what_was_not_wanted() -> None:
    line = Line()
    line.stage(*names("busy", 400), owner="busy")
    line.stage(*names("early", 1), owner="early")
    line.join()
    line.finish(200)
    line.stage(*names("early2", 100), owner="early")
    line.stage(*names("late", 100), owner="late")
    begun = len(line.started)
    line.finish(60)
    served = owners(line.started[begun:])
    assert all(served[name] == pytest.approx(20, abs=2) for name in ("busy", "early2", "late"))


def test_one_recall_for_two_is_paid_by_both() -> None:
    line = Line()
    shared = names("shared", 30)
    line.stage(*shared, owner="alice")
    line.stage(*shared, owner="bob")
    line.stage(*names("carol", 60), owner="carol")
    line.join()
    line.finish(40)
    served = owners(line.started[:40])
    assert served["shared"] == pytest.approx(27, abs=2), "each of the two gets half of every file"


def test_a_recall_stands_in_the_line_of_each_that_waits_for_it() -> None:
    line = Line()
    line.stage(*names("many", 50), owner="many")
    line.stage("/many/049", owner="few")
    line.join()
    line.finish(2)
    assert "/many/049" in line.started[:2], "it is the turn of who asked for that one only"


def test_one_that_goes_leaves_the_recall_to_the_others() -> None:
    line = Line()
    line.stage("/f/1", "/f/2", owner="alice", request_id="a")
    line.stage("/f/1", owner="bob", request_id="b")
    line.site.give(events.CancelAsked("a", ["/f/1"]))
    line.join()
    assert sorted(line.started) == ["/f/1", "/f/2"]
    assert line.site.head.request("b").done == 0
    line.finish_all()
    assert line.site.head.request("b").done == 1


def test_two_requests_of_one_owner_are_one_share_until_both_have_gone() -> None:
    line = Line()
    line.stage("/f", owner="alice", request_id="r1")
    line.stage("/f", owner="alice", request_id="r2")
    line.site.give(events.CancelAsked("r1"))
    assert line.site.head.explain("/f", line.site.now_s).request_ids == ["r2"]
    line.site.give(events.CancelAsked("r2"))
    line.join()
    assert line.started == []


# --- priorities and age ---------------------------------------------------------------


def test_a_priority_counts_as_much_as_a_time_of_waiting() -> None:
    line = Line(HeadSettings(priority_step_s=HOUR_S))
    line.stage("/old")
    line.site.now_s += 1.5 * HOUR_S
    line.stage("/urgent", priority=1)
    line.stage("/most-urgent", priority=2)
    line.join()
    assert line.finish_all() == ["/most-urgent", "/old", "/urgent"]


def test_no_priority_goes_before_other_owners() -> None:
    line = Line()
    line.stage(*names("pushy", 20), owner="pushy", priority=1_000_000)
    line.stage(*names("modest", 20), owner="modest")
    line.join()
    line.finish(20)
    assert owners(line.started[:20]) == {"pushy": 10, "modest": 10}


# --- limits ---------------------------------------------------------------------------


def archive_of(lfn: str) -> int:
    return 1 if lfn.startswith("/slow") else 0


def test_a_part_of_the_archive_has_a_limit_of_its_own() -> None:
    archives = (ArchiveLimit("/fast"), ArchiveLimit("/slow", recalls=2))
    limits = Limits(archives=archives, archive_of=archive_of)
    line = Line(HeadSettings(limits=limits), slots=10)
    line.stage(*names("slow", 30), *names("fast", 10))
    line.join()
    assert owners(line.started) == {"slow": 2, "fast": 10}
    assert line.site.head.explain("/slow/009", line.site.now_s).next == (
        "as many recalls from /slow run as may at a time: 2"
    )
    line.finish_all()
    assert owners(line.started) == {"slow": 30, "fast": 10}


def test_there_is_a_limit_of_all_recalls() -> None:
    line = Line(HeadSettings(limits=Limits(recalls=3)), slots=10)
    line.stage(*names("f", 9))
    line.join()
    assert len(line.started) == 3
    assert line.site.head.explain("/f/008", line.site.now_s).next == (
        "as many recalls run as may at a time: 3"
    )
    start = line.running.pop()
    line.note(line.site.end("disk1", start, ErrorClass.PERMANENT))
    assert len(line.started) == 4


# --- tape -----------------------------------------------------------------------------


class Tapes(Line):
    """A line of files that lie on tapes; hints are told as they are asked for."""

    def __init__(
        self, places: Mapping[str, Hint], drives: int = 1, slots: int = 1, volume_s: float = HOUR_S
    ) -> None:
        limits = Limits(drives=drives, volume_s=volume_s)
        super().__init__(
            HeadSettings(limits=limits, hint_wait_s=30.0, priority_step_s=HOUR_S), slots
        )
        self.places = places

    def note(self, done: list[Instruction]) -> list[Instruction]:
        super().note(done)
        for asked in of_kind(done, AskHints):
            hints = {lfn: self.places[lfn] for lfn in asked.lfns if lfn in self.places}
            self.note(self.site.give(events.HintsTold(asked.lfns, hints)))
        return done


def on_tape(name: str, count: int, first: int = 0) -> dict[str, Hint]:
    return {f"/{name}/{at:03}": Hint(name, at) for at in range(first, first + count)}


def test_a_tape_is_read_from_its_beginning_to_its_end() -> None:
    places = on_tape("V1", 20)
    line = Tapes(places)
    line.stage(*reversed(places))
    line.join()
    assert line.finish_all() == list(places)


def test_one_tape_is_read_before_the_next_and_no_more_than_there_are_drives() -> None:
    places = on_tape("V1", 9) | on_tape("V2", 9) | on_tape("V3", 9)
    line = Tapes(places, drives=2, slots=4)
    line.stage(*sorted(places, key=lambda lfn: lfn[-1]))
    line.join()
    assert owners(line.started) == {"V1": 4, "V2": 4}
    order = line.finish_all()
    assert owners(order[:18]) == {"V1": 9, "V2": 9}
    assert [lfn for lfn in order if lfn.startswith("/V3")] == list(on_tape("V3", 9))


def test_a_file_asked_for_while_its_tape_is_read_comes_in_the_same_sweep() -> None:
    places = on_tape("V1", 10)
    line = Tapes(places)
    wanted = [lfn for lfn in places if lfn != "/V1/007"]
    line.stage(*wanted)
    line.join()
    line.finish(3)
    line.stage("/V1/007", owner="somebody else")
    assert line.finish_all() == list(places)


def test_what_lies_behind_the_head_comes_when_the_tape_begins_anew() -> None:
    places = on_tape("V1", 10)
    line = Tapes(places)
    line.stage(*list(places)[4:])
    line.join()
    line.finish(2)
    line.stage(*list(places)[:4])
    assert line.finish_all() == [*list(places)[4:], *list(places)[:4]]


def test_a_tape_is_read_for_all_who_want_some_of_it() -> None:
    places = on_tape("V1", 12) | on_tape("V2", 12)
    line = Tapes(places)
    line.stage(*list(places)[0:12:2], owner="alice")
    line.stage(*list(places)[1:12:2], owner="bob")
    line.stage(*list(places)[12:], owner="carol")
    line.join()
    assert line.finish_all() == list(places)


def test_a_tape_gives_way_to_who_had_less_after_its_time() -> None:
    places = on_tape("V1", 100) | on_tape("V2", 10)
    line = Tapes(places, volume_s=HOUR_S)
    line.stage(*on_tape("V1", 100), owner="alice")
    line.stage(*on_tape("V2", 10), owner="bob")
    line.join()
    line.finish(10)
    assert owners(line.started) == {"V1": 12}
    explained = line.site.head.explain("/V2/000", line.site.now_s).next
    assert explained.startswith(
        "volume V2 at 0: waits for a drive, of which as many are in use as may be (V1); "
    )
    line.site.now_s += HOUR_S
    line.note(line.site.beat("disk1"))
    assert "gives way" in line.site.head.explain("/V1/050", line.site.now_s).next
    line.finish(2)
    order = line.finish_all()
    assert order[12:22] == list(on_tape("V2", 10)), "whoever had nothing yet"
    assert order[22:] == list(on_tape("V1", 88, first=12)), "where the first sweep had stopped"


def test_a_tape_does_not_give_way_to_another_of_the_same_owner() -> None:
    places = on_tape("V1", 30) | on_tape("V2", 10)
    line = Tapes(places, volume_s=60.0)
    line.stage(*places, owner="alice")
    line.join()
    line.finish(5)
    line.site.now_s += HOUR_S
    assert line.finish_all() == list(places)


def test_recalls_are_held_back_for_a_hint_but_not_for_long() -> None:
    line = Line(HeadSettings(hint_wait_s=30.0))
    line.join()
    done = line.stage("/f/1")
    assert of_kind(done, AskHints) == [AskHints(("/f/1",))]
    assert line.site.head.explain("/f/1", line.site.now_s).next.startswith("it is being asked")
    assert line.started == []
    line.note(line.site.wait(31.0))
    assert line.started == ["/f/1"]


def test_nobody_is_asked_before_there_is_a_node_and_again_if_no_answer_comes() -> None:
    line = Line(HeadSettings(hint_wait_s=30.0, backoff_max_s=300.0))
    asked = AskHints(tuple(names("f", 9)))
    assert of_kind(line.stage(*names("f", 9)), AskHints) == []
    assert of_kind(line.site.join("disk1", slots=1), AskHints) == [asked]
    line.site.give(events.HintsTold(asked.lfns, unanswered=asked.lfns))
    assert of_kind(line.site.wait(299.0), AskHints) == []
    assert of_kind(line.site.wait(2.0), AskHints) == [asked]


def test_a_drive_is_free_again_when_nobody_wants_the_rest_of_its_tape() -> None:
    places = on_tape("V1", 10) | on_tape("V2", 10)
    line = Tapes(places)
    line.stage(*on_tape("V1", 10), request_id="r1", owner="alice")
    line.stage(*on_tape("V2", 10), request_id="r2", owner="bob")
    line.join()
    assert owners(line.started) == {"V1": 2}
    line.note(line.site.give(events.CancelAsked("r1")))
    for start in list(line.running):
        line.note(line.site.end("disk1", start, ErrorClass.CANCELLED))
    assert owners(line.started[2:]) == {"V2": 2}


def test_what_failed_is_tried_again_in_the_next_sweep() -> None:
    places = on_tape("V1", 10)
    line = Tapes(places)
    line.stage(*places)
    line.join()
    start = line.running.pop(0)
    line.note(line.site.end("disk1", start, ErrorClass.TRANSIENT))
    line.note(line.site.wait(3.0))
    order = line.finish_all()
    assert order[-1] == "/V1/000"
    assert len(order) == 11


# --- many that do not fit -------------------------------------------------------------


def test_large_files_of_one_owner_do_not_keep_others_from_being_looked_at() -> None:
    line = Line(HeadSettings(look_past=8), slots=4)
    line.stage(*names("large", 50), owner="large", size_bytes=90 * GB)
    line.stage(*names("small", 5), owner="small")
    pinned = NodeLoad(staging_rate=100e6, pinned_bytes=50 * GB)
    done = line.site.join("disk1", slots=4, quota_bytes=100 * GB, load=pinned)
    assert owners(list(line.site.starts(done))) == {"small": 5}


# --- what makes no progress -----------------------------------------------------------


def test_a_long_queue_is_not_stuck_as_long_as_its_owner_is_served() -> None:
    line = Line(HeadSettings(stuck_after_s=900.0))
    line.stage(*names("f", 9))
    line.join()
    for _ in range(3):
        line.note(line.site.wait(600.0))
        line.finish()
    assert not any("/f/005" in text for text in line.site.head.stuck(line.site.now_s))
    line.site.wait(901.0)
    stuck = line.site.head.stuck(line.site.now_s)
    assert any(text.startswith("/f/005: queued for 45 min: waits for a node") for text in stuck)


def test_very_many_that_are_overdue_are_given_up_some_at_a_time() -> None:
    line = Line(HeadSettings(overdue_slice=3))
    for request_id in ("r1", "r2", "r3"):
        line.stage(*names(request_id, 2), request_id=request_id, deadline_s=10.0)
    line.site.now_s += 11.0

    def active() -> int:
        return len(line.site.head.requests(active_only=True))

    line.site.give(events.Tick())
    assert active() == 1
    assert line.site.head.next_wakeup_s() <= line.site.now_s
    line.site.give(events.Tick())
    assert active() == 0
