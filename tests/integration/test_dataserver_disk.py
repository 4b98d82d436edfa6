"""A data server whose disk goes away, fails, comes back, or is another one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from common.errors import DiskAway
from common.service import NamedTasks
from dataserver import health, keeper
from dataserver.disk import THREADS, PoolDisk
from dataserver.keeper import KeptDataServer
from dataserver.service import DataServerService
from tests.support.data_site import DataSite
from tests.support.failing import failing
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from common.config.model import DataServerConfig
    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFNS = ("/store/a", "/store/run7/b", "/store/run7/c")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(health, "PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(keeper, "RETRY_S", 0.05)


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    for lfn in LFNS:
        made.write(lfn, CONTENT)
    return made


async def _stage_all(redirector: FakeRedirector) -> None:
    recalls = [(redirector.start("disk1", lfn), lfn) for lfn in LFNS]
    for recall, lfn in recalls:
        await redirector.staged("disk1", recall, lfn)


async def _is_away(redirector: FakeRedirector, why: str) -> None:
    """Waits until the node says that its disk is away, and holds nothing."""
    await redirector.until(
        lambda: (
            "disk1" in redirector.nodes
            and why in redirector.nodes["disk1"].heartbeat.trouble
            and redirector.nodes["disk1"].complete
            and not redirector.nodes["disk1"].replicas
        )
    )


async def _is_back(redirector: FakeRedirector) -> None:
    """Waits until the node holds all its files again, and is well."""
    await redirector.until(
        lambda: (
            "disk1" in redirector.nodes
            and redirector.nodes["disk1"].beats
            and not redirector.nodes["disk1"].heartbeat.trouble
            and redirector.nodes["disk1"].replicas.keys() == set(LFNS)
        )
    )


@pytest.mark.parametrize("leaves", ["nothing", "an empty mount point"])
async def test_a_disk_that_is_not_mounted_any_more_loses_nothing_and_comes_back(
    site: DataSite, redirector: FakeRedirector, leaves: str
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        site.pool.rename(site.folder / "unmounted")
        if leaves != "nothing":
            site.pool.mkdir()
        await _is_away(redirector, "is its disk mounted?")
        ended = await redirector.has_ended(redirector.start("disk1", "/store/a"))
        assert "is its disk mounted?" in ended.failure.reason
        assert service.node.pool.get("/store/a") is not None, "what is not seen is not gone"
        if leaves != "nothing":
            assert list(site.pool.iterdir()) == [], "nothing is written to a mount point"
            site.pool.rmdir()
        (site.folder / "unmounted").rename(site.pool)
        await _is_back(redirector)
        assert redirector.nodes["disk1"].drops == []


async def test_files_of_a_disk_that_fails_are_not_taken_for_damaged(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY_S", 3600.0)  # only a reader finds out
    async with site.running() as service:
        await _stage_all(redirector)
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "open_replica", failing(errno.EIO))
            patch.setattr(PoolDisk, "read_private", failing(errno.EIO))
            patch.setattr(PoolDisk, "is_at_its_path", failing(errno.EIO))
            patch.setattr("dataserver.identity._id_at", lambda _: "")
            await service.losses.check(["/store/a"])
            await _is_away(redirector, "cannot be read: Input/output error")
        assert len(service.node.pool) == len(LFNS)
        assert await service.health.is_there()
        await _is_back(redirector)


async def test_one_file_that_cannot_be_read_on_a_disk_that_can_is_damaged(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "open_replica", failing(errno.EIO))
            await service.losses.check(["/store/a"])
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: [one.lfn for one in node.drops] == ["/store/a"])
        assert node.drops[0].reason == "damaged"
        await redirector.staged("disk1", redirector.start("disk1", "/store/a"), "/store/a")


async def test_a_disk_that_hangs_is_away_until_it_answers(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_LIMIT_S", 0.1)
    hangs = asyncio.Event()
    answers = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(disk: PoolDisk) -> bool:
        if hangs.is_set():
            asyncio.run_coroutine_threadsafe(answers.wait(), loop).result()
        return True

    monkeypatch.setattr(PoolDisk, "is_at_its_path", hang)
    async with site.running():
        await _stage_all(redirector)
        hangs.set()
        try:
            await _is_away(redirector, "has not answered for 0.1 s")
        finally:
            hangs.clear()
            answers.set()
        await _is_back(redirector)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EDQUOT, errno.EIO])
async def test_a_disk_that_cannot_be_written_to_is_read_from_and_gets_no_recalls(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        node = redirector.nodes["disk1"]
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "create_probe", failing(number))
            await redirector.until(lambda: "cannot be written to" in node.heartbeat.trouble)
            assert node.replicas.keys() == set(LFNS)
            assert service.node.is_visible("/store/a")
        await redirector.until(lambda: node.heartbeat.trouble == "")


@contextlib.asynccontextmanager
async def _kept(site: DataSite, *, waits: bool = False) -> AsyncIterator[KeptDataServer]:
    config = site.config()

    def make(table: DataServerConfig) -> DataServerService:
        return DataServerService(table, config.mss, config.name_map(), root=config.root)

    kept = KeptDataServer(config.dataservers[site.name], make, waits=waits)
    tasks = NamedTasks()
    try:
        await kept.start(tasks)
        yield kept
    finally:
        await kept.stop(10.0)
        await tasks.cancel()


async def test_a_disk_mounted_over_an_empty_mount_point_is_served_anew(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await _stage_all(redirector)
    disk = site.pool.rename(site.folder / "disk")
    site.pool.mkdir()
    async with _kept(site) as kept:
        first = (await redirector.joined("disk1")).hello
        site.pool.rename(site.folder / "below")
        disk.rename(site.pool)
        await redirector.until(lambda: redirector.hellos[-1].boot_epoch != first.boot_epoch)
        await _is_back(redirector)
        assert redirector.hellos[-1].pool_id != first.pool_id
        assert kept.server is not None
        assert kept.server.node.is_visible("/store/a")


async def test_a_server_with_others_waits_for_its_disk(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await _stage_all(redirector)
    disk = site.pool.rename(site.folder / "disk")
    async with _kept(site, waits=True) as kept:
        assert kept.server is None
        disk.rename(site.pool)
        await becomes_true(lambda: kept.server is not None)
        await _is_back(redirector)


async def test_a_server_with_others_waits_until_its_damaged_pool_is_mended(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await _stage_all(redirector)
    identity = site.pool / ".packhorse/pool_id"
    good = identity.read_text()
    identity.write_text("no identity")
    async with _kept(site, waits=True) as kept:
        assert kept.server is None
        identity.write_text(good)
        await becomes_true(lambda: kept.server is not None)
        await _is_back(redirector)


async def test_a_read_only_disk_is_a_missing_one_to_a_server_that_starts(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = os.statvfs(site.pool)
    changed = list(figures)
    changed[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: os.statvfs_result(changed))
    with pytest.raises(DiskAway, match="its disk is read-only"):
        async with _kept(site):
            pytest.fail("it has started")


async def test_a_server_alone_does_not_start_without_its_disk(
    site: DataSite, redirector: FakeRedirector
) -> None:
    shutil.rmtree(site.pool)
    with pytest.raises(DiskAway, match="no such directory; is its disk mounted"):
        async with _kept(site):
            pytest.fail("it has started")


async def test_a_directory_that_cannot_be_read_at_the_start_is_not_taken_for_an_empty_one(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running():
        await _stage_all(redirector)
    directory = PoolDisk._directory

    def fails(disk: PoolDisk, parts: tuple[str, ...]) -> object:
        if parts == ("store", "run7"):
            raise OSError(errno.EIO, "Input/output error")
        return directory(disk, parts)

    with monkeypatch.context() as patch:
        patch.setattr(PoolDisk, "_directory", fails)
        async with site.running():
            assert redirector.nodes["disk1"].replicas.keys() == {"/store/a"}
    # Nothing was forgotten: no file has to be asked the archive about.
    (site.archive / "store").rename(site.archive / "elsewhere")
    async with site.running():
        assert redirector.nodes["disk1"].replicas.keys() == set(LFNS)


async def test_a_disk_that_is_busy_is_not_taken_for_one_that_hangs(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_LIMIT_S", 0.1)
    done = threading.Event()
    async with site.running() as service:
        disk = service.health.disk
        busy = [disk.threads.call(done.wait) for _ in range(THREADS)]
        try:
            beats = redirector.nodes["disk1"].beats
            await redirector.until(lambda: redirector.nodes["disk1"].beats > beats + 5)
            assert redirector.nodes["disk1"].heartbeat.trouble == ""
        finally:
            done.set()
        await asyncio.gather(*busy)
