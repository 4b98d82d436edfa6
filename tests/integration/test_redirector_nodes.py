"""The Cluster door: data servers join, misbehave, go and come back; the redirector stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from common.errors import (
    AlreadyExists,
    ConfigError,
    NameRefused,
    NotFound,
    PackhorseError,
    Refused,
    StaleEpoch,
    TooLarge,
    Unreachable,
    UsageError,
)
from common.grpc_client import answers_from, call
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from protos.packhorse.v1 import types_pb2
from tests.support.fake_node import TIMEOUT_S, FakeNode, joined
from tests.support.head_site import HeadSite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B = "/store/a.root", "/store/b.root"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[HeadSite]:
    async with HeadSite(tmp_path) as site:
        yield site


async def status(site: HeadSite) -> pb.StatusReply:
    return await call(site.cluster.Status(pb.StatusRequest()))


async def announce(site: HeadSite, address: str) -> pb.AnnouncePacketizerReply:
    request = pb.AnnouncePacketizerRequest(address=address)
    return await call(site.cluster.AnnouncePacketizer(request))


async def is_well(site: HeadSite) -> bool:
    """Whether a fresh node can join and stage a file."""
    async with FakeNode(site.address, "fresh", archive={"/store/probe": 1}) as node:
        await node.join()
        reply = await site.stage("/store/probe")
        return (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE


async def test_a_node_that_joined_is_seen_with_its_load(site: HeadSite) -> None:
    node = FakeNode(site.address, "disk1", quota_bytes=1000)
    node.replicas[A] = types_pb2.FileInfo(lfn=A, size_bytes=300)
    async with joined(node):
        node.say(pb.NodeMessage(heartbeat=pb.Heartbeat(used_bytes=300, number=1)))
        await node.until(lambda: "heartbeat_seen" in node.orders)
        seen = await status(site)
    (one,) = seen.nodes
    assert (one.address.node, one.address.host) == ("disk1", "host of disk1")
    assert one.state == pb.NODE_STATE_UP
    assert (one.load.used_bytes, one.load.quota_bytes) == (300, 1000)
    assert (seen.replicas, seen.quota_bytes, seen.largest_file_bytes) == (1, 1000, 1000)
    assert (seen.version, one.version) == ("test", "test")


async def test_one_node_at_a_time_writes_under_a_name(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as one, FakeNode(site.address, "disk2") as other:
        await one.join()
        await other.join()

        async def claim(node: FakeNode) -> None:
            request = pb.ClaimNameRequest(
                node=node.name, boot_epoch=node.boot_epoch, lfn=A, claim_id="u1"
            )
            await call(site.cluster.ClaimName(request))

        await claim(one)
        with pytest.raises(Refused, match=f"{A} is being written on disk1"):
            await claim(other)
        explained = await call(site.files.Explain(pb.ExplainRequest(lfn=A)))
        assert explained.next == "is being written on disk1"
        one.publish(A, 7)
        one.say(pb.NodeMessage(claim_ended=pb.ClaimEnded(lfn=A, claim_id="u1")))
        one.publish(B, 7)
        await site.until_online(B)
        with pytest.raises(AlreadyExists, match=f"{A} is online on disk1"):
            await claim(other)


async def test_a_claim_without_a_name_is_refused(site: HeadSite) -> None:
    for field in ("node", "boot_epoch", "lfn", "claim_id"):
        request = pb.ClaimNameRequest(node="disk1", boot_epoch="boot", lfn=A, claim_id="u1")
        request.ClearField(field)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=f"ClaimName: {field} is missing"):
            await call(site.cluster.ClaimName(request))
    request = pb.ClaimNameRequest(node="disk1", boot_epoch="boot", lfn="/a/../b", claim_id="u1")
    with pytest.raises(NameRefused):
        await call(site.cluster.ClaimName(request))


async def test_a_lost_node_is_seen_as_such_and_its_file_is_staged_elsewhere(
    tmp_path: Path,
) -> None:
    async with HeadSite(tmp_path, suspect_after="500ms", lost_after="1s") as site:
        async with FakeNode(site.address, "disk1") as first:
            await first.join()
            reply = await site.stage(A)
            recall = await first.next_recall()
        async with FakeNode(site.address, "disk2") as second:
            await second.join()
            again = await second.next_recall()
            assert (again.lfn, again.recall_id != recall.recall_id) == (A, True)
            second.finish(again)
            assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE
        states = {one.address.node: one.state for one in (await status(site)).nodes}
    assert states["disk1"] == pb.NODE_STATE_DROPPED


async def test_a_node_that_comes_back_keeps_its_recall(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as first:
        await first.join()
        reply = await site.stage(A)
        recall = await first.next_recall()
    running = pb.RunningRecall(recall_id=recall.recall_id, lfn=A, reserved_bytes=1)
    back = FakeNode(site.address, "disk1", running=[running])
    back.boot_epoch = first.boot_epoch
    async with back:
        await back.join()
        back.finish(recall)
        assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE
        assert not back.recalls


async def test_a_recall_that_ran_through_a_restart_is_not_started_again(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        reply = await site.stage(A)
        recall = await node.next_recall()
        await site.stop()
    await site.start()
    running = pb.RunningRecall(recall_id=recall.recall_id, lfn=A, reserved_bytes=1)
    back = FakeNode(site.address, "disk1", running=[running])
    back.boot_epoch = node.boot_epoch
    async with back:
        await back.join()
        back.finish(recall)
        assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE
        assert not back.recalls


async def test_a_second_node_of_the_same_name_is_refused(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        async with FakeNode(site.address, "disk1", pool_id="another") as twin:
            error = await twin.refused()
        assert isinstance(error, Refused)
        assert "disk1" in str(error)
        async with FakeNode(site.address, "disk2", pool_id=node.pool_id) as thief:
            error = await thief.refused()
        assert isinstance(error, Refused)
        (one,) = (await status(site)).nodes
        assert one.state == pb.NODE_STATE_UP


async def test_a_newer_stream_of_the_same_node_replaces_the_older(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as old:
        await old.join()
        new = FakeNode(site.address, "disk1")
        new.boot_epoch = old.boot_epoch
        async with new:
            await new.join()
            assert isinstance(await old.refused(), StaleEpoch)
            new.publish(B)
            await site.until_online(B)
        assert (await site.locate(A)).holder[0] == 0


async def test_a_gap_in_the_changes_asks_for_the_inventory_again(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        node.publish_untold(A, 5)
        node.publish(B, 1)
        await site.until_online(A)
        assert node.orders.count("send_inventory") == 2
        assert list((await site.locate(A, B)).size_bytes) == [5, 1]


HELLO_FIELDS = ["address", "boot_epoch", "pool_id", "quota_bytes", "recall_slots"]


@pytest.mark.parametrize("field", HELLO_FIELDS)
async def test_a_hello_without_a_needed_field_is_refused(site: HeadSite, field: str) -> None:
    node = FakeNode(site.address, "disk1")
    hello = node.hello()
    hello.ClearField(field)  # type: ignore[arg-type]
    node.hello = lambda: hello  # type: ignore[method-assign]
    async with node:
        error = await node.refused()
    assert isinstance(error, UsageError)
    assert f"Hello: {field}" in str(error)
    assert not (await status(site)).nodes
    assert await is_well(site)


NONSENSE = {
    "an empty message": pb.NodeMessage(),
    "columns of unequal length": pb.NodeMessage(inventory=pb.Inventory(lfns=["/store/x"])),
    "a name with ..": pb.NodeMessage(
        changes=pb.Changes(changes=[pb.Change(number=1, lfn="/store/../x")])
    ),
    "a load that is no number": pb.NodeMessage(heartbeat=pb.Heartbeat(cpu_percent=float("inf"))),
    "the end of no recall": pb.NodeMessage(recall_ended=pb.RecallEnded(lfn="/store/x")),
    "a second hello": pb.NodeMessage(hello=pb.Hello()),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_ends_its_stream_and_no_other(
    site: HeadSite, message: pb.NodeMessage
) -> None:
    good = FakeNode(site.address, "good")
    good.replicas[A] = types_pb2.FileInfo(lfn=A, size_bytes=5)
    async with joined(good), FakeNode(site.address, "bad") as bad:
        await bad.join()
        bad.say(message)
        assert isinstance(await bad.refused(), PackhorseError)
        assert not good.gone.is_set()
        assert (await site.locate(A)).holder[0]
        assert await is_well(site)


async def test_messages_about_what_the_head_never_heard_of_do_no_harm(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        node.say(pb.NodeMessage(recall_ended=pb.RecallEnded(recall_id="of an older life", lfn=A)))
        node.say(
            pb.NodeMessage(
                recall_progress=pb.RecallProgress(recall_id="of an older life", bytes_done=5)
            )
        )
        node.say(pb.NodeMessage(described=pb.Described(query_id=99, last=True)))
        node.publish(B)
        await site.until_online(B)
        assert not node.gone.is_set()
        assert (await site.locate(A)).holder[0] == 0


async def raw_join(site: HeadSite, *messages: pb.NodeMessage) -> None:
    """Joins over a channel that lets messages of any size out."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(site.address, options=options) as channel:

        async def say() -> AsyncIterator[pb.NodeMessage]:
            for message in messages:
                yield message

        with answers_from():
            async for _ in pb_grpc.ClusterStub(channel).Join(say()):
                pass


