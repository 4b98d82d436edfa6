"""The Cluster door: the data servers' streams, and what admins see and do."""
# ruff: noqa: N802, ARG002 - the methods' names and arguments are gRPC's

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from common.address import split_address
from common.errors import PackhorseError, UsageError
from common.grpc_server import INTERNAL_ERROR
from common.names import normalise, normalise_all
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from redirector.core.events import ClaimAsked, DrainAsked, ForgetAsked, NodeLost
from redirector.core.instructions import AnswerClaim, AnswerDrain
from redirector.wire import files as wire_files
from redirector.wire import nodes as wire
from redirector.wire.values import address_message, required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from redirector.core.events import Event
    from redirector.core.figures import NodeFigures
    from redirector.links import Link
    from redirector.questions import Questions
    from redirector.runner import Runner
    from redirector.store.history import History

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
#: Packetizers say that they are there so often; three times missed, and they are not.
ANNOUNCE_S = 5.0
DEFAULT_RECALLS = 10_000
DEFAULT_PURGE_ROWS = 1_000
DEFAULT_STORES = 1_000


class ClusterDoor(pb_grpc.ClusterServicer):
    """Data servers join here, and admins look at them."""

    def __init__(
        self, runner: Runner, questions: Questions, history: History, version: str
    ) -> None:
        self._runner = runner
        self._questions = questions
        self._history = history
        self._version = version
        self._started_s = runner.now_s()
        self._packetizers: dict[str, float] = {}  # address -> when it was last heard of

    async def Join(
        self, request_iterator: AsyncIterator[pb.NodeMessage], context: object
    ) -> AsyncIterator[pb.NodeCommand]:
        """Serves one data server's stream until either side ends it."""
        link = self._runner.links.open()
        try:
            first = await _first(request_iterator)
            hello = wire.hello(first, link.connection)
            link.node = hello.address.node
            link.takes_batches = first.hello.takes_batches
            self._runner.tell(hello)
            reading = asyncio.create_task(self._read(request_iterator, link))
            try:
                async with aclosing(link.commands()) as commands:
                    async for command in commands:
                        yield command
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        finally:
            self._runner.links.forget(link)
            self._runner.tell(NodeLost(link.connection))

    async def AnnouncePacketizer(
        self, request: pb.AnnouncePacketizerRequest, context: object
    ) -> pb.AnnouncePacketizerReply:
        """Notes where a packetizer is."""
        split_address(required("AnnouncePacketizer: address", request.address))
        self._packetizers[request.address] = self._runner.now_s()
        return pb.AnnouncePacketizerReply(again_in_s=ANNOUNCE_S)

    async def ClaimName(self, request: pb.ClaimNameRequest, context: object) -> pb.ClaimNameReply:
        """Lets a data server let a client write under a name, if nobody else does."""
        answer = self._runner.ask_at_once(
            ClaimAsked(
                node=required("ClaimName: node", request.node),
                boot_epoch=required("ClaimName: boot_epoch", request.boot_epoch),
                lfn=normalise(required("ClaimName: lfn", request.lfn)),
                claim_id=required("ClaimName: claim_id", request.claim_id),
                replaces=request.replaces,
            )
        )
        assert isinstance(answer, AnswerClaim)
        return pb.ClaimNameReply(archive_was_asked=answer.archive_was_asked)

    async def Status(self, request: pb.StatusRequest, context: object) -> pb.StatusReply:
        """The site at a glance."""
        now_s = self._runner.now_s()
        head = self._runner.head
        status = head.status(now_s)
        stuck = head.stuck(now_s)
        if self._runner.journal.trouble:
            stuck.insert(0, f"nothing new is accepted: {self._runner.journal.trouble}")
        return pb.StatusReply(
            nodes=[_node_message(node) for node in head.nodes(now_s)],
            packetizers=self._packetizers_at(now_s),
            replicas=status.replicas,
            recalls_queued=status.recalls_queued,
            recalls_running=status.recalls_running,
            requests_active=status.requests_active,
            recalls_done=status.recalls_done,
            recalls_failed=status.recalls_failed,
            version=self._version,
            uptime_s=now_s - self._started_s,
            quota_bytes=status.quota_bytes,
            available_bytes=status.available_bytes,
            stuck=stuck,
            largest_file_bytes=status.largest_file_bytes,
        )

    async def Drain(self, request: pb.DrainRequest, context: object) -> pb.DrainReply:
        """Gives a node no more recalls, or some again, and tells what it has left."""
        node = required("Drain: node", request.node)
        answer = await self._runner.ask(DrainAsked(node, undo=request.undo, look=request.look))
        assert isinstance(answer, AnswerDrain)
        figures = self._runner.head.node(node, self._runner.now_s())
        return pb.DrainReply(
            recalls_left=answer.recalls_left,
            recalls_left_bytes=answer.recalls_left_bytes,
            writes_left=answer.writes_left,
            open_files=figures.load.open_files,
            unarchived_files=figures.load.unarchived_files,
            unarchived_bytes=figures.load.unarchived_bytes,
            pinned_files=answer.pinned_files,
            pinned_bytes=answer.pinned_bytes,
            pinned=[pb.PinnedFile(lfn=lfn, size_bytes=size) for lfn, size in answer.pinned],
            out_of_touch=figures.connection is None,
        )

    async def ListStores(
        self, request: pb.ListStoresRequest, context: object
    ) -> pb.ListStoresReply:
        """Asks nodes what they have to store in the archive."""
        nodes = self._nodes_named(request.node)
        limit = request.limit or DEFAULT_STORES
        found = await asyncio.gather(
            *(
                self._questions.stores(node, limit, failed_only=request.failed_only)
                for node in nodes
            )
        )
        return pb.ListStoresReply(nodes=found)

    async def StoreNow(self, request: pb.StoreNowRequest, context: object) -> pb.StoreNowReply:
        """Has files stored in the archive now."""
        storing = await self._questions.store_now(normalise_all(list(request.lfns)))
        return pb.StoreNowReply(
            taken=storing.taken,
            refused=[
                pb.EvictReply.Refusal(lfn=lfn, reason=reason) for lfn, reason in storing.refused
            ],
        )

    async def Forget(self, request: pb.ForgetRequest, context: object) -> pb.ForgetReply:
        """Forgets a node that is gone for good."""
        await self._runner.ask(ForgetAsked(required("Forget: node", request.node)))
        return pb.ForgetReply()

    async def PlanPurge(self, request: pb.PlanPurgeRequest, context: object) -> pb.PlanPurgeReply:
        """Asks nodes what their next purge would take."""
        nodes = self._nodes_named(request.node)
        limit = request.limit or DEFAULT_PURGE_ROWS
        plans = await asyncio.gather(
            *(self._questions.purge_plan(node, request.target_bytes, limit) for node in nodes)
        )
        return pb.PlanPurgeReply(plans=plans)

    async def ListRecalls(
        self, request: pb.ListRecallsRequest, context: object
    ) -> pb.ListRecallsReply:
        """The past, as far as it is remembered."""
        limit = min(request.limit or DEFAULT_RECALLS, DEFAULT_RECALLS)
        recalls = await self._history.recalls(request.since_unix_s, limit)
        return pb.ListRecallsReply(recalls=map(wire_files.recall_message, recalls))

    async def _read(self, messages: AsyncIterator[pb.NodeMessage], link: Link) -> None:
        """Takes in what a node says. What cannot be understood ends its stream, and only that."""
        error: PackhorseError | None = None
        try:
            async for message in messages:
                for one in message.batch or (message,):
                    self._take(wire.event(one, link.connection), link)
        except PackhorseError as refusal:
            log.warning("data server %s is refused: %s", link.node, refusal)
            error = refusal
        except Exception:
            log.exception("data server %s: what it sent could not be handled", link.node)
            error = PackhorseError(INTERNAL_ERROR)
        finally:
            link.close(error)

    def _take(self, event: Event | wire.Answer, link: Link) -> None:
        if isinstance(event, wire.ANSWERS):
            link.answered(event)
        else:
            self._runner.tell(event)

    def _nodes_named(self, name: str) -> Sequence[NodeFigures]:
        """The node of this name, or all for "". Raises NotFound."""
        head, now_s = self._runner.head, self._runner.now_s()
        return [head.node(name, now_s)] if name else head.nodes(now_s)

    def _packetizers_at(self, now_s: float) -> list[str]:
        self._packetizers = {
            address: heard_s
            for address, heard_s in self._packetizers.items()
            if now_s - heard_s < 3 * ANNOUNCE_S
        }
        return sorted(self._packetizers)


async def _first(messages: AsyncIterator[pb.NodeMessage]) -> pb.NodeMessage:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            return await anext(messages)
    except TimeoutError:
        raise UsageError(f"no Hello within {HELLO_TIMEOUT_S:g} s") from None
    except StopAsyncIteration:
        raise UsageError("the stream ended before Hello") from None


def _node_message(node: NodeFigures) -> pb.NodeStatus:
    return pb.NodeStatus(
        address=address_message(node.address),
        state=pb.NodeState.ValueType(node.state),
        draining=node.draining,
        load=wire.load_message(node.load, node.quota_bytes),
        heartbeat_age_s=node.heartbeat_age_s,
        cost_s=node.cost_s,
        version=node.version,
    )
