"""When the scrubber verifies what: rounds, their pace, and going on after a restart."""

from __future__ import annotations

import pytest

from dataserver.core.scrub import Pace, Round, Scrub

DAY_S = 86400.0


def test_a_round_goes_through_the_names_and_the_next_one_waits_for_its_time() -> None:
    scrub = Scrub(Round(), bytes_per_s=1000, interval_s=DAY_S)
    assert scrub.due_in_s(1e9) == 0.0
    scrub.begin(1e9)
    scrub.verified("/a", 100, damaged=False)
    scrub.passed("/b")
    scrub.verified("/c", 200, damaged=True)
    scrub.check()
    assert scrub.round == Round(1e9, False, "/c", files=2, size_bytes=300, damaged=1)
    assert scrub.due_in_s(1e9 + 10) == 0.0
    scrub.end()
    scrub.check()
    assert scrub.due_in_s(1e9 + 10) == DAY_S - 10
    assert scrub.due_in_s(1e9 + 2 * DAY_S) == 0.0


def test_a_new_life_goes_on_where_the_last_one_was() -> None:
    scrub = Scrub(Round(1e9, False, "/m", 5, 500, 0), bytes_per_s=1000, interval_s=DAY_S)
    scrub.begin(1e9 + 5 * DAY_S)
    assert scrub.round.after == "/m"
    assert scrub.round.began_s == 1e9
    scrub.end()
    assert scrub.due_in_s(1e9 + 5 * DAY_S) == 0.0, "it took longer than the interval"


def test_a_clock_set_back_does_not_put_a_round_off() -> None:
    scrub = Scrub(Round(1e9), bytes_per_s=1000, interval_s=DAY_S)
    assert scrub.due_in_s(1e9 - 365 * DAY_S) == 0.0


def test_without_a_rate_nothing_is_verified_until_it_has_one() -> None:
    scrub = Scrub(Round(), bytes_per_s=0, interval_s=DAY_S)
    assert scrub.due_in_s(1e9) is None
    scrub.set_limits(10, DAY_S)
    assert scrub.due_in_s(1e9) == 0.0


@pytest.mark.parametrize("sizes", [[1000] * 10, [1, 9999], [0, 0, 10_000]])
def test_bytes_never_come_faster_than_they_are_paid_for(sizes: list[int]) -> None:
    pace = Pace(1000)
    now_s = 50.0
    for size_bytes in sizes:
        wait_s = pace.wait_s(size_bytes, now_s)
        assert wait_s >= 0
        now_s += wait_s
    # What was read last is paid for by whoever comes next.
    assert now_s + pace.wait_s(0, now_s) == pytest.approx(50.0 + sum(sizes) / 1000)


def test_time_that_went_by_unused_is_not_saved_up() -> None:
    pace = Pace(1000)
    pace.wait_s(1000, 0.0)
    assert pace.wait_s(1000, 100.0) == 0.0
    assert pace.wait_s(1000, 100.0) == 1.0
