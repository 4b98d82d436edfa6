"""A data server verifies its replicas again: damaged ones are told, and brought back or kept."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from dataserver import scrubber
from dataserver.catalogue import Catalogue
from dataserver.scrubber import Scrubber
from tests.support.data_site import DataSite
from tests.support.failing import failing
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFNS = ("/store/a", "/store/run7/b", "/store/run7/c")


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector, node={"scrub_rate": "1GB"})
    for lfn in LFNS:
        made.write(lfn, CONTENT)
    return made


def _flip_a_bit(path: Path) -> None:
    """Changes one bit, as a bad disk would: size and times stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def _stage_all(redirector: FakeRedirector) -> None:
    for lfn in LFNS:
        await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)


async def _scrub_anew(service: DataServerService) -> None:
    """Has a whole round done, from now on."""
    scrub = service.scrubber.scrub
    await becomes_true(lambda: scrub.round.is_over)
    service.scrubber.set_limits(10**9, 0.0)
    files = scrub.round.began_s
    await becomes_true(lambda: scrub.round.began_s > files)
    service.scrubber.set_limits(10**9, 1e9)
    await becomes_true(lambda: scrub.round.is_over)


async def test_a_flipped_bit_takes_its_replica_out_and_no_other(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        _flip_a_bit(site.replica("/store/run7/b"))
        await _scrub_anew(service)
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.drops)
        assert [(one.lfn, one.reason) for one in node.drops] == [("/store/run7/b", "damaged")]
        await becomes_true(lambda: not site.replica("/store/run7/b").exists())
        assert service.node.is_visible("/store/a")
        recall = redirector.start("disk1", "/store/run7/b")
        await redirector.staged("disk1", recall, "/store/run7/b")
        assert site.replica("/store/run7/b").read_bytes() == CONTENT


async def test_a_damaged_file_that_only_the_pool_has_is_kept_apart_and_named(
    site: DataSite, redirector: FakeRedirector, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        replica = service.node.pool.get("/store/a")
        assert replica is not None
    # The archive lost it meanwhile, and says so.
    (site.archive / "store/a").unlink()
    site.replica("/store/a").touch()
    async with site.running() as service:
        await becomes_true(lambda: service.node.is_visible("/store/a"))
        _flip_a_bit(site.replica("/store/a"))
        damaged = site.replica("/store/a").read_bytes()
        await _scrub_anew(service)
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.drops)
        assert "damaged and kept apart" in node.drops[0].reason
        await becomes_true(lambda: service.node.pool.get("/store/a") is None)
        apart = site.pool / ".packhorse/quarantine/1"
        assert (apart / "a").read_bytes() == damaged
        assert (apart / ".lfn").read_text() == "/store/a\n"
        assert "/store/a is damaged and kept apart" in caplog.text
        assert not service.node.is_visible("/store/a")


async def test_a_round_goes_on_after_a_restart_where_it_was(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.node["scrub_rate"] = 0
    async with site.running():
        await _stage_all(redirector)
    site.node["scrub_rate"] = "1GB"
    visited: list[str] = []
    visit = Scrubber._visit

    async def visit_one(self: Scrubber, lfn: str) -> None:
        await visit(self, lfn)
        visited.append(lfn)
        self.set_limits(0, 1e9)

    monkeypatch.setattr(Scrubber, "_visit", visit_one)
    for number in range(3):
        async with site.running():
            await becomes_true(lambda number=number: len(visited) == number + 1)  # type: ignore[misc]
    assert visited == sorted(LFNS)


async def test_a_slow_round_does_not_keep_the_server_from_stopping(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.write("/store/large", bytes(8 << 20))
    async with site.running() as service:
        await redirector.staged("disk1", redirector.start("disk1", "/store/large"), "/store/large")
        await becomes_true(lambda: not service.node.pool.open_files)
        service.scrubber.set_limits(1, 0.0)
        # It reads one byte a second.
        await becomes_true(lambda: service.node.pool.open_files)


async def test_a_file_replaced_while_it_is_read_is_not_taken_for_damaged(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        row = Catalogue.row
        times = itertools.count(1)

        async def another_each_time(self: Catalogue, lfn: str) -> object:
            found = await row(self, lfn)
            assert found is not None
            return found._replace(mtime_ns=next(times))

        monkeypatch.setattr(Catalogue, "row", another_each_time)
        for lfn in LFNS:
            _flip_a_bit(site.replica(lfn))
        await _scrub_anew(service)
        assert service.scrubber.scrub.round.files == len(LFNS)
        assert service.scrubber.scrub.round.damaged == 0
        assert redirector.nodes["disk1"].drops == []


async def test_a_scrubber_goes_round_what_cannot_be_read(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await _stage_all(redirector)
        monkeypatch.setattr(scrubber.checksums, "of_fd", failing(5))
        await _scrub_anew(service)
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: len(node.drops) == len(LFNS))
        assert {one.reason for one in node.drops} == {"damaged"}
