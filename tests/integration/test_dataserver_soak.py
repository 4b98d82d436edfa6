"""Everything at once: staging, cancelling, reading, evicting, pinning, losing the redirector.

One seed is one story. Whatever it is, at its end the disk, the books, the catalogue and
what the redirector was told agree, and the quota was never passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from typing import TYPE_CHECKING

import grpc
import pytest

from common.grpc_client import open_channel
from protos.packhorse.v1 import dataserver_pb2 as ds
from protos.packhorse.v1 import dataserver_pb2_grpc as ds_grpc
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite
from tests.support.fake_redirector import FakeRedirector
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService

FILES = 60
QUOTA_BYTES = 600_000
STEPS = 350


class Story:
    """A data server and a rough life, all of it out of one random generator."""

    def __init__(self, site: DataSite, redirector: FakeRedirector, seed: int) -> None:
        self.site = site
        self.redirector = redirector
        self.rng = random.Random(seed)
        self.sizes: dict[str, int] = {}
        self.readers: set[asyncio.Task[None]] = set()
        self.recalls = 0
        for number in range(FILES):
            lfn = f"/store/d{number % 5}/f{number}"
            self.sizes[lfn] = self.rng.randrange(60_000)
            site.write(lfn, bytes([number]) * self.sizes[lfn])

    def name(self) -> str:
        return self.rng.choice(list(self.sizes))

    def order(self) -> None:
        lfn = self.name()
        self.recalls += 1
        size_bytes = self.sizes[lfn] if self.rng.random() < 0.7 else 0
        self.redirector.start(
            "disk1", lfn, f"r{self.recalls}", size_bytes=size_bytes, reserve_bytes=60_000
        )

    def cancel(self) -> None:
        self.redirector.cancel("disk1", f"r{self.rng.randrange(self.recalls + 1)}")

    def evict(self) -> None:
        lfns = [self.name() for _ in range(3)]
        self.redirector.send("disk1", pb.NodeCommand(evict=pb.EvictFiles(query_id=1, lfns=lfns)))

    def pin(self) -> None:
        self.redirector.pin("disk1", self.name(), self.rng.random())

    def damage(self) -> None:
        path = self.site.replica(self.name())
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def read(self, stub: ds_grpc.DataServerAsyncStub, lfn: str) -> None:
        reader = asyncio.create_task(self.read_all(stub, lfn))
        self.readers.add(reader)
        reader.add_done_callback(self.readers.discard)

    async def read_all(self, stub: ds_grpc.DataServerAsyncStub, lfn: str) -> None:
        try:
            call = stub.Read(ds.ReadRequest(lfn=lfn))
            content = b"".join([reply.data async for reply in call])
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND, error  # noqa: PT017
        else:
            assert content == (self.site.archive / lfn.lstrip("/")).read_bytes()

    async def miss_what_was_damaged(self, service: DataServerService) -> None:
        """Reads everything that is held, so that what was lost behind our back is noticed."""
        async with open_channel(service.address) as channel:
            stub: ds_grpc.DataServerAsyncStub = ds_grpc.DataServerStub(channel)
            for lfn in [one.lfn for one in service.node.pool.held()]:
                await self.read_all(stub, lfn)

    async def lose_the_redirector(self) -> None:
        await self.redirector.go_away()
        await asyncio.sleep(self.rng.random() * 0.1)
        await self.redirector.come_back()
        await self.redirector.joined("disk1")

    async def live(self, service: DataServerService) -> None:
        async with open_channel(service.address) as channel:
            stub: ds_grpc.DataServerAsyncStub = ds_grpc.DataServerStub(channel)
            doings = [self.order] * 10 + [self.cancel] * 3 + [self.evict, self.pin, self.damage]
            for step in range(1, STEPS + 1):
                self.rng.choice(doings)()
                self.read(stub, self.name())
                if step % 120 == 0:
                    await self.lose_the_redirector()
                await asyncio.sleep(self.rng.random() * 0.008)
                service.node.check()
                assert service.node.pool.peak_bytes <= QUOTA_BYTES
            await asyncio.gather(*self.readers)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_rough_life_leaves_everything_in_order(tmp_path: Path, seed: int) -> None:
    async with FakeRedirector(heartbeat_s=0.05, takes_batches=seed % 2 == 0) as redirector:
        site = DataSite(tmp_path, redirector, node={"quota": str(QUOTA_BYTES), "slots": 4})
        story = Story(site, redirector, seed)
        async with site.running() as service:
            await story.live(service)
            node = service.node
            await becomes_true(lambda: node.staging.is_empty and not node.pool.leaving_files)
            await story.miss_what_was_damaged(service)
            await becomes_true(lambda: not node.pool.leaving_files)
            held = {one.lfn: one.size_bytes for one in node.pool.held()}
            assert held
            await redirector.until(lambda: redirector.nodes["disk1"].replicas == held)
            assert node.pool.reserved_bytes == 0
            assert site.incoming() == []
        on_disk = {
            f"/{path.relative_to(site.pool)}": path.stat().st_size
            for path in (site.pool / "store").rglob("*")
            if path.is_file()
        }
        assert on_disk == held
        with sqlite3.connect(site.pool / ".packhorse" / "catalogue.sqlite") as catalogue:
            rows = dict(catalogue.execute("SELECT lfn, size_bytes FROM replica"))
        catalogue.close()
        assert rows == held
