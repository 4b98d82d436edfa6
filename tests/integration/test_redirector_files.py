"""The Files door over a real socket, with data servers made of a few lines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from common.errors import NameRefused, NotFound, TooLarge, UsageError
from common.grpc_client import answers_from, call
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.fake_node import TIMEOUT_S, FakeNode, joined
from tests.support.head_site import HeadSite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B, C, D = (f"/store/{name}.root" for name in "abcd")
ONLINE, NEARLINE = types_pb2.FILE_STATE_ONLINE, types_pb2.FILE_STATE_NEARLINE
STAGING, FAILED = types_pb2.FILE_STATE_STAGING, types_pb2.FILE_STATE_FAILED


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[HeadSite]:
    async with HeadSite(tmp_path) as site:
        yield site


def with_replicas(node: FakeNode, **sizes: int) -> FakeNode:
    for name, size_bytes in sizes.items():
        lfn = f"/store/{name}.root"
        node.replicas[lfn] = types_pb2.FileInfo(lfn=lfn, size_bytes=size_bytes)
    return node


async def test_locate_answers_in_columns_in_the_order_asked(site: HeadSite) -> None:
    one = with_replicas(FakeNode(site.address, "disk1"), a=10, b=20)
    two = with_replicas(FakeNode(site.address, "disk2"), b=20)
    async with joined(one, two):
        found = await site.locate("/store//b.root", C, A)
    assert list(found.size_bytes) == [20, 0, 10]
    assert [holder > 0 for holder in found.holder] == [True, False, True]
    assert found.nodes[found.holder[2] - 1].node == "disk1"
    (copy,) = found.more
    assert copy.row == 0
    holders = {found.nodes[place - 1].node for place in (found.holder[0], copy.holder)}
    assert holders == {"disk1", "disk2"}
    assert not found.offline


async def test_names_are_checked_at_the_door(site: HeadSite) -> None:
    for lfn in ("/elsewhere/a", "/store/../etc", "store/a", "", "/store/" + "x" * 5000):
        with pytest.raises(NameRefused):
            await site.locate(lfn)
        with pytest.raises(NameRefused):
            await site.stage(lfn)
        with pytest.raises(NameRefused):
            await call(site.files.Explain(pb.ExplainRequest(lfn=lfn)))
    with pytest.raises(UsageError, match="10,001 names are more than 10,000"):
        await site.locate(*(f"/store/{i}" for i in range(10_001)))


async def test_a_cold_file_is_staged_and_its_request_done(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        reply = await site.stage(A, A)
        assert (reply.files, reply.online) == (1, 0)
        recall = await node.next_recall()
        assert recall.lfn == A
        (row,) = (await site.locate(A)).offline
        assert row.state == STAGING
        node.finish(recall, size_bytes=7)
        request = await site.ended(reply.request_id)
        assert request.state == pb.REQUEST_STATE_DONE
        assert (request.files, request.done) == (1, 1)
        assert list((await site.locate(A)).size_bytes) == [7]
        explained = await call(site.files.Explain(pb.ExplainRequest(lfn=A)))
        assert explained.archive_name == "/archive/a.root"
        assert explained.state == ONLINE
        assert explained.story
        recalls = await call(site.cluster.ListRecalls(pb.ListRecallsRequest()))
        assert [(done.lfn, done.node) for done in recalls.recalls] == [(A, "disk1")]


async def test_a_permanent_failure_is_told_in_the_commands_words(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        reply = await site.stage(A, B)
        for _ in range(2):
            recall = await node.next_recall()
            if recall.lfn == A:
                node.fail(recall, types_pb2.ERROR_CLASS_PERMANENT, "cartridge T123 is torn")
            else:
                node.finish(recall)
        request = await site.ended(reply.request_id)
    assert request.state == pb.REQUEST_STATE_FAILED
    assert (request.done, request.failed) == (1, 1)
    by_name = {file.lfn: file for file in request.file}
    assert "cartridge T123 is torn" in by_name[A].reason
    assert by_name[A].state == FAILED
    assert by_name[B].state == ONLINE


async def test_a_transient_failure_is_tried_again(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        reply = await site.stage(A)
        first = await node.next_recall()
        node.fail(first, types_pb2.ERROR_CLASS_TRANSIENT, "drive busy")
        second = await node.next_recall()
        assert second.recall_id != first.recall_id
        node.finish(second)
        assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE


async def test_a_thousand_clients_asking_for_one_cold_file_cause_one_recall(
    site: HeadSite,
) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        replies = await asyncio.gather(*(site.stage(A, owner=f"user{i}") for i in range(1000)))
        node.finish(await node.next_recall())
        ids = {reply.request_id for reply in replies}
        assert len(ids) == 1000
        for request_id in ids:
            assert (await site.request(request_id)).state in {
                pb.REQUEST_STATE_DONE,
                pb.REQUEST_STATE_ACTIVE,
            }
        await asyncio.gather(*(site.ended(request_id) for request_id in list(ids)[:20]))
        assert len(node.recalls) == 1


async def test_the_same_key_again_is_the_same_request(site: HeadSite) -> None:
    first, again = await asyncio.gather(
        site.stage(A, idempotency_key="k"), site.stage(A, B, idempotency_key="k")
    )
    assert first.request_id == again.request_id
    everything = await call(site.files.ListRequests(pb.ListRequestsRequest()))
    assert len(everything.requests) == 1


async def test_cancelling_reaches_the_node(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        reply = await site.stage(A, B)
        recall = await node.next_recall()
        cancelled = await call(
            site.files.Cancel(pb.CancelRequest(request_id=reply.request_id, lfns=[recall.lfn]))
        )
        assert cancelled.files_cancelled == 1
        async with asyncio.timeout(TIMEOUT_S):
            assert (await node.cancelled.get()).recall_id == recall.recall_id
        await call(site.files.Cancel(pb.CancelRequest(request_id=reply.request_id)))
        assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_CANCELLED
    with pytest.raises(NotFound):
        await call(site.files.Cancel(pb.CancelRequest(request_id="req-none")))
    with pytest.raises(UsageError, match="request_id is missing"):
        await call(site.files.Cancel(pb.CancelRequest()))


async def test_describe_answers_every_name_once(site: HeadSite) -> None:
    one = with_replicas(FakeNode(site.address, "disk1"), a=10)
    two = with_replicas(FakeNode(site.address, "disk2"), b=20)
    async with joined(one, two):
        request = pb.DescribeRequest(lfns=[A, B, C, A])
        with answers_from():
            replies = [reply async for reply in site.files.Describe(request)]
    assert {info.lfn: info.size_bytes for reply in replies for info in reply.files} == {
        A: 10,
        B: 20,
    }
    assert [lfn for reply in replies for lfn in reply.not_online] == [C]


async def test_describing_files_of_a_node_that_goes_away_ends(site: HeadSite) -> None:
    async with with_replicas(FakeNode(site.address, "disk1", answers=False), a=10) as node:
        await node.join()
        replies = site.files.Describe(pb.DescribeRequest(lfns=[A]))

        async def read() -> list[pb.DescribeReply]:
            return [reply async for reply in replies]

        reading = asyncio.create_task(read())
        await node.until(lambda: "describe" in node.orders)
        await node.leave()
        async with asyncio.timeout(TIMEOUT_S):
            (reply,) = await reading
    assert list(reply.not_online) == [A]


async def test_watching_files_tells_how_they_stand_then_what_happens(site: HeadSite) -> None:
    async with with_replicas(FakeNode(site.address, "disk1"), a=10) as node:
        await node.join()
        seen: list[pb.FileEvent] = []
        async with asyncio.timeout(TIMEOUT_S):
            async for event in site.watch(pb.WatchRequest(lfns=[A, B])):
                if event is None:
                    assert {one.lfn: one.state for one in seen} == {A: ONLINE, B: NEARLINE}
                    seen.clear()
                    node.drop(A)
                    node.publish(B, 3)
                    node.publish(C, 3)
                else:
                    seen.append(event)
                if len(seen) == 2 and seen[-1].kind:
                    break
    assert [(one.lfn, one.kind, one.state) for one in seen] == [
        (A, pb.FileEvent.KIND_DROPPED, NEARLINE),
        (B, pb.FileEvent.KIND_PUBLISHED, ONLINE),
    ]


async def test_watching_everything_needs_no_names(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        watching = asyncio.create_task(
            site.events(pb.WatchRequest(all=True), lambda event: event is not None)
        )
        numbers = iter(range(1000))
        while not watching.done():
            # The watch begins some time soon; there is nothing it tells first.
            node.publish(f"/store/{next(numbers)}", 1)
            await asyncio.sleep(0.01)
        (event,) = await watching
    assert event is not None
    assert event.kind == pb.FileEvent.KIND_PUBLISHED


async def test_watching_an_ended_request_tells_how_it_ended(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1", archive={A: 5}) as node:
        await node.join()
        reply = await site.stage(A, B)
        await site.ended(reply.request_id)
        seen = await site.events(pb.WatchRequest(request_id=reply.request_id))
    assert [(one.lfn, one.state) for one in seen if one] == [(A, ONLINE), (B, FAILED)]
    assert seen[-1] is None


@pytest.mark.parametrize(
    "request_",
    [
        pb.WatchRequest(),
        pb.WatchRequest(lfns=[A], all=True),
        pb.WatchRequest(dataset="x", request_id="y"),
    ],
    ids=["nothing", "names and all", "a dataset and a request"],
)
async def test_a_watch_of_nothing_or_of_two_things_is_refused(
    site: HeadSite, request_: pb.WatchRequest
) -> None:
    with pytest.raises(UsageError, match="Watch: one of"):
        await site.events(request_)


async def test_a_request_nobody_made_is_not_found(site: HeadSite) -> None:
    with pytest.raises(NotFound):
        await site.request("req-none")
    with pytest.raises(NotFound):
        await site.events(pb.WatchRequest(request_id="req-none"))
    with pytest.raises(NotFound):
        await site.events(pb.WatchRequest(dataset="none"))


async def test_pins_reach_the_node_and_keep_files_from_eviction(site: HeadSite) -> None:
    async with with_replicas(FakeNode(site.address, "disk1"), a=10, b=10) as node:
        await node.join()
        pinned = await call(
            site.files.Pin(pb.PinRequest(lfns=[A, C], owner="ada", lifetime_s=60.0))
        )
        assert (pinned.pinned, list(pinned.not_online)) == (2, [C])
        await node.until(lambda: node.pins.get(A) == ["ada"])
        evicted = await call(site.files.Evict(pb.EvictRequest(lfns=[A, B, D])))
        assert evicted.evicted == 1
        reasons = {refusal.lfn: refusal.reason for refusal in evicted.refused}
        assert "pinned by ada" in reasons[A]
        assert "not online" in reasons[D]
        unpinned = await call(site.files.Unpin(pb.UnpinRequest(owner="ada")))
        assert unpinned.unpinned == 2
        again = await call(site.files.Evict(pb.EvictRequest(lfns=[A])))
        assert again.evicted == 1


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, float("nan"), float("inf")])
async def test_a_pin_without_a_lifetime_is_refused(site: HeadSite, lifetime_s: float) -> None:
    with pytest.raises(UsageError, match="lifetime_s"):
        await call(site.files.Pin(pb.PinRequest(lfns=[A], owner="x", lifetime_s=lifetime_s)))


async def test_a_stage_request_for_nothing_is_refused(site: HeadSite) -> None:
    with pytest.raises(UsageError, match="no file was named"):
        await site.stage()
    with pytest.raises(NotFound, match="no dataset"):
        await site.stage(dataset="none")


async def test_a_message_that_is_too_large_is_refused_and_the_server_stays(
    site: HeadSite,
) -> None:
    with pytest.raises(TooLarge):
        await site.stage(*(f"/store/{i:03}/" + "x" * 200 for i in range(100_000)))
    assert not (await site.locate(A)).holder[0]


async def test_a_restart_keeps_requests_pins_and_drains(site: HeadSite) -> None:
    async with with_replicas(FakeNode(site.address, "disk1"), b=10) as node:
        await node.join()
        await call(site.files.Pin(pb.PinRequest(lfns=[B], owner="ada", lifetime_s=600.0)))
        await call(site.cluster.Drain(pb.DrainRequest(node="disk1")))
        done = await site.stage(B)
        await site.ended(done.request_id)
        waiting = await site.stage(A, owner="ada", priority=3)
    await site.stop()
    await site.start()
    kept = await site.request(waiting.request_id)
    assert (kept.state, kept.owner, kept.priority) == (pb.REQUEST_STATE_ACTIVE, "ada", 3)
    assert (await site.request(done.request_id)).state == pb.REQUEST_STATE_DONE
    listed = await call(site.files.ListRequests(pb.ListRequestsRequest()))
    assert [one.request_id for one in listed.requests] == [
        waiting.request_id,
        done.request_id,
    ]
    async with with_replicas(FakeNode(site.address, "disk1"), b=10) as node:
        await node.join()
        assert node.pins[B] == ["ada"]
        (status,) = (await call(site.cluster.Status(pb.StatusRequest()))).nodes
        assert status.draining
        await call(site.cluster.Drain(pb.DrainRequest(node="disk1", undo=True)))
        node.finish(await node.next_recall())
        assert (await site.ended(waiting.request_id)).state == pb.REQUEST_STATE_DONE