async def test_a_stream_without_a_hello_is_refused(site: HeadSite) -> None:
    with pytest.raises(UsageError, match="must be Hello"):
        await raw_join(site, pb.NodeMessage(heartbeat=pb.Heartbeat()))
    with pytest.raises(UsageError, match="ended before Hello"):
        await raw_join(site)
    assert await is_well(site)


async def test_a_message_larger_than_the_limit_ends_its_stream_only(site: HeadSite) -> None:
    huge = pb.NodeMessage(
        inventory=pb.Inventory(lfns=["/store/" + "x" * 250 for _ in range(100_000)])
    )
    hello = pb.NodeMessage(hello=FakeNode(site.address, "disk1").hello())
    with pytest.raises(TooLarge):
        await raw_join(site, hello, huge)
    assert await is_well(site)


async def test_an_address_that_is_none_is_refused(site: HeadSite) -> None:
    hello = FakeNode(site.address, "disk1").hello()
    hello.address.address = "nowhere"
    with pytest.raises(ConfigError, match="HOST:PORT"):
        await raw_join(site, pb.NodeMessage(hello=hello))
    with pytest.raises(ConfigError, match="HOST:PORT"):
        await announce(site, "nowhere")


async def test_packetizers_that_announce_themselves_are_seen(site: HeadSite) -> None:
    reply = await announce(site, "127.0.0.1:1214")
    assert reply.again_in_s > 0
    assert list((await status(site)).packetizers) == ["127.0.0.1:1214"]


