"""Data servers join, are heard, fall silent, are dropped, drained and forgotten."""

from __future__ import annotations

import pytest

from common.errors import NotFound, Refused
from redirector.core import events
from redirector.core.instructions import (
    AnswerDrain,
    AnswerForget,
    CloseConnection,
    ConfirmHeartbeat,
    PublishFiles,
    RefuseNode,
    RemoveNode,
    SaveNode,
    SendInventory,
    SendToNode,
    SetPins,
    Welcome,
)
from redirector.core.model import FileEvent, NodeLoad, NodeRecord
from redirector.core.settings import HeadSettings
from redirector.core.states import FileEventKind, FileState, NodeState
from tests.support.redirector_head import GB, Site, of_kind


def state_of(site: Site, name: str) -> NodeState:
    return site.head.node(name, site.now_s).state


def test_a_node_is_welcomed_and_asked_for_its_inventory() -> None:
    site = Site()
    assert site.hello("disk1") == [
        SaveNode(NodeRecord("disk1", "pool-disk1")),
        SendToNode(1, Welcome(1.0, 60.0, "E")),
        SendToNode(1, SendInventory()),
    ]
    assert state_of(site, "disk1") is NodeState.JOINING
    assert site.inventory("disk1", {"/f": 5}) == [
        SendToNode(1, SetPins((), complete=True)),
        PublishFiles((FileEvent("/f", FileState.ONLINE, FileEventKind.PUBLISHED, "disk1", 5),)),
    ]
    assert state_of(site, "disk1") is NodeState.UP


def test_numbered_heartbeats_are_confirmed_and_others_are_not() -> None:
    site = Site()
    site.join("disk1")
    assert site.beat("disk1", number=7) == [SendToNode(1, ConfirmHeartbeat(7))]
    assert site.beat("disk1", number=0) == []


def test_a_node_gets_no_recalls_before_it_has_said_how_it_is() -> None:
    site = Site()
    site.join("disk1")
    address = site.head.node("disk1", site.now_s).address
    site.lose("disk1")
    site.stage("/f")
    site.give(events.NodeHello(50, address, "boot1", "pool-disk1", 100 * GB))
    site.connections["disk1"] = 50
    assert site.starts(site.inventory("disk1")) == {}
    assert set(site.starts(site.beat("disk1"))) == {"/f"}


def test_a_heartbeat_may_change_the_quota() -> None:
    site = Site()
    site.join("disk1", quota_bytes=100)
    site.give(events.NodeHeartbeat(1, NodeLoad(), quota_bytes=200))
    assert site.head.node("disk1", site.now_s).quota_bytes == 200
    assert site.head.status(site.now_s).largest_file_bytes == 200


def test_a_silent_node_is_suspect_then_up_again_when_heard() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    connection = site.connections.pop("disk1")
    site.wait(6.0)
    assert state_of(site, "disk1") is NodeState.SUSPECT
    assert site.head.locate(["/f"], site.now_s).holders == [1], "it is still the only holder"
    site.connections["disk1"] = connection
    site.beat("disk1")
    assert state_of(site, "disk1") is NodeState.UP


def test_a_node_out_of_touch_is_dropped_after_its_lease_with_all_it_holds() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    site.lose("disk1")
    assert state_of(site, "disk1") is NodeState.SUSPECT
    site.wait(59.0)
    assert state_of(site, "disk1") is NodeState.SUSPECT
    done = site.wait(2.0)
    assert state_of(site, "disk1") is NodeState.DROPPED
    assert SaveNode(NodeRecord("disk1", "pool-disk1", gone=True)) in done
    assert site.head.locate(["/f"], site.now_s).holders == [0]
    assert of_kind(done, PublishFiles) == [
        PublishFiles(
            (
                FileEvent(
                    "/f", FileState.NEARLINE, FileEventKind.DROPPED, "disk1", 5, "disk1 was lost"
                ),
            )
        )
    ]


def test_a_dropped_node_whose_connection_still_stands_must_say_hello_again() -> None:
    site = Site()
    site.join("disk1")
    connection = site.connections.pop("disk1")
    (closed,) = of_kind(site.wait(62.0), CloseConnection)
    assert closed.connection == connection
    assert site.give(events.NodeHeartbeat(connection, NodeLoad(), number=1)) == []
    assert state_of(site, "disk1") is NodeState.DROPPED
    site.join("disk1")
    assert state_of(site, "disk1") is NodeState.UP


