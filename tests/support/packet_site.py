"""A packetizer with a real redirector and data servers made of a few lines.

The packetizer runs in the test's own event loop, or as a process of its own that can
be killed. Its address stays the same over restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from common.config.load import load
from common.grpc_client import answers_from, call, open_channel
from common.service import NamedTasks
from packetizer.service import PacketizerService
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import packetizer_pb2_grpc as pb_grpc
from protos.packhorse.v1 import redirector_pb2, types_pb2
from redirector.service import RedirectorService
from tests.support.cluster import free_port
from tests.support.fake_node import FakeNode
from tests.support.head_site import CONFIG as HEAD_CONFIG
from tests.support.head_site import HeadSite
from tests.support.scripted_worker import ScriptedWorker, counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from grpc import aio

TIMEOUT_S = 60.0
TREE = "events"
SIZE_BYTES = 1_000
CONFIG = """
[packetizer]
listen = "{address}"
state = "{state}"
redirector = "{redirector}"
commit = "100ms"
locality_wait = "200ms"
{more}
"""


def lfn(number: int) -> str:
    """The name of a file."""
    return f"/store/f{number}.root"


def content(entries: int, clusters: int = 10, tree: str = TREE) -> types_pb2.Content:
    """What an inspection finds in a file."""
    ends = sorted({entries * (k + 1) // clusters for k in range(clusters)} - {0})
    return types_pb2.Content(
        format=types_pb2.Content.FORMAT_ROOT,
        tables=[types_pb2.Table(name=tree, entries=entries, cluster_ends=ends)],
    )


@dataclass
class PacketSite:
    """Everything below `folder`; `more` goes into the packetizer's table."""

    folder: Path
    more: str = ""
    nodes: int = 2
    quota_bytes: int = 1_000_000
    entries: dict[str, int] = field(default_factory=dict)
    head_more: str = ""

    async def __aenter__(self) -> Self:
        (self.folder / "head").mkdir()
        self.head = _FixedHead(self.folder / "head", self.head_more)
        self.address = f"127.0.0.1:{free_port()}"
        self.node: dict[str, FakeNode] = {}
        self._stack = contextlib.AsyncExitStack()
        self._service: PacketizerService | None = None
        self._tasks: NamedTasks | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._channel: aio.Channel | None = None
        await self._stack.enter_async_context(self.head)
        for number in range(1, self.nodes + 1):
            await self.add_node(f"n{number}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.kill()
        await self._stack.aclose()

    async def restart_head(self) -> None:
        """The redirector is stopped and started, and the data servers join it again."""
        held = {name: node.replicas for name, node in self.node.items()}
        for node in self.node.values():
            await node.leave()
        await self.head.stop()
        await self.head.start()
        for name, replicas in held.items():
            await self.add_node(name, replicas)

    async def add_node(
        self, name: str, replicas: dict[str, types_pb2.FileInfo] | None = None
    ) -> FakeNode:
        """A data server joins. Without further ado it stages whatever is in the archive."""
        node = FakeNode(
            self.head.address,
            name,
            quota_bytes=self.quota_bytes,
            replicas=replicas or {},
            archive=_Sizes(self.entries),
            content_of=lambda name: content(self.entries[name]),
        )
        self.node[name] = await self._stack.enter_async_context(node)
        await node.join()
        return node

    # --- data ----------------------------------------------------------------------------

    async def dataset(self, name: str, files: int, entries: int = 100, tree: str = TREE) -> None:
        """Registers files that are in the archive."""
        names = [lfn(number) for number in range(files)]
        self.entries.update(dict.fromkeys(names, entries))
        listed = [redirector_pb2.DatasetFile(lfn=one, size_bytes=SIZE_BYTES) for one in names]
        await self.head.register(name, listed, tree=tree)

    def put(self, number: int, node: str = "n1", inside: types_pb2.Content | None = None) -> None:
        """A file is online."""
        name = lfn(number)
        self.node[node].publish(
            name, SIZE_BYTES, content=inside or content(self.entries.get(name, 100))
        )

    async def pins_of(self, name: str) -> list[str]:
        """Who pins a file."""
        request = redirector_pb2.ExplainRequest(lfn=name)
        return [pin.owner for pin in (await call(self.head.files.Explain(request))).pins]

    # --- the packetizer ------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """Its configuration file."""
        path = self.folder / "packetizer.toml"
        path.write_text(
            CONFIG.format(
                address=self.address,
                state=self.folder / "packetizer",
                redirector=self.head.address,
                more=self.more,
            )
        )
        return path

    async def start(self) -> PacketizerService:
        """Starts it in this event loop."""
        self._tasks = NamedTasks()
        self._service = PacketizerService(load(self.config, env={}).site)
        await self._service.start(self._tasks)
        return self._service

    async def stop(self) -> None:
        """Stops it as a signal would."""
        await self._close_channel()
        if self._service is not None and self._tasks is not None:
            await self._service.stop(5.0)
            await self._tasks.cancel()
            self._service = None

    async def spawn(self) -> None:
        """Starts it as a process of its own."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "packhorse",
            "packetizer",
            "--config",
            str(self.config),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PACKHORSE_LOG": "WARNING"},
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            assert await self._process.stdout.readline(), "it did not come up"

    async def kill(self) -> None:
        """kill -9."""
        await self._close_channel()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def _close_channel(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    # --- clients -------------------------------------------------------------------------

    @property
    def stub(self) -> pb_grpc.PacketizerAsyncStub:
        """Its door."""
        if self._channel is None:
            self._channel = open_channel(self.address)
        return pb_grpc.PacketizerStub(self._channel)

    async def open(self, dataset: str = "d", **wishes: object) -> str:
        """Opens a session."""
        wishes.setdefault("function", b"whatever it is")
        request = pb.OpenSessionRequest(dataset=dataset, **wishes)  # type: ignore[arg-type]
        return (await call(self.stub.OpenSession(request))).session_id

    async def statuses(self, session_id: str) -> AsyncIterator[pb.SessionStatus]:
        """What a watcher hears."""
        with answers_from():
            request = pb.WatchSessionRequest(session_id=session_id)
            async for status in self.stub.WatchSession(request):
                yield status

    async def status(self, session_id: str) -> pb.SessionStatus:
        """How a session stands now."""
        async for status in self.statuses(session_id):
            return status
        raise AssertionError("a watcher always hears something")

    async def until(
        self, session_id: str, so: Callable[[pb.SessionStatus], bool]
    ) -> pb.SessionStatus:
        """Waits until a session stands so."""
        async with asyncio.timeout(TIMEOUT_S):
            async for status in self.statuses(session_id):
                if so(status):
                    return status
        raise AssertionError(f"it ended otherwise:\n{status}")

    async def ended(self, session_id: str) -> pb.SessionStatus:
        """Waits for the end of a session."""
        return await self.until(session_id, is_over)

    async def results(self, session_id: str) -> list[bytes]:
        """The results that stand."""
        request = pb.GetResultsRequest(session_id=session_id)
        with answers_from():
            return [part.result async for part in self.stub.GetResults(request)]

    async def records(self, session_id: str) -> list[pb.PacketRecord]:
        """How every packet went."""
        request = pb.GetRecordsRequest(session_id=session_id)
        with answers_from():
            return [
                record async for reply in self.stub.GetRecords(request) for record in reply.records
            ]

    def worker(self, name: str = "w1", host: str = "host of n1", **hello: object) -> ScriptedWorker:
        """A worker, not connected yet."""
        return ScriptedWorker(self.address, name, host, **hello)

    async def counts_every_entry_once(self, session_id: str, files: int) -> None:
        """Asserts that results and missing ranges hold every entry of the dataset once."""
        status = await self.status(session_id)
        every = counted(await self.results(session_id))
        every += Counter((m.lfn, e) for m in status.missing for e in range(m.start, m.stop))
        names = [lfn(number) for number in range(files)]
        expected = Counter((name, e) for name in names for e in range(self.entries[name]))
        assert every == expected


def is_over(status: pb.SessionStatus) -> bool:
    """Whether a session has ended."""
    return status.state in {
        pb.SESSION_STATE_DONE,
        pb.SESSION_STATE_FAILED,
        pb.SESSION_STATE_CANCELLED,
    }


async def poll(so: Callable[[], Awaitable[bool]], *, until: bool = True) -> None:
    """Asks until the answer is as wished: for what nobody tells of."""
    async with asyncio.timeout(TIMEOUT_S):
        while await so() is not until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class _FixedHead(HeadSite):
    """A redirector whose address stays the same over restarts, as a site's does."""

    async def start(self) -> None:
        """Starts it."""
        self.port = getattr(self, "port", 0) or free_port()
        path = self.folder / "site.toml"
        text = HEAD_CONFIG.format(
            state=self.folder / "state",
            suspect_after=self.suspect_after,
            lost_after=self.lost_after,
            more=self.more,
        )
        path.write_text(text.replace('"127.0.0.1:0"', f'"127.0.0.1:{self.port}"'))
        self._tasks = NamedTasks()
        self._service = RedirectorService(load(path, env={}).site, version="test")
        await self._service.start(self._tasks)
        self.address = self._service.address
        self._channel = open_channel(self.address)


class _Sizes(dict[str, int]):
    """The size of every file there is, however late it came to be."""

    def __init__(self, entries: Mapping[str, int]) -> None:
        super().__init__()
        self._entries = entries

    def get(self, name: str, default: int | None = None) -> int | None:  # type: ignore[override]
        return SIZE_BYTES if name in self._entries else default

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> int:
        return SIZE_BYTES
