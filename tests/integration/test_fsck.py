"""`packhorse fsck`: what is wrong in a real pool is named, and repaired without a loss."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError
from dataserver.fsck import Report, check_pool
from packhorse.cli.main import main
from tests.support.data_site import DataSite
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFNS = ("/store/a", "/store/run7/b", "/store/run7/c", "/store/run7/d")


@pytest.fixture
async def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    """A pool that held four files when its data server stopped."""
    made = DataSite(tmp_path, redirector, node={"scrub_rate": 0})
    for lfn in LFNS:
        made.write(lfn, CONTENT)
    async with made.running():
        for lfn in LFNS:
            await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)
    return made


def _flip_a_bit(path: Path) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _found(report: Report) -> dict[str, str]:
    return {one.finding.path: one.finding.kind.value for one in report.settled}


def _everything(pool: Path) -> dict[str, bytes]:
    """All files of a pool but its database."""
    return {
        str(path.relative_to(pool)): path.read_bytes()
        for path in pool.rglob("*")
        if path.is_file() and not path.is_symlink() and ".sqlite" not in path.name
    }


async def test_a_pool_that_is_well_is_found_to_be(site: DataSite) -> None:
    report = await check_pool(site.pool, sums=True)
    assert report.settled == []
    assert (report.files, report.sums_compared) == (4, 4)
    assert report.size_bytes == 4 * len(CONTENT)


def _break(site: DataSite) -> dict[str, str]:
    """Does all sorts of things to a pool; what fsck should say of them."""
    site.replica("/store/a").unlink()
    with site.replica("/store/run7/b").open("ab") as file:
        file.write(b"more")
    _flip_a_bit(site.replica("/store/run7/c"))
    (site.pool / "store/extra").write_bytes(b"dropped in")
    (site.pool / "store/link").symlink_to("/etc")
    (site.pool / ".incoming/r1").mkdir()
    (site.pool / ".incoming/r1/x").write_bytes(b"half")
    return {
        "/store/a": "missing",
        "/store/run7/b": "size",
        "/store/run7/c": "checksum",
        "/store/extra": "stray",
        "/store/link": "foreign",
        "/.incoming/r1": "leftover",
    }


async def test_everything_wrong_is_named_and_nothing_is_touched(site: DataSite) -> None:
    expected = _break(site)
    before = _everything(site.pool)
    report = await check_pool(site.pool, sums=True)
    assert _found(report) == expected
    assert report.unsettled == len(expected)
    assert _everything(site.pool) == before
    assert (site.pool / "store/link").is_symlink()
    without_sums = await check_pool(site.pool)
    assert _found(without_sums) == {k: v for k, v in expected.items() if v != "checksum"}


async def test_a_repair_leaves_a_pool_that_is_served_again(
    site: DataSite, redirector: FakeRedirector
) -> None:
    expected = _break(site)
    report = await check_pool(site.pool, sums=True, repair=True)
    assert _found(report) == expected
    assert report.unsettled == 0
    assert report.kept_apart == 1
    assert (site.pool / ".packhorse/quarantine/1/link").is_symlink()
    again = await check_pool(site.pool, sums=True)
    assert _found(again) == {"/store/extra": "stray"}, "which the next start adopts"
    site.write("/store/extra", b"dropped in")
    async with site.running() as service:
        await becomes_true(lambda: service.node.is_visible("/store/extra"))
        assert sorted(redirector.nodes["disk1"].replicas) == ["/store/extra", "/store/run7/d"]


async def test_an_only_copy_with_wrong_bytes_is_kept(site: DataSite) -> None:
    (site.archive / "store/a").unlink()
    site.replica("/store/a").touch()
    async with site.running() as service:
        await becomes_true(lambda: service.node.is_visible("/store/a"))
    _flip_a_bit(site.replica("/store/a"))
    damaged = site.replica("/store/a").read_bytes()
    report = await check_pool(site.pool, sums=True, repair=True)
    assert _found(report) == {"/store/a": "checksum"}
    assert (site.pool / ".packhorse/quarantine/1/a").read_bytes() == damaged
    assert (await check_pool(site.pool, sums=True)).settled == []


async def test_a_damaged_catalogue_is_kept_apart_and_made_anew(
    site: DataSite, redirector: FakeRedirector
) -> None:
    catalogue = site.pool / ".packhorse/catalogue.sqlite"
    content = bytearray(catalogue.read_bytes())
    content[5000:9000] = bytes(4000)
    catalogue.write_bytes(content)
    report = await check_pool(site.pool)
    assert _found(report)["/.packhorse/catalogue.sqlite"] == "catalogue"
    assert catalogue.exists()
    assert (await check_pool(site.pool, repair=True)).unsettled == 0
    assert not catalogue.exists()
    async with site.running() as service:
        await becomes_true(lambda: len(redirector.nodes["disk1"].replicas) == 4)
        assert service.node.is_visible("/store/a")


async def test_a_pool_that_is_served_is_not_checked(site: DataSite) -> None:
    async with site.running():
        with pytest.raises(ConfigError, match="is in use by another server"):
            await check_pool(site.pool)


async def test_a_directory_that_is_no_pool_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"is no pool: it has no \.packhorse/pool_id"):
        await check_pool(tmp_path / "empty", repair=True)
    assert list((tmp_path / "empty").iterdir()) == []


async def test_names_that_are_none_are_kept_too(site: DataSite) -> None:
    odd = site.pool / os.fsdecode(b"store/\xff\xfe")
    odd.write_bytes(b"odd")
    report = await check_pool(site.pool, repair=True)
    assert [one.finding.kind.value for one in report.settled] == ["foreign"]
    apart = site.pool / ".packhorse/quarantine/1"
    assert (apart / os.fsdecode(b"\xff\xfe")).read_bytes() == b"odd"
    assert (apart / ".lfn").read_bytes() == b"/store/\xff\xfe\n"


async def test_the_command_tells_people_programs_and_scripts(
    site: DataSite, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["fsck", str(site.pool), "--checksums"]
    assert await asyncio.to_thread(main, argv) == 0
    assert "4 compared" in capsys.readouterr().out
    _flip_a_bit(site.replica("/store/a"))
    assert await asyncio.to_thread(main, argv) == 14
    said = capsys.readouterr()
    assert "1 thing wrong in" in said.err
    assert "/store/a" in said.out
    assert await asyncio.to_thread(main, [*argv, "--repair", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["kind"], finding["path"], finding["done"]) == (
        "checksum",
        "/store/a",
        "removed",
    )
    assert await asyncio.to_thread(main, argv) == 0
