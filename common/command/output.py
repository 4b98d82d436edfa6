"""A command's output: read as it comes, its end kept, and made fit to be shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from common.text import decode

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
TAIL_LINES = 20
# A reason is made of this many of the last lines, and is no longer than that.
REASON_LINES = 3
REASON_CHARACTERS = 400
# A longer line is nobody's message: it is passed over.
LONGEST_LINE_BYTES = 64 * 1024


class Lines:
    """Cuts what is fed to it into lines; what is too long for one is passed over."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> None:
        """Takes more of the stream; b"" is its end, and ends its last line as well."""
        *whole, rest = chunk.split(b"\n") if chunk else (b"", b"")
        for part in whole:
            line = bytes(self._begun + part)
            if line and not self._is_too_long and len(line) <= LONGEST_LINE_BYTES:
                self._on_line(line)
            self._begun.clear()
            self._is_too_long = False
        self._begun += rest
        if len(self._begun) > LONGEST_LINE_BYTES:
            self._begun.clear()
            self._is_too_long = True


class Tail:
    """Reads a pipe that must not block, and keeps the last `limit_bytes`.

    All of what is read goes to `feed` as well, and b"" at its end.
    """

    def __init__(
        self, fd: int, limit_bytes: int, feed: Callable[[bytes], None] | None = None
    ) -> None:
        os.set_blocking(fd, False)
        self._feed = feed
        self.fd = fd
        self.ended = False
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self._dropped = False

    def read_some(self) -> bool:
        """Takes what is there, up to a chunk; False if that is nothing."""
        try:
            chunk = os.read(self.fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        self.ended = not chunk
        self._kept += chunk
        if self._feed is not None:
            self._feed(chunk)
        # Cut rarely, so that a flood costs no more than reading it.
        if len(self._kept) > self._limit_bytes + 16 * CHUNK_BYTES:
            self._cut()
        return not self.ended

    def read_rest(self) -> None:
        """Takes what is in the pipe, without waiting for whoever still holds its other end."""
        # Bounded, because that one may go on writing.
        for _ in range(32):
            if self.ended or not self.read_some():
                return

    def content(self) -> tuple[bytes, bool]:
        """What was kept, and whether it is all there was."""
        self._cut()
        return bytes(self._kept), not self._dropped

    def _cut(self) -> None:
        surplus = len(self._kept) - self._limit_bytes
        if surplus > 0:
            del self._kept[:surplus]
            self._dropped = True


def last_lines(output: bytes) -> str:
    """The last lines that say something, printable."""
    lines = [line.rstrip() for line in decode(output).splitlines()]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])


def as_reason(what_happened: str, tail: str) -> str:
    """One line: what happened, and what the command itself said last."""
    words = " | ".join(tail.splitlines()[-REASON_LINES:])
    if not words:
        return f"{what_happened} (it said nothing)"
    if len(words) > REASON_CHARACTERS:
        words = "…" + words[-REASON_CHARACTERS:]
    return f"{what_happened}: {words}"
