"""The workers' streams: where commands wait until they are written.

The core names a stream by its number, which is never used again, or the worker it
belongs to now. What is sent to a stream that is gone is gone with it: the leases in
it have been freed by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from common.errors import Refused

if TYPE_CHECKING:
    from common.errors import PackhorseError
    from protos.packhorse.v1 import packetizer_pb2 as pb


class Stream:
    """What one worker is still to be told."""

    __slots__ = ("_commands", "_error", "_is_closed", "_ready", "number", "worker")

    def __init__(self, number: int, worker: str) -> None:
        self.number = number
        self.worker = worker
        self._commands: deque[pb.WorkerCommand] = deque()
        self._ready = asyncio.Event()
        self._is_closed = False
        self._error: PackhorseError | None = None

    def put(self, command: pb.WorkerCommand) -> None:
        """One more command."""
        self._commands.append(command)
        self._ready.set()

    def close(self, error: PackhorseError | None = None) -> None:
        """The stream ends, once what waits has been taken; with an error if one is given."""
        self._is_closed = True
        self._error = self._error or error
        self._ready.set()

    async def take(self) -> pb.WorkerCommand | None:
        """Waits for the next command; None at the end. Raises what the stream was closed with."""
        while not self._commands:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._commands.popleft()


class Streams:
    """All of them."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._by_number: dict[int, Stream] = {}
        self._by_worker: dict[str, Stream] = {}

    def open(self, worker: str) -> Stream:
        """A new stream, which is now the worker's."""
        stream = Stream(next(self._numbers), worker)
        self._by_number[stream.number] = stream
        return stream

    def admitted(self, stream: Stream) -> None:
        """From now on, what is for the worker goes to this stream."""
        self._by_worker[stream.worker] = stream

    def remove(self, stream: Stream) -> None:
        """The stream has ended."""
        del self._by_number[stream.number]
        if self._by_worker.get(stream.worker) is stream:
            del self._by_worker[stream.worker]

    def send(self, number: int, command: pb.WorkerCommand) -> None:
        """To one stream."""
        stream = self._by_number.get(number)
        if stream is not None:
            stream.put(command)

    def send_to_worker(self, worker: str, command: pb.WorkerCommand) -> None:
        """To the stream that is the worker's now."""
        stream = self._by_worker.get(worker)
        if stream is not None:
            stream.put(command)

    def close(self, number: int, reason: str) -> None:
        """Ends one stream."""
        stream = self._by_number.get(number)
        if stream is not None:
            stream.close(Refused(f"the packetizer hung up: {reason}"))

    def close_all(self, error: PackhorseError) -> None:
        """Ends every stream."""
        for stream in self._by_number.values():
            stream.close(error)