async def test_a_drained_node_gets_no_recalls_until_that_is_undone(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        drained = await call(site.cluster.Drain(pb.DrainRequest(node="disk1")))
        assert drained.recalls_left == 0
        reply = await site.stage(A)
        assert (await status(site)).nodes[0].draining
        assert not node.recalls
        await call(site.cluster.Drain(pb.DrainRequest(node="disk1", undo=True)))
        node.finish(await node.next_recall())
        assert (await site.ended(reply.request_id)).state == pb.REQUEST_STATE_DONE
    with pytest.raises(NotFound):
        await call(site.cluster.Drain(pb.DrainRequest(node="disk9")))
    with pytest.raises(UsageError):
        await call(site.cluster.Drain(pb.DrainRequest()))


async def test_purge_plans_come_from_the_nodes(site: HeadSite) -> None:
    one = FakeNode(site.address, "disk1")
    one.replicas[A] = types_pb2.FileInfo(lfn=A, size_bytes=5)
    async with joined(one, FakeNode(site.address, "disk2")):
        plans = await call(site.cluster.PlanPurge(pb.PlanPurgeRequest()))
        assert [(plan.node, plan.problem) for plan in plans.plans] == [("disk1", ""), ("disk2", "")]
        assert plans.plans[0].plan.verdicts[0].lfn == A
    only = await call(site.cluster.PlanPurge(pb.PlanPurgeRequest(node="disk1")))
    assert only.plans[0].problem == "not in touch"
    with pytest.raises(NotFound):
        await call(site.cluster.PlanPurge(pb.PlanPurgeRequest(node="disk9")))


async def test_heartbeats_that_are_numbered_are_confirmed(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        node.say(pb.NodeMessage(heartbeat=pb.Heartbeat(number=17)))
        await node.until(lambda: "heartbeat_seen" in node.orders)


async def test_stopping_ends_every_stream_with_a_reason(site: HeadSite) -> None:
    async with FakeNode(site.address, "disk1") as node:
        await node.join()
        watching = asyncio.create_task(site.events(pb.WatchRequest(lfns=[A])))
        await site.events(pb.WatchRequest(lfns=[A]), lambda event: event is None)
        async with asyncio.timeout(TIMEOUT_S):
            await site.stop()
            error = await node.refused()
        assert isinstance(error, Unreachable)
        with pytest.raises((Unreachable, asyncio.CancelledError)):
            await watching


async def test_two_redirectors_on_one_state_are_refused(site: HeadSite) -> None:
    second = HeadSite(site.folder)
    with pytest.raises(ConfigError, match="in use by another server"):
        await second.start()
    assert await is_well(site)


async def test_what_a_node_has_to_store_is_not_known_while_it_is_away(site: HeadSite) -> None:
    async with joined(FakeNode(site.address, "disk1")):
        pass
    told = await call(site.cluster.ListStores(pb.ListStoresRequest()))
    assert [(one.node, one.problem) for one in told.nodes] == [("disk1", "not in touch")]
    with pytest.raises(NotFound):
        await call(site.cluster.ListStores(pb.ListStoresRequest(node="disk9")))
    done = await call(site.cluster.StoreNow(pb.StoreNowRequest(lfns=[A, "//store//a.root"])))
    assert [(one.lfn, one.reason) for one in done.refused] == [(A, "not online")]
    assert not (await call(site.cluster.StoreNow(pb.StoreNowRequest()))).taken
