"""A pool whose disk goes and comes back: nothing of it is there, and nothing of it is lost."""

from __future__ import annotations

import pytest

from common.errors import NotFound, Refused
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.stores import StoreRules
from tests.support.driven_node import Driven, files, of_kind, only

WHY = "the pool is not at /data/disk1 any more; is its disk mounted?"
WENT = ev.DiskWent(WHY)


def test_nothing_is_held_while_the_disk_is_away_and_all_of_it_when_it_is_back() -> None:
    node = Driven(found=files(3))
    node.welcome()
    assert node(WENT) == [do.JoinAnew()]
    assert node.node.inventory().lfns == []
    assert not node.node.is_visible("/old1")
    with pytest.raises(NotFound, match="not on this node now: the pool is not at /data/disk1"):
        node.node.pool.open("/old1", node.now_s)
    assert node(ev.DiskCame()) == [do.JoinAnew()]
    assert sorted(node.node.inventory().lfns) == ["/old0", "/old1", "/old2"]
    assert node.node.is_visible("/old1")


def test_what_is_not_seen_on_a_disk_that_is_away_is_not_lost() -> None:
    node = Driven(found=files(2))
    node.welcome()
    node(WENT)
    assert node(ev.Lost("/old0", "vanished", "it is gone")) == []
    node(ev.DiskCame())
    assert sorted(node.node.inventory().lfns) == ["/old0", "/old1"]


def test_recalls_and_uploads_end_with_the_disk_and_new_ones_are_refused() -> None:
    node = Driven()
    node.welcome()
    node.order("/run")
    node(ev.UploadBegun("u1", "/new", 10))
    node(ev.Claimed("u1"))
    done = node(WENT)
    assert of_kind(done, do.StopStep) == [do.StopStep("r/run")]
    (end,) = of_kind(done, do.EndUpload)
    assert isinstance(end.error, Refused)
    ended = only(node(ev.Stopped("r/run")), do.TellEnded)
    assert ended.failure is not None
    assert (ended.failure.kind, ended.failure.reason) == (FailureKind.TRANSIENT, WHY)
    refused = only(node.order("/other"), do.TellEnded)
    assert refused.failure is not None
    assert refused.failure.reason == WHY
    assert of_kind(node(ev.UploadBegun("u2", "/new2", 10)), do.RefuseUpload)


def test_nothing_is_purged_evicted_or_removed_from_a_disk_that_is_away() -> None:
    node = Driven(quota_bytes=1000, found=files(8))
    node.welcome()
    node(WENT)
    told = only(node(ev.EvictionOrdered(1, ("/old0",))), do.TellEvicted)
    assert told.refused == (("/old0", WHY),)
    changed = only(node(ev.RemovalOrdered("c1", "/old0")), do.TellChanged)
    assert isinstance(changed.error, Refused)
    node.now_s += 100.0
    assert of_kind(node(ev.Tick()), do.RemoveFiles) == []


def test_the_same_trouble_told_again_is_no_new_one() -> None:
    node = Driven(found=files(1))
    node.welcome()
    node(WENT)
    assert node(ev.DiskWent("the pool's disk cannot be read: Input/output error")) == []
    assert node(ev.DiskCame()) == [do.JoinAnew()]
    assert node(ev.DiskCame()) == []


def test_nothing_is_stored_from_a_disk_that_is_away() -> None:
    rules = StoreRules(2, 0.0, 60.0, 3600.0, can_look=False, covers=lambda _: True)
    node = Driven(store_rules=rules)
    node.welcome()
    node(ev.UploadBegun("u1", "/mine", 10))
    node(ev.Claimed("u1"))
    node(ev.UploadWritten("u1", 10))
    (run,) = of_kind(node(ev.UploadPublished("u1")), do.RunStore)
    node(WENT)
    gone = Failure(FailureKind.PERMANENT, "cp: /data/disk1/mine: No such file or directory")
    node(ev.StoreRan(run.step_id, gone))
    node.now_s += 1000.0
    assert of_kind(node(ev.Tick()), do.RunStore) == [], "nor has it failed for good"
    assert [one.lfn for one in of_kind(node(ev.DiskCame()), do.RunStore)] == ["/mine"]
