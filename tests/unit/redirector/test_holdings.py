"""What nodes hold: inventories, changes, gaps."""

from __future__ import annotations

from redirector.core import events
from redirector.core.instructions import (
    CloseConnection,
    SaveDrops,
    SaveRequest,
    SendInventory,
    SendToNode,
)
from redirector.core.model import DropRecord, NodeLoad, ReplicaChange
from redirector.core.states import FileEventKind, FileState, NodeState
from tests.support.redirector_head import Site, file_events, of_kind


def holders(site: Site, *lfns: str) -> list[int]:
    return site.head.locate(lfns, site.now_s).holders


def test_an_inventory_comes_in_pieces_and_each_is_visible_at_once() -> None:
    site = Site()
    site.hello("disk1")
    site.give(events.InventoryPiece(1, ["/a", "/b"], [1, 2]))
    assert holders(site, "/a", "/c") == [1, 0]
    site.give(events.InventoryPiece(1, ["/c"], [3], last=True, change_number=0))
    columns = site.head.locate(["/a", "/b", "/c"], site.now_s)
    assert columns.sizes_bytes == [1, 2, 3]
    assert site.head.status(site.now_s).replicas == 3


def test_changes_publish_and_drop() -> None:
    site = Site()
    site.join("disk1", {"/old": 1})
    done = site.change("disk1", "/new", 5)
    (published,) = file_events(done)
    assert (published.kind, published.state) == (FileEventKind.PUBLISHED, FileState.ONLINE)
    (dropped,) = file_events(site.change("disk1", "/old", 1, dropped=True))
    assert (dropped.kind, dropped.state) == (FileEventKind.DROPPED, FileState.NEARLINE)
    assert dropped.reason == "purged"
    assert holders(site, "/old", "/new") == [0, 1]


def test_why_replicas_went_is_kept_and_of_what_was_not_there_nothing() -> None:
    site = Site()
    site.join("disk1", {"/a": 1, "/b": 2})
    changes = [
        ReplicaChange(1, "/a", 1, dropped=True, reason="purged by policy lru"),
        ReplicaChange(2, "/c", 3),
        ReplicaChange(3, "/nowhere", 1, dropped=True, reason="evicted"),
        ReplicaChange(4, "/b", 2, dropped=True, reason="evicted by ann"),
    ]
    done = site.give(events.ReplicaChanges(1, changes))
    (saved,) = of_kind(done, SaveDrops)
    assert saved.drops == (
        DropRecord("/a", "disk1", site.now_s, 1, "purged by policy lru"),
        DropRecord("/b", "disk1", site.now_s, 2, "evicted by ann"),
    )


def test_a_drop_leaves_the_file_online_while_another_node_has_it() -> None:
    site = Site()
    site.join("disk1", {"/f": 1})
    site.join("disk2", {"/f": 1})
    (dropped,) = file_events(site.change("disk1", "/f", 1, dropped=True))
    assert (dropped.node, dropped.state) == ("disk1", FileState.ONLINE)


def test_a_change_heard_twice_counts_once() -> None:
    site = Site()
    site.join("disk1")
    change = events.ReplicaChanges(1, [ReplicaChange(1, "/f", 5)])
    assert len(file_events(site.give(change))) == 1
    assert site.give(change) == []


def test_a_gap_asks_for_a_new_inventory_and_loses_nothing() -> None:
    site = Site()
    site.join("disk1", {"/a": 1})
    late = [ReplicaChange(3, "/c", 3), ReplicaChange(4, "/a", 1, dropped=True)]
    assert site.give(events.ReplicaChanges(1, late)) == [SendToNode(1, SendInventory())]
    assert holders(site, "/a", "/c") == [1, 0], "what was known stays visible"
    assert site.head.node("disk1", site.now_s).state is NodeState.UP
    site.give(events.ReplicaChanges(1, [ReplicaChange(5, "/e", 5)]))
    site.give(events.InventoryPiece(1, ["/a", "/b", "/c"], [1, 2, 3], last=True, change_number=3))
    assert holders(site, "/a", "/b", "/c", "/e") == [0, 1, 1, 1]
    site.wait(1.0)
    assert site.head.status(site.now_s).replicas == 3


def test_what_a_new_inventory_does_not_have_has_vanished() -> None:
    site = Site()
    site.join("disk1", {"/stays": 1, "/goes": 2})
    site.lose("disk1")
    site.hello("disk1", boot="boot2")
    done = site.inventory("disk1", {"/stays": 1}) + site.wait(1.0)
    (gone,) = file_events(done)
    assert (gone.lfn, gone.kind) == ("/goes", FileEventKind.DROPPED)
    assert gone.reason == "disk1 no longer has it"


def test_an_inventory_nobody_asked_for_is_ignored() -> None:
    site = Site()
    site.join("disk1", {"/a": 1})
    assert site.give(events.InventoryPiece(1, ["/b"], [1], last=True)) == []
    assert holders(site, "/a", "/b") == [1, 0]


def test_an_inventory_that_makes_no_sense_ends_the_connection() -> None:
    site = Site()
    site.hello("disk1")
    done = site.give(events.InventoryPiece(1, ["/a", "/b"], [1], last=True))
    assert done == [CloseConnection(1, "its inventory has columns of unequal length")]
    assert site.head.node("disk1", site.now_s).state is NodeState.SUSPECT
    del site.connections["disk1"]
    site.join("disk1", {"/a": 1})
    assert holders(site, "/a") == [1]


def test_a_lost_node_that_returns_brings_its_files_back() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    site.lose("disk1")
    site.wait(61.0)
    assert holders(site, "/f") == [0]
    done = site.join("disk1", {"/f": 5})
    assert [one.kind for one in file_events(done)] == [FileEventKind.PUBLISHED]
    assert holders(site, "/f") == [1]


def test_a_damaged_replica_is_recalled_if_it_was_the_last_one() -> None:
    site = Site()
    site.join("disk1", {"/f": 5, "/g": 6})
    site.join("disk2", {"/g": 6})
    done = site.give(
        events.ReplicaChanges(
            site.connections["disk1"],
            (
                ReplicaChange(1, "/f", 5, dropped=True, reason="damaged"),
                ReplicaChange(2, "/g", 6, dropped=True, reason="damaged"),
            ),
        )
    )
    (saved,) = of_kind(done, SaveRequest)
    assert (saved.record.owner, [file.lfn for file in saved.files]) == ("packhorse", ["/f"])
    assert list(site.starts(done)) == ["/f"]


def test_what_was_purged_is_not_recalled() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    change = ReplicaChange(1, "/f", 5, dropped=True, reason="purged")
    done = site.give(events.ReplicaChanges(site.connections["disk1"], (change,)))
    assert not of_kind(done, SaveRequest)


def test_a_disk_that_is_away_is_told_as_the_reason() -> None:
    site = Site()
    site.join("disk1", {"/f": 5})
    site.hello("disk1")
    site.beat("disk1", NodeLoad(trouble="its disk is not mounted"))
    site.inventory("disk1", {})
    (dropped,) = file_events(site.give(events.Tick()))
    assert dropped.reason == "disk1 no longer has it: its disk is not mounted"
