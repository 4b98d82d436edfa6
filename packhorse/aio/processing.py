"""Processing a dataset: a session, workers of our own for it, and its result.

The session is the packetizer's, and would go on without us. As long as we are here,
its workers are our children and end with us, and giving up waiting (Ctrl-C) cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from common.errors import Incomplete, Unreachable
from packhorse.functions import Work
from packhorse.local_workers import LocalWorkers
from packhorse.values import SessionState
from packhorse.worker.options import worker_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packhorse.aio.connection import Connection
    from packhorse.aio.sessions import AsyncSessions, Missing
    from packhorse.functions import Function, Merge
    from packhorse.result import Result
    from packhorse.values import SessionStatus

_CANCEL_TIMEOUT_S = 5.0


async def process(
    sessions: AsyncSessions,
    connection: Connection,
    dataset: str,
    function: Function,
    *,
    workers: int | None,
    worker_hosts: Sequence[str],
    memory_bytes: int,
    missing: Missing,
    merge: Merge | None,
    tree: str,
    max_bad_packets: int,
    packet_entries: int,
    on_progress: Callable[[SessionStatus], object] | None,
) -> Result:
    """See `AsyncSite.process`."""
    session_id = await sessions.open(
        dataset,
        Work(function, merge),
        missing=missing,
        tree=tree,
        max_bad_packets=max_bad_packets,
        packet_entries=packet_entries,
    )
    options = worker_options(
        connection.redirector,
        workers=usable_cores() if workers is None else workers,
        hosts=worker_hosts,
        session_id=session_id,
        packetizer=await connection.packetizer_address(),
        memory_bytes=memory_bytes,
    )
    try:
        async with LocalWorkers(options) as local:
            ended = await _watch(sessions, session_id, local, on_progress)
    except Unreachable as error:
        raise Unreachable(
            f"{error.message}; session {session_id} goes on when the packetizer is back "
            f"(packhorse sessions)"
        ) from error
    except BaseException:
        await asyncio.shield(_cancel(sessions, session_id))
        raise
    if ended.state is not SessionState.DONE:
        reason = f": {ended.reason}" if ended.reason else ""
        raise Incomplete(f"session {session_id} {_WORDS[ended.state]}{reason}")
    return await sessions.result(session_id, merge)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


_WORDS = {SessionState.FAILED: "failed", SessionState.CANCELLED: "was cancelled"}


async def _watch(
    sessions: AsyncSessions,
    session_id: str,
    local: LocalWorkers,
    on_progress: Callable[[SessionStatus], object] | None,
) -> SessionStatus:
    """The last status, once the session has ended; raises if the workers cannot be kept up."""

    async def follow() -> SessionStatus:
        async with contextlib.aclosing(sessions.watch(session_id)) as statuses:
            async for status in statuses:
                if on_progress is not None:
                    on_progress(status)
        return status

    following = asyncio.create_task(follow())
    keeping_up = asyncio.create_task(local.keep_up())
    try:
        await asyncio.wait({following, keeping_up}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            keeping_up.result()
        return await following
    finally:
        for task in (following, keeping_up):
            task.cancel()
        await asyncio.gather(following, keeping_up, return_exceptions=True)


async def _cancel(sessions: AsyncSessions, session_id: str) -> None:
    """Cancels the session as well as can be: the packetizer may be out of reach."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CANCEL_TIMEOUT_S):
            await sessions.cancel(session_id, "the client gave up waiting")
