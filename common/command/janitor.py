"""A process that ends a server's commands when the server itself was killed.

Nobody can catch kill -9, so a killed server leaves its commands running, and what it
was bringing may by then be brought by somebody else: two recalls of one file. The
janitor is a process of its own that waits for the end of a pipe only the server holds.
However the server ends, the kernel closes the pipe, and the janitor kills every process
that bears the mark of that server's life.

The mark is of one life, so a server that was started again meanwhile is left alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

GONE_WITHIN_S = 5.0


class Janitor:
    """Starts the process for one owner of commands, and lets it go at the end."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """In a session of its own, so that a Ctrl-C meant for the server does not end it."""
        return subprocess.Popen(
            [sys.executable, "-m", "common.command", self._owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ensure(self) -> None:
        """Starts another one if somebody has ended it."""
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()

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
