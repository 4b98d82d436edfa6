"""A command's standard input that is written while it runs."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Self


class _Pipe(asyncio.Protocol):
    """Notes when the pipe is closed: its transport must not be touched after that."""

    is_lost = False

    def connection_lost(self, _error: Exception | None) -> None:
        """Everything was written, or nobody reads any more."""
        self.is_lost = True


class OpenInput:
    """A pipe: `fd` is what the command reads, `write` never blocks, however slowly it reads.

    What is written to a command that has ended, or has closed its input, is lost.
    """

    def __init__(self, fd: int, transport: asyncio.WriteTransport, pipe: _Pipe) -> None:
        self._fd: int | None = fd
        self._transport = transport
        self._pipe = pipe

    @classmethod
    async def open(cls) -> Self:
        """A new pipe. Raises OSError."""
        read_fd, write_fd = os.pipe()
        try:
            file = io.FileIO(write_fd, "w")
            loop = asyncio.get_running_loop()
            transport, pipe = await loop.connect_write_pipe(_Pipe, file)
        except BaseException:
            os.close(read_fd)
            raise
        return cls(read_fd, transport, pipe)

    @property
    def fd(self) -> int:
        """The end to give to the command, as `CommandSpec.stdin_fd`."""
        assert self._fd is not None, "the command has its end already"
        return self._fd

    def hand_over(self) -> None:
        """The command has its end, or was not started: ours of it is closed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def write(self, data: bytes) -> None:
        """Writes as soon as there is room."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """The command reads the end of its input after all that was written."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Nobody reads it any more."""
        self.hand_over()
        if not self._pipe.is_lost:
            self._transport.abort()
