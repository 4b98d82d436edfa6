"""The index in a real redirector: what a replica costs, and names located per second.

Ten make-believe data servers join and send their inventories, a million replicas in
all. Then one client asks for 10,000 names a call, three calls under way at a time, in
turn from the redirector and from a bare gRPC server with a dict.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from grpc import aio

from benchmarks.figures import Figure
from dataserver.wire import NAMES_IN_A_PIECE
from protos.packhorse.v1 import redirector_pb2, redirector_pb2_grpc, types_pb2
from tests.support.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMES = 1_000_000
NODES = 10
SIZE_BYTES = 2_345_678_901
NAMES_PER_CALL = 10_000
CALLS_AT_A_TIME = 3
CALLS_PER_ROUND = 60
ROUNDS = 5
OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


def name_of(i: int) -> str:
    """The i-th name, as long as names of a real site are."""
    return f"/store/data/Run2026A/DoubleMuon/NANOAOD/v1/{i // 1000:06}/events_{i:07}.root"


@dataclass(slots=True)
class Server:
    """One of the two servers, and what was measured of it."""

    address: str
    process: psutil.Process
    names_per_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """The median of its rounds, in names per second."""
        return statistics.median(self.names_per_s)

    @property
    def cpu_us_per_name(self) -> float:
        """Its own CPU time for one name."""
        return self.cpu_s / (NAMES_PER_CALL * CALLS_PER_ROUND * ROUNDS) * 1e6


def measure() -> list[Figure]:
    """Runs both servers side by side, measured in turn."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as folder:
        site = Cluster(Path(folder), [])
        bare = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_locate"], stdout=subprocess.PIPE, text=True
        )
        try:
            site.start("redirector")
            assert bare.stdout is not None
            bare_address = bare.stdout.readline().strip()
            ours = Server(site.redirector_address, psutil.Process(site.processes["redirector"].pid))
            peer = Server(bare_address, psutil.Process(bare.pid))
            return asyncio.run(_measure(ours, peer))
        finally:
            bare.kill()
            bare.wait()
            site.stop()


async def _measure(ours: Server, bare: Server) -> list[Figure]:
    empty_bytes = ours.process.memory_info().rss
    begun_s = time.perf_counter()
    async with aio.insecure_channel(ours.address, OPTIONS) as channel, asyncio.TaskGroup() as nodes:
        cluster = redirector_pb2_grpc.ClusterStub(channel)
        names_of_nodes = [range(first, NAMES, NODES) for first in range(NODES)]
        joined = [
            nodes.create_task(_be_node(cluster, number, names))
            for number, names in enumerate(names_of_nodes)
        ]
        while (await cluster.Status(redirector_pb2.StatusRequest())).replicas < NAMES:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        joined_s = time.perf_counter()
        full_bytes = ours.process.memory_info().rss
        async with aio.insecure_channel(bare.address, OPTIONS) as bare_channel:
            for _ in range(ROUNDS):
                for server, peer in ((ours, channel), (bare, bare_channel)):
                    await _round(server, peer)
        for task in joined:
            task.cancel()
    return [
        Figure("names_per_s", "names located a second", ours.rate, "names/s", at_least=300_000),
        Figure("bare_names_per_s", "the same, bare gRPC with a dict", bare.rate, "names/s"),
        Figure("ratio", "ours over bare", ours.rate / bare.rate, ""),
        Figure("cpu_us", "the redirector's CPU for a name", ours.cpu_us_per_name, "µs"),
        Figure("bare_cpu_us", "the bare server's CPU for a name", bare.cpu_us_per_name, "µs"),
        Figure(
            "bytes_per_replica",
            "memory of the redirector for each replica",
            (full_bytes - empty_bytes) / NAMES,
            "bytes",
            at_most=300,
        ),
        Figure(
            "inventory_s",
            f"from nothing to {NODES} nodes' inventories, a million replicas",
            joined_s - begun_s,
            "s",
        ),
    ]


async def _be_node(
    cluster: redirector_pb2_grpc.ClusterAsyncStub, number: int, names: range
) -> None:
    """Joins as a data server that holds `names`, and stays."""
    commands: asyncio.Queue[None] = asyncio.Queue()

    async def messages() -> AsyncIterator[redirector_pb2.NodeMessage]:
        yield redirector_pb2.NodeMessage(
            hello=redirector_pb2.Hello(
                address=types_pb2.NodeAddress(
                    node=f"node{number}", address=f"127.0.0.1:{number + 1}", host=f"host{number}"
                ),
                boot_epoch=f"boot{number}",
                pool_id=f"pool{number}",
                quota_bytes=2 * len(names) * SIZE_BYTES,
                recall_slots=4,
            )
        )
        await commands.get()
        for first in range(0, len(names), NAMES_IN_A_PIECE):
            piece = names[first : first + NAMES_IN_A_PIECE]
            yield redirector_pb2.NodeMessage(
                inventory=redirector_pb2.Inventory(
                    lfns=map(name_of, piece),
                    size_bytes=[SIZE_BYTES] * len(piece),
                    last=first + NAMES_IN_A_PIECE >= len(names),
                )
            )
        while True:
            await asyncio.sleep(1)
            yield redirector_pb2.NodeMessage(
                heartbeat=redirector_pb2.Heartbeat(used_bytes=len(names) * SIZE_BYTES)
            )

    async for command in cluster.Join(messages()):
        if command.HasField("send_inventory"):
            commands.put_nowait(None)


async def _round(server: Server, channel: aio.Channel) -> None:
    """Asks one server for a while; every name asked for is online."""
    files = redirector_pb2_grpc.FilesStub(channel)
    rng = random.Random(1)
    requests = [
        redirector_pb2.LocateRequest(
            lfns=[name_of(rng.randrange(NAMES)) for _ in range(NAMES_PER_CALL)]
        )
        for _ in range(CALLS_AT_A_TIME)
    ]
    calls = iter(range(CALLS_PER_ROUND))

    async def ask(request: redirector_pb2.LocateRequest) -> None:
        for _ in calls:
            reply = await files.Locate(request)
            assert len(reply.holder) == NAMES_PER_CALL
            assert all(reply.holder)

    used_s = sum(server.process.cpu_times()[:2])
    begun_s = time.perf_counter()
    await asyncio.gather(*map(ask, requests))
    server.names_per_s.append(CALLS_PER_ROUND * NAMES_PER_CALL / (time.perf_counter() - begun_s))
    server.cpu_s += sum(server.process.cpu_times()[:2]) - used_s
