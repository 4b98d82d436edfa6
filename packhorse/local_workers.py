"""Workers on this machine, for as long as a client needs them.

One child process supervises them (`packhorse.worker`). The client keeps
the writing end of the child's standard input and never writes to it: however the
client ends, the pipe closes, and the supervisor ends its workers and itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from common.errors import PackhorseError
from packhorse.worker.options import to_argument

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

    from packhorse.worker.options import WorkerOptions

_STOP_TIMEOUT_S = 10.0
# Workers that end although their session goes on are started anew, but not for ever.
_SHORT_LIVES = 5
_SHORT_LIFE_S = 10.0
_PAUSE_S = 2.0


class LocalWorkers:
    """Keeps workers running from entering to leaving, whatever happens."""

    def __init__(self, options: Sequence[WorkerOptions]) -> None:
        self._options = options
        self._supervisor: Process | None = None

    async def __aenter__(self) -> Self:
        if self._options:
            self._supervisor = await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._supervisor is not None:
            await _end(self._supervisor)

    async def keep_up(self) -> None:
        """Starts the workers anew should they end too soon; never returns.

        Raises PackhorseError if they keep ending.
        """
        if self._supervisor is None:
            await asyncio.Event().wait()
            return
        loop = asyncio.get_running_loop()
        short_lives = 0
        while short_lives < _SHORT_LIVES:
            began_s = loop.time()
            code = await self._supervisor.wait()
            short_lives = short_lives + 1 if loop.time() - began_s < _SHORT_LIFE_S else 0
            # They end by themselves when their session does, of which we hear soon.
            await asyncio.sleep(_PAUSE_S)
            self._supervisor = await self._start()
        raise PackhorseError(
            f"the local workers keep ending (code {code}); what they said before tells why"
        )

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "packhorse.worker",
            to_argument(self._options),
            stdin=subprocess.PIPE,
            # What functions print must not mix with what we answer on stdout.
            stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
            # A session of its own: Ctrl-C is for the client, who then ends us.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        )


async def _end(supervisor: Process) -> None:
    """Closes the pipe: the supervisor ends its workers at once, then itself.

    By now the session has ended, or nobody wants its result.
    """
    try:
        if supervisor.stdin is not None:
            supervisor.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await supervisor.wait()
    finally:
        # Had it to be killed, its workers see their pipes close, and end too.
        with contextlib.suppress(ProcessLookupError):
            supervisor.kill()
    await supervisor.wait()


def _search_path() -> list[str]:
    """Where modules come from here, so that workers find the same ones."""
    return [path or os.getcwd() for path in sys.path]  # noqa: PTH109 - text is what is needed