def test_a_head_that_was_not_listening_excuses_the_nodes() -> None:
    site = Site()
    site.join("disk1")
    site.now_s += 100.0
    site.give(events.Tick())
    assert state_of(site, "disk1") is NodeState.UP
    site.connections.clear()
    site.wait(6.0)
    assert state_of(site, "disk1") is NodeState.SUSPECT


def test_a_node_that_connects_anew_replaces_its_own_connection() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    old = site.connections["disk1"]
    done = site.hello("disk1")
    assert done[0] == CloseConnection(old, "the node has connected anew")
    assert site.head.locate(["/f"], site.now_s).holders == [1], "visible all the time"
    assert site.give(events.NodeHeartbeat(old, NodeLoad(), number=3)) == []
    assert site.give(events.NodeLost(old)) == []
    assert state_of(site, "disk1") is NodeState.JOINING


@pytest.mark.parametrize(
    ("name", "pool", "reason"),
    [
        ("disk1", "pool-other", "a node named disk1 with another pool was in touch 0 s ago"),
        ("disk2", "pool-disk1", "the pool of node disk2 is in use by node disk1 (disk1:7000)"),
        ("", "pool-x", "a data server needs a name"),
    ],
)
def test_a_second_node_of_one_name_or_pool_is_refused(name: str, pool: str, reason: str) -> None:
    site = Site()
    site.join("disk1")
    (refused,) = site.hello(name, pool=pool)
    assert isinstance(refused, RefuseNode)
    assert refused.reason.startswith(reason)
    assert state_of(site, "disk1") is NodeState.UP


def test_a_second_process_on_one_pool_is_refused_while_the_first_one_lives() -> None:
    site = Site()
    site.join("disk1")
    (refused,) = site.hello("disk1", boot="boot2")
    assert isinstance(refused, RefuseNode)
    assert "it cannot join twice" in refused.reason
    site.lose("disk1")
    assert Welcome(1.0, 60.0, "E") in site.sent(site.hello("disk1", boot="boot2"), "disk1")
    assert state_of(site, "disk1") is NodeState.JOINING


def test_a_new_pool_may_take_a_name_once_the_old_one_is_forgotten() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    with pytest.raises(Refused, match="disk1 is in touch; stop it first"):
        site.give(events.ForgetAsked("disk1"))
    site.lose("disk1")
    assert isinstance(site.hello("disk1", pool="pool-new")[0], RefuseNode)
    with pytest.raises(Refused, match="what it stages is its own for 60 s"):
        site.give(events.ForgetAsked("disk1"))
    site.wait(61.0)
    (refused,) = site.hello("disk1", pool="pool-new")
    assert isinstance(refused, RefuseNode)
    assert "is its disk mounted?" in refused.reason
    assert "packhorse forget disk1" in refused.reason
    assert site.give(events.ForgetAsked("disk1")) == [RemoveNode("disk1"), AnswerForget()]
    done = site.hello("disk1", pool="pool-new")
    assert done[0] == SaveNode(NodeRecord("disk1", "pool-new"))


def test_the_pool_a_dropped_node_had_may_come_back() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    site.lose("disk1")
    site.wait(61.0)
    assert Welcome(1.0, 60.0, "E") in site.sent(site.hello("disk1"), "disk1")


def test_a_node_nobody_knows_cannot_be_forgotten() -> None:
    with pytest.raises(NotFound, match="no data server named disk9"):
        Site().give(events.ForgetAsked("disk9"))


def test_a_second_hello_on_one_connection_is_refused() -> None:
    site = Site()
    site.join("disk1")
    address = site.head.node("disk1", site.now_s).address
    hello = events.NodeHello(1, address, "boot1", "pool-disk1", GB)
    (refused,) = site.give(hello)
    assert isinstance(refused, RefuseNode)


def test_what_comes_by_an_unknown_connection_is_ignored() -> None:
    site = Site()
    assert site.give(events.NodeHeartbeat(99, NodeLoad(), number=1)) == []
    assert site.give(events.InventoryPiece(99, ["/f"], [1], last=True)) == []
    assert site.head.status(site.now_s).replicas == 0


