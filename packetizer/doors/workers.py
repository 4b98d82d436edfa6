"""A worker's one stream: what it reports goes to the desk, what the desk decides goes to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common.errors import UsageError
from packetizer import wire
from packetizer.core import events as ev
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from packetizer.runner import Runner
    from packetizer.streams import Stream, Streams

#: Longer names and labels are mistakes.
_LABEL_CHARACTERS = 256
_LARGEST = (1 << 63) - 1
#: No worker gets more packets at once, whatever it wants.
_MOST_PACKETS = 1_000
#: More in one commit is a mistake, and must not make the sums overflow.
_MOST_BYTES_READ = 1 << 44


class WorkersDoor:
    """Serves the workers' streams."""

    def __init__(
        self, runner: Runner, streams: Streams, welcome: pb.WorkerWelcome, max_result_bytes: int
    ) -> None:
        self._runner = runner
        self._streams = streams
        self._welcome = welcome
        self._max_result_bytes = max_result_bytes

    async def work(
        self, messages: AsyncIterator[pb.WorkerMessage]
    ) -> AsyncGenerator[pb.WorkerCommand, None]:
        """The commands of one stream, until the worker hangs up or is told to.

        Raises UsageError for what makes no sense, Refused for a name that is taken.
        """
        hello = await _hello(messages)
        if hello is None:
            return
        stream = self._streams.open(hello.worker)
        try:
            self._runner.tell(_joined(hello, stream.number))
            self._streams.admitted(stream)
            yield pb.WorkerCommand(welcome=self._welcome)
            reading = asyncio.create_task(self._read(messages, stream))
            reading.add_done_callback(lambda _: stream.close())
            try:
                while (command := await stream.take()) is not None:
                    yield command
                await reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        finally:
            self._streams.remove(stream)
            self._runner.tell(ev.WorkerLeft(hello.worker, stream.number))

    async def _read(self, messages: AsyncIterator[pb.WorkerMessage], stream: Stream) -> None:
        """Takes messages until the worker hangs up. One that dies looks no different."""
        async for message in messages:
            match message.WhichOneof("message"):
                case "report":
                    self._take_report(stream, message.report)
                case "heartbeat":
                    self._runner.tell(ev.WorkerBeat(stream.worker, stream.number))
                case _:
                    raise UsageError("Work: a report or a heartbeat is expected after the hello")

    def _take_report(self, stream: Stream, report: pb.WorkerReport) -> None:
        failures = [wire.packet_failed(failure) for failure in report.failures]
        offered = None
        if report.HasField("commit"):
            commit = report.commit
            if len(commit.result) > self._max_result_bytes:
                failures += _all_failed(
                    commit,
                    f"a result of {len(commit.result)} bytes is larger than the "
                    f"{self._max_result_bytes} that are taken",
                )
            offered = _offered(commit)
        self._runner.tell(
            ev.WorkerReported(
                stream.worker,
                stream.number,
                min(report.want, _MOST_PACKETS),
                offered,
                failures,
            )
        )


async def _hello(messages: AsyncIterator[pb.WorkerMessage]) -> pb.WorkerHello | None:
    """The first message; None if there is none."""
    message = await anext(messages, None)
    if message is None:
        return None
    if message.WhichOneof("message") != "hello":
        raise UsageError("Work: the first message must be a hello")
    hello = message.hello
    if not hello.worker:
        raise UsageError("Work: the hello has no worker's name")
    for label in (hello.worker, hello.host, hello.rack, hello.site, hello.session_id):
        if len(label) > _LABEL_CHARACTERS or not label.isprintable():
            raise UsageError(f"Work: {label[:40]!r} is no name or label")
    return hello


def _joined(hello: pb.WorkerHello, stream: int) -> ev.WorkerJoined:
    return ev.WorkerJoined(
        hello.worker, stream, hello.host, hello.rack, hello.site, hello.session_id, hello.pid
    )


def _offered(commit: pb.Commit) -> ev.CommitOffered:
    if commit.commit_id > _LARGEST:
        raise UsageError("Work: a commit's number is too large")
    records = commit.packets
    return ev.CommitOffered(
        commit.commit_id,
        commit.session_id,
        [record.lease_id for record in records],
        [record.open_s + record.read_s + record.compute_s for record in records],
        min(sum(record.bytes_read for record in records), _MOST_BYTES_READ),
        list(commit.supersedes),
        commit,
    )


def _all_failed(commit: pb.Commit, reason: str) -> list[ev.PacketFailed]:
    return [
        ev.PacketFailed(record.lease_id, ev.FailureKind.MERGE, reason) for record in commit.packets
    ]
