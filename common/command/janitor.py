"""A process that ends a server's commands when the server itself cannot.

Nobody can catch kill -9, so a killed server leaves its commands running, and what it
was bringing may by then be brought by somebody else: two recalls of one file. The
janitor is a process of its own that waits for the end of a pipe only the server holds.
However the server ends, the kernel closes the pipe, and the janitor kills every process
that bears the mark of that server's life.

A server that is merely stopped (SIGSTOP, a debugger, a disk that hangs) keeps its pipe.
So some of its commands, those under a mark of their own, live by a lease that it renews
through the pipe: once the lease is over, others may do their work, and they are killed.

The mark is of one life, so a server that was started again meanwhile is left alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from common.command.leftovers import kill_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

GONE_WITHIN_S = 5.0
_READ_BYTES = 4096


class Janitor:
    """Starts the process for one owner of commands, and lets it go at the end.

    `leased`: the owner, within the other one, of the commands that live by a lease.
    """

    def __init__(self, owner: str, leased: str) -> None:
        self._argv = [sys.executable, "-m", "common.command", owner, leased]
        self._until_s: float | None = None  # monotonic
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """In a session of its own, so that a Ctrl-C meant for the server does not end it."""
        process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert process.stdin is not None
        # If it is stopped itself, its server must not wait for it.
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def keep(self, for_s: float) -> None:
        """The leased commands may live for so long from now, unless it is said again."""
        self._until_s = time.monotonic() + for_s
        self._say_until()

    def _say_until(self) -> None:
        assert self._process.stdin is not None
        if self._until_s is not None:
            # One that is gone is replaced by `ensure`, and told then.
            with contextlib.suppress(BrokenPipeError, BlockingIOError, ValueError):
                self._process.stdin.write(f"{self._until_s}\n".encode())

    def ensure(self) -> None:
        """Starts another one if somebody has ended it."""
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()
            self._say_until()

    def close(self) -> None:
        """Lets it look around once more and end; blocks, seconds at most."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def keep_watch(pipe: int, leased_ends: Callable[[], object]) -> None:
    """What the janitor's process does until its server is gone.

    It reads, from `pipe`, lines with the (monotonic) times until which the leased commands
    may live, and calls `leased_ends` whenever the last one it has read is over.
    """
    until_s: float | None = None
    rest = b""
    while True:
        wait_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        if not select.select([pipe], [], [], wait_s)[0]:
            until_s = None
            leased_ends()
            continue
        data = os.read(pipe, _READ_BYTES)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            until_s = float(lines[-1])


def main(owner: str, leased: str) -> None:
    """`python -m common.command OWNER LEASED`."""
    keep_watch(sys.stdin.fileno(), lambda: kill_leftovers(leased))
    kill_leftovers(owner)
