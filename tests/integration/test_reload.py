"""SIGHUP: a running server takes over what it can of its changed file, and loses nothing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.data_process import DataProcess
from tests.support.data_site import DataSite
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFNS = tuple(f"/store/f{number}" for number in range(6))


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    for lfn in LFNS:
        made.write(lfn, CONTENT)
    return made


async def test_limits_change_while_recalls_run_and_nothing_is_lost(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    site.stagecmd = site.script(f'while [ ! -e {go} ]; do sleep 0.02; done; cp "$1" "$2"')
    async with DataProcess.running(site) as process:
        recalls = [redirector.start("disk1", lfn, size_bytes=len(CONTENT)) for lfn in LFNS]
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 4)
        site.node |= {"quota": "5MB", "max_files": 100, "scrub_rate": "1MB"}
        process.reload()
        await redirector.until(
            lambda: (
                "disk1" in redirector.nodes
                and redirector.nodes["disk1"].hello.max_files == 100
                and redirector.nodes["disk1"].heartbeat.quota_bytes == 5_000_000
            )
        )
        assert len(redirector.nodes["disk1"].hello.running) == 6, "none was lost"
        go.touch()
        for recall, lfn in zip(recalls, LFNS, strict=True):
            await redirector.staged("disk1", recall, lfn)
        assert redirector.hellos[0].boot_epoch == redirector.hellos[-1].boot_epoch
        assert "dataserver.disk1.quota is 5MB" in process.log()


async def test_a_bad_file_and_keys_that_need_a_restart_change_nothing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with DataProcess.running(site) as process:
        process.reload("this is no TOML")
        await becomes_true(lambda: "was not reloaded, and nothing has changed" in process.log())
        site.node |= {"pool": str(site.folder / "elsewhere")}
        process.reload()
        await becomes_true(lambda: "only after a restart: dataserver.disk1.pool" in process.log())
        await redirector.staged("disk1", redirector.start("disk1", LFNS[0]), LFNS[0])
        assert site.replica(LFNS[0]).read_bytes() == CONTENT
        assert await process.stop() == 0


async def test_a_lower_quota_is_purged_down_to(site: DataSite, redirector: FakeRedirector) -> None:
    async with DataProcess.running(site) as process:
        for lfn in LFNS:
            await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)
        site.node["quota"] = "30KB"
        process.reload()
        await redirector.until(lambda: len(redirector.nodes["disk1"].replicas) <= 4)


async def test_sighup_while_it_stops_does_not_cut_that_short(
    site: DataSite, redirector: FakeRedirector
) -> None:
    go = site.folder / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.02; done"
    site.stagecmd = site.script(f"trap '{wait}; exit 1' TERM; {wait}")
    async with DataProcess.running(site) as process:
        recall = redirector.start("disk1", LFNS[0], size_bytes=len(CONTENT))
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 1)
        process.send(signal.SIGTERM)
        await becomes_true(lambda: "SIGTERM: stopping" in process.log())
        process.send(signal.SIGHUP)
        go.touch()
        ended = await redirector.has_ended(recall)
        assert "being stopped" in ended.failure.reason
        assert await process.stopped() == 0
