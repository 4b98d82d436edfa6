"""Packets are cut where clusters end."""

from __future__ import annotations

import pytest

from packetizer.core.plan import Cuts, TableSeen, Unplannable, cuts_of

ENDS = [100, 250, 300, 1000]


@pytest.mark.parametrize(
    ("start", "wanted", "stop"),
    [
        (0, 1, 100),  # at least one cluster
        (0, 100, 100),
        (0, 160, 100),  # the nearer end
        (0, 190, 250),
        (100, 10, 250),
        (100, 200, 300),
        (250, 10, 300),
        (300, 5, 1000),
        (0, 5000, 1000),
        (100, 700, 1000),  # the nearer end is the file's
    ],
)
def test_a_packet_ends_at_the_nearest_cluster_end(start: int, wanted: int, stop: int) -> None:
    assert Cuts("t", 1000, ENDS).stop_for(start, 1000, wanted, take_tail=False) == stop


def test_a_packet_never_passes_the_free_range() -> None:
    assert Cuts("t", 1000, ENDS).stop_for(100, 250, 900) == 250


def test_a_short_tail_goes_with_the_packet_before_it() -> None:
    cuts = Cuts("t", 100)
    assert cuts.stop_for(0, 100, 70) == 100
    assert cuts.stop_for(0, 100, 60) == 60
    assert cuts.stop_for(0, 100, 70, take_tail=False) == 70


def test_a_table_without_clusters_is_cut_anywhere() -> None:
    assert Cuts("", 100).stop_for(7, 100, 13) == 20
    assert Cuts("", 100).stop_for(7, 100, 0, take_tail=False) == 8


@pytest.mark.parametrize("ends", [[10, 10, 20], [20, 10], [10], [10, 30], [0, 20]])
def test_cluster_ends_that_make_no_sense_are_not_used(ends: list[int]) -> None:
    assert Cuts("t", 20, ends).stop_for(0, 20, 7, take_tail=False) == 7


def test_the_tree_asked_for_is_found_among_others() -> None:
    tables = [TableSeen("a", 1, ()), TableSeen("b", 2, ())]
    assert cuts_of("b", tables).entries == 2


def test_no_tree_need_be_named_if_there_is_but_one() -> None:
    assert cuts_of("", [TableSeen("a", 7, ())]).table == "a"


def test_a_file_without_trees_is_taken_whole_whatever_tree_is_asked_for() -> None:
    assert cuts_of("events", [TableSeen("", 7, ())]).entries == 7


@pytest.mark.parametrize(
    ("tree", "tables", "problem", "said"),
    [
        ("t", [TableSeen("a", 1, ()), TableSeen("b", 1, ())], "", "no tree named 't': it has 'a'"),
        ("", [TableSeen("a", 1, ()), TableSeen("b", 1, ())], "", "must be named"),
        ("t", [TableSeen("a", 1, ())], "", "no tree named 't'"),
        ("t", [], "", "it has none at all"),
        ("t", [TableSeen(f"t{n}", 1, ()) for n in range(9)], "", "and 4 more"),
        ("t", [TableSeen("t", 1, ())], "not a ROOT file", "not a ROOT file"),
        ("t", [TableSeen("t", 2**60, ())], "", "cannot have 1152921504606846976 entries"),
    ],
)
def test_what_cannot_be_planned_says_why(
    tree: str, tables: list[TableSeen], problem: str, said: str
) -> None:
    with pytest.raises(Unplannable, match=said):
        cuts_of(tree, tables, problem)
