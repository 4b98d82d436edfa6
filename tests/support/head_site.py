"""A redirector in the test's own event loop, that can be stopped and started again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from common.config.load import load
from common.grpc_client import answers_from, call, open_channel
from common.service import NamedTasks
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from redirector.service import RedirectorService
from tests.support.fake_node import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from grpc import aio

CONFIG = """
[mss]
stagecmd = "builtin"
names = [{{ prefix = "/store/", archive = "/archive/" }}]

[redirector]
listen = "127.0.0.1:0"
state = "{state}"
heartbeat = "200ms"
suspect_after = "{suspect_after}"
lost_after = "{lost_after}"
backoff = "50ms"
{more}
"""


@dataclass
class HeadSite:
    """One redirector with its state below `folder`; `more` goes into its table, and behind it."""

    folder: Path
    more: str = ""
    suspect_after: str = "2s"
    lost_after: str = "4s"
    address: str = ""
    _channel: aio.Channel | None = None
    _tasks: NamedTasks | None = None
    _service: RedirectorService | None = field(default=None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts it; every start has an address of its own."""
        path = self.folder / "site.toml"
        path.write_text(
            CONFIG.format(
                state=self.folder / "state",
                suspect_after=self.suspect_after,
                lost_after=self.lost_after,
                more=self.more,
            )
        )
        self._tasks = NamedTasks()
        self._service = RedirectorService(load(path, env={}).site, version="test")
        await self._service.start(self._tasks)
        self.address = self._service.address
        self._channel = open_channel(self.address)

    async def stop(self) -> None:
        """Stops it as a signal would."""
        if self._service is None or self._tasks is None or self._channel is None:
            return
        await self._channel.close()
        await self._service.stop(5.0)
        await self._tasks.cancel()
        self._service = None

    @property
    def root_address(self) -> str:
        """HOST:PORT of its root:// door, if it has one."""
        assert self._service is not None
        return self._service.root_address

    @property
    def files(self) -> pb_grpc.FilesAsyncStub:
        """Its Files door."""
        assert self._channel is not None
        return pb_grpc.FilesStub(self._channel)

    @property
    def datasets(self) -> pb_grpc.DatasetsAsyncStub:
        """Its Datasets door."""
        assert self._channel is not None
        return pb_grpc.DatasetsStub(self._channel)

    @property
    def cluster(self) -> pb_grpc.ClusterAsyncStub:
        """Its Cluster door."""
        assert self._channel is not None
        return pb_grpc.ClusterStub(self._channel)

    async def locate(self, *lfns: str) -> pb.LocateReply:
        """Where files are."""
        return await call(self.files.Locate(pb.LocateRequest(lfns=lfns)))

    async def stage(self, *lfns: str, owner: str = "test", **more: object) -> pb.StageReply:
        """Asks for files."""
        request = pb.StageRequest(lfns=lfns, owner=owner, **more)  # type: ignore[arg-type]
        return await call(self.files.Stage(request))

    async def request(self, request_id: str, *, with_files: bool = False) -> pb.RequestInfo:
        """One stage request."""
        asked = pb.ListRequestsRequest(request_id=request_id, with_files=with_files)
        return (await call(self.files.ListRequests(asked))).requests[0]

    async def ended(self, request_id: str) -> pb.RequestInfo:
        """Waits for the end of a stage request, as a client does: by watching it."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.events(pb.WatchRequest(request_id=request_id))
            return await self.request(request_id, with_files=True)

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.FileEvent | None]:
        """What is told to a watcher, event by event; None is where the snapshot is complete."""
        with answers_from():
            async for reply in self.files.Watch(request):
                for event in reply.events:
                    yield event
                if reply.snapshot_complete:
                    yield None

    async def events(
        self,
        request: pb.WatchRequest,
        enough: Callable[[pb.FileEvent | None], bool] = lambda _: False,
    ) -> list[pb.FileEvent | None]:
        """What is told to a watcher, until it is enough or the end."""
        seen: list[pb.FileEvent | None] = []
        async with asyncio.timeout(TIMEOUT_S), aclosing(self.watch(request)) as events:  # type: ignore[type-var]
            async for event in events:
                seen.append(event)
                if enough(event):
                    break
        return seen

    async def until_online(self, lfn: str, copies: int = 1) -> None:
        """Waits until a file is online, on so many nodes."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                found = await self.locate(lfn)
                if found.holder[0] and len(found.more) + 1 >= copies:
                    return
                await asyncio.sleep(0.005)

    async def until(self, so: Callable[[pb.StatusReply], bool]) -> None:
        """Waits until the site's status is so."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                if so(await call(self.cluster.Status(pb.StatusRequest()))):
                    return
                await asyncio.sleep(0.005)

    async def requests(self) -> pb.ListRequestsReply:
        """All stage requests."""
        return await call(self.files.ListRequests(pb.ListRequestsRequest()))

    async def register(
        self,
        name: str,
        files: Sequence[pb.DatasetFile],
        mode: pb.RegisterHeader.Mode.ValueType = pb.RegisterHeader.MODE_NEW,
        **labels: str,
    ) -> pb.RegisterReply:
        """Registers a dataset."""
        header = pb.RegisterHeader(name=name, mode=mode, files=len(files), **labels)
        parts = [pb.RegisterRequest(header=header)]
        for start in range(0, len(files), 5000):
            piece = pb.RegisterFiles(files=files[start : start + 5000])
            parts.append(pb.RegisterRequest(files=piece))
        return await call(self.datasets.Register(iter(parts)))

    async def verify(self, name: str, **wishes: object) -> list[pb.VerifyReply]:
        """Verifies a dataset; the last reply has the result."""
        request = pb.VerifyRequest(name=name, **wishes)  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            with answers_from():
                return [reply async for reply in self.datasets.Verify(request)]

    async def show(self, name: str) -> list[pb.DatasetFile]:
        """The files of a dataset."""
        request = pb.ShowDatasetRequest(name=name, with_files=True)
        with answers_from():
            return [file async for reply in self.datasets.Show(request) for file in reply.files]


def files_of(names: Iterable[str]) -> list[pb.DatasetFile]:
    """Dataset files of which only the names are known."""
    return [pb.DatasetFile(lfn=name) for name in names]
