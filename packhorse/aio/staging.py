"""A stage request that was accepted: waiting for it, watching it, cancelling it.

The request lives in the redirector, not here: it goes on when the client is gone,
and this handle is only a way to look at it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from common.errors import StageFailed, TimedOut
from common.grpc_client import call
from packhorse.aio.streams import name_batches, reconnecting, replies
from packhorse.values import FileState, RequestedFile, StageProgress, StageRequest
from packhorse.values.convert import state_of
from protos.packhorse.v1.redirector_pb2 import (
    CancelRequest,
    ListRequestsRequest,
    LocateRequest,
    WatchRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from packhorse.aio.connection import Connection
    from protos.packhorse.v1 import redirector_pb2

SHOWN_PROBLEMS = 5
# No oftener than this: a person reads it.
_REFRESH_S = 0.1
_OUT_OF_REACH = frozenset({FileState.FAILED, FileState.MISSING})


class AsyncStaging:
    """A handle on what one call of `stage` asked for.

    More names than one request may hold make several requests, hence `request_ids`.
    """

    def __init__(self, connection: Connection, request_ids: Sequence[str], files: int) -> None:
        self._connection = connection
        self.request_ids = tuple(request_ids)
        self.files = files

    @property
    def request_id(self) -> str:
        """The request's id; of the first one if there are several."""
        return self.request_ids[0] if self.request_ids else ""

    async def wait(
        self,
        timeout_s: float | None = None,
        on_progress: Callable[[StageProgress], object] | None = None,
    ) -> StageProgress:
        """Waits until every file is online.

        Raises StageFailed once all has ended and some file did not come, or was
        cancelled; TimedOut after `timeout_s`, and the request goes on.
        """
        last = StageProgress(self.files, 0, 0, 0, 0, ())
        try:
            async with asyncio.timeout(timeout_s), contextlib.aclosing(self.progress()) as steps:
                async for last in steps:
                    if on_progress is not None:
                        on_progress(last)
        except TimeoutError as error:
            raise TimedOut(
                f"{last.waiting} of {last.files} files are not online after {timeout_s:g} s; "
                f"request {self.request_id} goes on"
            ) from error
        if last.failed or last.cancelled:
            raise StageFailed(_failure(last))
        return last

    async def progress(self) -> AsyncGenerator[StageProgress, None]:
        """How far it is: now, at every change, and once more when all has ended."""
        tally = _Tally(self.files)
        changed = asyncio.Event()
        everything = asyncio.gather(
            *(self._follow(request_id, tally, changed) for request_id in self.request_ids)
        )
        everything.add_done_callback(lambda _: changed.set())
        try:
            while not everything.done():
                await changed.wait()
                changed.clear()
                yield tally.progress()
                await asyncio.wait([everything], timeout=_REFRESH_S)
            await everything
            yield await self._final(tally)
        finally:
            everything.cancel()
            await asyncio.gather(everything, return_exceptions=True)

    async def requests(self, *, with_files: bool = False) -> list[StageRequest]:
        """The requests as they stand now."""
        found = []
        for request_id in self.request_ids:
            reply = await call(
                self._connection.files.ListRequests(
                    ListRequestsRequest(request_id=request_id, with_files=with_files)
                ),
                self._connection.redirector_name,
            )
            found += [StageRequest.of(info) for info in reply.requests]
        return found

    async def cancel(self) -> int:
        """Gives up what has not come yet; returns how many files that were."""
        cancelled = 0
        for request_id in self.request_ids:
            reply = await call(
                self._connection.files.Cancel(CancelRequest(request_id=request_id)),
                self._connection.redirector_name,
            )
            cancelled += reply.files_cancelled
        return cancelled

    async def _follow(self, request_id: str, tally: _Tally, changed: asyncio.Event) -> None:
        """Counts the events of one request until it has ended."""

        def watch() -> AsyncGenerator[redirector_pb2.WatchReply, None]:
            request = WatchRequest(request_id=request_id)
            stream = self._connection.files.Watch(request)
            return replies(stream, self._connection.redirector_name)

        async with contextlib.aclosing(reconnecting(watch)) as stream:
            async for reply in stream:
                for event in reply.events:
                    tally.count(event)
                changed.set()

    async def _final(self, tally: _Tally) -> StageProgress:
        """What the redirector says in the end: it has the last word, and the reasons."""
        requests = await self.requests(with_files=True)
        files = [file for request in requests for file in request.file]
        came = {FileState.ONLINE, FileState.CORRUPT}
        problems = [file for file in files if file.state not in came and file.reason]
        # A request may end before anybody watches it: those files' sizes are asked for.
        unseen = [file.lfn for file in files if file.state in came and not tally.saw(file.lfn)]
        return StageProgress(
            files=sum(request.files for request in requests),
            online=sum(request.done for request in requests),
            failed=sum(request.failed for request in requests),
            cancelled=sum(request.cancelled for request in requests),
            bytes_online=tally.bytes_online + await self._bytes_of(unseen),
            problems=tuple(problems),
        )

    async def _bytes_of(self, lfns: Sequence[str]) -> int:
        """The sizes of files that are online, summed."""
        total_bytes = 0
        for piece in name_batches(lfns):
            located = self._connection.files.Locate(LocateRequest(lfns=piece))
            total_bytes += sum((await call(located, self._connection.redirector_name)).size_bytes)
        return total_bytes


class _Tally:
    """Counts files by how they stand. A file that once came online has come."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._states: dict[str, FileState] = {}
        self._online = 0
        self._failed = 0
        self.bytes_online = 0

    def count(self, event: redirector_pb2.FileEvent) -> None:
        """Takes one event into account."""
        before = self._states.get(event.lfn)
        if before is FileState.ONLINE:
            return
        now = state_of(FileState, event.state)
        if now is FileState.CORRUPT:
            now = FileState.ONLINE
        self._failed += (now in _OUT_OF_REACH) - (before in _OUT_OF_REACH)
        if now is FileState.ONLINE:
            self._online += 1
            self.bytes_online += event.size_bytes
        self._states[event.lfn] = now

    def saw(self, lfn: str) -> bool:
        """Whether the file was seen to come online, and its size counted."""
        return self._states.get(lfn) is FileState.ONLINE

    def progress(self) -> StageProgress:
        """The count so far."""
        files = max(self._files, len(self._states))
        return StageProgress(files, self._online, self._failed, 0, self.bytes_online, ())


def _failure(progress: StageProgress) -> str:
    """One line that names the first files that did not come, and why."""
    lost = progress.failed + progress.cancelled
    named = "; ".join(_in_words(file) for file in progress.problems[:SHOWN_PROBLEMS])
    more = len(progress.problems) - SHOWN_PROBLEMS
    rest = f"; and {more} more" if more > 0 else ""
    what = "were cancelled" if not progress.failed else "could not be staged"
    return f"{lost} of {progress.files} files {what}" + (f": {named}{rest}" if named else "")


def _in_words(file: RequestedFile) -> str:
    return f"{file.lfn} ({file.reason or file.state})"
