"""A data server meets full and failing disks: recalls fail, the server never does."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from common.errors import PackhorseError
from dataserver.catalogue import Catalogue
from dataserver.disk import PoolDisk
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.data_site import DataSite
from tests.support.failing import failing
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFN = "/store/run7/a.txt"


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    made.write(LFN, CONTENT)
    return made


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, types_pb2.ERROR_CLASS_NO_SPACE),
        (errno.EDQUOT, types_pb2.ERROR_CLASS_NO_SPACE),
        (errno.EIO, types_pb2.ERROR_CLASS_TRANSIENT),
        (errno.EROFS, types_pb2.ERROR_CLASS_TRANSIENT),
        (errno.EXDEV, types_pb2.ERROR_CLASS_TRANSIENT),
    ],
)
@pytest.mark.parametrize("where", ["make_incoming", "open_incoming", "publish"])
async def test_a_disk_that_fails_fails_the_recall_and_never_the_server(
    site: DataSite,
    redirector: FakeRedirector,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    number: int,
    kind: types_pb2.ErrorClass.ValueType,
) -> None:
    async with site.running() as service:
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, where, failing(number))
            ended = await redirector.has_ended(redirector.start("disk1", LFN))
        assert ended.failure.error_class == kind
        assert os.strerror(number) in ended.failure.reason
        assert service.node.pool.reserved_bytes == 0
        assert not site.replica(LFN).exists()
        assert site.incoming() == []
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, types_pb2.ERROR_CLASS_NO_SPACE),
        (errno.EIO, types_pb2.ERROR_CLASS_TRANSIENT),
    ],
)
async def test_a_file_that_cannot_be_synced_is_not_published(
    site: DataSite,
    redirector: FakeRedirector,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: types_pb2.ErrorClass.ValueType,
) -> None:
    async with site.running():
        with monkeypatch.context() as patch:
            patch.setattr("dataserver.recalls.os.fsync", failing(number))
            ended = await redirector.has_ended(redirector.start("disk1", LFN))
        assert ended.failure.error_class == kind
        assert not site.replica(LFN).exists()
        assert site.incoming() == []
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


async def test_a_file_that_cannot_be_remembered_is_not_published(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise PackhorseError("catalogue.sqlite: no space left to keep state")

    async with site.running():
        with monkeypatch.context() as patch:
            patch.setattr(Catalogue, "add", fail)
            ended = await redirector.has_ended(redirector.start("disk1", LFN))
        assert "no space left to keep state" in ended.failure.reason
        assert not site.replica(LFN).exists()
        assert redirector.nodes["disk1"].replicas == {}
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


async def test_a_file_that_cannot_be_removed_is_online_again(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        # It is looked into, and open meanwhile.
        await becomes_true(lambda: not service.node.pool.open_files)
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "unlink", failing(errno.EIO))
            (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=[LFN]))
        assert list(answer.evicted) == []
        assert answer.refused[0].reason == "could not be removed: Input/output error"
        await redirector.until(lambda: LFN in redirector.nodes["disk1"].replicas)
        assert [change.lfn for change in redirector.nodes["disk1"].drops] == [LFN]
        assert service.node.is_visible(LFN)


async def test_a_sick_disk_is_told_with_every_heartbeat_until_it_is_well(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataserver.health.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("dataserver.health.PROBE_EVERY_S", 0.05)
    async with site.running():
        node = redirector.nodes["disk1"]
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "free_bytes", failing(errno.EIO))
            await redirector.until(lambda: "Input/output error" in node.heartbeat.trouble)
        await redirector.until(lambda: node.heartbeat.trouble == "")


async def test_a_disk_smaller_than_the_quota_promises_is_told(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataserver.health.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("dataserver.health.PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(PoolDisk, "free_bytes", lambda _: 1000)
    site.stagecmd = site.script("sleep 1000")
    async with site.running():
        node = redirector.nodes["disk1"]
        redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        await redirector.until(lambda: "is the quota too large?" in node.heartbeat.trouble)


async def test_a_purge_goes_on_past_a_file_that_resists(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.node["quota"] = "30KB"
    for number in range(6):
        site.write(f"/store/f{number}", bytes(7000))
    unlink = PoolDisk.unlink

    def resist(disk: PoolDisk, lfn: str, alone: None) -> None:
        if lfn == "/store/f0":
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(disk, lfn, alone)

    monkeypatch.setattr(PoolDisk, "unlink", resist)
    async with site.running() as service:
        for number in range(6):
            recall = redirector.start("disk1", f"/store/f{number}")
            await redirector.staged("disk1", recall, f"/store/f{number}")
        await becomes_true(lambda: not service.node.pool.leaving_files)
        assert service.node.is_visible("/store/f0")
        assert not service.node.is_visible("/store/f1")


async def test_a_message_the_node_does_not_know_is_passed_over(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        redirector.send("disk1", pb.NodeCommand())
        odd = pb.FilePins(lfn="/a/../b", pins=[pb.PinOrder(owner="x", lifetime_s=1)])
        redirector.send("disk1", pb.NodeCommand(set_pins=pb.SetPins(files=[odd])))
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
