"""A data server keeps its pool below its quota, and spares what is in use."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest

from common.grpc_client import open_channel
from protos.packhorse.v1 import dataserver_pb2 as ds
from protos.packhorse.v1 import dataserver_pb2_grpc as ds_grpc
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.data_site import DataSite
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

SIZE = 1_000_000


def name(number: int) -> str:
    return f"/store/run{number % 3}/f{number}"


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    """A pool for ten files, and an archive of thirty."""
    made = DataSite(tmp_path, redirector)
    made.node["quota"] = "10MB"
    for number in range(30):
        made.write(name(number), bytes([number]) * SIZE)
    return made


async def stage(redirector: FakeRedirector, *numbers: int, **order: Any) -> None:
    """Stages files one after the other, so that their order of use is known."""
    for number in numbers:
        recall_id = redirector.start("disk1", name(number), size_bytes=SIZE, **order)
        ended = await redirector.has_ended(recall_id)
        assert not ended.HasField("failure"), ended


async def stage_together(redirector: FakeRedirector, *numbers: int) -> None:
    ids = [redirector.start("disk1", name(n), size_bytes=SIZE) for n in numbers]
    for recall_id in ids:
        ended = await redirector.has_ended(recall_id)
        assert not ended.HasField("failure"), ended


def on_disk(site: DataSite) -> set[str]:
    store = site.pool / "store"
    return {f"/{path.relative_to(site.pool)}" for path in store.rglob("*") if path.is_file()}


async def test_a_dataset_larger_than_the_pool_flows_through_it(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        for start in range(0, 30, 5):
            await stage_together(redirector, *range(start, start + 5))
            service.node.check()
            assert service.node.pool.peak_bytes <= 10 * SIZE
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.heartbeat.files_purged >= 20)
        await redirector.until(lambda: set(node.replicas) == on_disk(site))
        reason = re.compile(r"purged by policy lru to free [0-9]+ MB: unused for .* s")
        assert all(reason.fullmatch(change.reason) for change in node.drops)
        assert node.heartbeat.peak_used_bytes <= 10 * SIZE
        assert node.heartbeat.bytes_purged == node.heartbeat.files_purged * SIZE


async def test_empty_directories_go_with_their_last_file(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, 0, 1)
        (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=[name(0)]))
        assert list(answer.evicted) == [name(0)]
        assert not site.replica(name(0)).parent.exists()
        assert site.replica(name(1)).exists()


async def test_pinned_and_open_files_stay_and_a_full_pool_says_so(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        await stage(redirector, *range(9), pins=[pb.PinOrder(owner="ann", lifetime_s=60)])
        await stage(redirector, 9)
        call = ds_grpc.DataServerStub(channel).Open(ds.OpenRequest(lfn=name(9)))
        await anext(aiter(call))
        recall = redirector.start("disk1", name(10), size_bytes=SIZE)
        ended = await redirector.has_ended(recall)
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_NO_SPACE
        assert "9 MB pinned" in ended.failure.reason
        assert "1 MB open" in ended.failure.reason
        call.cancel()
        await becomes_true(lambda: not service.node.pool.open_files)
        await stage(redirector, 11)
        assert name(9) not in on_disk(site)
        assert {name(number) for number in range(9)} <= on_disk(site)


async def test_what_was_read_last_stays_longest(site: DataSite, redirector: FakeRedirector) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        for number in range(9):
            await stage(redirector, number)
        stub = ds_grpc.DataServerStub(channel)
        async for _ in stub.Read(ds.ReadRequest(lfn=name(0), length=10)):
            pass
        await stage(redirector, 10, 11)
        await redirector.until(lambda: redirector.nodes["disk1"].drops)
        assert name(0) in on_disk(site)
        assert redirector.nodes["disk1"].drops[0].lfn == name(1)


async def test_the_times_of_use_survive_a_restart(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        await stage(redirector, 0, 1)
        stub = ds_grpc.DataServerStub(channel)
        async for _ in stub.Read(ds.ReadRequest(lfn=name(0), length=10)):
            pass
    async with site.running() as service:
        assert [one.lfn for one in service.node.pool.idle()] == [name(1), name(0)]


async def test_nothing_goes_before_all_pins_are_known(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, *range(9))
    redirector.tells_pins = False
    async with site.running():
        recall = redirector.start("disk1", name(20), size_bytes=3 * SIZE)
        ended = await redirector.has_ended(recall)
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_NO_SPACE
        assert len(on_disk(site)) == 9


async def test_a_limit_on_files_holds_as_well(site: DataSite, redirector: FakeRedirector) -> None:
    site.node["max_files"] = 4
    async with site.running() as service:
        for number in range(8):
            await stage(redirector, number)
        assert service.node.pool.peak_files == 4
        assert on_disk(site) == {name(number) for number in range(4, 8)}


async def test_a_pool_over_a_lowered_quota_shrinks(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, *range(9))
    site.node["quota"] = "5MB"
    async with site.running():
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: 0 < node.heartbeat.used_bytes <= 4.5 * SIZE)


async def test_a_dry_run_says_why_each_file_goes_or_stays(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, 0, pins=[pb.PinOrder(owner="ann", lifetime_s=600)])
        for number in range(1, 4):
            await stage(redirector, number)
        query = pb.MakePurgePlan(target_bytes=2 * SIZE, limit=3)
        (plan,) = await redirector.ask("disk1", "make_purge_plan", query)
        told = [(verdict.lfn, verdict.goes) for verdict in plan.verdicts]
        assert told == [(name(1), True), (name(2), True), (name(0), False)]
        assert plan.verdicts[2].why.startswith("pinned by ann for another")
        assert "2 files with 2 MB would go" in plan.summary
        assert len(on_disk(site)) == 4


# --- the purge command ----------------------------------------------------------------


def purgecmd(site: DataSite, python: str) -> None:
    """Has a few lines of Python decide; `rows` are the candidates."""
    program = site.folder / "purgecmd.py"
    program.write_text(
        "import json, os, sys, time\n"
        "rows = [json.loads(line) for line in sys.stdin]\n"
        "def say(lfn, verdict, **more): print(json.dumps({'lfn': lfn, 'verdict': verdict, **more}))\n"
        f"{python}\n"
    )
    site.node["purgecmd"] = ["python3", str(program)]


async def test_the_purge_command_ranks_and_vetoes(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    purgecmd(
        site,
        f"saw = json.dumps([rows, os.environ['PACKHORSE_FREE_BYTES']])\n"
        f"open({str(seen)!r}, 'a').write(saw + '\\n')\n"
        f"say({name(0)!r}, 'keep')\n"
        f"say({name(7)!r}, 'purge', rank=2); say({name(8)!r}, 'purge', rank=1)",
    )
    async with site.running():
        await stage(redirector, *range(9))
        await stage(redirector, 10, 11)
        drops = redirector.nodes["disk1"].drops
        await redirector.until(lambda: len(drops) >= 2)
        assert [change.lfn for change in drops[:2]] == [name(8), name(7)]
        assert name(0) in on_disk(site)
    rows, free_bytes = json.loads(seen.read_text().splitlines()[0])
    assert [row["lfn"] for row in rows][:9] == [name(number) for number in range(9)]
    assert rows[0]["path"] == str(site.replica(name(0)))
    assert rows[0]["size_bytes"] == SIZE
    assert rows[0]["unused_s"] >= 0
    assert int(free_bytes) > 0


@pytest.mark.parametrize(
    ("python", "complaint"),
    [
        ("sys.exit('cannot decide')", "cannot decide"),
        ("print('all of them')", "no verdict: all of them"),
        ("print(json.dumps({'lfn': '/x', 'verdict': 'maybe'}))", "no verdict"),
        ("time.sleep(1000)", "killed at its deadline"),
    ],
    ids=["fails", "chatters", "hesitates", "hangs"],
)
async def test_a_purge_command_that_is_no_help_is_reported_and_the_oldest_go(
    site: DataSite,
    redirector: FakeRedirector,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    python: str,
    complaint: str,
) -> None:
    monkeypatch.setattr("dataserver.purger.COMMAND_LIMIT_S", 1.0)
    purgecmd(site, python)
    async with site.running():
        await stage(redirector, *range(9))
        await stage(redirector, 10, 11)
        await redirector.until(lambda: redirector.nodes["disk1"].drops)
        assert redirector.nodes["disk1"].drops[0].lfn == name(0)
    assert complaint in caplog.text
    assert "policy lru decides alone" in caplog.text


async def test_the_purge_command_gets_the_variables_that_pass(
    site: DataSite,
    redirector: FakeRedirector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "secret")
    monkeypatch.setenv("POLICY_TABLE", "run7")
    site.mss["pass_environment"] = ["POLICY_*"]
    seen = tmp_path / "seen"
    purgecmd(site, f"open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))")
    async with site.running():
        await stage(redirector, *range(9))
        await stage(redirector, 10, 11)
        await redirector.until(lambda: redirector.nodes["disk1"].drops)
    environment = json.loads(seen.read_text())
    assert environment["POLICY_TABLE"] == "run7"
    assert "BEARER_TOKEN" not in environment


async def test_a_purge_command_may_not_take_what_is_pinned(
    site: DataSite, redirector: FakeRedirector
) -> None:
    purgecmd(site, f"say({name(0)!r}, 'purge', rank=-1)")
    async with site.running():
        await stage(redirector, 0, pins=[pb.PinOrder(owner="ann", lifetime_s=600)])
        await stage(redirector, *range(1, 9))
        await stage(redirector, 10, 11)
        await redirector.until(lambda: redirector.nodes["disk1"].drops)
        assert name(0) in on_disk(site)


async def test_the_dry_run_knows_the_purge_commands_opinion(
    site: DataSite, redirector: FakeRedirector
) -> None:
    purgecmd(site, f"say({name(0)!r}, 'keep')")
    async with site.running():
        await stage(redirector, 0)
        await stage(redirector, 1)
        query = pb.MakePurgePlan(target_bytes=SIZE)
        (plan,) = await redirector.ask("disk1", "make_purge_plan", query)
        told = {verdict.lfn: (verdict.goes, verdict.why) for verdict in plan.verdicts}
        assert told[name(0)] == (False, "kept by the purge command")
        assert told[name(1)][0]


# --- reading ----------------------------------------------------------------------------


async def read(stub: Any, lfn: str, offset: int = 0, length: int = 0) -> bytes:
    request = ds.ReadRequest(lfn=lfn, offset=offset, length=length)
    return b"".join([reply.data async for reply in stub.Read(request)])


async def test_ranges_of_a_file_are_read(site: DataSite, redirector: FakeRedirector) -> None:
    content = bytes(range(256)) * 12_000
    site.write("/store/big", content)
    async with site.running() as service, open_channel(service.address) as channel:
        recall = redirector.start("disk1", "/store/big")
        await redirector.staged("disk1", recall, "/store/big")
        stub = ds_grpc.DataServerStub(channel)
        assert await read(stub, "/store/big") == content
        assert (
            await read(stub, "//store/./big", 1_500_000, 1_200_000) == content[1_500_000:2_700_000]
        )
        assert await read(stub, "/store/big", len(content) - 5, 100) == content[-5:]
        assert await read(stub, "/store/big", len(content)) == b""
        request = ds.ReadRequest(lfn="/store/big")
        sizes = [len(reply.data) async for reply in stub.Read(request)]
        assert max(sizes) == 1 << 20
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(stub, "/store/big", len(content) + 1)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_path_is_told_only_to_those_on_the_same_host(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        await stage(redirector, 0)
        stub = ds_grpc.DataServerStub(channel)
        for host, path in [("label1", str(site.replica(name(0)))), ("other", ""), ("", "")]:
            call = stub.Open(ds.OpenRequest(lfn=name(0), host=host))
            reply = await anext(aiter(call))
            assert reply.local_path == path
            assert reply.info.size_bytes == SIZE
            assert reply.info.checksum.algorithm == "adler32"
            call.cancel()


@pytest.mark.parametrize("lfn", ["/store/none", "/store/../x", "/.packhorse/pool_id", "", "store"])
async def test_names_that_are_not_here_are_refused_in_one_line(
    site: DataSite, redirector: FakeRedirector, lfn: str
) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        stub = ds_grpc.DataServerStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(stub, lfn)
        expected = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
        assert caught.value.code() in expected
        assert "\n" not in (caught.value.details() or "")


@pytest.mark.parametrize("how", ["removed", "cut short", "replaced by a link"])
async def test_a_file_lost_behind_our_back_is_dropped_when_it_is_missed(
    site: DataSite, redirector: FakeRedirector, how: str
) -> None:
    async with site.running() as service, open_channel(service.address) as channel:
        await stage(redirector, 0, 1)
        path = site.replica(name(0))
        if how == "cut short":
            path.write_bytes(b"short")
        else:
            path.unlink()
        if how == "replaced by a link":
            path.symlink_to("/etc/passwd")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(ds_grpc.DataServerStub(channel), name(0))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: set(node.replicas) == {name(1)})
        assert node.drops[0].reason == ("damaged" if how == "cut short" else "vanished")
        await stage(redirector, 0)
        assert await read(ds_grpc.DataServerStub(channel), name(0)) == bytes(SIZE)


async def test_readers_that_go_away_in_the_middle_leave_nothing_open(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.write("/store/big", bytes(30_000_000))
    site.node["quota"] = "100MB"
    async with site.running() as service, open_channel(service.address) as channel:
        recall = redirector.start("disk1", "/store/big")
        await redirector.staged("disk1", recall, "/store/big")
        stub = ds_grpc.DataServerStub(channel)
        for _ in range(10):
            call = stub.Read(ds.ReadRequest(lfn="/store/big"))
            await anext(aiter(call))
            call.cancel()
        await becomes_true(lambda: not service.node.pool.open_files)
        ours = psutil.Process()
        big = str(site.replica("/store/big"))
        await becomes_true(lambda: big not in {file.path for file in ours.open_files()})


# --- describing ---------------------------------------------------------------------------


async def test_files_are_described_with_what_they_hold(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.write("/store/fake.root", b"only a text")
    async with site.running():
        await stage(redirector, 0)
        recall = redirector.start("disk1", "/store/fake.root")
        await redirector.staged("disk1", recall, "/store/fake.root")
        names = [name(0), "/store/fake.root", "/store/none"]
        query = pb.DescribeFiles(lfns=names, wait_for_content=True)
        pieces = await redirector.ask("disk1", "describe", query)
        files = {info.lfn: info for piece in pieces for info in piece.files}
        assert [lfn for piece in pieces for lfn in piece.not_online] == ["/store/none"]
        assert files[name(0)].content.format == types_pb2.Content.FORMAT_BYTES
        assert files[name(0)].content.tables[0].entries == SIZE
        assert "not a ROOT file" in files["/store/fake.root"].content.problem
        assert not list(redirector.nodes["disk1"].drops)


async def test_without_inspection_files_are_described_at_once(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["inspect"] = False
    async with site.running():
        await stage(redirector, 0)
        query = pb.DescribeFiles(lfns=[name(0)], wait_for_content=True)
        first, *_ = await redirector.ask("disk1", "describe", query)
        assert not first.files[0].HasField("content")


async def test_the_archive_is_asked_for_the_redirector(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        query = pb.ExamineArchive(lfns=[name(0), "/store/none"])
        pieces = await redirector.ask("disk1", "examine", query)
        found = {one.lfn: one for piece in pieces for one in piece.files}
        assert found[name(0)].size_bytes == SIZE
        assert found[name(0)].presence == pb.ArchiveFile.PRESENCE_THERE
        assert found["/store/none"].presence == pb.ArchiveFile.PRESENCE_NOT_THERE
