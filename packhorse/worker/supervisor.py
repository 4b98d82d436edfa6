"""The parent of worker processes: starts them, and starts them anew when they die.

    python -m packhorse.worker OPTIONS

It imports nothing that could fail or grow. A child that ends by itself, with code 0,
has no more work; one that dies is started again, at growing intervals if it dies at
once. Children end with the supervisor, whatever happens to it:
told to stop by a signal, it lets them commit what is done; left by its parent, it
does not, since nobody wants their results.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from packhorse.worker.options import to_argument
from packhorse.worker.parent import when_parent_ends

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

    from packhorse.worker.options import WorkerOptions

log = logging.getLogger(__name__)

EXIT_DONE = 0
EXIT_GAVE_UP = 11
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
# A child that lived so long is no longer suspected of dying at its start.
_LIVED_S = 30.0
# A little longer than children allow themselves.
_STOP_TIMEOUT_S = 7.0


async def supervise(options: Sequence[WorkerOptions], *, end_with_parent: bool = False) -> int:
    """Runs workers until all have ended, or this process is told to stop.

    `end_with_parent` ends them at once when standard input is closed. Returns 0, or the
    code of a worker that gave up reaching the packetizer.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    children = [_Child(option) for option in options]

    def leave() -> None:
        for child in children:
            child.grace_s = 0.0
        stop.set()

    if end_with_parent:
        when_parent_ends(lambda: loop.call_soon_threadsafe(leave))
    everyone = asyncio.gather(*(child.keep_alive() for child in children))
    everyone.add_done_callback(lambda _: stop.set())
    try:
        await stop.wait()
        return max(everyone.result(), default=EXIT_DONE) if everyone.done() else EXIT_DONE
    finally:
        everyone.cancel()
        await asyncio.gather(everyone, return_exceptions=True)


class _Child:
    """One worker, in as many lives as it takes. `grace_s` is how long it may take to stop."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self.grace_s = _STOP_TIMEOUT_S

    async def keep_alive(self) -> int:
        """Starts it, and starts it anew when it dies; returns the code it ended with."""
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            began_s = loop.time()
            code = await self._live()
            if code in {EXIT_DONE, EXIT_GAVE_UP}:
                return code
            if loop.time() - began_s > _LIVED_S:
                pause_s = _FIRST_PAUSE_S
            name, ended = self._options.name, _in_words(code)
            log.warning("worker %s %s; starting it anew in %.1f s", name, ended, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _live(self) -> int:
        """One life of a worker; it is ended if this is cancelled."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "packhorse.worker.child",
            to_argument([self._options]),
            stdin=subprocess.PIPE,
            # A group of its own: Ctrl-C at the terminal is for the supervisor to handle.
            process_group=0,
        )
        try:
            return await process.wait()
        finally:
            await self._end(process)

    async def _end(self, process: Process) -> None:
        """Ends a child if it still lives, politely if there is time, and what it started."""
        try:
            if process.returncode is None and self.grace_s:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.grace_s):
                        await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.stdin is not None:
                process.stdin.close()
        await process.wait()


def _in_words(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"
