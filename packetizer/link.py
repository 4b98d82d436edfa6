"""The redirector, as the packetizer sees it: one channel, and the calls made over it.

Nothing here gives up on a redirector that does not answer: work that is under way
goes on with what is known, and everything asked is asked again until it is answered.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from common.errors import NotFound, PackhorseError, TooLarge, UsageError
from common.grpc_client import answers_from, call, open_channel
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1.redirector_pb2_grpc import ClusterStub, DatasetsStub, FilesStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from grpc import aio

    from packetizer.runner import Runner

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Names in one call.
MAX_NAMES = 10_000
CALL_TIMEOUT_S = 60.0
STATUS_EVERY_S = 1.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
#: Asking again would bring the same answer.
PERMANENT = (UsageError, NotFound, TooLarge)


class RedirectorLink:
    """Calls to the redirector, and what it says of the site now and then."""

    def __init__(self, address: str, runner: Runner) -> None:
        self._peer = f"the redirector at {address}"
        self._channel = open_channel(address)
        self._runner = runner
        self._files = FilesStub(self._channel)
        self._datasets = DatasetsStub(self._channel)
        self._cluster = ClusterStub(self._channel)
        #: Set once the redirector has told how the site stands.
        self.was_heard = asyncio.Event()

    async def close(self) -> None:
        """Ends every call."""
        await self._channel.close()

    # --- calls; each raises PackhorseError ---------------------------------------------

    async def dataset(self, name: str) -> tuple[pb.DatasetSummary, list[pb.DatasetFile]]:
        """A dataset with its files. Raises NotFound."""
        summary = pb.DatasetSummary()
        files: list[pb.DatasetFile] = []
        request = pb.ShowDatasetRequest(name=name, with_files=True)
        with answers_from(self._peer):
            async for reply in self._datasets.Show(request, timeout=CALL_TIMEOUT_S):
                if reply.HasField("summary"):
                    summary = reply.summary
                files += reply.files
        return summary, files

    async def locate(self, lfns: Sequence[str]) -> pb.LocateReply:
        """Where up to `MAX_NAMES` files are; the desk hears of data servers it names."""
        request = pb.LocateRequest(lfns=lfns)
        reply = await call(self._files.Locate(request, timeout=CALL_TIMEOUT_S), self._peer)
        self._runner.heard_of(reply.nodes)
        return reply

    def watch(self, lfns: Sequence[str]) -> AsyncGenerator[pb.WatchReply, None]:
        """How files stand, then what happens to them."""
        return self._replies(self._files.Watch(pb.WatchRequest(lfns=lfns)))

    def describe(self, lfns: Sequence[str]) -> AsyncGenerator[pb.DescribeReply, None]:
        """What is inside files, as their inspections end."""
        request = pb.DescribeRequest(lfns=lfns, wait_for_content=True)
        return self._replies(self._files.Describe(request))

    async def _replies(self, stream: aio.UnaryStreamCall[Any, T]) -> AsyncGenerator[T, None]:
        """The replies of a call, which ends when its reader leaves."""
        try:
            with answers_from(self._peer):
                async for reply in stream:
                    yield reply
        finally:
            stream.cancel()

    async def stage(self, lfns: Sequence[str], owner: str, key: str) -> None:
        """Asks for files. The same key again is the same request."""
        request = pb.StageRequest(lfns=lfns, owner=owner, idempotency_key=key)
        await call(self._files.Stage(request, timeout=CALL_TIMEOUT_S), self._peer)

    async def pin(self, lfns: Sequence[str], owner: str, lifetime_s: float) -> None:
        """Keeps up to `MAX_NAMES` files, from now or from when they come online."""
        request = pb.PinRequest(
            lfns=lfns, owner=owner, lifetime_s=lifetime_s, reason="a session works on it"
        )
        await call(self._files.Pin(request, timeout=CALL_TIMEOUT_S), self._peer)

    async def unpin(self, lfns: Sequence[str], owner: str) -> None:
        """Lets files go that the owner has done with, or all of the owner's if none is named."""
        request = pb.UnpinRequest(lfns=lfns, owner=owner, done=bool(lfns))
        await call(self._files.Unpin(request, timeout=CALL_TIMEOUT_S), self._peer)

    async def cancel_all(self, owner: str) -> None:
        """Cancels every stage request of an owner that has not ended."""
        request = pb.ListRequestsRequest(active_only=True, limit=MAX_NAMES)
        reply = await call(self._files.ListRequests(request, timeout=CALL_TIMEOUT_S), self._peer)
        for known in reply.requests:
            if known.owner == owner:
                cancel = pb.CancelRequest(request_id=known.request_id)
                try:
                    await call(self._files.Cancel(cancel, timeout=CALL_TIMEOUT_S), self._peer)
                except NotFound:
                    log.debug("request %s has ended meanwhile", known.request_id)

    async def insist(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Makes a call until it is answered; raises what would not get better by asking again."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await attempt()
            except PERMANENT:
                raise
            except PackhorseError as error:
                if pause_s == FIRST_PAUSE_S:
                    log.warning("%s: %s; trying again", what, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    # --- what goes on for as long as the packetizer runs ---------------------------------

    async def keep_informed(self) -> NoReturn:
        """Asks how the data servers stand and how much space they have, for ever."""
        is_lost = False
        while True:
            try:
                request = pb.StatusRequest()
                status = await call(
                    self._cluster.Status(request, timeout=CALL_TIMEOUT_S), self._peer
                )
            except PackhorseError as error:
                if not is_lost:
                    log.warning("%s", error)
                is_lost = True
            else:
                is_lost = False
                self._take_in(status)
            await asyncio.sleep(STATUS_EVERY_S)

    async def announce(self, address: str, epoch: str) -> NoReturn:
        """Tells the redirector where this packetizer is, for ever."""
        while True:
            request = pb.AnnouncePacketizerRequest(
                address=address, epoch=epoch, sessions=len(self._runner.desk.sessions)
            )
            pause_s = LONGEST_PAUSE_S
            try:
                reply = await call(
                    self._cluster.AnnouncePacketizer(request, timeout=CALL_TIMEOUT_S), self._peer
                )
            except PackhorseError as error:
                log.debug("not announced: %s", error)
                pause_s = STATUS_EVERY_S
            else:
                pause_s = max(reply.again_in_s, FIRST_PAUSE_S)
            await asyncio.sleep(pause_s)

    def _take_in(self, status: pb.StatusReply) -> None:
        up = {node.address.node: node.state == pb.NODE_STATE_UP for node in status.nodes}
        self._runner.heard_of([node.address for node in status.nodes], up)
        self._runner.has_space(status.available_bytes, status.quota_bytes)
        self.was_heard.set()