def test_a_drained_node_gets_no_new_recalls_also_after_a_restart_of_the_head() -> None:
    site = Site()
    site.join("disk1")
    assert site.give(events.DrainAsked("disk1")) == [
        SaveNode(NodeRecord("disk1", "pool-disk1", draining=True)),
        AnswerDrain(0),
    ]
    assert site.starts(site.stage("/f")) == {}
    record = NodeRecord("disk1", "pool-disk1", draining=True)
    later = Site(restored=events.Restored(nodes=(record,)))
    later.join("disk1")
    assert later.starts(later.stage("/f")) == {}
    assert later.head.node("disk1", later.now_s).draining
    assert later.node_of(later.give(events.DrainAsked("disk1", undo=True)), "/f") == "disk1"


def test_a_drained_node_ends_the_recalls_it_has() -> None:
    site = Site()
    site.join("disk1")
    start = site.start_of(site.stage("/f"), "/f")
    assert [
        one.recalls_left for one in of_kind(site.give(events.DrainAsked("disk1")), AnswerDrain)
    ] == [1]
    site.publish("disk1", start)
    assert site.head.request("r1").done == 1


def test_drain_is_refused_for_unknown_nodes_and_where_the_configuration_says_it() -> None:
    site = Site()
    with pytest.raises(NotFound, match="no data server named disk9"):
        site.give(events.DrainAsked("disk9"))
    site.hello("disk1", drain=True)
    site.inventory("disk1")
    assert site.starts(site.stage("/f")) == {}
    with pytest.raises(Refused, match="its own configuration"):
        site.give(events.DrainAsked("disk1", undo=True))


def test_a_node_gone_for_long_is_forgotten() -> None:
    site = Site(HeadSettings(forget_node_after_s=100.0))
    site.join("disk1", {"/f": 5})
    site.lose("disk1")
    assert RemoveNode("disk1") in site.wait(110.0)
    assert site.head.nodes(site.now_s) == []
    site.join("disk1")
    assert state_of(site, "disk1") is NodeState.UP


def test_a_node_in_trouble_gets_no_recalls_until_it_is_well() -> None:
    site = Site()
    site.join("disk1", load=NodeLoad(trouble="the pool is not mounted"))
    assert site.starts(site.stage("/f")) == {}
    assert site.node_of(site.beat("disk1", NodeLoad()), "/f") == "disk1"


def test_node_figures_tell_what_was_promised() -> None:
    site = Site()
    site.join("disk1", {"/a": 1, "/b": 2})
    site.stage("/f", sizes={"/f": 3 * GB})
    (figures,) = site.head.nodes(site.now_s)
    assert (figures.replicas, figures.recalls, figures.promised_bytes) == (2, 1, 3 * GB)
    assert figures.connection == 1
    assert figures.cost_s > 30


def test_a_node_is_told_where_the_redirectors_root_door_is() -> None:
    site = Site()
    assert of_kind(site.sent(site.hello("disk1"), "disk1"), Welcome)[0].root_address == ""
    site.head.set_root_address("head:1094")
    assert of_kind(site.sent(site.hello("disk2"), "disk2"), Welcome)[0].root_address == "head:1094"


def test_a_draining_node_tells_what_only_it_has() -> None:
    site = Site()
    site.join("disk1", {"/only": 5, "/both": 6, "/unpinned": 7})
    site.join("disk2", {"/both": 6})
    site.give(events.PinAsked(["/only", "/both", "/nowhere"], "ann", 3600.0))
    site.claim("disk1", "/new")
    (answer,) = of_kind(site.give(events.DrainAsked("disk1")), AnswerDrain)
    assert (answer.recalls_left, answer.writes_left) == (0, 1)
    assert (answer.pinned_files, answer.pinned_bytes) == (1, 5)
    assert answer.pinned == (("/only", 5),)


def test_looking_at_a_node_does_not_drain_it() -> None:
    site = Site()
    site.join("disk1")
    assert site.give(events.DrainAsked("disk1", look=True)) == [AnswerDrain(0)]
    assert not site.head.node("disk1", site.now_s).draining
