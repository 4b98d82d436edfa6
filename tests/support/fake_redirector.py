"""A redirector made of a few lines, for tests of the data server.

It speaks the real protocol over a real socket, keeps every node's inventory by the
numbered changes (and complains about a gap), and otherwise says only what a test has it
say.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from common.grpc_server import make_server
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from common.errors import PackhorseError

TIMEOUT_S = 30.0


class GapError(AssertionError):
    """A change did not follow the one before it."""


class JoinedNode:
    """One data server as it is known from its present stream."""

    def __init__(self, hello: pb.Hello) -> None:
        self.hello = hello
        self.commands: asyncio.Queue[pb.NodeCommand | None] = asyncio.Queue()
        self.replicas: dict[str, int] = {}
        self.drops: list[pb.Change] = []
        self.complete = False
        self.number = 0
        self.heartbeat = pb.Heartbeat()
        self.beats = 0
        self.progress: dict[str, list[pb.RecallProgress]] = defaultdict(list)
        self.answers: dict[int, list[Any]] = defaultdict(list)
        self.claims: dict[str, str] = dict.fromkeys(hello.claims, "")  # name: the claim's id
        #: Claims that have ended: the name, and the size it was online with by then.
        self.claims_ended: list[tuple[str, int | None]] = []

    def take(self, message: pb.NodeMessage) -> None:
        """Notes what the node says."""
        match message.WhichOneof("message"):
            case "inventory":
                self._inventory(message.inventory)
            case "changes":
                self._changes(message.changes)
            case "heartbeat":
                self.heartbeat = message.heartbeat
                self.beats += 1
            case "recall_progress":
                progress = message.recall_progress
                self.progress[progress.recall_id].append(progress)
            case "claim_ended":
                lfn = message.claim_ended.lfn
                # The next claim on the name may have overtaken the end of this one.
                if self.claims.get(lfn) in {"", message.claim_ended.claim_id}:
                    del self.claims[lfn]
                self.claims_ended.append((lfn, self.replicas.get(lfn)))
            case (
                "described"
                | "examined"
                | "listed"
                | "replica_stats"
                | "purge_plan"
                | "evicted"
                | "stores"
                | "stores_taken" as kind
            ):
                answer = getattr(message, kind)
                self.answers[answer.query_id].append(answer)

    def _inventory(self, piece: pb.Inventory) -> None:
        if self.complete:
            self.complete = False
            self.replicas.clear()
        self.replicas.update(zip(piece.lfns, piece.size_bytes, strict=True))
        if piece.last:
            self.complete = True
            self.number = piece.change_number

    def _changes(self, said: pb.Changes) -> None:
        for change in said.changes:
            if not self.complete or change.number != self.number + 1:
                raise GapError(f"change {change.number} after {self.number}")
            self.number = change.number
            if change.dropped:
                del self.replicas[change.lfn]
                self.drops.append(change)
            else:
                self.replicas[change.lfn] = change.size_bytes


@dataclass
class FakeRedirector:
    """The head node of one test. Enter it to open its door; leave it to go away."""

    lease_s: float = 60.0
    heartbeat_s: float = 0.1
    listen: str = "127.0.0.1:0"
    #: Whether nodes are told at once that there are no pins, so that they may purge.
    tells_pins: bool = True
    confirms: bool = True
    takes_batches: bool = False
    epoch: str = "epoch"
    #: Where its root:// door would be.
    root_address: str = ""
    nodes: dict[str, JoinedNode] = field(default_factory=dict)
    hellos: list[pb.Hello] = field(default_factory=list)
    ended: dict[str, pb.RecallEnded] = field(default_factory=dict)
    endings: list[pb.RecallEnded] = field(default_factory=list)
    #: Why names are not to be claimed.
    claims_refused: dict[str, PackhorseError] = field(default_factory=dict)
    claims_asked: list[pb.ClaimNameRequest] = field(default_factory=list)
    #: Whether clients come by the redirector, which has asked the archive about new names.
    archive_was_asked: bool = True

    def __post_init__(self) -> None:
        self.address = ""
        self.error: Exception | None = None
        self._server: Any = None
        self._changed = asyncio.Condition()
        self._numbers = itertools.count(1)
        #: Cleared by a test that wants claims to wait for their answers.
        self.answers_claims = asyncio.Event()
        self.answers_claims.set()

    async def __aenter__(self) -> Self:
        self._server, self.address = make_server(self.listen)
        self.listen = self.address
        door = _Door(self)  # type: ignore[abstract] # data servers call only two of its methods
        pb_grpc.add_ClusterServicer_to_server(door, self._server)
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_away()
        assert self.error is None, self.error

    async def go_away(self) -> None:
        """Breaks every stream and closes the door."""
        for node in self.nodes.values():
            node.commands.put_nowait(None)
        self.nodes.clear()
        await self._server.stop(0)

    async def come_back(self) -> None:
        """Opens the same door again, remembering nothing of the nodes."""
        await self.__aenter__()

    # --- the door -----------------------------------------------------------

    async def join(
        self, requests: AsyncIterator[pb.NodeMessage]
    ) -> AsyncGenerator[pb.NodeCommand, None]:
        """One node's stream."""
        first = await anext(requests)
        node = JoinedNode(first.hello)
        name = first.hello.address.node
        self.hellos.append(first.hello)
        self.nodes[name] = node
        reader = asyncio.create_task(self._read(node, requests))
        welcome = pb.Welcome(
            heartbeat_s=self.heartbeat_s,
            recall_lease_s=self.lease_s,
            redirector_epoch=self.epoch,
            takes_batches=self.takes_batches,
            root_address=self.root_address,
        )
        yield pb.NodeCommand(welcome=welcome)
        yield pb.NodeCommand(send_inventory=pb.SendInventory())
        if self.tells_pins:
            yield pb.NodeCommand(set_pins=pb.SetPins(complete=True))
        try:
            while (command := await node.commands.get()) is not None:
                yield command
        finally:
            reader.cancel()
            if self.nodes.get(name) is node:
                del self.nodes[name]

    async def claim(self, request: pb.ClaimNameRequest) -> None:
        """Lets a node write under a name, unless the test has a reason against it."""
        self.claims_asked.append(request)
        async with self._changed:
            self._changed.notify_all()
        await self.answers_claims.wait()
        if request.lfn in self.claims_refused:
            raise self.claims_refused[request.lfn]
        node = self.nodes[request.node]
        assert request.boot_epoch == node.hello.boot_epoch
        assert request.claim_id, "a claim without an id"
        node.claims[request.lfn] = request.claim_id

    async def _read(self, node: JoinedNode, requests: AsyncIterator[pb.NodeMessage]) -> None:
        async for said in requests:
            for message in said.batch or (said,):
                self._take(node, message)
            async with self._changed:
                self._changed.notify_all()

    def _take(self, node: JoinedNode, message: pb.NodeMessage) -> None:
        kind = message.WhichOneof("message")
        try:
            node.take(message)
        except Exception as error:  # noqa: BLE001 - told by whoever waits next
            self.error = error
        if kind == "recall_ended":
            self.ended[message.recall_ended.recall_id] = message.recall_ended
            self.endings.append(message.recall_ended)
        if kind == "heartbeat" and self.confirms:
            seen = pb.HeartbeatSeen(number=message.heartbeat.number)
            node.commands.put_nowait(pb.NodeCommand(heartbeat_seen=seen))

    # --- what tests wait for --------------------------------------------------

    async def until(self, what: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Waits until something is true; it is looked at whenever a node says something."""

        def look() -> bool:
            assert self.error is None, self.error
            return bool(what())

        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(look)

    async def joined(self, name: str) -> JoinedNode:
        """Waits until a node has joined and told its inventory."""
        await self.until(lambda: name in self.nodes and self.nodes[name].complete)
        return self.nodes[name]

    async def has_ended(self, recall_id: str, timeout_s: float = TIMEOUT_S) -> pb.RecallEnded:
        """Waits for the end of a recall."""
        await self.until(lambda: recall_id in self.ended, timeout_s)
        return self.ended[recall_id]

    async def staged(self, node: str, recall_id: str, lfn: str) -> pb.RecallEnded:
        """Waits for a recall that must end well, and for its replica to be told."""
        ended = await self.has_ended(recall_id)
        assert not ended.HasField("failure"), ended
        await self.until(lambda: lfn in self.nodes[node].replicas)
        return ended

    # --- what tests say -------------------------------------------------------

    def send(self, node: str, command: pb.NodeCommand) -> None:
        """Sends a command to a node that has joined."""
        self.nodes[node].commands.put_nowait(command)

    def start(self, node: str, lfn: str, recall_id: str = "", **order: Any) -> str:
        """Orders a recall; returns its id."""
        recall_id = recall_id or f"epoch.{next(self._numbers)}"
        said = pb.StartRecall(recall_id=recall_id, lfn=lfn, **order)
        self.send(node, pb.NodeCommand(start_recall=said))
        return recall_id

    def cancel(self, node: str, recall_id: str, reason: str = "nobody wants it") -> None:
        """Cancels a recall."""
        said = pb.CancelRecall(recall_id=recall_id, reason=reason)
        self.send(node, pb.NodeCommand(cancel_recall=said))

    def pin(self, node: str, lfn: str, lifetime_s: float, owner: str = "tester") -> None:
        """Sets one pin on a file."""
        pins = [pb.PinOrder(owner=owner, lifetime_s=lifetime_s)]
        said = pb.SetPins(files=[pb.FilePins(lfn=lfn, pins=pins)])
        self.send(node, pb.NodeCommand(set_pins=said))

    async def ask(self, node: str, kind: str, message: Any) -> list[Any]:
        """Asks something; all the pieces of the answer."""
        message.query_id = next(self._numbers)
        self.send(node, pb.NodeCommand(**{kind: message}))
        pieces = self.nodes[node].answers[message.query_id]
        await self.until(lambda: pieces and getattr(pieces[-1], "last", True))
        return pieces


class _Door(pb_grpc.ClusterServicer):
    """The Cluster service, as far as data servers know it."""

    def __init__(self, redirector: FakeRedirector) -> None:
        self._redirector = redirector

    async def Join(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.NodeMessage], context: object
    ) -> AsyncIterator[pb.NodeCommand]:
        async with contextlib.aclosing(self._redirector.join(request_iterator)) as commands:
            async for command in commands:
                yield command

    async def ClaimName(  # noqa: N802
        self, request: pb.ClaimNameRequest, context: object
    ) -> pb.ClaimNameReply:
        await self._redirector.claim(request)
        return pb.ClaimNameReply(archive_was_asked=self._redirector.archive_was_asked)
