"""The Datasets door: registering in every mode, verifying in every state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from common.errors import (
    AlreadyExists,
    NameRefused,
    NotFound,
    QuotaExceeded,
    Refused,
    UsageError,
)
from common.grpc_client import answers_from, call
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.fake_node import FakeNode, joined
from tests.support.head_site import HeadSite, files_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B, C, D = (f"/store/{name}.root" for name in "abcd")
NEW, REPLACE, UPDATE = (
    pb.RegisterHeader.MODE_NEW,
    pb.RegisterHeader.MODE_REPLACE,
    pb.RegisterHeader.MODE_UPDATE,
)
EVENTS = types_pb2.Content(
    format=types_pb2.Content.FORMAT_ROOT,
    tables=[types_pb2.Table(name="Events", entries=100), types_pb2.Table(name="Runs", entries=2)],
)
TEXT = types_pb2.Content(format=types_pb2.Content.FORMAT_BYTES, problem="it is no ROOT file")
HISTOGRAMS = types_pb2.Content(format=types_pb2.Content.FORMAT_ROOT)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[HeadSite]:
    async with HeadSite(tmp_path) as site:
        yield site


def info(
    lfn: str,
    size_bytes: int,
    content: types_pb2.Content = EVENTS,
    adler32: str = "",
) -> types_pb2.FileInfo:
    checksum = types_pb2.Checksum(algorithm="adler32", value=adler32) if adler32 else None
    return types_pb2.FileInfo(lfn=lfn, size_bytes=size_bytes, content=content, checksum=checksum)


def by_name(files: list[pb.DatasetFile]) -> dict[str, pb.DatasetFile]:
    return {file.lfn: file for file in files}


async def listed(site: HeadSite, pattern: str = "", group: str = "") -> pb.ListDatasetsReply:
    request = pb.ListDatasetsRequest(pattern=pattern, group=group)
    return await call(site.datasets.List(request))


async def test_a_dataset_is_registered_and_shown(site: HeadSite) -> None:
    files = [
        pb.DatasetFile(lfn=A, size_bytes=10, entries=5, entries_known=True),
        pb.DatasetFile(lfn="/store//b.root", tree="Runs"),
        pb.DatasetFile(lfn=B),
    ]
    reply = await site.register("/Z/mm", files, tree="Events", owner="ada", title="Z")
    assert (reply.files, reply.added, reply.duplicates, reply.bytes_known) == (2, 2, 1, 10)
    (summary,) = (await listed(site)).datasets
    assert (summary.name, summary.tree, summary.owner, summary.title) == (
        "/Z/mm",
        "Events",
        "ada",
        "Z",
    )
    assert (summary.files, summary.files_of_unknown_size, summary.entries_known) == (2, 1, 5)
    shown = by_name(await site.show("/Z/mm"))
    assert (shown[A].entries, shown[A].entries_known, shown[B].entries_known) == (5, True, False)
    assert shown[B].tree == "Runs"


async def test_new_replace_and_update_do_what_they_say(site: HeadSite) -> None:
    await site.register("d", files_of([A, B]))
    with pytest.raises(AlreadyExists, match="d exists already"):
        await site.register("d", files_of([C]), NEW)
    updated = await site.register("d", files_of([B, C]), UPDATE)
    assert (updated.files, updated.added) == (3, 1)
    replaced = await site.register("d", files_of([D]), REPLACE)
    assert (replaced.files, replaced.added) == (1, 1)
    assert list(by_name(await site.show("d"))) == [D]


@pytest.mark.parametrize("mode", [NEW, REPLACE, UPDATE])
async def test_an_empty_dataset_is_refused(
    site: HeadSite, mode: pb.RegisterHeader.Mode.ValueType
) -> None:
    with pytest.raises(UsageError, match="cannot be empty"):
        await site.register("d", [], mode)
    assert not (await listed(site)).datasets


@pytest.mark.parametrize(
    "files",
    [["/elsewhere/a"], ["/store/../a"], ["/store/a\nb"], ["a"], [A, ""]],
    ids=["outside", "dots", "newline", "relative", "empty"],
)
async def test_a_dataset_with_a_bad_name_in_it_is_refused_whole(
    site: HeadSite, files: list[str]
) -> None:
    with pytest.raises(NameRefused):
        await site.register("d", files_of(files))
    assert not (await listed(site)).datasets


async def test_what_arrives_only_in_part_is_not_registered(site: HeadSite) -> None:
    sent = asyncio.Event()

    async def parts() -> AsyncIterator[pb.RegisterRequest]:
        yield pb.RegisterRequest(header=pb.RegisterHeader(name="d", files=2))
        yield pb.RegisterRequest(files=pb.RegisterFiles(files=files_of([A])))
        sent.set()
        await asyncio.Event().wait()

    registering = site.datasets.Register(parts())
    waiting = asyncio.ensure_future(registering)
    await sent.wait()
    registering.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not (await listed(site)).datasets
    whole = [
        pb.RegisterRequest(header=pb.RegisterHeader(name="d", files=2)),
        pb.RegisterRequest(files=pb.RegisterFiles(files=files_of([A]))),
    ]
    with pytest.raises(UsageError, match="2 files were announced, but 1 came"):
        await call(site.datasets.Register(iter(whole)))


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [pb.RegisterRequest()],
        [pb.RegisterRequest(files=pb.RegisterFiles(files=files_of([A])))],
        [pb.RegisterRequest(header=pb.RegisterHeader(name="d"))] * 2,
        [pb.RegisterRequest(header=pb.RegisterHeader(name="d")), pb.RegisterRequest()],
        [pb.RegisterRequest(header=pb.RegisterHeader())],
    ],
    ids=["nothing", "empty", "no header", "two headers", "empty after it", "no name"],
)
async def test_a_registration_out_of_shape_is_refused(
    site: HeadSite, parts: list[pb.RegisterRequest]
) -> None:
    with pytest.raises(UsageError):
        await call(site.datasets.Register(iter(parts)))
    assert not (await listed(site)).datasets


async def test_a_group_has_a_quota_on_registered_bytes(tmp_path: Path) -> None:
    more = 'assumed_size = "10KB"\n[redirector.groups.higgs]\nquota = "100KB"'
    async with HeadSite(tmp_path, more=more) as site:
        big = [pb.DatasetFile(lfn=A, size_bytes=90_000)]
        await site.register("one", big, group="higgs")
        with pytest.raises(QuotaExceeded, match="100 kB") as caught:
            await site.register("two", files_of([B, C]), group="higgs")
        for figure in ("90 kB", "20 kB", "files of unknown size: 2"):
            assert figure in str(caught.value)
        await site.register("two", files_of([B]), group="higgs")
        with pytest.raises(UsageError, match="no group 'higs'"):
            await site.register("three", files_of([B]), group="higs")
        (group,) = (await listed(site)).groups
        assert (group.group, group.registered_bytes, group.quota_bytes) == (
            "higgs",
            100_000,
            100_000,
        )
        await call(site.datasets.Remove(pb.RemoveDatasetRequest(name="one")))
        await site.register("three", files_of([A, C]), group="higgs")


async def test_datasets_are_listed_by_pattern_and_group(site: HeadSite) -> None:
    for name, group in (("/Z/1", "g"), ("/Z/2", ""), ("/W/1", "g")):
        await site.register(name, files_of([A]), group=group)
    assert [one.name for one in (await listed(site, "/Z/*")).datasets] == ["/Z/1", "/Z/2"]
    assert [one.name for one in (await listed(site, group="g")).datasets] == ["/W/1", "/Z/1"]


async def test_a_dataset_nobody_registered_is_not_found(site: HeadSite) -> None:
    with pytest.raises(NotFound, match="no dataset 'none'"):
        await site.show("none")
    with pytest.raises(NotFound):
        await site.verify("none")
    with pytest.raises(NotFound):
        await call(site.datasets.Remove(pb.RemoveDatasetRequest(name="none")))


async def test_verifying_tells_how_each_file_stands(site: HeadSite) -> None:
    one = FakeNode(site.address, "disk1", archive={"/store/near.root": 70})
    good, text, tree, size, checksum, near, missing, runs = names = [
        f"/store/{name}.root"
        for name in ("good", "text", "tree", "size", "checksum", "near", "missing", "runs")
    ]
    one.replicas = {
        good: info(good, 10, adler32="0000000a"),
        text: info(text, 5, TEXT),
        tree: info(tree, 6, HISTOGRAMS),
        size: info(size, 7),
        checksum: info(checksum, 8, adler32="0000000b"),
    }
    two = FakeNode(site.address, "disk2", replicas={runs: info(runs, 9)}, archive=one.archive)
    files = by_name(files_of(names))
    files[size].size_bytes = 700
    files[checksum].checksum.CopyFrom(types_pb2.Checksum(algorithm="adler32", value="ffffffff"))
    files[runs].tree = "Runs"
    await site.register("d", list(files.values()), tree="Events")
    async with joined(one, two):
        replies = await site.verify("d")
    last = replies[-1]
    assert last.complete
    assert not any(reply.complete for reply in replies[:-1])
    counts = last.summary
    assert (counts.online, counts.nearline, counts.missing, counts.corrupt) == (2, 1, 1, 4)
    assert counts.verified_unix_s > 0
    problems = by_name(list(last.problems))
    assert {lfn: problems[lfn].state for lfn in problems} == {
        text: types_pb2.FILE_STATE_CORRUPT,
        tree: types_pb2.FILE_STATE_CORRUPT,
        size: types_pb2.FILE_STATE_CORRUPT,
        checksum: types_pb2.FILE_STATE_CORRUPT,
        missing: types_pb2.FILE_STATE_MISSING,
    }
    assert "no ROOT file" in problems[text].reason
    assert "no tree 'Events'" in problems[tree].reason
    assert "700" in problems[size].reason
    assert "ffffffff" in problems[checksum].reason
    shown = by_name(await site.show("d"))
    assert (shown[good].size_bytes, shown[good].entries) == (10, 100)
    assert shown[good].checksum.value == "0000000a"
    assert (shown[runs].entries, shown[near].size_bytes) == (2, 70)
    assert {*one.examined, *two.examined} == {near, missing}


async def test_verifying_with_stage_brings_what_is_not_online_and_describes_it(
    site: HeadSite,
) -> None:
    archive = {f"/store/{i:03}.root": 10 for i in range(200)}
    node = FakeNode(site.address, "disk1", archive=archive, content_of=lambda _: EVENTS)
    node.replicas = {A: info(A, 10)}
    missing = "/store/missing.root"
    await site.register("d", files_of([A, *archive, missing]), tree="Events")
    async with joined(node):
        last = (await site.verify("d", stage=True, owner="ada"))[-1]
        assert last.request_id
        request = await site.request(last.request_id)
        assert (request.owner, request.dataset, request.done) == ("ada", "d", 200)
        assert (last.summary.online, last.summary.missing) == (201, 1)
        assert last.summary.entries_known == 201 * 100
        assert [problem.lfn for problem in last.problems] == [missing]
        # What was staged only to be looked at is not pinned any longer.
        await node.until(lambda: not any(node.pins.values()))
    assert len(node.recalls) == 200
    assert all(recall.size_bytes == 10 for recall in node.recalls)


async def test_pins_that_were_wished_for_stay_after_verifying(site: HeadSite) -> None:
    node = FakeNode(site.address, "disk1", archive={A: 10})
    await site.register("d", files_of([A]))
    async with joined(node):
        last = (await site.verify("d", stage=True, pin_s=600.0))[-1]
        explained = await call(site.files.Explain(pb.ExplainRequest(lfn=A)))
    assert [pin.owner for pin in explained.pins] == [last.request_id]


async def test_a_file_that_cannot_be_staged_is_a_problem_with_the_commands_reason(
    site: HeadSite,
) -> None:
    await site.register("d", files_of([A, B]))
    node = FakeNode(site.address, "disk1")
    async with joined(node):
        node.archive = {A: 1, B: 1}
        verifying = asyncio.create_task(site.verify("d", stage=True))
        await node.until(lambda: len(node.examined) == 2)
        node.archive = {A: 1}
        last = (await verifying)[-1]
    (problem,) = last.problems
    assert problem.lfn == B
    assert "not in the archive" in problem.reason
    assert last.summary.online == 1


async def test_verifying_ends_when_its_staging_is_cancelled(site: HeadSite) -> None:
    await site.register("d", files_of([A, B]))
    node = FakeNode(site.address, "disk1")
    async with joined(node):
        verifying = asyncio.create_task(site.verify("d", stage=True))
        # The archive told nothing of the two, so they are tried.
        recall = await node.next_recall()
        (request,) = (
            await call(site.files.ListRequests(pb.ListRequestsRequest(active_only=True)))
        ).requests
        node.finish(recall, 5, EVENTS)
        await site.until_online(recall.lfn)
        await call(site.files.Cancel(pb.CancelRequest(request_id=request.request_id)))
        last = (await verifying)[-1]
    assert last.complete
    assert (last.summary.online, last.summary.nearline) == (1, 1)


async def test_a_dataset_replaced_while_it_is_verified_says_so(site: HeadSite) -> None:
    await site.register("d", files_of([A]))
    node = FakeNode(site.address, "disk1")
    async with joined(node):
        verifying = asyncio.create_task(site.verify("d", stage=True))
        recall = await node.next_recall()
        await site.register("d", files_of([B]), REPLACE)
        node.finish(recall)
        with pytest.raises(Refused, match="removed or replaced"):
            await verifying
    assert [file.state for file in await site.show("d")] == [0]


async def test_nodes_that_do_not_answer_leave_files_nearline(site: HeadSite) -> None:
    await site.register("d", files_of([A, B]))
    node = FakeNode(site.address, "disk1", replicas={A: info(A, 10)}, answers=False)
    async with joined(node):
        verifying = asyncio.create_task(site.verify("d"))
        await node.until(lambda: "describe" in node.orders)
        await node.leave()
        last = (await verifying)[-1]
    assert last.summary.nearline == 2
    assert not last.problems


async def test_a_client_that_stops_looking_leaves_the_redirector_well(site: HeadSite) -> None:
    await site.register("d", files_of([A]))
    node = FakeNode(site.address, "disk1")
    async with joined(node):
        progress = site.datasets.Verify(pb.VerifyRequest(name="d", stage=True))
        await anext(aiter(progress))
        recall = await node.next_recall()
        progress.cancel()
        node.finish(recall)
        await site.until_online(A)


async def test_watching_and_staging_a_dataset_need_no_names(site: HeadSite) -> None:
    archive = {A: 10, B: 20}
    await site.register("d", [pb.DatasetFile(lfn=lfn, size_bytes=archive[lfn]) for lfn in archive])
    node = FakeNode(site.address, "disk1", archive=archive)
    async with joined(node):
        reply = await site.stage(dataset="d")
        await site.ended(reply.request_id)
        seen = await site.events(pb.WatchRequest(dataset="d"), lambda event: event is None)
    assert reply.files == 2
    assert {recall.lfn: recall.size_bytes for recall in node.recalls} == archive
    assert {event.lfn for event in seen if event} == {A, B}


async def test_100_000_files_are_verified_in_batches(site: HeadSite) -> None:
    names = [f"/store/run7/file{i:06}.root" for i in range(100_000)]
    await site.register("big", files_of(names), tree="Events")
    archive = dict.fromkeys(names[90_000:], 10)
    node = FakeNode(site.address, "disk1", archive=archive, heartbeat_s=1.0)
    node.replicas = {lfn: info(lfn, 10) for lfn in names[:90_000]}
    async with joined(node):
        with answers_from():
            request = pb.VerifyRequest(name="big")
            replies = [reply async for reply in site.datasets.Verify(request)]
    last = replies[-1]
    assert (last.summary.online, last.summary.nearline) == (90_000, 10_000)
    assert last.summary.entries_known == 9_000_000
    assert node.orders.count("describe") + node.orders.count("examine") < 2000
    shown = await site.show("big")
    assert len(shown) == 100_000
    assert shown[0].state == types_pb2.FILE_STATE_ONLINE
