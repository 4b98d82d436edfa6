"""Small stand-ins for the three servers, over real gRPC, for tests of clients and workers.

They keep everything in memory and do only what clients see: a redirector that knows
datasets and where files are, a data server that serves a directory, a packetizer that
deals out packets of fixed size and counts what is committed. Tests reach into them to
refuse, to break connections, to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from common.errors import AlreadyExists, NotFound
from common.grpc_server import make_server
from protos.packhorse.v1 import dataserver_pb2, redirector_pb2, types_pb2
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1.dataserver_pb2_grpc import (
    DataServerServicer,
    add_DataServerServicer_to_server,
)
from protos.packhorse.v1.packetizer_pb2_grpc import (
    PacketizerServicer,
    add_PacketizerServicer_to_server,
)
from protos.packhorse.v1.redirector_pb2_grpc import (
    ClusterServicer,
    DatasetsServicer,
    FilesServicer,
    add_ClusterServicer_to_server,
    add_DatasetsServicer_to_server,
    add_FilesServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from grpc import aio

CHUNK_BYTES = 1 << 20
ATTEMPTS = 3


class FakeDataServer(DataServerServicer):
    """Serves the files below a directory; `host` is its label."""

    def __init__(self, folder: Path, name: str, host: str) -> None:
        self.folder = folder
        self.name = name
        self.host = host
        self.address = ""
        self.open_now = 0
        self.opened: list[str] = []
        self.bytes_served = 0
        #: LFNs whose bytes it cannot give, and LFNs of which it gives wrong bytes.
        self.refused: set[str] = set()
        self.garbled: set[str] = set()

    def node(self) -> types_pb2.NodeAddress:
        return types_pb2.NodeAddress(node=self.name, address=self.address, host=self.host)

    def path(self, lfn: str) -> Path:
        return self.folder / lfn.lstrip("/")

    async def Open(  # noqa: N802
        self, request: dataserver_pb2.OpenRequest, context: Any
    ) -> AsyncIterator[dataserver_pb2.OpenReply]:
        path = self.path(request.lfn)
        if not path.is_file() or request.lfn in self.refused:
            raise NotFound(f"{self.name} does not hold {request.lfn}")
        content = path.read_bytes()
        info = types_pb2.FileInfo(lfn=request.lfn, size_bytes=len(content))
        info.checksum.algorithm = "adler32"
        info.checksum.value = f"{zlib.adler32(content):08x}"
        self.opened.append(request.lfn)
        self.open_now += 1
        try:
            local = str(path) if request.host == self.host else ""
            yield dataserver_pb2.OpenReply(info=info, local_path=local)
            await asyncio.Event().wait()
        finally:
            self.open_now -= 1

    async def Read(  # noqa: N802
        self, request: dataserver_pb2.ReadRequest, context: Any
    ) -> AsyncIterator[dataserver_pb2.ReadReply]:
        content = self.path(request.lfn).read_bytes()
        if request.lfn in self.garbled:
            content = bytes(len(content))
        stop = request.offset + request.length if request.length else len(content)
        for start in range(request.offset, min(stop, len(content)), CHUNK_BYTES):
            piece = content[start : min(start + CHUNK_BYTES, stop)]
            self.bytes_served += len(piece)
            yield dataserver_pb2.ReadReply(data=piece)


@dataclass
class FakeSession:
    """What a session is made of: files with their entries, and what came of them."""

    session_id: str
    request: pb.OpenSessionRequest
    waiting: deque[tuple[str, int, int, int]]  # lfn, start, stop, attempt
    entries_total: int
    state: pb.SessionState.ValueType = pb.SESSION_STATE_RUNNING
    reason: str = ""
    results: dict[tuple[str, int], bytes] = field(default_factory=dict)
    records: list[pb.PacketRecord] = field(default_factory=list)
    missing: list[pb.MissingRange] = field(default_factory=list)
    failures: list[pb.PacketFailure] = field(default_factory=list)
    leased: int = 0

    @property
    def ended(self) -> bool:
        return self.state not in {pb.SESSION_STATE_OPENING, pb.SESSION_STATE_RUNNING}

    def status(self, workers: int) -> pb.SessionStatus:
        done = sum(record.stop - record.start for record in self.records)
        return pb.SessionStatus(
            session_id=self.session_id,
            dataset=self.request.dataset,
            function_name=self.request.function_name,
            state=self.state,
            reason=self.reason,
            entries_total=self.entries_total,
            entries_done=done,
            entries_local=sum(r.stop - r.start for r in self.records if r.local),
            packets_done=len(self.records),
            missing=self.missing if self.ended else [],
            workers=workers,
        )


@dataclass
class FakeLease:
    session: FakeSession
    lfn: str
    start: int
    stop: int
    attempt: int


class FakeWorker:
    """One worker's stream."""

    def __init__(self, hello: pb.WorkerHello) -> None:
        self.hello = hello
        self.want = 0
        self.leases: dict[int, FakeLease] = {}
        self.outbox: asyncio.Queue[pb.WorkerCommand | None] = asyncio.Queue()


