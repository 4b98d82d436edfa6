"""The data servers' streams: commands out, questions out and their answers back.

A *link* is one Join stream. Commands go into its queue in order, and the door
takes them out as fast as the node reads; a node that lets the queue fill up is
cut off, because what it would learn late is worse than starting anew with its
next hello. A *question* is a command that the node answers, in one or several
pieces, under the question's number; it fails when the link ends, or when no
piece arrives in time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from common.errors import PackhorseError, Refused, TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

#: Commands that may wait for a node that reads slowly.
MAX_COMMANDS_WAITING = 20_000
#: What one message carries to a node that takes batches; a message costs more than most
#: of what it says.
MAX_COMMANDS_IN_A_BATCH = 100
MAX_BATCH_BYTES = 1 << 20

_Pieces = asyncio.Queue[Any]


class Link:
    """One data server's stream, for as long as it lasts."""

    def __init__(self, connection: int, max_waiting: int = MAX_COMMANDS_WAITING) -> None:
        self.connection = connection
        self.node = "(a node that has not said its name)"
        self.takes_batches = False
        self._max_waiting = max_waiting
        self._commands: deque[pb.NodeCommand] = deque()
        self._wake = asyncio.Event()
        self._error: PackhorseError | None = None
        self._questions: dict[int, _Pieces] = {}
        self._numbers = itertools.count(1)

        self.is_closed = False

    def send(self, command: pb.NodeCommand) -> None:
        """Queues a command; one for a link that has ended is dropped."""
        if self.is_closed:
            return
        if len(self._commands) >= self._max_waiting:
            self.close(Refused(f"data server {self.node} does not read what it is sent"))
            return
        self._commands.append(command)
        self._wake.set()

    def close(self, error: PackhorseError | None = None) -> None:
        """Ends the link: without an error, what is queued is still sent. Questions fail."""
        if self.is_closed:
            return
        self.is_closed = True
        self._error = error
        if error is not None:
            self._commands.clear()
        self._wake.set()
        for pieces in self._questions.values():
            pieces.put_nowait(None)

    async def commands(self) -> AsyncGenerator[pb.NodeCommand, None]:
        """What the door is to send, until the link ends. Raises what it was closed with."""
        while True:
            while self._commands:
                yield self._next_message()
            if self.is_closed:
                break
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error

    def _next_message(self) -> pb.NodeCommand:
        """The next command; with those behind it, if the node takes them at once."""
        first = self._commands.popleft()
        if not self.takes_batches or not self._commands:
            return first
        batch, size_bytes = [first], first.ByteSize()
        while self._commands and len(batch) < MAX_COMMANDS_IN_A_BATCH:
            size_bytes += self._commands[0].ByteSize()
            if size_bytes > MAX_BATCH_BYTES:
                break
            batch.append(self._commands.popleft())
        return pb.NodeCommand(batch=batch) if len(batch) > 1 else first

    async def ask(
        self, make_command: Callable[[int], pb.NodeCommand], timeout_s: float
    ) -> AsyncGenerator[Any, None]:
        """Asks the node something and yields its answer piece by piece.

        `make_command` is given the question's number; a piece has that as its
        `query_id`, and the last one has `last` set, or no such field.

        Raises:
            Unreachable: the link ended.
            TimedOut: no piece arrived for `timeout_s`.
        """
        number = next(self._numbers)
        pieces: _Pieces = asyncio.Queue()
        self._questions[number] = pieces
        try:
            self.send(make_command(number))
            while True:
                piece = None if self.is_closed else await self._next(pieces, timeout_s)
                if piece is None:
                    raise Unreachable(f"data server {self.node} went away before it answered")
                yield piece
                if getattr(piece, "last", True):
                    return
        finally:
            del self._questions[number]

    def answered(self, piece: Any) -> None:
        """Hands in a piece of an answer; one that nobody waits for any more is dropped."""
        pieces = self._questions.get(piece.query_id)
        if pieces is not None:
            pieces.put_nowait(piece)

    async def _next(self, pieces: _Pieces, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await pieces.get()
        except TimeoutError:
            raise TimedOut(
                f"data server {self.node} did not answer within {timeout_s:g} s"
            ) from None


class Links:
    """The links there are, by connection: a number that is never used twice."""

    def __init__(self) -> None:
        self._by_connection: dict[int, Link] = {}
        self._connections = itertools.count(1)

    def open(self) -> Link:
        """A link for a stream that has just been opened."""
        link = Link(next(self._connections))
        self._by_connection[link.connection] = link
        return link

    def get(self, connection: int) -> Link | None:
        """The link of a connection, None if it has ended."""
        return self._by_connection.get(connection)

    def forget(self, link: Link) -> None:
        """The stream is gone."""
        link.close()
        self._by_connection.pop(link.connection, None)

    def close_all(self, error: PackhorseError) -> None:
        """Ends every link, as when the redirector stops."""
        for link in list(self._by_connection.values()):
            link.close(error)
