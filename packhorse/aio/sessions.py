"""Sessions, as a client sees them: `site.sessions`.

A session lives in the packetizer: it goes on when its client is gone, and survives
a restart of the packetizer. Whoever knows its id can watch it and fetch its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any

from common.errors import Refused, Unreachable
from common.grpc_client import call
from packhorse.aio.streams import reconnecting, replies
from packhorse.functions import Work, dump_work, load_work, name_of
from packhorse.result import Result, WorkerSums, merge_part, report_of
from packhorse.values import PacketRecord, SessionStatus
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Literal

    from packhorse.aio.connection import Connection
    from packhorse.functions import Merge

    Missing = Literal["wait", "skip", "abort"]

_POLICIES = {
    "wait": pb.MISSING_POLICY_WAIT,
    "skip": pb.MISSING_POLICY_SKIP,
    "abort": pb.MISSING_POLICY_ABORT,
}


class AsyncSessions:
    """Opening, watching, cancelling and resuming sessions, and fetching their results."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self._owner = owner

    async def open(
        self,
        dataset: str,
        work: Work,
        *,
        missing: Missing = "wait",
        tree: str = "",
        max_bad_packets: int = 0,
        packet_entries: int = 0,
    ) -> str:
        """Opens a session for workers to serve; returns its id, and it is durable then.

        Raises NotFound for an unknown dataset, UsageError for a function that cannot be sent.
        """
        request = pb.OpenSessionRequest(
            dataset=dataset,
            tree=tree,
            function=dump_work(work),
            function_name=name_of(work.function),
            missing=_POLICIES[missing],
            owner=self._owner,
            idempotency_key=secrets.token_hex(16),
            max_bad_packets=max_bad_packets,
            packet_entries=packet_entries,
        )
        packetizer, name = await self._connection.packetizer()
        reply = await call(packetizer.OpenSession(request), name)
        return reply.session_id

    async def watch(self, session_id: str) -> AsyncGenerator[SessionStatus, None]:
        """The session now, then every second or so until it has ended; raises NotFound.

        A packetizer that is restarted meanwhile is waited for.
        """

        async def life() -> AsyncGenerator[SessionStatus, None]:
            packetizer, name = await self._connection.packetizer()
            stream = packetizer.WatchSession(pb.WatchSessionRequest(session_id=session_id))
            async with contextlib.aclosing(replies(stream, name)) as messages:
                async for message in messages:
                    status = SessionStatus.of(message)
                    yield status
                    if status.state.ended:
                        return
            raise Unreachable(f"{name} stopped telling how session {session_id} goes")

        async with contextlib.aclosing(reconnecting(life)) as statuses:
            async for status in statuses:
                yield status

    async def status(self, session_id: str) -> SessionStatus:
        """The session now; raises NotFound."""
        async with contextlib.aclosing(self.watch(session_id)) as statuses:
            return await anext(statuses)

    async def cancel(self, session_id: str, reason: str = "") -> None:
        """Ends a session; what was committed stays. Raises NotFound."""
        packetizer, name = await self._connection.packetizer()
        request = pb.CancelSessionRequest(session_id=session_id, reason=reason)
        await call(packetizer.CancelSession(request), name)

    async def resume(self, session_id: str) -> None:
        """Takes up a failed or cancelled session again. Raises NotFound, Refused."""
        packetizer, name = await self._connection.packetizer()
        await call(packetizer.ResumeSession(pb.ResumeSessionRequest(session_id=session_id)), name)

    async def forget(self, session_id: str) -> None:
        """Drops a session that has ended, with its result. Raises NotFound, Refused."""
        packetizer, name = await self._connection.packetizer()
        await call(packetizer.ForgetSession(pb.ForgetSessionRequest(session_id=session_id)), name)

    async def result(self, session_id: str, merge: Merge | None = None) -> Result:
        """The result of a session that has ended, merged here.

        `merge` replaces the one the session was opened with. Raises NotFound, Refused
        while the session goes on, UsageError if the parts do not merge.
        """
        status = await self.status(session_id)
        if not status.state.ended:
            raise Refused(f"session {session_id} is {status.state}: it has no result yet")
        packetizer, name = await self._connection.packetizer()
        if merge is None:
            function = await call(
                packetizer.GetFunction(pb.GetFunctionRequest(session_id=session_id)), name
            )
            merge = load_work(function.function).merge
        value: Any = None
        stream = packetizer.GetResults(pb.GetResultsRequest(session_id=session_id))
        async with contextlib.aclosing(replies(stream, name)) as parts:
            async for part in parts:
                value = await asyncio.to_thread(merge_part, value, part.result, merge)
        workers = WorkerSums()
        async with contextlib.aclosing(self._records(session_id)) as records:
            async for record in records:
                workers.add(record)
        return Result(value, status.missing, report_of(status, workers))

    async def records(self, session_id: str) -> tuple[PacketRecord, ...]:
        """How every committed packet went, in the order of the commits; raises NotFound."""
        async with contextlib.aclosing(self._records(session_id)) as records:
            return tuple([PacketRecord.of(record) async for record in records])

    async def _records(self, session_id: str) -> AsyncGenerator[pb.PacketRecord, None]:
        packetizer, name = await self._connection.packetizer()
        stream = packetizer.GetRecords(pb.GetRecordsRequest(session_id=session_id))
        async with contextlib.aclosing(replies(stream, name)) as messages:
            async for message in messages:
                for record in message.records:
                    yield record

    async def list(self, *, active_only: bool = False) -> tuple[SessionStatus, ...]:
        """Every session the packetizer knows."""
        packetizer, name = await self._connection.packetizer()
        request = pb.ListSessionsRequest(active_only=active_only)
        reply = await call(packetizer.ListSessions(request), name)
        return tuple(SessionStatus.of(session) for session in reply.sessions)
