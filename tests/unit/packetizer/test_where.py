"""Which file for which worker: near data first, and when to wait for it."""

from __future__ import annotations

import pytest

from packetizer.core.nodes import NodeSeen
from tests.support.packetizer_desk import DeskWorld, lfn, two_nodes


@pytest.fixture
def world() -> DeskWorld:
    world = DeskWorld()
    world.nodes(*two_nodes())
    return world


def test_work_on_the_own_host_comes_first(world: DeskWorld) -> None:
    world.open(2)
    world.online(0, "n1")
    world.online(1, "n2")
    world.join("a", "h2", want=1)
    assert world.hands["a"][0].file.lfn == lfn(1)
    assert world.hands["a"][0].node.name == "n2"
    assert world.hands["a"][0].is_local


def test_then_the_rack_then_the_site_then_anywhere(world: DeskWorld) -> None:
    world.nodes(
        NodeSeen("far", "h7", rack="r7", site="y"),
        NodeSeen("near", "h8", rack="r8", site="x"),
        NodeSeen("nearest", "h9", rack="r9", site="x"),
    )
    world.open(3, packet_entries=100)
    for number, node in enumerate(("far", "near", "nearest")):
        world.online(number, node)
    world.join("a", "elsewhere", rack="r9", site="x", want=3)
    assert [lease.node.name for lease in world.hands["a"]] == ["nearest", "near", "far"]
    assert not any(lease.is_local for lease in world.hands["a"])


def test_a_rack_of_the_same_name_at_another_site_is_not_near(world: DeskWorld) -> None:
    world.nodes(
        NodeSeen("a1", "h7", rack="r1", site="y"), NodeSeen("a2", "h8", rack="r8", site="x")
    )
    world.open(2, packet_entries=100)
    world.online(0, "a1")
    world.online(1, "a2")
    world.join("a", "elsewhere", rack="r1", site="x", want=2)
    assert [lease.node.name for lease in world.hands["a"]] == ["a2", "a1"]


def test_of_several_replicas_the_one_on_the_own_host_is_read(world: DeskWorld) -> None:
    world.open(1, packet_entries=50)
    world.online(0, "n1", "n2")
    world.join("a", "h2", want=1)
    world.join("b", "h1", want=1)
    assert world.hands["a"][0].node.name == "n2"
    assert world.hands["b"][0].node.name == "n1"
    assert world.hands["a"][0].is_local
    assert world.hands["b"][0].is_local


def test_a_worker_stays_with_its_file(world: DeskWorld) -> None:
    world.open(3, packet_entries=50)
    for number in range(3):
        world.online(number, "n1")
    world.join("a", want=1)
    first = world.hands["a"][0].file
    world.commit("a", want=1)
    assert world.hands["a"][0].file is first


def test_with_files_to_come_those_that_are_begun_are_finished_first(world: DeskWorld) -> None:
    world.open(4, packet_entries=50)
    for number in range(3):
        world.online(number, "n1")
    world.join("a", want=1)
    world.join("b", want=1)
    assert world.hands["a"][0].file is world.hands["b"][0].file


def test_with_nothing_to_come_each_begins_a_file_of_its_own(world: DeskWorld) -> None:
    world.open(3, packet_entries=50)
    for number in range(3):
        world.online(number, "n1")
    for name in ("a", "b", "c", "d"):
        world.join(name, want=1)
    files = [world.hands[name][0].file for name in "abcd"]
    assert len(set(files)) == 3


# --- leaving home ------------------------------------------------------------------


