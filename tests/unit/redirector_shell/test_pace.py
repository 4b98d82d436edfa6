"""Watchers hear of single events at once, and of thousands in a few messages."""

from __future__ import annotations

from redirector.doors.watch import Pace


def goes_at_once(pace: Pace) -> bool:
    step = pace.step()
    try:
        step.send(None)
    except StopIteration:
        return True
    step.close()
    return False


async def test_a_few_go_at_once_and_the_next_one_waits() -> None:
    pace = Pace(burst=5, per_s=1.0)
    assert [goes_at_once(pace) for _ in range(6)] == [True] * 5 + [False]


async def test_a_long_pause_earns_a_burst_and_no_more() -> None:
    pace = Pace(burst=2, per_s=1.0)
    assert [goes_at_once(pace) for _ in range(3)] == [True, True, False]
    pace.counted_s -= 100.0
    assert [goes_at_once(pace) for _ in range(3)] == [True, True, False]


async def test_who_waits_long_enough_may_go() -> None:
    pace = Pace(burst=1, per_s=1000.0)
    for _ in range(5):
        await pace.step()
