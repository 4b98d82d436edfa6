"""How large packets are: a time at the worker's own rate, shrinking towards the end."""

from __future__ import annotations

import heapq

import pytest

from packetizer.core.desk import Tuning
from packetizer.core.nodes import NodeSeen
from tests.support.packetizer_desk import DeskWorld, two_nodes

ENTRIES = 1_000_000


def world_with_a_large_file(**tuning: float) -> DeskWorld:
    world = DeskWorld(Tuning(**tuning))  # type: ignore[arg-type]
    world.nodes(*two_nodes())
    world.open(1)
    world.online(0, "n1", entries=ENTRIES, clusters=10_000, size_bytes=10**9)
    return world


def test_the_first_packet_is_small() -> None:
    world = world_with_a_large_file()
    world.join("a", want=2)
    sizes = [lease.entries for lease in world.hands["a"]]
    assert sizes == [300, 300], "about 256 KiB of 1 GB, on cluster boundaries"


def test_the_first_packet_of_a_small_file_is_a_part_of_it() -> None:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(1)
    world.online(0, entries=1600, clusters=1600, size_bytes=1000)
    world.join("a", want=1)
    assert world.hands["a"][0].entries == 100


def test_a_packet_is_never_less_than_a_cluster() -> None:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(1)
    world.online(0, entries=1000, clusters=2)
    world.join("a", want=1)
    world.commit("a", busy_s=1e6, want=1)
    assert world.hands["a"][0].entries == 500


@pytest.mark.parametrize("packet_time_s", [0.5, 2.0, 7.0])
def test_a_packet_takes_the_packet_time_at_the_workers_own_rate(packet_time_s: float) -> None:
    world = world_with_a_large_file(packet_time_s=packet_time_s)
    for name, rate in (("fast", 5000.0), ("slow", 1000.0)):
        world.join(name, want=1)
        for _ in range(9):
            world.commit(name, busy_s=world.hands[name][0].entries / rate, want=1)
        assert world.hands[name][0].entries == pytest.approx(rate * packet_time_s, rel=0.05)


def test_a_newcomer_is_taken_for_a_typical_worker_and_tried_with_a_short_packet() -> None:
    world = world_with_a_large_file()
    world.join("a", want=1)
    world.commit("a", busy_s=world.hands["a"][0].entries / 10_000)
    world.join("b", want=1)
    assert world.hands["b"][0].entries == pytest.approx(0.1 * 2.0 * 10_000, rel=0.05)


def test_a_worker_that_keeps_no_times_gets_packets_all_the_same() -> None:
    world = world_with_a_large_file()
    world.join("a", want=1)
    world.commit("a", busy_s=0.0, want=1)
    assert world.hands["a"][0].entries > 0


def test_packets_shrink_as_the_end_comes_near() -> None:
    world = world_with_a_large_file()
    world.join("a", want=1)
    sizes = []
    while world.hands["a"]:
        entries = world.hands["a"][0].entries
        sizes.append(entries)
        world.commit("a", busy_s=entries / 100_000, want=1)
    assert sum(sizes) == ENTRIES
    assert max(sizes) == pytest.approx(200_000, rel=0.05)
    shrinking = sizes[1:-1]  # the first is a try, the last may have a tail
    assert shrinking == sorted(shrinking, reverse=True)
    assert sizes[-2] <= 0.2 * max(sizes)


def test_a_fixed_size_is_kept_to_on_cluster_boundaries() -> None:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(1, packet_entries=250)
    world.online(0, entries=1000, clusters=100)
    world.join("a", want=9)
    assert [lease.entries for lease in world.hands["a"]] == [250, 250, 250, 250]


def makespans(packet_entries: int) -> tuple[float, float]:
    """When the first and the last of four workers finish, one of them 4 times slower."""
    world = DeskWorld()
    world.nodes(*(NodeSeen(f"n{k}", f"h{k}") for k in range(4)))
    world.open(4, packet_entries=packet_entries)
    for number in range(4):
        world.online(number, f"n{number}", entries=40_000, clusters=4000)
    rates = {f"w{k}": 250.0 if k == 3 else 1000.0 for k in range(4)}
    ends: list[tuple[float, str]] = []
    for k, name in enumerate(rates):
        world.join(name, f"h{k}", want=1)
        heapq.heappush(ends, (world.hands[name][0].entries / rates[name], name))
    finished: dict[str, float] = {}
    while ends:
        end_s, name = heapq.heappop(ends)
        finished[name] = end_s
        busy_s = world.hands[name][0].entries / rates[name]
        world.commit(name, busy_s=busy_s, want=1)
        if world.hands[name]:
            heapq.heappush(ends, (end_s + world.hands[name][0].entries / rates[name], name))
    assert world.figures().entries_done == 160_000
    return min(finished.values()), max(finished.values())


def test_workers_of_unequal_speed_finish_together() -> None:
    first_s, last_s = makespans(packet_entries=0)
    assert last_s - first_s < 2.0, "less than one packet"
    ideal_s = 160_000 / 3250
    assert last_s < 1.05 * ideal_s
    _, fixed_s = makespans(packet_entries=40_000)
    assert fixed_s > 1.2 * last_s, "a fixed share is measurably worse"