class FakePacketizer(PacketizerServicer):
    """Deals out packets of `packet_entries`, and counts what is committed."""

    def __init__(self, site: FakeSite) -> None:
        self.site = site
        self.packet_entries = 100
        self.max_result_bytes = 0
        self.sessions: dict[str, FakeSession] = {}
        self.workers: dict[str, FakeWorker] = {}
        self.names: list[str] = []
        self.heartbeats: list[int] = []
        #: How many of the next commits are refused.
        self.refuse = 0
        self.refused = 0
        #: Nothing is dealt out as long as this is unset.
        self.open_handed = True
        self._lease_ids = 0
        self._changed = asyncio.Condition()

    # --- clients ----------------------------------------------------------------

    async def OpenSession(  # noqa: N802
        self, request: pb.OpenSessionRequest, context: Any
    ) -> pb.OpenSessionReply:
        files = self.site.datasets.get(request.dataset)
        if files is None:
            raise NotFound(f"there is no dataset {request.dataset!r}")
        waiting: deque[tuple[str, int, int, int]] = deque()
        size = request.packet_entries or self.packet_entries
        total = 0
        for lfn in files:
            entries = self.site.entries[lfn]
            total += entries
            waiting.extend(
                (lfn, start, min(start + size, entries), 1) for start in range(0, entries, size)
            )
        session = FakeSession(uuid.uuid4().hex, request, waiting, total)
        self.sessions[session.session_id] = session
        await self._deal()
        return pb.OpenSessionReply(session_id=session.session_id, files=len(files))

    async def GetFunction(  # noqa: N802
        self, request: pb.GetFunctionRequest, context: Any
    ) -> pb.GetFunctionReply:
        return pb.GetFunctionReply(function=self._session(request.session_id).request.function)

    async def WatchSession(  # noqa: N802
        self, request: pb.WatchSessionRequest, context: Any
    ) -> AsyncIterator[pb.SessionStatus]:
        session = self._session(request.session_id)
        while True:
            status = session.status(len(self.workers))
            yield status
            if status.state not in {pb.SESSION_STATE_OPENING, pb.SESSION_STATE_RUNNING}:
                return
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.1)

    async def GetResults(  # noqa: N802
        self, request: pb.GetResultsRequest, context: Any
    ) -> AsyncIterator[pb.ResultPart]:
        for result in self._session(request.session_id).results.values():
            yield pb.ResultPart(result=result)

    async def GetRecords(  # noqa: N802
        self, request: pb.GetRecordsRequest, context: Any
    ) -> AsyncIterator[pb.GetRecordsReply]:
        yield pb.GetRecordsReply(records=self._session(request.session_id).records)

    async def ListSessions(  # noqa: N802
        self, request: pb.ListSessionsRequest, context: Any
    ) -> pb.ListSessionsReply:
        found = [session.status(0) for session in self.sessions.values()]
        return pb.ListSessionsReply(sessions=found)

    async def CancelSession(  # noqa: N802
        self, request: pb.CancelSessionRequest, context: Any
    ) -> pb.CancelSessionReply:
        session = self._session(request.session_id)
        await self._end(session, pb.SESSION_STATE_CANCELLED, request.reason)
        return pb.CancelSessionReply()

    async def ResumeSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotFound("not here")

    async def ForgetSession(  # noqa: N802
        self, request: pb.ForgetSessionRequest, context: Any
    ) -> pb.ForgetSessionReply:
        self._session(request.session_id)
        del self.sessions[request.session_id]
        return pb.ForgetSessionReply()

    # --- workers ----------------------------------------------------------------

    async def Work(  # noqa: N802
        self, messages: AsyncIterator[pb.WorkerMessage], context: Any
    ) -> AsyncIterator[pb.WorkerCommand]:
        worker = FakeWorker((await anext(aiter(messages))).hello)
        name = worker.hello.worker
        self.workers[name] = worker
        self.names.append(name)
        reader = asyncio.create_task(self._read(worker, messages))
        try:
            welcome = pb.WorkerWelcome(
                epoch="1",
                heartbeat_s=0.1,
                commit_s=0.2,
                max_result_bytes=self.max_result_bytes,
            )
            yield pb.WorkerCommand(welcome=welcome)
            only = worker.hello.session_id
            if only and (only not in self.sessions or self.sessions[only].ended):
                yield pb.WorkerCommand(session_ended=pb.SessionEnded(session_id=only))
            while (command := await worker.outbox.get()) is not None:
                yield command
        finally:
            reader.cancel()
            del self.workers[name]
            for lease in worker.leases.values():
                self._give_back(lease, lease.attempt)
            await self._deal()

    async def hang_up(self) -> None:
        """Breaks every worker's stream."""
        for worker in self.workers.values():
            worker.outbox.put_nowait(None)

    async def _read(self, worker: FakeWorker, messages: AsyncIterator[pb.WorkerMessage]) -> None:
        async for message in messages:
            if message.HasField("heartbeat"):
                self.heartbeats.append(message.heartbeat.lease_id)
            if message.HasField("report"):
                await self._report(worker, message.report)
        worker.outbox.put_nowait(None)

    async def _report(self, worker: FakeWorker, report: pb.WorkerReport) -> None:
        if report.HasField("commit"):
            answer = self._commit(worker, report.commit)
            worker.outbox.put_nowait(pb.WorkerCommand(commit_answer=answer))
        for failure in report.failures:
            lease = worker.leases.pop(failure.lease_id, None)
            if lease is not None:
                lease.session.failures.append(failure)
                undone = failure.kind == pb.PacketFailure.KIND_UNDONE
                attempt = lease.attempt + (0 if undone else 1)
                self._give_back(lease, attempt, failure)
        worker.want = report.want
        await self._deal()

    def _commit(self, worker: FakeWorker, commit: pb.Commit) -> pb.CommitAnswer:
        known = all(record.lease_id in worker.leases for record in commit.packets)
        if self.refuse or not known:
            self.refused += 1
            self.refuse = max(0, self.refuse - 1)
            for record in commit.packets:
                lease = worker.leases.pop(record.lease_id, None)
                if lease is not None:
                    self._give_back(lease, lease.attempt)
            return pb.CommitAnswer(commit_id=commit.commit_id, accepted=False, reason="refused")
        session = self.sessions[commit.session_id]
        name = worker.hello.worker
        for replaced in commit.supersedes:
            del session.results[name, replaced]
        session.results[name, commit.commit_id] = commit.result
        for record in commit.packets:
            lease = worker.leases.pop(record.lease_id)
            record.worker, record.host = name, worker.hello.host
            record.lfn, record.start, record.stop = lease.lfn, lease.start, lease.stop
            record.local = worker.hello.host == self.site.dataserver.host
            session.records.append(record)
            session.leased -= 1
        return pb.CommitAnswer(commit_id=commit.commit_id, accepted=True)

    def _give_back(
        self, lease: FakeLease, attempt: int, failure: pb.PacketFailure | None = None
    ) -> None:
        session = lease.session
        session.leased -= 1
        if attempt > ATTEMPTS and failure is not None:
            session.missing.append(
                pb.MissingRange(
                    lfn=lease.lfn,
                    start=lease.start,
                    stop=lease.stop,
                    reason=failure.reason,
                    traceback=failure.traceback,
                )
            )
        else:
            session.waiting.append((lease.lfn, lease.start, lease.stop, attempt))

    async def deal(self) -> None:
        """Begins to deal packets out, if that was held up."""
        self.open_handed = True
        await self._deal()

    async def _deal(self) -> None:
        for session in [one for one in self.sessions.values() if not one.ended]:
            for worker in list(self.workers.values()):
                self._deal_to(worker, session)
            if not session.waiting and not session.leased:
                await self._end(session, pb.SESSION_STATE_DONE, "")
        async with self._changed:
            self._changed.notify_all()

    def _deal_to(self, worker: FakeWorker, session: FakeSession) -> None:
        packets: list[pb.Packet] = []
        if worker.hello.session_id not in {"", session.session_id}:
            return
        while self.open_handed and worker.want and session.waiting:
            lfn, start, stop, attempt = session.waiting.popleft()
            worker.want -= 1
            self._lease_ids += 1
            worker.leases[self._lease_ids] = FakeLease(session, lfn, start, stop, attempt)
            session.leased += 1
            packet = pb.Packet(
                lease_id=self._lease_ids,
                session_id=session.session_id,
                lfn=lfn,
                tree=session.request.tree or self.site.tree,
                start=start,
                stop=stop,
                format=self.site.formats.get(lfn, types_pb2.Content.FORMAT_ROOT),
                attempt=attempt,
            )
            getattr(packet, "from").CopyFrom(self.site.dataserver.node())
            packets.append(packet)
        if packets:
            worker.outbox.put_nowait(pb.WorkerCommand(packets=pb.Packets(packets=packets)))

    async def _end(
        self, session: FakeSession, state: pb.SessionState.ValueType, reason: str
    ) -> None:
        if session.ended:
            return
        session.state, session.reason = state, reason
        ended = pb.SessionEnded(session_id=session.session_id, reason=reason)
        for worker in self.workers.values():
            worker.outbox.put_nowait(pb.WorkerCommand(session_ended=ended))

    def _session(self, session_id: str) -> FakeSession:
        session = self.sessions.get(session_id)
        if session is None:
            raise NotFound(f"there is no session {session_id!r}")
        return session


