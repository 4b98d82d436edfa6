"""The life of one recall: the table of its moves, and the changes it leads to."""

from __future__ import annotations

import pytest

from common.story import IllegalMove
from dataserver.core.changes import ChangeLog
from dataserver.core.events import RecallOrdered
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.pool import Pool
from dataserver.core.rate import HALF_LIFE_S, StagingRate
from dataserver.core.recall import ENDED, MOVES, STOPPABLE, Recall, RecallState
from dataserver.core.replica import Found, Limits


def make_recall() -> Recall:
    return Recall(RecallOrdered("r1", "/a"), 100.0)


def test_a_recall_goes_all_the_way() -> None:
    recall = make_recall()
    for event in ("examine", "examined", "reserved", "copied", "verified", "published"):
        assert not recall.ended
        recall.move(event, 101.0)
        recall.check()
    assert recall.state is RecallState.DONE
    assert len(recall.story) == 7


def test_a_move_the_table_does_not_have_carries_the_story() -> None:
    recall = make_recall()
    recall.move("reserve", 101.0)
    with pytest.raises(IllegalMove, match="no move for 'published' in state 'reserving'") as caught:
        recall.move("published", 102.0)
    assert "recall r1 of /a accepted" in str(caught.value)


def test_every_state_can_be_reached_and_every_live_one_can_end() -> None:
    reached = {RecallState.ACCEPTED} | set(MOVES.values())
    assert reached == set(RecallState)
    ends = set(ENDED)
    while True:
        more = {before for (before, _), after in MOVES.items() if after in ends} | ends
        if more == ends:
            break
        ends = more
    assert ends == set(RecallState)
    assert all(before not in ENDED for before, _ in MOVES)


def test_whatever_has_a_step_under_way_can_be_stopped_but_for_publishing() -> None:
    assert {before for before, event in MOVES if event == "stop"} == STOPPABLE
    assert RecallState.PUBLISHING not in STOPPABLE


def test_why_a_recall_was_stopped_waits_for_its_end() -> None:
    recall = make_recall()
    recall.move("reserve", 101.0)
    recall.move("reserved", 101.0)
    recall.failure = Failure(FailureKind.CANCELLED, "nobody wants it")
    recall.move("stop", 102.0)
    recall.check()
    recall.end(recall.failure, 103.0)
    assert recall.state is RecallState.CANCELLED


def inventory_pool() -> Pool:
    pool = Pool(Limits.of(100, 0, 0.9, 0.8))
    pool.load([Found("/a", 10, 0.0), Found("/b", 20, 1.0), Found("/c", 5, 1.0, checked=False)])
    return pool


def test_changes_are_kept_only_from_an_inventory_on() -> None:
    log = ChangeLog()
    log.enter("/x", 1)
    log.check()
    assert log.take(10) == []
    inventory = log.inventory(inventory_pool().held())
    assert (inventory.lfns, inventory.size_bytes, inventory.number) == (["/a", "/b"], [10, 20], 1)
    log.enter("/y", 2, recall_id="r1")
    log.enter("/y", 2, dropped=True, reason="purged")
    log.enter("/z", 3)
    log.check()
    assert [one.number for one in log.take(2)] == [2, 3]
    log.check()
    assert [one.number for one in log.take(2)] == [4]


def test_a_second_inventory_includes_what_nobody_took() -> None:
    log = ChangeLog()
    log.inventory([])
    log.enter("/y", 2)
    assert log.inventory([]).number == 1
    assert log.take(10) == []
    log.check()


def test_a_reader_that_left_costs_nothing() -> None:
    log = ChangeLog()
    log.inventory([])
    log.enter("/y", 2)
    log.abandon()
    log.enter("/z", 2)
    assert len(log) == 0
    assert log.number == 2
    log.check()


def test_the_staging_rate_counts_only_time_in_which_something_is_copied() -> None:
    rate = StagingRate()
    assert rate.bytes_per_s() == 0.0
    rate.pass_time(100.0, busy=False)
    rate.arrive(50)
    rate.pass_time(101.0, busy=True)
    assert rate.bytes_per_s() == 0.0, "a file that has only begun says nothing"
    rate.complete()
    rate.pass_time(500.0, busy=False)
    assert rate.bytes_per_s() == pytest.approx(50, rel=0.1)


def test_the_staging_rate_follows_the_recent_past() -> None:
    rate = StagingRate()
    now_s = 0.0
    rate.pass_time(now_s, busy=False)
    for speed in (1000, 10):
        for _ in range(int(5 * HALF_LIFE_S)):
            now_s += 1.0
            rate.pass_time(now_s, busy=True)
            rate.arrive(speed)
        rate.complete()
    assert 10 <= rate.bytes_per_s() < 100
