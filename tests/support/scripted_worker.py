"""A worker whose every step a test decides, over a real stream.

Its results are the ranges it did, as JSON: so the results of a session, put together,
tell whether every entry was counted once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Self

from common.grpc_client import answers_from, open_channel
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1.packetizer_pb2_grpc import PacketizerStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from common.errors import PackhorseError

TIMEOUT_S = 30.0


class ScriptedWorker:
    """One worker. Enter it to say hello and be welcomed."""

    def __init__(self, address: str, name: str = "w1", host: str = "host of n1", **hello: object):
        self._address = address
        self._hello = pb.WorkerHello(worker=name, host=host, **{"pid": 1, **hello})  # type: ignore[arg-type]
        self._outgoing: asyncio.Queue[pb.WorkerMessage | None] = asyncio.Queue()
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._commits = 0
        self.name = name
        self.welcome: pb.WorkerWelcome | None = None
        self.packets: list[pb.Packet] = []
        self.commit_soon = False
        self.answers: dict[int, pb.CommitAnswer] = {}
        self.ended: list[str] = []
        self.error: PackhorseError | None = None
        self.is_gone = False

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()

    # --- the connection ----------------------------------------------------------------

    async def connect(self) -> None:
        """Opens the stream (again), and waits for the welcome, or the refusal in `error`."""
        self.welcome, self.is_gone, self.error = None, False, None
        self.packets.clear()
        self._outgoing = asyncio.Queue()
        self._task = asyncio.create_task(self._live(), name=f"worker {self.name}")
        await self.until(lambda: self.welcome is not None or self.is_gone)

    async def vanish(self) -> None:
        """Goes without a word, as if killed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def hang_up(self) -> None:
        """Ends its half of the stream, and waits for the packetizer to end the other."""
        self._outgoing.put_nowait(None)
        await self.until(lambda: self.is_gone)

    async def until(self, so: Callable[[], object]) -> None:
        """Waits until something is so, looking again whenever something arrives."""
        async with asyncio.timeout(TIMEOUT_S), self._news:
            await self._news.wait_for(so)

    # --- saying ------------------------------------------------------------------------

    def say(self, message: pb.WorkerMessage) -> None:
        """Sends any message."""
        self._outgoing.put_nowait(message)

    def report(
        self, want: int = 0, commit: pb.Commit | None = None, failures: Iterable[object] = ()
    ) -> None:
        """Sends a report."""
        report = pb.WorkerReport(want=want, commit=commit, failures=failures)  # type: ignore[arg-type]
        self.say(pb.WorkerMessage(report=report))

    def beat(self) -> None:
        """Sends a heartbeat."""
        self.say(pb.WorkerMessage(heartbeat=pb.WorkerHeartbeat()))

    async def get(self, want: int = 1) -> list[pb.Packet]:
        """Asks for packets, and waits for the first of them."""
        self.report(want)
        return await self.given()

    async def given(self) -> list[pb.Packet]:
        """Waits until it holds packets."""
        await self.until(lambda: self.packets)
        return list(self.packets)

    def commit_message(
        self, packets: Sequence[pb.Packet], supersedes: Sequence[int] = (), ranges: object = None
    ) -> pb.Commit:
        """The next commit: the result of these packets."""
        self._commits += 1
        result = [[p.lfn, p.start, p.stop] for p in packets] if ranges is None else ranges
        return pb.Commit(
            commit_id=self._commits,
            session_id=packets[0].session_id if packets else "",
            packets=[
                pb.PacketRecord(
                    lease_id=p.lease_id,
                    started_s=1.0,
                    open_s=0.001,
                    read_s=0.002,
                    compute_s=0.007,
                    bytes_read=100,
                )
                for p in packets
            ],
            result=json.dumps(result).encode(),
            supersedes=supersedes,
        )

    async def commit(
        self, packets: Sequence[pb.Packet] | None = None, want: int = 0
    ) -> pb.CommitAnswer:
        """Commits what it holds, or these packets, and waits for the answer."""
        done = list(self.packets) if packets is None else list(packets)
        for packet in done:
            if packet in self.packets:
                self.packets.remove(packet)
        message = self.commit_message(done)
        self.report(want, message)
        return await self.answer_to(message)

    async def answer_to(self, commit: pb.Commit) -> pb.CommitAnswer:
        """Waits for the answer to a commit."""
        await self.until(lambda: commit.commit_id in self.answers)
        return self.answers[commit.commit_id]

    def fail(
        self,
        packet: pb.Packet,
        kind: pb.PacketFailure.Kind.ValueType = pb.PacketFailure.KIND_FUNCTION,
        reason: str = "it broke",
        want: int = 0,
    ) -> None:
        """Says that a packet could not be done."""
        self.packets.remove(packet)
        failure = pb.PacketFailure(
            lease_id=packet.lease_id, kind=kind, reason=reason, traceback="Traceback"
        )
        self.report(want, None, [failure])

    async def work(self, want: int = 2, sessions: int = 1) -> None:
        """Does packets and commits them until so many sessions, or the connection, have ended."""

        def is_over() -> bool:
            return self.is_gone or len(self.ended) >= sessions

        self.report(want)
        while not is_over():
            await self.until(lambda: self.packets or is_over())
            while self.packets:
                session_id = self.packets[0].session_id
                packets = [p for p in self.packets if p.session_id == session_id]
                self.packets = [p for p in self.packets if p.session_id != session_id]
                self.report(want, self.commit_message(packets))

    # --- hearing -----------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            async with open_channel(self._address) as channel:
                with answers_from("the packetizer"):
                    async for command in PacketizerStub(channel).Work(self._messages()):
                        await self._hear(command)
        except Exception as error:  # noqa: BLE001 - tests look at it
            self.error = error  # type: ignore[assignment]
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                async with self._news:
                    self.is_gone = True
                    self._news.notify_all()

    async def _messages(self) -> AsyncIterator[pb.WorkerMessage]:
        yield pb.WorkerMessage(hello=self._hello)
        outgoing = self._outgoing
        while (message := await outgoing.get()) is not None:
            yield message

    async def _hear(self, command: pb.WorkerCommand) -> None:
        async with self._news:
            match command.WhichOneof("command"):
                case "welcome":
                    self.welcome = command.welcome
                case "packets":
                    self.packets += command.packets.packets
                    self.commit_soon = command.packets.commit_soon
                case "commit_answer":
                    self.answers[command.commit_answer.commit_id] = command.commit_answer
                case "session_ended":
                    self.ended.append(command.session_ended.session_id)
            self._news.notify_all()


def counted(parts: Iterable[bytes]) -> Counter[tuple[str, int]]:
    """How often each entry is in these results."""
    return Counter(
        (lfn, entry)
        for part in parts
        for lfn, start, stop in json.loads(part)
        for entry in range(start, stop)
    )
