"""One stream to the redirector, from its hello to its end.

* Everything goes out through one writer, which takes what is there and sends it in
  this order: the next piece of an inventory, all changes since, what else waits. The
  changes are read from the core's log (`core.changes`), so a gap cannot be. What waits
  together goes in one message, if the redirector takes batches.
* Who must not be ahead of the redirector's knowledge waits with `heard`: a heartbeat is
  sent behind all there is to say, and its being seen means that all of it was.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import grpc

from common.errors import PackhorseError
from dataserver import wire
from dataserver.core import events
from dataserver.orders import refusal
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from dataserver.ends import Ends
    from dataserver.engine import Engine
    from dataserver.epochs import Epochs
    from dataserver.heartbeat import Pulse
    from dataserver.orders import Orders

log = logging.getLogger(__name__)

#: Changes in one message.
CHANGES_AT_A_TIME: Final = 2_000
#: Messages sent as one, at most, and their size from which on no more are added.
MESSAGES_IN_A_BATCH: Final = 256
BATCH_BYTES: Final = 1 << 18
DEFAULT_HEARTBEAT_S: Final = 1.0


class Stream:
    """One Join call, from its hello to its end."""

    def __init__(
        self,
        call: Any,
        engine: Engine,
        pulse: Pulse,
        orders: Orders,
        ends: Ends,
        epochs: Epochs,
    ) -> None:
        self.is_welcome = False
        self.root_address = ""
        self.wake = asyncio.Event()
        self._call = call
        self._engine = engine
        self._pulse = pulse
        self._orders = orders
        self._ends = ends
        self._epochs = epochs
        self._answers: deque[pb.NodeMessage] = deque()
        self._heartbeat_s = DEFAULT_HEARTBEAT_S
        self._batch_messages = 1
        self._beat_due = False
        self._hello_s = 0.0
        self._sent_s: dict[int, float] = {}  # when heartbeats were sent
        self._inventory: Iterator[pb.NodeMessage] | None = None
        self._told: dict[str, tuple[int, str]] = {}  # of recalls' progress
        self._work: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.Future[None]] = []  # for a heartbeat still to be sent
        self._hearing: deque[tuple[int, list[asyncio.Future[None]]]] = deque()
        self._leaving = asyncio.Event()
        self._ended = False

    async def run(self, hello: pb.Hello) -> None:
        """Says hello, and serves the stream until it ends. Raises grpc.RpcError."""
        self._hello_s = self._engine.now_s()
        await self._send(pb.NodeMessage(hello=hello))
        self._ends.begin_anew()
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read(), name="link reader"),
            asyncio.create_task(self._write(), name="link writer"),
            asyncio.create_task(self._beat(), name="link heartbeats"),
            asyncio.create_task(self._leaving.wait(), name="until the link is to end"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            tasks.extend(self._work)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._call.cancel()
            self._ended = True
            self._hearing.append((0, self._listening))
            self._have_heard(math.inf)

    def leave(self) -> None:
        """Ends the stream; the node joins again at once."""
        self._leaving.set()

    def answer(self, message: pb.NodeMessage) -> None:
        """Sends a piece of an answer, if this stream lasts so long."""
        self._answers.append(message)
        self.wake.set()

    async def heard(self) -> None:
        """Waits until all there is to say now has been heard, or the stream has ended."""
        if not self._ended:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._listening.append(future)
            self.wake.set()
            await future

    # --- in -----------------------------------------------------------------

    async def _read(self) -> None:
        while (said := await self._call.read()) is not grpc.aio.EOF:
            for command in said.batch or (said,):
                self._hear(command)
            self.wake.set()

    def _hear(self, command: pb.NodeCommand) -> None:
        match command.WhichOneof("command"):
            case "welcome":
                self._welcome(command.welcome)
            case "heartbeat_seen":
                self._seen(command.heartbeat_seen.number)
            case "send_inventory":
                self._inventory = wire.inventory(self._engine.node.inventory())
            case _:
                self._obey(command)

    def _welcome(self, said: pb.Welcome) -> None:
        self.is_welcome = True
        self.root_address = said.root_address
        self._heartbeat_s = said.heartbeat_s or DEFAULT_HEARTBEAT_S
        self._batch_messages = MESSAGES_IN_A_BATCH if said.takes_batches else 1
        self._engine.post(events.Welcomed(said.recall_lease_s, self._hello_s))
        log.info("%s: joined", self._engine.name)
        if self._epochs.meet(said.redirector_epoch):
            log.error(
                "%s: two redirectors answer at its address by turns; stop one of them, for neither "
                "knows of all that runs",
                self._engine.name,
            )

    def _seen(self, number: int) -> None:
        sent_s = self._sent_s.pop(number, None)
        if sent_s is None:
            return
        self._engine.post(events.InTouch(sent_s))
        self._ends.confirm(number)
        for older in [one for one in self._sent_s if one < number]:
            del self._sent_s[older]
        self._have_heard(number)

    def _have_heard(self, number: float) -> None:
        """Wakes those who wait for a heartbeat up to this one to be seen."""
        while self._hearing and self._hearing[0][0] <= number:
            for future in self._hearing.popleft()[1]:
                if not future.done():
                    future.set_result(None)

    def _obey(self, command: pb.NodeCommand) -> None:
        try:
            work = self._orders.obey(command, self.answer)
        except PackhorseError as error:
            log.warning("%s: the redirector's command: %s", self._engine.name, error)
            if command.WhichOneof("command") == "start_recall":
                self._ends.add(wire.recall_ended(refusal(command.start_recall, error)))
            return
        if work is not None:
            task = asyncio.create_task(_logged(work), name="link answer")
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    # --- out ----------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._beat_due = True
            self.wake.set()
            await asyncio.sleep(self._heartbeat_s)

    async def _write(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            # What is ready to happen now goes into the same message.
            await asyncio.sleep(0)
            for batch in self._batches():
                said = batch[0] if len(batch) == 1 else pb.NodeMessage(batch=batch)
                await self._send(said)

    async def _send(self, message: pb.NodeMessage) -> None:
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError:
            # The call has ended already. Reading from it raises what ended it.
            await self._call.read()

    def _batches(self) -> Iterator[list[pb.NodeMessage]]:
        batch: list[pb.NodeMessage] = []
        size_bytes = 0
        for message in self._messages():
            batch.append(message)
            size_bytes += message.ByteSize()
            if len(batch) >= self._batch_messages or size_bytes >= BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
        if batch:
            yield batch

    def _messages(self) -> Iterator[pb.NodeMessage]:
        """Everything there is to be said now, looked for anew before each message."""
        changes = self._engine.node.changes
        while True:
            if self._beat_due:
                self._beat_due = False
                yield self._heartbeat()
                yield from self._progress()
            elif self._inventory is not None and (piece := next(self._inventory, None)):
                yield piece
            elif len(changes):
                self._inventory = None
                yield wire.changes(changes.take(CHANGES_AT_A_TIME))
            elif end := self._ends.take(self._pulse.number + 1):
                yield end
            elif self._answers:
                yield self._answers.popleft()
            elif self._listening:
                listening, self._listening = self._listening, []
                heartbeat = self._heartbeat(extra=True)
                self._hearing.append((heartbeat.heartbeat.number, listening))
                yield heartbeat
            else:
                return

    def _heartbeat(self, *, extra: bool = False) -> pb.NodeMessage:
        heartbeat = self._pulse.beat(extra=extra)
        self._sent_s[heartbeat.number] = self._engine.now_s()
        return pb.NodeMessage(heartbeat=heartbeat)

    def _progress(self) -> Iterator[pb.NodeMessage]:
        """How far the recalls have come that went on since the last heartbeat."""
        told, self._told = self._told, {}
        for recall in list(self._engine.node.staging.live()):
            now = (recall.bytes_done, recall.phase)
            self._told[recall.recall_id] = now
            if told.get(recall.recall_id) != now:
                yield pb.NodeMessage(
                    recall_progress=pb.RecallProgress(
                        recall_id=recall.recall_id,
                        bytes_done=recall.bytes_done,
                        size_bytes=recall.size_bytes or 0,
                        phase=recall.phase,
                    )
                )


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("an answer to the redirector failed")