class FakeRedirector(FilesServicer, DatasetsServicer, ClusterServicer):
    """Knows where files are; what is not on disk comes online when asked for."""

    def __init__(self, site: FakeSite) -> None:
        self.site = site
        self.requests: dict[str, redirector_pb2.RequestInfo] = {}
        self.calls: list[tuple[str, int]] = []
        self.status_calls = 0
        #: LFNs that cannot be staged, with the reason.
        self.unstageable: dict[str, str] = {}
        #: Whether staging proceeds; a test sets it to let it.
        self.tape = asyncio.Event()
        self.tape.set()
        self.registered: dict[str, list[redirector_pb2.DatasetFile]] = {}

    def _online(self, lfn: str) -> bool:
        return self.site.dataserver.path(lfn).is_file()

    async def Locate(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append(("Locate", len(request.lfns)))
        online = [self._online(lfn) for lfn in request.lfns]
        return redirector_pb2.LocateReply(
            nodes=[self.site.dataserver.node()],
            holder=[int(is_online) for is_online in online],
            size_bytes=[
                self.site.dataserver.path(lfn).stat().st_size if is_online else 0
                for lfn, is_online in zip(request.lfns, online, strict=True)
            ],
            offline=[
                redirector_pb2.LocateReply.Offline(
                    row=row,
                    state=types_pb2.FILE_STATE_MISSING,
                    reason=self.unstageable[lfn],
                )
                for row, lfn in enumerate(request.lfns)
                if lfn in self.unstageable
            ],
        )

    async def Stage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append(("Stage", len(request.lfns)))
        info = redirector_pb2.RequestInfo(
            request_id=f"r{len(self.requests) + 1}",
            owner=request.owner,
            files=len(set(request.lfns)),
            state=redirector_pb2.REQUEST_STATE_ACTIVE,
        )
        info.file.extend(redirector_pb2.RequestFile(lfn=lfn) for lfn in set(request.lfns))
        self.requests[info.request_id] = info
        return redirector_pb2.StageReply(request_id=info.request_id, files=info.files)

    async def Watch(self, request: Any, context: Any) -> Any:  # noqa: N802
        info = self.requests[request.request_id]
        yield redirector_pb2.WatchReply(
            events=[
                redirector_pb2.FileEvent(lfn=row.lfn, state=types_pb2.FILE_STATE_STAGING)
                for row in info.file
            ],
            snapshot_complete=True,
        )
        await self.tape.wait()
        for row in info.file:
            if info.state == redirector_pb2.REQUEST_STATE_CANCELLED:
                break
            yield redirector_pb2.WatchReply(events=[self._bring_in(info, row)])
        if info.state == redirector_pb2.REQUEST_STATE_ACTIVE:
            info.state = redirector_pb2.REQUEST_STATE_DONE

    def _bring_in(self, info: Any, row: Any) -> Any:
        if row.lfn in self.unstageable:
            row.state, row.reason = types_pb2.FILE_STATE_FAILED, self.unstageable[row.lfn]
            info.failed += 1
        else:
            path = self.site.dataserver.path(row.lfn)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.site.archive.get(row.lfn, b"from tape"))
            row.state = types_pb2.FILE_STATE_ONLINE
            info.done += 1
        return redirector_pb2.FileEvent(lfn=row.lfn, state=row.state, reason=row.reason)

    async def ListRequests(self, request: Any, context: Any) -> Any:  # noqa: N802
        wanted = [request.request_id] if request.request_id else list(self.requests)
        return redirector_pb2.ListRequestsReply(requests=[self.requests[key] for key in wanted])

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        info = self.requests.get(request.request_id)
        if info is None:
            raise NotFound(f"there is no request {request.request_id!r}")
        info.state = redirector_pb2.REQUEST_STATE_CANCELLED
        info.cancelled = info.files - info.done - info.failed
        self.tape.set()
        return redirector_pb2.CancelReply(files_cancelled=info.cancelled)

    async def Register(self, requests: Any, context: Any) -> Any:  # noqa: N802
        name, files = "", []
        async for request in requests:
            if request.HasField("header"):
                name = request.header.name
                if name in self.registered and request.header.mode == 1:
                    raise AlreadyExists(f"dataset {name!r} exists already")
            self.calls.append(("Register", len(request.files.files)))
            files += list(request.files.files)
        self.registered[name] = files
        return redirector_pb2.RegisterReply(files=len(files), added=len(files))

    async def Show(self, request: Any, context: Any) -> Any:  # noqa: N802
        files = self.registered.get(request.name)
        if files is None:
            raise NotFound(f"there is no dataset {request.name!r}")
        summary = redirector_pb2.DatasetSummary(name=request.name, files=len(files))
        yield redirector_pb2.ShowDatasetReply(summary=summary)
        for start in range(0, len(files), 1000):
            yield redirector_pb2.ShowDatasetReply(files=files[start : start + 1000])

    async def Status(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.status_calls += 1
        return redirector_pb2.StatusReply(packetizers=self.site.packetizer_addresses)


class FakeSite:
    """The three of them, in one thread with an event loop."""

    def __init__(self, folder: Path, host: str = "here") -> None:
        self.folder = folder
        self.datasets: dict[str, list[str]] = {}
        self.entries: dict[str, int] = {}
        self.formats: dict[str, types_pb2.Content.Format.ValueType] = {}
        self.archive: dict[str, bytes] = {}
        self.tree = "events"
        self.dataserver = FakeDataServer(folder, "node1", host)
        self.packetizer_addresses: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._servers: list[aio.Server] = []

    def add(self, lfn: str, content: bytes, entries: int = 0, dataset: str = "") -> None:
        """Puts a file on the data server; as plain bytes if no entries are given."""
        path = self.dataserver.path(lfn)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.entries[lfn] = entries or len(content)
        if not entries:
            self.formats[lfn] = types_pb2.Content.FORMAT_BYTES
        if dataset:
            self.datasets.setdefault(dataset, []).append(lfn)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something in the servers' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        self.redirector = FakeRedirector(self)  # type: ignore[abstract]
        server, self.redirector_address = make_server("127.0.0.1:0")
        add_FilesServicer_to_server(self.redirector, server)
        add_DatasetsServicer_to_server(self.redirector, server)
        add_ClusterServicer_to_server(self.redirector, server)
        self._servers.append(server)
        server, self.dataserver.address = make_server("127.0.0.1:0")
        add_DataServerServicer_to_server(self.dataserver, server)
        self._servers.append(server)
        for server in self._servers:
            await server.start()
        self.packetizer = FakePacketizer(self)
        await self._start_packetizer()

    async def _start_packetizer(self) -> None:
        server, address = make_server("127.0.0.1:0")
        add_PacketizerServicer_to_server(self.packetizer, server)
        await server.start()
        self._packetizer_server = server
        self.packetizer_addresses = [address]

    async def restart_packetizer(self) -> None:
        """Another process, as clients see it: new address, same sessions, no leases."""
        await self._packetizer_server.stop(0)
        await self._start_packetizer()

    async def _stop(self) -> None:
        await asyncio.gather(*(server.stop(0) for server in self._servers))
        await self._packetizer_server.stop(0)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def fake_site(folder: Path, host: str = "here") -> Iterator[FakeSite]:
    """A site that runs for as long as the block does."""
    with FakeSite(folder, host) as site:
        yield site
