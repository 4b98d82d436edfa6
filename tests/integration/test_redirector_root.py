"""The redirector's root:// door over a real socket: files are opened, made and staged."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from common.grpc_client import call
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.fake_node import TIMEOUT_S, FakeNode, joined
from tests.support.head_site import HeadSite
from tests.support.root_client import RootClient, error_of, open_to_read, redirect_of
from tests.support.root_head import DOOR, node_of
from xroot import requests
from xroot.protocol import (
    Code,
    OpenFlag,
    PrepareFlag,
    QueryType,
    Status,
)
from xroot.responses import number_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B, C = (f"/store/{name}.root" for name in "abc")
NEW = OpenFlag.NEW | OpenFlag.UPDATE


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[HeadSite]:
    async with HeadSite(tmp_path, more=DOOR) as site:
        yield site


# --- opening --------------------------------------------------------------------------


async def test_an_open_of_a_file_on_a_disk_is_sent_to_its_holder(site: HeadSite) -> None:
    node = node_of(site, "disk1", 2001)
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(A, 10)
        await site.until_online(A)
        there = await client.sent_to(open_to_read(A))
        assert there.address == "127.0.0.1:2001"
        assert there.cgi == "ph.via=disk1"
        odd = await client.sent_to(open_to_read("/store/./" + "/a.root"))
        assert odd.address == "127.0.0.1:2001"


async def test_an_open_of_a_file_in_the_archive_is_called_back(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={A: 7})
    node.archive = None
    async with joined(node), RootClient(site.root_address, user="ada") as client:
        stream_id = client.send(open_to_read(A))
        promise = await client.next_of(stream_id)
        assert promise.status == Status.WAITRESP
        assert 60 < number_of(promise.body) <= 1800
        recall = await node.next_recall()
        assert recall.lfn == A
        (request,) = (await site.requests()).requests
        assert request.owner == "ada@127.0.0.1"
        node.finish(recall, 7)
        assert redirect_of(await client.next_of(stream_id)).address == node.root_address


async def test_clients_of_one_cold_file_share_one_recall(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with joined(node):
        clients = [RootClient(site.root_address) for _ in range(20)]
        for client in clients:
            await client.__aenter__()
        waiting = [(client, client.send(open_to_read(A))) for client in clients]
        for client, stream_id in waiting:
            assert (await client.next_of(stream_id)).status == Status.WAITRESP
        node.finish(await node.next_recall(), 7)
        for client, stream_id in waiting:
            assert redirect_of(await client.next_of(stream_id)).address == node.root_address
            await client.leave()
        assert len(node.recalls) == 1


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        (types_pb2.ERROR_CLASS_NOT_FOUND, Code.NOT_FOUND),
        (types_pb2.ERROR_CLASS_PERMANENT, Code.FS_ERROR),
    ],
)
async def test_a_failed_recall_is_told_in_the_commands_own_words(
    site: HeadSite, error_class: types_pb2.ErrorClass.ValueType, code: Code
) -> None:
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        stream_id = client.send(open_to_read(A))
        assert (await client.next_of(stream_id)).status == Status.WAITRESP
        node.fail(await node.next_recall(), error_class, "tape T00123 is in the shredder")
        told = error_of(await client.next_of(stream_id))
        assert told == (code, f"{A}: tape T00123 is in the shredder")


async def test_a_client_that_cannot_be_called_back_is_held(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address, takes_async=False) as client:
        stream_id = client.send(open_to_read(A))
        node.finish(await node.next_recall(), 7)
        assert redirect_of(await client.next_of(stream_id)).address == node.root_address


async def test_and_told_to_ask_again_when_that_takes_long(
    site: HeadSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.doors.root.opening.HOLD_S", 0.01)
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address, takes_async=False) as client:
        waits = await client.ask(open_to_read(A))
        assert (waits.status, number_of(waits.body)) == (Status.WAIT, 1)
        recall = await node.next_recall()
        assert (await client.ask(open_to_read(A))).status == Status.WAIT
        node.finish(recall, 7)
        await site.until_online(A)
        assert (await client.sent_to(open_to_read(A))).address == node.root_address
        assert len(node.recalls) == 1


async def test_a_wish_goes_with_its_client_unless_its_recall_runs(site: HeadSite) -> None:
    node = node_of(site, "disk1", recall_slots=1)
    async with joined(node):
        client = RootClient(site.root_address)
        await client.__aenter__()
        # Two are given to a node ahead of time, whatever its slots; the third is queued.
        for lfn in (A, B, C):
            assert (await client.ask(open_to_read(lfn))).status == Status.WAITRESP
        running = [await node.next_recall(), await node.next_recall()]
        await client.leave()
        await site.until(lambda status: status.recalls_queued == 0)
        for recall in running:
            node.finish(recall, 1)
        for recall in running:
            await site.until_online(recall.lfn)
        assert len(node.recalls) == 2
        assert node.cancelled.empty()


async def test_a_client_is_sent_to_its_own_host_first(site: HeadSite) -> None:
    """It comes by loopback, so it is where the redirector is."""
    away, here = node_of(site, "disk1", 2001), node_of(site, "disk2", 2002)
    away.host, here.host = "elsewhere", socket.gethostname()
    async with joined(away, here), RootClient(site.root_address) as client:
        for node in (away, here):
            node.publish(A, 10)
        await site.until_online(A, copies=2)
        found = [(await client.sent_to(open_to_read(A))).address for _ in range(6)]
        assert set(found) == {here.root_address}
        # Unless it came back from there.
        again = await client.sent_to(open_to_read(A, "tried=here&triedrc=ioerr&ph.via=disk2"))
        assert again.address == away.root_address


async def test_a_client_that_comes_back_goes_to_another_holder(site: HeadSite) -> None:
    one, two = node_of(site, "disk1", 2001), node_of(site, "disk2", 2002)
    async with joined(one, two), RootClient(site.root_address) as client:
        for node in (one, two):
            node.publish(A, 10)
        await site.until_online(A, copies=2)
        first = await client.sent_to(open_to_read(A))
        back = f"{first.cgi}&tried=127.0.0.1&triedrc=ioerr"
        second = await client.sent_to(open_to_read(A, back))
        assert {first.address, second.address} == {"127.0.0.1:2001", "127.0.0.1:2002"}
        assert second.cgi == f"{first.cgi},{'disk2' if first.cgi.endswith('1') else 'disk1'}"


async def test_a_replica_that_a_client_missed_is_looked_at_and_recalled(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(A, 10)
        await site.until_online(A)
        stream_id = client.send(open_to_read(A, "ph.via=disk1&tried=127.0.0.1&triedrc=enoent"))
        assert (await client.next_of(stream_id)).status == Status.WAITRESP
        await node.until(lambda: "check_replicas" in node.orders)
        node.drop(A, "vanished")
        node.finish(await node.next_recall(), 10)
        assert redirect_of(await client.next_of(stream_id)).address == node.root_address


async def test_a_replica_that_is_good_after_all_is_sent_to_again(
    site: HeadSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.doors.root.staging.EXPLAIN_S", 0.05)
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(A, 10)
        await site.until_online(A)
        stream_id = client.send(open_to_read(A, "ph.via=disk1&tried=127.0.0.1&triedrc=ioerr"))
        assert (await client.next_of(stream_id)).status == Status.WAITRESP
        assert redirect_of(await client.next_of(stream_id)).address == node.root_address


async def test_a_file_of_a_lost_node_is_waited_for_until_it_is_back(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with RootClient(site.root_address) as client:
        async with joined(node):
            node.publish(A, 10)
            await site.until_online(A)
        await site.until(lambda status: status.nodes[0].state == pb.NODE_STATE_SUSPECT)
        stream_id = client.send(open_to_read(A))
        assert (await client.next_of(stream_id)).status == Status.WAITRESP
        again = node_of(site, "disk1", pool_id=node.pool_id, replicas=node.replicas)
        async with joined(again):
            assert redirect_of(await client.next_of(stream_id)).address == again.root_address


async def test_a_file_where_no_door_is_open_is_refused(site: HeadSite) -> None:
    node = FakeNode(site.address, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(A, 10)
        await site.until_online(A)
        stream_id = client.send(open_to_read(A))
        assert (await client.next_of(stream_id)).status == Status.WAITRESP
        code, text = error_of(await client.next_of(stream_id))
        assert code == Code.NOT_AUTHORIZED
        assert "no root:// door is open" in text


# --- writing --------------------------------------------------------------------------


async def test_a_new_file_goes_where_there_is_room(site: HeadSite) -> None:
    small = node_of(site, "small", 2001, quota_bytes=1000, archive={})
    large = node_of(site, "large", 2002, archive={})
    async with joined(small, large), RootClient(site.root_address) as client:
        asked = requests.Open("/store/user/x", "oss.asize=100000", NEW)
        assert (await client.sent_to(asked)).address == "127.0.0.1:2002"
        code, text = await client.refused(requests.Open("/store/x", "", NEW))
        assert code == Code.NOT_AUTHORIZED
        assert "[root] writable" in text
        huge = requests.Open("/store/user/y", f"oss.asize={10**12}", NEW)
        assert (await client.refused(huge))[0] == Code.NO_SPACE


async def test_the_archive_is_asked_about_a_new_name_once(site: HeadSite) -> None:
    """The node that the client is sent to hears that it need not ask."""
    held, new, renamed = (f"/store/user/{name}" for name in ("held", "new", "renamed"))
    node = node_of(site, "disk1", archive={})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(held, 10)
        await site.until_online(held)

        async def is_free(lfn: str) -> bool:
            request = pb.ClaimNameRequest(
                node=node.name, boot_epoch=node.boot_epoch, lfn=lfn, claim_id="u1"
            )
            return (await call(site.cluster.ClaimName(request))).archive_was_asked

        await client.sent_to(requests.Open(new, "", NEW))
        await client.sent_to(requests.Mv(held, renamed))
        assert await is_free(new)
        assert await is_free(renamed)
        assert not await is_free(new)
        assert not await is_free("/store/user/by-itself")


async def test_what_exists_is_not_made_anew(site: HeadSite) -> None:
    archived, held = "/store/user/archived", "/store/user/held"
    node = node_of(site, "disk1", archive={archived: 5})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(held, 10)
        await site.until_online(held)
        for options in (NEW, NEW | OpenFlag.DELETE):
            refused = await client.refused(requests.Open(held, "", options))
            assert refused[0] == Code.ITEM_EXISTS
        over = requests.Open(held, "", OpenFlag.DELETE)
        assert (await client.sent_to(over)).address == node.root_address
        code, text = await client.refused(requests.Open(archived, "", NEW))
        assert (code, "in the archive" in text) == (Code.NOT_AUTHORIZED, True)
        update = requests.Open("/store/user/none", "", OpenFlag.UPDATE)
        assert (await client.refused(update))[0] == Code.NOT_FOUND


async def test_nothing_is_made_while_the_archive_that_may_have_it_cannot_be_asked(
    site: HeadSite,
) -> None:
    held, new = "/store/user/held", "/store/user/new"
    node = node_of(site, "disk1", archive={})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(held, 10)
        await site.until_online(held)
        node.archive_trouble = "robot on strike"
        for asked in (requests.Open(new, "", NEW), requests.Mv(held, new)):
            code, text = await client.refused(asked)
            assert (code, "robot on strike" in text) == (Code.OVERLOADED, True)
        node.archive_trouble = ""
        assert (await client.sent_to(requests.Open(new, "", NEW))).address == node.root_address


# --- prepare --------------------------------------------------------------------------


async def told_of(client: RootClient, request_id: str, *paths: str) -> list[dict[str, Any]]:
    text = "\n".join((request_id, *paths))
    said = json.loads(await client.said(requests.Query(QueryType.PREPARE, text)))
    assert said["request_id"] == request_id
    responses: list[dict[str, Any]] = said["responses"]
    return responses


async def test_prepare_is_told_of_until_its_end_and_after_a_restart(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive=None)
    async with joined(node):
        async with RootClient(site.root_address) as client:
            asked = requests.Prepare((A, B, A), PrepareFlag.STAGE, priority=2)
            request_id = await client.said(asked)
            (one, two) = await told_of(client, request_id, A, B)
            assert one["requested"]
            assert not one["online"]
            assert one["on_tape"]
            assert two["has_reqid"]
            by_name = {recall.lfn: recall for recall in [await node.next_recall() for _ in "ab"]}
            node.finish(by_name[A], 5)
            node.fail(by_name[B], types_pb2.ERROR_CLASS_NOT_FOUND, "no such tape")
            await site.ended(request_id)
        await site.stop()
    await site.start()
    again = node_of(site, "disk1", pool_id=node.pool_id, replicas=node.replicas)
    async with joined(again), RootClient(site.root_address) as client:
        (one, two) = await told_of(client, request_id, A, B)
        assert (one["online"], one["error_text"], one["requested"]) == (True, "", False)
        assert (two["online"], two["error_text"]) == (False, "no such tape")
        assert await told_of(client, request_id) == [one, two]


async def test_a_request_nobody_made_is_told_to_be_none(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={A: 1})
    async with joined(node), RootClient(site.root_address) as client:
        (one,) = await told_of(client, "req-none", A)
        assert (one["has_reqid"], one["on_tape"]) == (False, True)
        assert one["error_text"]
        cancel = requests.Prepare(("req-none",), PrepareFlag.CANCEL)
        assert (await client.refused(cancel))[0] == Code.NOT_FOUND


async def test_cancel_ends_what_nobody_else_wants(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        mine = await client.said(requests.Prepare((A, B), PrepareFlag.STAGE))
        await site.stage(B)
        recalls = {recall.lfn: recall for recall in [await node.next_recall() for _ in "ab"]}
        await client.said(requests.Prepare((mine,), PrepareFlag.CANCEL))
        async with asyncio.timeout(TIMEOUT_S):
            cancelled = await node.cancelled.get()
        assert cancelled.recall_id == recalls[A].recall_id
        assert node.cancelled.empty()
        node.archive = {A: 1}
        (one,) = await told_of(client, mine, A)
        assert (one["on_tape"], one["error_text"]) == (True, "cancelled")


async def test_evict_frees_the_disk(site: HeadSite) -> None:
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(A, 10)
        await site.until_online(A)
        await client.said(requests.Prepare((A, C), option_x=PrepareFlag.EVICT))
        await node.until(lambda: "evict" in node.orders)
