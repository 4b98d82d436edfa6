"""Ten defects of PROOF's packetizer, each as a test that ours does not have it.

Each was found by reading its source; every test says what it was.
"""

from __future__ import annotations

import pytest

from packetizer.core import events as ev
from packetizer.core.desk import Tuning
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from packetizer.core.nodes import NodeSeen
from packetizer.core.ranges import Ranges
from tests.support.packetizer_desk import DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    return world


def test_defect_1_what_a_lost_worker_held_is_found_again_on_its_data_server(
    world: DeskWorld,
) -> None:
    """PROOF looked servers up by another name than they were filed under, and found none."""
    world.open(1, packet_entries=10)
    world.online(0, "n2")
    world.join("a", "h2", want=2)
    held = world.hands["a"]
    world.die("a")
    world.join("b", "h2")
    again = []
    for _ in held:
        again += world.want("b", 1)
        world.commit("b", want=0)
    assert [(lease.start, lease.stop) for lease in again] == [(0, 10), (10, 20)]
    assert {lease.node.name for lease in again} == {"n2"}
    assert not world.figures().missing


def test_defect_2_the_rest_of_a_worker_comes_back_as_exactly_the_entries_it_left(
    world: DeskWorld,
) -> None:
    """PROOF moved the first entry of a half-done packet, but kept the number of the done ones."""
    world.open(1, packet_entries=30)
    world.online(0, "n1", entries=100, clusters=100)
    world.join("a", want=3)
    first, second, third = world.hands["a"]
    world.commit("a", [first, third])
    world.fail("a", ev.FailureKind.UNDONE)
    world.join("b", want=9)
    world.commit("b")
    assert (second.start, second.stop) == (30, 60)
    assert world.ranges_kept() == [
        (lfn(0), 0, 30),
        (lfn(0), 30, 60),
        (lfn(0), 60, 90),
        (lfn(0), 90, 100),
    ]
    assert world.figures().state is SessionState.DONE


def test_defect_3_a_packet_given_back_does_not_vanish(world: DeskWorld) -> None:
    """PROOF dropped the rest of a short packet, and the query never reached 100 %."""
    world.open(1, packet_entries=50)
    world.online(0, "n1")
    world.join("a", want=2)
    world.fail("a", ev.FailureKind.UNDONE)
    world.commit("a", want=1)
    world.commit("a")
    assert world.figures().state is SessionState.DONE
    assert world.figures().entries_done == 100


def test_defect_4_a_range_that_grows_to_the_left_begins_where_the_left_one_began() -> None:
    """PROOF added the two first entries when it merged to the left."""
    ranges = Ranges([(40, 50)])
    ranges.add(30, 40)
    assert list(ranges) == [(30, 50)]


def test_defect_5_a_worker_counts_as_local_on_its_own_host(world: DeskWorld) -> None:
    """PROOF compared a server's URL with a worker's host name, and took all for remote."""
    world.open(1)
    world.online(0, "n1")
    world.join("a", "h1", want=1)
    assert world.hands["a"][0].is_local
    world.commit("a")
    assert world.figures().entries_local == world.figures().entries_done > 0


def test_defect_6_work_on_servers_without_workers_is_done_to_the_end(world: DeskWorld) -> None:
    """PROOF stopped serving when a count of entries on worker-less servers fell below zero."""
    world.nodes(NodeSeen("n3", "h3"))
    world.open(6, packet_entries=20)
    for number in range(6):
        world.online(number, ("n2", "n3")[number % 2])
    world.join("a", "h1", want=1)
    while world.hands["a"]:
        world.commit("a", want=1)
    assert world.figures().state is SessionState.DONE
    assert world.figures().entries_done == 600
    assert world.figures().entries_local == 0


def test_defect_7_packet_times_below_a_second_are_what_they_say() -> None:
    """PROOF cut packet times to whole seconds, and 0.5 s became "no limit"."""
    world = DeskWorld(Tuning(packet_time_s=0.5))
    world.nodes(*two_nodes())
    world.open(1)
    world.online(0, "n1", entries=1_000_000, clusters=10_000)
    world.join("a", want=1)
    rate = 1000.0
    world.commit("a", busy_s=world.hands["a"][0].entries / rate, want=1)
    assert world.hands["a"][0].entries == pytest.approx(500, rel=0.2)


def test_defect_8_nothing_is_divided_by_the_entries_found_so_far(world: DeskWorld) -> None:
    """PROOF divided by the entries found so far: by zero, if the first files were empty."""
    world.open(3)
    world.join("a", want=1)
    for number in range(2):
        world.online(number, "n1", entries=0)
    assert world.figures().entries_total == 0
    world.online(2, "n1")
    while world.hands["a"]:
        world.commit("a", want=1)
    assert world.figures().state is SessionState.DONE
    assert world.figures().entries_done == 100


def test_defect_9_an_idle_worker_is_served_when_work_comes_back(world: DeskWorld) -> None:
    """PROOF told a worker without work that it was finished, for good."""
    world.open(1, packet_entries=100)
    world.online(0, "n1")
    world.join("a", want=1)
    world.join("late", want=1)
    assert not world.hands["late"]
    world.die("a")
    assert [(lease.start, lease.stop) for lease in world.hands["late"]] == [(0, 100)]


def test_defect_10_a_file_without_entries_is_settled_not_leased(world: DeskWorld) -> None:
    """PROOF let a range pass that began where the file ends."""
    world.open([FileSpec(lfn(0), "events", 1000, entries=0)])
    world.join("a", want=1)
    world.online(0, "n1", entries=0)
    assert not world.given
    assert world.figures().state is SessionState.DONE
    assert not world.figures().missing
