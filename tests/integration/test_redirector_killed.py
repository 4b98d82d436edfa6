"""kill -9 of a redirector: what it accepted is there when it comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common.grpc_client import call, open_channel
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from protos.packhorse.v1 import types_pb2
from tests.support.cluster import Cluster
from tests.support.fake_node import FakeNode

if TYPE_CHECKING:
    from pathlib import Path

FILES = [f"/store/{number}.root" for number in range(50)]


async def test_what_was_accepted_survives_and_is_recalled_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, nodes=[], redirector={"lost_after": "10s"})
    address = cluster.redirector_address
    await asyncio.to_thread(cluster.start, "redirector")
    try:
        async with open_channel(address) as channel:
            files = pb_grpc.FilesStub(channel)
            async with FakeNode(address, "disk1", recall_slots=1) as node:
                await node.join()
                accepted = await asyncio.gather(
                    *(call(files.Stage(pb.StageRequest(lfns=[lfn, FILES[0]]))) for lfn in FILES)
                )
                await call(files.Pin(pb.PinRequest(lfns=FILES[:1], owner="ada", lifetime_s=900.0)))
                started = [await node.next_recall(), await node.next_recall()]
                await asyncio.to_thread(cluster.kill, "redirector")
        running = [
            pb.RunningRecall(recall_id=recall.recall_id, lfn=recall.lfn) for recall in started
        ]
        await asyncio.to_thread(cluster.start, "redirector")
        back = FakeNode(address, "disk1", running=running, archive=dict.fromkeys(FILES, 1))
        back.boot_epoch = node.boot_epoch
        async with back, open_channel(address) as channel:
            await back.join()
            files = pb_grpc.FilesStub(channel)
            for recall in started:
                back.finish(recall)
            async with asyncio.timeout(30):
                for reply in accepted:
                    request = pb.WatchRequest(request_id=reply.request_id)
                    async for _ in files.Watch(request):
                        pass
            listed = await call(files.ListRequests(pb.ListRequestsRequest()))
            assert {one.request_id for one in listed.requests} == {
                reply.request_id for reply in accepted
            }
            assert {one.state for one in listed.requests} == {pb.REQUEST_STATE_DONE}
            explained = await call(files.Explain(pb.ExplainRequest(lfn=FILES[0])))
            assert explained.state == types_pb2.FILE_STATE_ONLINE
            assert [pin.owner for pin in explained.pins] == ["ada"]
        recalled = [recall.lfn for recall in (*started, *back.recalls)]
        assert sorted(recalled) == sorted(FILES)
    finally:
        await asyncio.to_thread(cluster.stop)
