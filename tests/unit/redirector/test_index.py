"""The replica index: slots, several replicas, sweeping."""

from __future__ import annotations

import pytest

from redirector.core.index import ReplicaIndex, Swept


@pytest.fixture
def index() -> ReplicaIndex:
    return ReplicaIndex()


def rank(number: int) -> float:
    return float(number)


def test_what_was_put_is_located_in_the_order_asked(index: ReplicaIndex) -> None:
    slot = index.open_slot(7)
    assert index.put_many(slot, ["/a", "/b"], [10, 0]) == ["/a", "/b"]
    columns = index.locate(["/b", "/nowhere", "/a"], rank)
    assert columns.holders == [7, 0, 7]
    assert columns.sizes_bytes == [0, 0, 10]
    assert columns.more == []
    index.check()


def test_sizes_beyond_four_gigabytes_are_kept(index: ReplicaIndex) -> None:
    slot = index.open_slot(1)
    index.put(slot, "/huge", 2**60)
    assert index.replicas("/huge") == [(1, 2**60)]


def test_of_several_replicas_the_best_node_is_first_and_the_others_are_told(
    index: ReplicaIndex,
) -> None:
    for node in (3, 1, 2):
        index.put(index.open_slot(node), "/f", 5)
    index.put(index.open_slot(4), "/g", 6)
    columns = index.locate(["/g", "/f"], rank)
    assert columns.holders == [4, 1]
    assert columns.more == [(1, 2), (1, 3)]
    assert index.total == 4
    index.check()


def test_only_the_first_replica_makes_a_file_come_online(index: ReplicaIndex) -> None:
    assert index.put(index.open_slot(1), "/f", 5)
    assert not index.put(index.open_slot(2), "/f", 5)


def test_a_dropped_replica_leaves_the_others(index: ReplicaIndex) -> None:
    first, second = index.open_slot(1), index.open_slot(2)
    index.put(first, "/f", 5)
    index.put(second, "/f", 5)
    assert index.drop([first], "/f")
    assert not index.drop([first], "/f")
    assert index.replicas("/f") == [(2, 5)]
    assert index.drop([second], "/f")
    assert not index.online("/f")
    assert index.total == 0
    index.check()


def test_a_closed_slot_is_invisible_at_once_and_swept_in_slices(index: ReplicaIndex) -> None:
    lost, kept = index.open_slot(1), index.open_slot(2)
    index.put_many(lost, ["/a", "/b", "/c"], [1, 2, 3])
    index.put(kept, "/c", 3)
    index.close_slot(lost)
    assert index.locate(["/a", "/b", "/c"], rank).holders == [0, 0, 2]
    assert index.total == 1
    index.check()
    swept = index.sweep(2)
    assert len(swept) == 2
    assert index.sweeping
    swept += index.sweep(2)
    assert sorted(swept) == [Swept("/a", 1, 1), Swept("/b", 1, 2), Swept("/c", 1, 3)]
    assert not index.sweeping
    assert index.replicas("/c") == [(2, 3)]
    index.check()


def test_a_replica_that_comes_back_before_the_sweep_is_not_swept(index: ReplicaIndex) -> None:
    lost = index.open_slot(1)
    index.put(lost, "/f", 5)
    index.close_slot(lost)
    assert index.put(index.open_slot(2), "/f", 5), "it was not visible meanwhile"
    assert index.sweep(10) == []
    assert index.replicas("/f") == [(2, 5)]
    index.check()


def test_a_new_inventory_of_a_node_takes_its_names_over_one_by_one(index: ReplicaIndex) -> None:
    old = index.open_slot(1)
    index.put_many(old, ["/stays", "/goes"], [1, 2])
    new = index.open_slot(1)
    assert index.put_many(new, ["/stays"], [1]) == [], "it was visible all the time"
    assert index.locate(["/stays", "/goes"], rank).holders == [1, 1]
    assert index.total == 2
    index.check()
    index.close_slot(old)
    assert index.locate(["/stays", "/goes"], rank).holders == [1, 0]
    assert index.sweep(10) == [Swept("/goes", 1, 2)]
    assert index.count(new) == 1
    index.check()


def test_a_replica_put_twice_is_one(index: ReplicaIndex) -> None:
    slot = index.open_slot(1)
    assert index.put(slot, "/f", 5)
    assert not index.put(slot, "/f", 6)
    assert index.replicas("/f") == [(1, 6)]
    assert index.total == 1
    index.check()


def test_more_inventories_than_slots_reuse_the_swept_ones(index: ReplicaIndex) -> None:
    index.put(index.open_slot(1), "/kept", 1)
    for _ in range(70_000):
        index.close_slot(index.open_slot(2))
    assert index.replicas("/kept") == [(1, 1)]
    index.check()
