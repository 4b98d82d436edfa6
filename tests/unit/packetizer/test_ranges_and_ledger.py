"""Ranges are exact, and every entry of a ledger is in one place."""

from __future__ import annotations

import pytest

from packetizer.core.ledger import Ledger
from packetizer.core.ranges import Ranges


def test_ranges_that_touch_become_one() -> None:
    ranges = Ranges([(0, 10), (20, 30)])
    assert len(ranges) == 2
    ranges.add(10, 20)
    assert list(ranges) == [(0, 30)]
    assert ranges.size == 30
    ranges.check()


@pytest.mark.parametrize(
    ("start", "stop"), [(5, 6), (0, 10), (9, 11), (19, 21), (0, 40), (10, 21), (12, 12), (13, 12)]
)
def test_adding_what_is_there_already_is_refused(start: int, stop: int) -> None:
    ranges = Ranges([(0, 10), (20, 30)])
    with pytest.raises(ValueError, match=r"overlaps|no range"):
        ranges.add(start, stop)
    assert list(ranges) == [(0, 10), (20, 30)]


@pytest.mark.parametrize(("start", "stop"), [(9, 11), (10, 12), (15, 25), (30, 31), (0, 30)])
def test_removing_what_is_not_there_is_refused(start: int, stop: int) -> None:
    ranges = Ranges([(0, 10), (20, 30)])
    with pytest.raises(ValueError, match="not within"):
        ranges.remove(start, stop)
    assert ranges.size == 20


def test_a_hole_can_be_cut_and_filled() -> None:
    ranges = Ranges([(0, 30)])
    ranges.remove(10, 20)
    assert list(ranges) == [(0, 10), (20, 30)]
    assert ranges.holds(0, 10)
    assert not ranges.holds(5, 15)
    assert not ranges.holds(10, 11)
    ranges.add(10, 20)
    assert ranges.first() == (0, 30)


def test_a_lease_goes_its_ways() -> None:
    ledger = Ledger(100)
    ledger.lease(1, 0, 40)
    ledger.lease(2, 40, 60)
    ledger.lease(3, 60, 100)
    ledger.check()
    assert ledger.commit(1) == (0, 40)
    assert ledger.give_back(2) == (40, 60)
    assert ledger.condemn(3) == (60, 100)
    ledger.check()
    assert list(ledger.free) == [(40, 60)]
    ledger.lease(4, 40, 60)
    assert ledger.set_aside(4) == (40, 60)
    ledger.check()
    with pytest.raises(ValueError, match="not within"):
        ledger.lease(5, 40, 60)
    ledger.lease_again(5, 40, 60)
    assert ledger.commit(5) == (40, 60)
    assert ledger.settled
    ledger.check()


def test_a_lease_that_ended_ends_no_second_time() -> None:
    ledger = Ledger(10)
    ledger.lease(1, 0, 10)
    assert ledger.give_back(1) == (0, 10)
    for end in (ledger.commit, ledger.give_back, ledger.set_aside, ledger.condemn):
        assert end(1) is None
    assert list(ledger.free) == [(0, 10)]
    ledger.check()


def test_giving_up_the_rest_leaves_what_is_leased() -> None:
    ledger = Ledger(100)
    ledger.lease(1, 0, 10)
    ledger.lease(2, 20, 30)
    ledger.set_aside(2)
    assert ledger.condemn_rest() == [(10, 100)]
    ledger.check()
    assert not ledger.settled
    assert ledger.commit(1) == (0, 10)
    assert ledger.settled


def test_a_ledger_goes_on_from_what_was_committed() -> None:
    ledger = Ledger(100, committed=[(0, 10), (50, 60)], bad=[(10, 20)])
    ledger.check()
    assert list(ledger.free) == [(20, 50), (60, 100)]


@pytest.mark.parametrize("committed", [[(0, 11)], [(0, 5), (4, 6)], [(3, 3)]])
def test_a_ledger_refuses_ranges_that_do_not_fit_its_file(committed: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="not within"):
        Ledger(10, committed=committed)


def test_a_ledger_without_entries_is_settled() -> None:
    assert Ledger(0).settled
    Ledger(0).check()


def test_the_check_finds_an_entry_that_is_nowhere() -> None:
    ledger = Ledger(10)
    ledger.free.remove(3, 4)
    with pytest.raises(AssertionError, match="nowhere"):
        ledger.check()


def test_the_check_finds_an_entry_that_is_in_two_places() -> None:
    ledger = Ledger(10)
    ledger.committed.add(3, 4)
    with pytest.raises(AssertionError, match="twice"):
        ledger.check()
