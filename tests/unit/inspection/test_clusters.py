from __future__ import annotations

import pytest

from dataserver.inspection.clusters import (
    MAX_CLUSTERS,
    WORTH_CUTTING_BYTES,
    best_ends,
    declared_ends,
    ends_within,
    thinned,
)

SMALL = 1
LARGE = 100 * WORTH_CUTTING_BYTES


@pytest.mark.parametrize(
    ("entries", "auto_flush", "range_ends", "range_sizes", "expected"),
    [
        pytest.param(450, 100, [], [], [100, 200, 300, 400, 450], id="one length throughout"),
        pytest.param(400, 100, [], [], [100, 200, 300, 400], id="a full last cluster"),
        pytest.param(50, 100, [], [], [50], id="shorter than one cluster"),
        pytest.param(70, -30000000, [], [], [70], id="flushed by size, not by entries"),
        pytest.param(70, 0, [], [], [70], id="never flushed"),
        pytest.param(
            450, 500, [249, 379], [100, 40], [100, 200, 250, 290, 330, 370, 380, 450], id="ranges"
        ),
        pytest.param(
            155, -30000000, [129], [40], [40, 80, 120, 130, 155], id="a tail without length"
        ),
        pytest.param(135, 0, [59, 119, 134], [60, 60, 15], [60, 120, 135], id="merged files"),
        pytest.param(90, 30, [59], [0], [60, 90], id="a range without length"),
        pytest.param(100, 10, [499], [50], [50, 100], id="a range beyond the entries"),
        pytest.param(100, 50, [49, 20], [25, 5], [25, 50, 100], id="ranges that go back"),
        pytest.param(0, 100, [], [], [], id="empty"),
    ],
)
def test_declared_clusters_are_where_root_finds_them(
    entries: int,
    auto_flush: int,
    range_ends: list[int],
    range_sizes: list[int],
    expected: list[int],
) -> None:
    assert declared_ends(entries, auto_flush, range_ends, range_sizes) == expected


def test_a_damaged_header_with_endless_clusters_stays_countable() -> None:
    ends = declared_ends(1 << 60, 1, [], [])
    assert len(ends) <= MAX_CLUSTERS
    assert ends[-1] == 1 << 60


def test_declared_ends_where_baskets_do_not_end_are_left_out() -> None:
    declared = [100, 200, 250, 290, 450]
    shared = [0, 100, 200, 290, 330, 450]
    assert best_ends(450, declared, shared, [], SMALL) == [100, 200, 290, 450]


def test_without_a_declaration_common_basket_ends_are_taken() -> None:
    assert best_ends(30, [30], [0, 10, 20, 30], [], SMALL) == [10, 20, 30]


def test_one_odd_branch_does_not_spoil_the_declared_clusters() -> None:
    assert best_ends(30, [10, 20, 30], [0, 30], [0, 10, 20, 30], SMALL) == [10, 20, 30]


def test_a_small_tree_of_unaligned_baskets_stays_whole() -> None:
    assert best_ends(200, [200], [0, 200], [0, 70, 140, 200], SMALL) == [200]


def test_a_large_tree_of_unaligned_baskets_is_cut_where_its_heaviest_branch_allows() -> None:
    assert best_ends(200, [200], [0, 200], [0, 70, 140, 200], LARGE) == [70, 140, 200]


def test_cuts_through_baskets_are_no_finer_than_worth_it() -> None:
    heaviest = list(range(0, 1001, 10))
    ends = best_ends(1000, [1000], [0, 1000], heaviest, 4 * WORTH_CUTTING_BYTES)
    assert ends == [250, 500, 750, 1000]


def test_an_empty_tree_has_no_clusters() -> None:
    assert best_ends(0, [], [0], [0], SMALL) == []


def test_a_tree_without_branches_is_one_cluster() -> None:
    assert best_ends(7, [7], [], [], 0) == [7]


def test_ends_are_sorted_once_each_and_end_with_the_table() -> None:
    assert ends_within([30, 0, 10, 10, 99], 40) == [10, 30, 40]


@pytest.mark.parametrize("count", [1, 5, 6, 11, 1000])
def test_thinning_keeps_the_last_end_and_the_order(count: int) -> None:
    ends = list(range(1, count + 1))
    kept = thinned(ends, 5)
    assert len(kept) == min(5, count)
    assert kept[-1] == count
    assert kept == sorted(set(kept))