def at_unlike_hosts(world: DeskWorld, *, much: int = 10_000) -> None:
    """Little on one host and much on another; two workers that do 100 entries a second."""
    world.open(20, packet_entries=100)
    for number in range(10):
        world.online(number, "n1", entries=100)
        world.online(10 + number, "n2", entries=much // 10)
    world.join("a", "h1", want=1)
    world.join("b", "h2", want=1)


def work(world: DeskWorld, packets: int, *, slow: str = "", busy_s: float = 1.0) -> None:
    """Both do so many packets; reading from the data server `slow` takes the guests longer."""
    for _ in range(packets):
        world.later(1.0)
        for name in ("a", "b"):
            (lease,) = world.hands[name]
            is_slow = lease.node.name == slow and not lease.is_local
            world.commit(name, want=1, busy_s=busy_s if is_slow else 1.0)


def test_a_worker_leaves_home_when_others_will_be_busy_for_much_longer(world: DeskWorld) -> None:
    at_unlike_hosts(world)
    assert world.hands["a"][0].is_local, "as long as nobody knows how fast anybody is"
    work(world, 1)
    assert world.hands["a"][0].node.name == "n2"
    assert world.hands["b"][0].node.name == "n2"


def test_it_stays_when_all_will_be_done_at_about_the_same_time(world: DeskWorld) -> None:
    at_unlike_hosts(world, much=1000)
    for _ in range(5):
        work(world, 1)
        assert world.hands["a"][0].is_local


def test_it_comes_home_when_that_would_be_done_last(world: DeskWorld) -> None:
    at_unlike_hosts(world, much=2000)
    work(world, 1)
    assert not world.hands["a"][0].is_local
    lasted = 0
    while not world.hands["a"][0].is_local:
        lasted += 1
        assert lasted < 15, "it never came home"
        work(world, 1)
    there = world.desk.nodes.node("n2")
    assert any(lease.node is there for lease in world.hands["b"]), "which had work left"


def test_nobody_leaves_home_for_a_server_that_gives_all_it_can(world: DeskWorld) -> None:
    at_unlike_hosts(world)
    work(world, 1)
    assert not world.hands["a"][0].is_local
    # It gets a tenth of what it had at home, for as long as its file lasts …
    work(world, 9, slow="n2", busy_s=10.0)
    assert world.hands["a"][0].node.name == "n2"
    work(world, 1, slow="n2", busy_s=10.0)
    # … and then goes home, although the other one has much more left.
    assert world.hands["a"][0].is_local


def test_of_files_with_several_holders_those_come_first_that_others_cannot_help_with(
    world: DeskWorld,
) -> None:
    world.nodes(NodeSeen("n3", "h3"))
    world.open(6, packet_entries=100)
    for number in (3, 4, 5):
        world.online(number, "n2", entries=150)
    world.online(0, "n1", "n3", entries=100)
    world.online(1, "n1", "n3", entries=100)
    world.online(2, "n1", "n2", entries=100)
    world.join("a", "h1", want=1)
    world.join("b", "h2", want=1)
    world.join("c", "h3", want=1)
    world.later(1.0)
    world.commit("a", want=1, busy_s=1.0)
    assert world.hands["a"][0].file.lfn == lfn(2), "its other holder has most to do"


def test_remote_work_is_taken_from_where_most_is_left_for_each_reader(world: DeskWorld) -> None:
    world.nodes(NodeSeen("n3", "h3"))
    world.open(4, packet_entries=10)
    world.online(0, "n1", entries=100)
    for number in (1, 2, 3):
        world.online(number, "n3", entries=60)
    for name in ("a", "b", "c"):
        world.join(name, "elsewhere", want=1)
    assert [world.hands[name][0].node.name for name in "abc"] == ["n3", "n1", "n3"]


def test_a_worker_waits_for_local_work_while_files_are_still_to_come(world: DeskWorld) -> None:
    world.open(2)
    world.online(0, "n1")
    world.join("a", "h2", want=1)
    assert not world.hands["a"]
    world.later(2.9)
    assert not world.hands["a"]
    world.later(0.2)
    assert world.hands["a"][0].node.name == "n1"
    assert not world.hands["a"][0].is_local


def test_local_work_that_comes_in_time_ends_the_wait(world: DeskWorld) -> None:
    world.open(2)
    world.online(0, "n1")
    world.join("a", "h2", want=1)
    world.later(1.0)
    world.online(1, "n2")
    assert world.hands["a"][0].file.lfn == lfn(1)


def test_having_waited_once_a_worker_goes_on_with_remote_work_until_there_is_local(
    world: DeskWorld,
) -> None:
    world.open(4, packet_entries=50)
    world.online(0, "n1")
    world.join("a", "h2", want=1)
    world.later(3.1)
    world.commit("a", want=1)
    assert world.hands["a"][0].node.name == "n1"
    world.online(1, "n2")
    world.commit("a", want=1)
    assert world.hands["a"][0].node.name == "n2"
    world.commit("a", want=1)
    world.online(2, "n1")
    world.commit("a", want=1)
    assert not world.hands["a"], "after local work, it waits anew"


def test_when_nothing_is_to_come_every_worker_helps_at_once(world: DeskWorld) -> None:
    world.open(1, packet_entries=10)
    world.online(0, "n1")
    world.join("a", "h2", want=1)
    assert world.hands["a"][0].node.name == "n1"


def test_a_worker_where_no_data_server_stands_never_waits(world: DeskWorld) -> None:
    world.open(2)
    world.join("a", "laptop", want=1)
    world.online(0, "n1")
    assert world.hands["a"], "it is served when the file is ready, not at the next tick"


def test_what_a_servers_own_workers_do_soon_is_left_to_them(world: DeskWorld) -> None:
    world.open(4, packet_entries=10)
    world.join("own", "h1", want=1)
    world.join("other", "h2", want=1)
    world.online(0, "n1", entries=100)
    world.commit("own", busy_s=1.0, want=1)  # 10 entries a second: 80 left are 8 s
    world.later(0.25)
    world.later(3.1)
    assert world.hands["other"], "more is left than its own worker does in the wait"
    world.commit("other", busy_s=1.0)
    while world.figures().entries_done < 80:
        world.commit("own", busy_s=1.0, want=1)
    world.join("third", "h2", want=1)
    world.later(0.25)
    world.later(10.0)
    assert not world.hands["third"], "20 entries are 2 s of its own worker"


def test_a_server_that_is_not_up_is_not_read_from(world: DeskWorld) -> None:
    world.open(2, packet_entries=100)
    world.online(0, "n1")
    world.online(1, "n1", "n2")
    world.nodes(NodeSeen("n1", "h1", "r1", "x", up=False))
    world.join("a", "h1", want=2)
    assert [lease.node.name for lease in world.hands["a"]] == ["n2"]
    world.nodes(NodeSeen("n1", "h1", "r1", "x", up=True))
    assert world.hands["a"][1].node.name == "n1", "and is, as soon as it is up again"


def test_a_server_that_changes_its_labels_is_found_at_its_new_place(world: DeskWorld) -> None:
    world.open(2, packet_entries=100)
    world.online(0, "n1")
    world.online(1, "n2")
    world.join("a", "h9", want=1)
    world.nodes(NodeSeen("n2", "h9"))
    world.commit("a", want=1)
    assert world.hands["a"][0].node.name == "n2"
    assert world.hands["a"][0].is_local


def test_evenly_spread_data_is_read_where_it_lies() -> None:
    """Of evenly spread data and equal workers, at least 95 % is read on the own host."""
    world = DeskWorld()
    nodes = [NodeSeen(f"n{k}", f"h{k}") for k in range(4)]
    world.nodes(*nodes)
    world.open(40)
    for number in range(40):
        world.online(number, f"n{number % 4}", entries=1000, clusters=20)
    for k in range(4):
        world.join(f"w{k}", f"h{k}", want=1)
    while any(world.hands.values()):
        for k in range(4):
            if world.hands[f"w{k}"]:
                entries = world.hands[f"w{k}"][0].entries
                world.commit(f"w{k}", busy_s=entries / 100, want=1)
    figures = world.figures()
    assert figures.entries_done == 40_000
    assert figures.entries_local >= 0.95 * figures.entries_done
