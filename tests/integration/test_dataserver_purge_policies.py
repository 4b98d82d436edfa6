"""Who goes first from a real pool: by marks, by shares of groups, by a policy; and the log of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataserver.access_log import files_of, read
from dataserver.core.access import AccessKind
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

SIZE = 100_000


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    """A pool for ten files. None is inspected, for what is being inspected is open."""
    made = DataSite(tmp_path, redirector)
    made.node |= {"quota": "1MB", "inspect": False}
    return made


async def stage(site: DataSite, *lfns: str, size_bytes: int = SIZE) -> None:
    """Stages files one after the other, so that their order of use is known."""
    for lfn in lfns:
        site.write(lfn, b"x" * size_bytes)
        recall_id = site.redirector.start("disk1", lfn, size_bytes=size_bytes)
        ended = await site.redirector.has_ended(recall_id)
        assert not ended.HasField("failure"), ended


async def first_to_go(site: DataSite, count: int) -> list[str]:
    """The next files that are purged, once more is staged than fits."""
    node = site.redirector.nodes["disk1"]
    await stage(site, "/store/new/0", "/store/new/1")
    await site.redirector.until(lambda: len(node.drops) >= count)
    return [change.lfn for change in node.drops[:count]]


def old(number: int) -> str:
    return f"/store/old/{number}"


def logged(site: DataSite) -> list[tuple[AccessKind, str]]:
    return [(one.kind, one.lfn) for one in read(files_of(site.pool / ".packhorse"))]


async def test_a_soft_eviction_goes_first_even_after_a_restart(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(site, *(old(number) for number in range(9)))
        order = pb.EvictFiles(lfns=[old(5), "/store/no"], soft=True, owner="ann")
        (told,) = await redirector.ask("disk1", "evict", order)
        assert list(told.evicted) == [old(5)]
        assert [row.reason for row in told.refused] == ["not held here"]
        redirector.send("disk1", pb.NodeCommand(done_with=pb.DoneWith(lfns=[old(6)])))
        # Commands are obeyed in order: once this is answered, so was the one before.
        await redirector.ask("disk1", "make_purge_plan", pb.MakePurgePlan())
        assert not redirector.nodes["disk1"].drops
    async with site.running():
        assert await first_to_go(site, 2) == [old(5), old(0)]
        reason = redirector.nodes["disk1"].drops[0].reason
        assert reason.startswith("purged by policy lru to free 100 kB: evicted softly; unused for")
    log = logged(site)
    assert log[:9] == [(AccessKind.RECALLED, old(number)) for number in range(9)]
    assert {(AccessKind.SOFT, old(5)), (AccessKind.DONE, old(6))} <= set(log)
    assert log.index((AccessKind.PURGED, old(5))) < log.index((AccessKind.PURGED, old(0)))


async def test_what_sessions_have_done_with_goes_first_if_that_is_the_policy(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["purge_policy"] = "done-first"
    async with site.running():
        await stage(site, *(old(number) for number in range(9)))
        done = pb.DoneWith(lfns=[old(8), old(3)])
        redirector.send("disk1", pb.NodeCommand(done_with=done))
        assert await first_to_go(site, 2) == [old(3), old(8)]


async def test_a_group_with_more_than_its_share_is_purged_first(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.groups = {
        "higgs": {"share": "30%", "paths": ["/store/higgs"]},
        "top": {"share": "60%", "paths": ["/store/top"]},
        "small": {"quota": "1TB"},
    }
    async with site.running():
        await stage(site, *(f"/store/top/{number}" for number in range(5)))
        await stage(site, *(f"/store/higgs/{number}" for number in range(4)))
        # The shares are 270 kB and 540 kB of a low watermark of 900 kB.
        assert await first_to_go(site, 1) == ["/store/higgs/0"]
        (plan,) = await redirector.ask("disk1", "make_purge_plan", pb.MakePurgePlan())
        assert " of its share of 270 kB; group top 500 kB of its share of 540 kB" in plan.summary
        gone = {change.lfn for change in redirector.nodes["disk1"].drops}
        assert not any(lfn.startswith("/store/top/") for lfn in gone)


@pytest.mark.parametrize(
    ("policy", "goes"), [("lru", "/store/small"), ("lru-by-size", "/store/large")]
)
async def test_the_policy_decides_whether_a_large_or_an_older_small_file_goes(
    site: DataSite, policy: str, goes: str
) -> None:
    site.node["purge_policy"] = policy
    async with site.running():
        await stage(site, "/store/small", size_bytes=5_000)
        await stage(site, "/store/large", size_bytes=880_000)
        assert await first_to_go(site, 1) == [goes]


async def test_a_pool_short_of_files_is_purged_by_files(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node |= {"quota": "1GB", "max_files": 10, "high_watermark": "90%", "low_watermark": "50%"}
    async with site.running() as service:
        await stage(site, *(old(number) for number in range(9)))
        assert not redirector.nodes["disk1"].drops
        assert await first_to_go(site, 4) == [old(number) for number in range(4)]
        assert service.node.pool.peak_files <= 10


async def test_an_eviction_names_whoever_asked(site: DataSite, redirector: FakeRedirector) -> None:
    async with site.running():
        await stage(site, old(0))
        order = pb.EvictFiles(lfns=[old(0)], owner="ann@desk")
        await redirector.ask("disk1", "evict", order)
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.drops)
        assert [one.reason for one in node.drops] == ["evicted by ann@desk"]
    assert (AccessKind.GONE, old(0)) in logged(site)


async def test_no_log_is_kept_if_none_is_wanted(site: DataSite) -> None:
    site.node["access_log"] = 0
    async with site.running():
        await stage(site, old(0))
    assert files_of(site.pool / ".packhorse") == []


@pytest.fixture(autouse=True)
def _no_freshness(monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    """What has just been staged may go for the watermark alone: a test cannot wait for it."""
    monkeypatch.setattr("dataserver.core.purging.FRESH_S", 0.0)
