"""A data server made of a few lines, for tests of the redirector.

It speaks the real protocol over a real socket, holds its replicas in a dict, and
does only what a test tells it: recalls wait in `started` until the test ends
them, unless `archive` is set; then what is in the archive is staged at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from common.grpc_client import answers_from, open_channel
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from protos.packhorse.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from common.errors import PackhorseError

TIMEOUT_S = 20.0


@dataclass
class FakeNode:
    """One data server. Enter it to join; leave it to go away."""

    redirector: str
    name: str
    quota_bytes: int = 1_000_000_000
    host: str = ""
    root_address: str = ""
    recall_slots: int = 4
    pool_id: str = ""
    heartbeat_s: float = 0.1
    replicas: dict[str, types_pb2.FileInfo] = field(default_factory=dict)
    #: Size by name; None: recalls are the test's business.
    #: Sizes of what is in the archive, by name; names of empty directories end with a slash.
    archive: Mapping[str, int] | None = None
    #: What a staged file turns out to hold.
    content_of: Callable[[str], types_pb2.Content | None] = lambda _: None
    running: list[pb.RunningRecall] = field(default_factory=list)
    #: When every file was modified, here and in the archive.
    mtime_s: float = 1_790_000_000.5
    answers: bool = True
    inventory_piece: int = 10_000

    def __post_init__(self) -> None:
        self.pool_id = self.pool_id or f"pool of {self.name}"
        self.boot_epoch = secrets.token_hex(4)
        self.started: asyncio.Queue[pb.StartRecall] = asyncio.Queue()
        self.cancelled: asyncio.Queue[pb.CancelRecall] = asyncio.Queue()
        self.recalls: list[pb.StartRecall] = []
        self.pins: dict[str, list[str]] = {}
        self.described: list[str] = []
        self.examined: list[str] = []
        self.listed: list[str] = []
        self.used: list[str] = []
        self.done_with: list[str] = []
        #: Checksums of replicas, as in "md5:0f".
        self.sums: dict[str, str] = {}
        #: Why the archive cannot be asked now, if so.
        self.archive_trouble = ""
        self.error: PackhorseError | None = None
        self.in_service = asyncio.Event()
        self.gone = asyncio.Event()
        self.orders: list[str] = []
        self._obeyed = asyncio.Condition()
        self._outgoing: asyncio.Queue[pb.NodeMessage | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._last_number = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._live(), name=f"fake node {self.name}"),
            asyncio.create_task(self._beat(), name=f"heart of {self.name}"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def join(self) -> None:
        """Waits until the redirector has the inventory and has told the pins."""
        await self._either(self.in_service)
        assert self.error is None, self.error

    async def refused(self) -> PackhorseError:
        """Waits until the redirector ends the stream; returns why."""
        await self._either(self.gone)
        assert self.error is not None
        return self.error

    async def leave(self) -> None:
        """Goes away without a word."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def say(self, message: pb.NodeMessage) -> None:
        """Sends any message."""
        self._outgoing.put_nowait(message)

    def publish(
        self,
        lfn: str,
        size_bytes: int = 1,
        recall_id: str = "",
        content: types_pb2.Content | None = None,
    ) -> None:
        """A replica is online from now on."""
        self.replicas[lfn] = types_pb2.FileInfo(lfn=lfn, size_bytes=size_bytes, content=content)
        self._change(pb.Change(lfn=lfn, size_bytes=size_bytes, recall_id=recall_id))

    def publish_untold(self, lfn: str, size_bytes: int) -> None:
        """A replica is online, but the message that says so is lost."""
        self.replicas[lfn] = types_pb2.FileInfo(lfn=lfn, size_bytes=size_bytes)
        self._last_number = next(self._numbers)

    def drop(self, lfn: str, reason: str = "purged") -> None:
        """A replica is gone."""
        info = self.replicas.pop(lfn)
        self._change(pb.Change(lfn=lfn, size_bytes=info.size_bytes, dropped=True, reason=reason))

    def finish(
        self,
        recall: pb.StartRecall,
        size_bytes: int = 1,
        content: types_pb2.Content | None = None,
    ) -> None:
        """A recall has brought its file."""
        self.publish(recall.lfn, size_bytes, recall.recall_id, content)
        self.say(
            pb.NodeMessage(
                recall_ended=pb.RecallEnded(
                    recall_id=recall.recall_id, lfn=recall.lfn, size_bytes=size_bytes
                )
            )
        )

    def fail(
        self, recall: pb.StartRecall, error_class: types_pb2.ErrorClass.ValueType, reason: str
    ) -> None:
        """A recall has failed."""
        failure = types_pb2.Failure(error_class=error_class, reason=reason)
        ended = pb.RecallEnded(recall_id=recall.recall_id, lfn=recall.lfn, failure=failure)
        self.say(pb.NodeMessage(recall_ended=ended))

    async def next_recall(self) -> pb.StartRecall:
        """Waits for a recall to be given to this node."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.started.get()

    async def until(self, so: Callable[[], bool]) -> None:
        """Waits until something is so, looking again after each command."""
        async with asyncio.timeout(TIMEOUT_S), self._obeyed:
            await self._obeyed.wait_for(so)

    async def _note(self, command: pb.NodeCommand) -> None:
        async with self._obeyed:
            self.orders.append(command.WhichOneof("command") or "")
            self._obeyed.notify_all()

    async def _either(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            waits = [asyncio.create_task(one.wait()) for one in (event, self.gone)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _change(self, change: pb.Change) -> None:
        change.number = self._last_number = next(self._numbers)
        self.say(pb.NodeMessage(changes=pb.Changes(changes=[change])))

    async def _beat(self) -> None:
        await self.in_service.wait()
        while True:
            used = sum(info.size_bytes for info in self.replicas.values())
            self.say(
                pb.NodeMessage(
                    heartbeat=pb.Heartbeat(
                        used_bytes=used, files=len(self.replicas), quota_bytes=self.quota_bytes
                    )
                )
            )
            await asyncio.sleep(self.heartbeat_s)

    async def _live(self) -> None:
        try:
            async with open_channel(self.redirector) as channel:
                with answers_from("the redirector"):
                    stream = pb_grpc.ClusterStub(channel).Join(self._messages())
                    async for command in stream:
                        self._obey(command)
                        await self._note(command)
        except Exception as error:  # noqa: BLE001 - tests look at it
            self.error = error  # type: ignore[assignment]
        finally:
            self.gone.set()

    async def _messages(self) -> AsyncIterator[pb.NodeMessage]:
        yield pb.NodeMessage(hello=self.hello())
        while (message := await self._outgoing.get()) is not None:
            yield message

    def hello(self) -> pb.Hello:
        """What it says first."""
        return pb.Hello(
            address=types_pb2.NodeAddress(
                node=self.name,
                address="127.0.0.1:9",
                host=self.host or f"host of {self.name}",
                root_address=self.root_address,
            ),
            boot_epoch=self.boot_epoch,
            pool_id=self.pool_id,
            quota_bytes=self.quota_bytes,
            recall_slots=self.recall_slots,
            running=self.running,
            version="test",
        )

    def _obey(self, command: pb.NodeCommand) -> None:
        match command.WhichOneof("command"):
            case "send_inventory":
                self._send_inventory()
            case "set_pins":
                self._set_pins(command.set_pins)
            case "start_recall":
                self._start(command.start_recall)
            case "cancel_recall":
                self.cancelled.put_nowait(command.cancel_recall)
            case "describe" if self.answers:
                self._describe(command.describe)
            case "examine" if self.answers:
                self._examine(command.examine)
            case "list_archive" if self.answers:
                self._list(command.list_archive)
            case "stat_replicas" if self.answers:
                self._stat(command.stat_replicas)
            case "note_uses":
                self.used += command.note_uses.lfns
            case "done_with":
                self.done_with += command.done_with.lfns
            case "evict" if self.answers:
                self._evict(command.evict)
            case "make_purge_plan" if self.answers:
                self._plan_purge(command.make_purge_plan)

    def _send_inventory(self) -> None:
        infos = list(self.replicas.values())
        for start in range(0, len(infos) or 1, self.inventory_piece):
            piece = infos[start : start + self.inventory_piece]
            inventory = pb.Inventory(
                lfns=[info.lfn for info in piece],
                size_bytes=[info.size_bytes for info in piece],
                last=start + self.inventory_piece >= len(infos),
                change_number=self._last_number,
            )
            self.say(pb.NodeMessage(inventory=inventory))

    def _set_pins(self, order: pb.SetPins) -> None:
        if order.complete:
            self.pins.clear()
        for file in order.files:
            self.pins[file.lfn] = [pin.owner for pin in file.pins]
        if order.complete:
            self.in_service.set()

    def _start(self, recall: pb.StartRecall) -> None:
        self.recalls.append(recall)
        if self.archive is None:
            self.started.put_nowait(recall)
        elif recall.lfn in self.archive:
            self.pins[recall.lfn] = [pin.owner for pin in recall.pins]
            self.finish(recall, self.archive[recall.lfn], self.content_of(recall.lfn))
        else:
            self.fail(recall, types_pb2.ERROR_CLASS_NOT_FOUND, "not in the archive")

    def _describe(self, query: pb.DescribeFiles) -> None:
        self.described += query.lfns
        self.say(
            pb.NodeMessage(
                described=pb.Described(
                    query_id=query.query_id,
                    files=[self.replicas[lfn] for lfn in query.lfns if lfn in self.replicas],
                    not_online=[lfn for lfn in query.lfns if lfn not in self.replicas],
                    last=True,
                )
            )
        )

    def _examine(self, query: pb.ExamineArchive) -> None:
        self.examined += query.lfns
        for start in range(0, len(query.lfns), 10):
            files = [self._in_archive(lfn) for lfn in query.lfns[start : start + 10]]
            last = start + 10 >= len(query.lfns)
            examined = pb.Examined(query_id=query.query_id, files=files, last=last)
            self.say(pb.NodeMessage(examined=examined))

    def _in_archive(self, lfn: str) -> pb.ArchiveFile:
        unknown = pb.ArchiveFile.PRESENCE_UNKNOWN
        if self.archive_trouble:
            return pb.ArchiveFile(lfn=lfn, presence=unknown, reason=self.archive_trouble)
        if self.archive is None:
            return pb.ArchiveFile(lfn=lfn, presence=unknown, is_beyond_asking=True)
        if lfn not in self.archive:
            return pb.ArchiveFile(
                lfn=lfn,
                presence=pb.ArchiveFile.PRESENCE_NOT_THERE,
                is_directory=any(name.startswith(lfn + "/") for name in self.archive),
            )
        return pb.ArchiveFile(
            lfn=lfn,
            presence=pb.ArchiveFile.PRESENCE_THERE,
            size_bytes=self.archive[lfn],
            mtime_unix_s=self.mtime_s,
        )

    def _list(self, query: pb.ListArchive) -> None:
        self.listed.append(query.directory)
        listed = pb.Listed(query_id=query.query_id, last=True)
        listed.presence = pb.ArchiveFile.PRESENCE_UNKNOWN
        if self.archive is not None:
            inside = query.directory.rstrip("/") + "/"
            below = {lfn: lfn[len(inside) :] for lfn in self.archive if lfn.startswith(inside)}
            listed.presence = pb.ArchiveFile.PRESENCE_NOT_THERE
            if below:
                listed.presence = pb.ArchiveFile.PRESENCE_THERE
            for lfn, rest in below.items():
                if rest and "/" not in rest:
                    size_bytes = self.archive[lfn]
                    listed.entries.add(name=rest, size_bytes=size_bytes, mtime_unix_s=self.mtime_s)
            for name in sorted({rest.partition("/")[0] for rest in below.values() if "/" in rest}):
                listed.entries.add(name=name, is_directory=True)
        self.say(pb.NodeMessage(listed=listed))

    def _stat(self, query: pb.StatReplicas) -> None:
        held = [lfn for lfn in query.lfns if lfn in self.replicas]
        stats = pb.ReplicaStats(
            query_id=query.query_id,
            lfns=held,
            mtime_unix_s=[self.mtime_s] * len(held),
            checksums=[self.sums.get(lfn, "") for lfn in held] if query.with_checksums else (),
            last=True,
        )
        self.say(pb.NodeMessage(replica_stats=stats))

    def _evict(self, query: pb.EvictFiles) -> None:
        for lfn in query.lfns:
            self.drop(lfn, "evicted")
        self.say(pb.NodeMessage(evicted=pb.Evicted(query_id=query.query_id, evicted=query.lfns)))

    def _plan_purge(self, query: pb.MakePurgePlan) -> None:
        verdicts = [
            pb.PurgeVerdict(lfn=lfn, goes=True, why="longest unused", size_bytes=info.size_bytes)
            for lfn, info in self.replicas.items()
        ]
        self.say(
            pb.NodeMessage(
                purge_plan=pb.PurgePlan(
                    query_id=query.query_id, verdicts=verdicts[: query.limit], summary="all"
                )
            )
        )


@contextlib.asynccontextmanager
async def joined(*nodes: FakeNode) -> AsyncIterator[None]:
    """Has nodes join one after the other, and leave in the end."""
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node)
            await node.join()
        yield
