"""Which holder a client is sent to: its own host first, then the idle ones in turn."""

from __future__ import annotations

from collections import Counter

import pytest

from redirector.core import events
from redirector.core.instructions import NoteUses
from redirector.core.model import NodeAddress, NodeLoad
from tests.support.redirector_head import GB, Site, of_kind


@pytest.fixture
def site() -> Site:
    site = Site()
    for name in ("disk1", "disk2", "disk3"):
        site.join(name, {"/all": GB, f"/{name}": GB})
    return site


def chosen(site: Site, lfn: str, host: str = "", avoid: tuple[str, ...] = ()) -> str | None:
    address = site.head.choose_reader(lfn, host, avoid)
    site.head.check()
    return None if address is None else address.node


def test_the_only_holder_is_chosen_with_all_its_addresses(site: Site) -> None:
    expected = NodeAddress("disk2", "disk2:7000", "host-disk2", root_address="disk2:1094")
    assert site.head.choose_reader("/disk2", "host-disk1") == expected
    assert site.head.holders("/disk2") == [expected]


def test_a_file_that_is_not_online_has_no_reader(site: Site) -> None:
    assert chosen(site, "/nowhere") is None
    assert site.head.holders("/nowhere") == []
    assert not site.head.is_online("/nowhere")
    site.change("disk1", "/disk1", GB, dropped=True)
    assert chosen(site, "/disk1") is None


def test_a_holder_to_be_avoided_is_not_chosen(site: Site) -> None:
    assert chosen(site, "/disk1", avoid=("disk1",)) is None
    assert chosen(site, "/all", avoid=("disk1", "disk3")) == "disk2"
    assert chosen(site, "/all", avoid=("disk1", "disk2", "disk3")) is None


def test_a_node_that_is_not_in_touch_is_not_chosen(site: Site) -> None:
    site.lose("disk1")
    assert chosen(site, "/disk1") is None
    assert site.head.is_online("/disk1"), "its replica is still there"
    assert {chosen(site, "/all") for _ in range(9)} == {"disk2", "disk3"}
    assert [node.node for node in site.head.holders("/all")] == ["disk2", "disk3"]
    site.wait(61.0)
    assert not site.head.is_online("/disk1")
    assert chosen(site, "/disk1") is None


def test_a_node_without_a_root_door_is_not_chosen(site: Site) -> None:
    site.join("disk4", {"/all": GB, "/disk4": GB}, root=False)
    assert chosen(site, "/disk4") is None
    assert site.head.holders("/disk4") == []
    assert "disk4" not in {chosen(site, "/all") for _ in range(9)}


def test_the_clients_own_host_goes_before_all_others(site: Site) -> None:
    site.beat("disk3", NodeLoad(cpu_percent=100.0))
    assert {chosen(site, "/all", "host-disk3") for _ in range(9)} == {"disk3"}
    assert chosen(site, "/all", "host-disk3", ("disk3",)) in ("disk1", "disk2")


def test_equal_holders_take_turns(site: Site) -> None:
    turns = Counter(chosen(site, "/all") for _ in range(30))
    assert turns == {"disk1": 10, "disk2": 10, "disk3": 10}


def test_a_busier_holder_is_left_alone(site: Site) -> None:
    site.beat("disk2", NodeLoad(cpu_percent=50.0))
    site.beat("disk3", NodeLoad(cpu_percent=5.0))
    turns = Counter(chosen(site, "/all") for _ in range(30))
    assert turns == {"disk1": 15, "disk3": 15}
    assert [node.node for node in site.head.holders("/all")] == ["disk1", "disk3", "disk2"]


def test_a_silent_holder_is_chosen_only_if_there_is_no_other(site: Site) -> None:
    connection = site.connections.pop("disk1")
    site.wait(6.0)
    assert {chosen(site, "/all") for _ in range(9)} == {"disk2", "disk3"}
    assert chosen(site, "/disk1") == "disk1"
    site.give(events.NodeLost(connection))
    assert chosen(site, "/disk1") is None


def test_a_holder_that_joined_anew_is_chosen_while_its_inventory_comes(site: Site) -> None:
    site.lose("disk1")
    site.hello("disk1")
    assert chosen(site, "/disk1") == "disk1"


def test_a_node_served_by_others_is_told_of_uses_with_its_next_heartbeat(site: Site) -> None:
    site.join("stock", {"/a": GB, "/b": GB}, served_by_others=True)
    for lfn in ("/a", "/b", "/a", "/disk1"):
        assert chosen(site, lfn) is not None
    assert of_kind(site.sent(site.beat("stock"), "stock"), NoteUses) == [NoteUses(("/a", "/b"))]
    assert of_kind(site.sent(site.beat("stock"), "stock"), NoteUses) == []
    assert of_kind(site.sent(site.beat("disk1"), "disk1"), NoteUses) == []


def test_very_many_uses_are_told_in_pieces_and_not_all(site: Site) -> None:
    lfns = [f"/f{number}" for number in range(10_500)]
    site.join("stock", dict.fromkeys(lfns, 1), served_by_others=True)
    for lfn in lfns:
        site.head.choose_reader(lfn)
    told = of_kind(site.sent(site.beat("stock"), "stock"), NoteUses)
    assert [len(one.lfns) for one in told] == [1_000] * 10


def test_the_node_that_stages_a_file_is_known_while_it_does(site: Site) -> None:
    assert site.head.staging_node("/f") is None
    started = site.stage("/f")
    name = site.node_of(started, "/f")
    address = site.head.staging_node("/f")
    assert address is not None
    assert address.node == name
    site.give(events.CancelAsked("r1"))
    assert site.head.staging_node("/f") is None
    site.end(name, site.start_of(started, "/f"))
    assert site.head.staging_node("/f") is None
