"""The packetizer's service, as clients and workers call it."""
# ruff: noqa: N802, ARG002 - the methods' names and arguments are gRPC's

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from common.errors import PackhorseError, UsageError
from packetizer import wire
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import packetizer_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from packetizer.doors.workers import WorkersDoor
    from packetizer.runner import Runner
    from packetizer.sessions import Sessions
    from packetizer.store import Store

#: A watcher hears at least so often.
STATUS_EVERY_S = 1.0
#: Records in one message.
PIECE_RECORDS = 5_000


class PacketizerDoor(pb_grpc.PacketizerServicer):
    """Clients and workers come in here."""

    def __init__(
        self, runner: Runner, store: Store, sessions: Sessions, workers: WorkersDoor
    ) -> None:
        self._runner = runner
        self._store = store
        self._sessions = sessions
        self._workers = workers

    async def Work(
        self, request_iterator: AsyncIterator[pb.WorkerMessage], context: object
    ) -> AsyncIterator[pb.WorkerCommand]:
        """A worker's one stream."""
        async with aclosing(self._workers.work(request_iterator)) as commands:
            async for command in commands:
                yield command

    async def OpenSession(
        self, request: pb.OpenSessionRequest, context: object
    ) -> pb.OpenSessionReply:
        """Opens a session; it is durable then, and at work."""
        session_id, files = await self._sessions.open(request)
        return pb.OpenSessionReply(session_id=session_id, files=files)

    async def GetFunction(
        self, request: pb.GetFunctionRequest, context: object
    ) -> pb.GetFunctionReply:
        """The user's function, for workers."""
        function = await self._store.function(_required(request.session_id))
        return pb.GetFunctionReply(function=function)

    async def WatchSession(
        self, request: pb.WatchSessionRequest, context: object
    ) -> AsyncIterator[pb.SessionStatus]:
        """How a session stands, every second until it has ended."""
        session_id = _required(request.session_id)
        while (over := self._runner.over(session_id)) is not None:
            yield self._status(session_id)
            try:
                async with asyncio.timeout(STATUS_EVERY_S):
                    await over.wait()
            except TimeoutError:
                continue
        last = await self._store.last_status(session_id)
        if last is None:
            raise PackhorseError(
                f"the end of session {session_id} could not be written down; the packetizer "
                "takes it up again when it is restarted"
            )
        yield last

    async def GetResults(
        self, request: pb.GetResultsRequest, context: object
    ) -> AsyncIterator[pb.ResultPart]:
        """Every committed partial result that stands."""
        async with aclosing(self._store.results(_required(request.session_id))) as results:
            async for content in results:
                yield pb.ResultPart(result=content)

    async def GetRecords(
        self, request: pb.GetRecordsRequest, context: object
    ) -> AsyncIterator[pb.GetRecordsReply]:
        """How every packet went."""
        async with aclosing(self._store.records(_required(request.session_id))) as pieces:
            async for records in pieces:
                for start in range(0, len(records), PIECE_RECORDS):
                    yield pb.GetRecordsReply(records=records[start : start + PIECE_RECORDS])

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: object
    ) -> pb.ListSessionsReply:
        """Sessions at work, then those that have ended, the latest first."""
        statuses = [self._status(session_id) for session_id in self._runner.desk.sessions]
        if not request.active_only:
            at_work = {status.session_id for status in statuses}
            statuses += [s for s in await self._store.ended() if s.session_id not in at_work]
        return pb.ListSessionsReply(sessions=statuses)

    async def CancelSession(
        self, request: pb.CancelSessionRequest, context: object
    ) -> pb.CancelSessionReply:
        """Ends a session; what was committed stays."""
        await self._sessions.cancel(_required(request.session_id), request.reason)
        return pb.CancelSessionReply()

    async def ResumeSession(
        self, request: pb.ResumeSessionRequest, context: object
    ) -> pb.ResumeSessionReply:
        """Takes up a session that failed or was cancelled."""
        await self._sessions.resume(_required(request.session_id))
        return pb.ResumeSessionReply()

    async def ForgetSession(
        self, request: pb.ForgetSessionRequest, context: object
    ) -> pb.ForgetSessionReply:
        """Removes a session that has ended, with its results."""
        await self._store.forget(_required(request.session_id))
        return pb.ForgetSessionReply()

    def _status(self, session_id: str) -> pb.SessionStatus:
        figures = self._runner.desk.figures(session_id, self._runner.now_s())
        return wire.session_status(figures, self._runner.trouble)


def _required(session_id: str) -> str:
    if not session_id:
        raise UsageError("session_id is missing")
    return session_id
