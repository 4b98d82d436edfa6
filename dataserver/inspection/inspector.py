"""The server's side of inspection: the queue, and the child's life and death.

Files wait in one queue and are opened one at a time. A file that makes the child
hang or die costs that child its life; the file gets a problem, and the next one a
new child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dataserver.inspection import magic
from dataserver.inspection.content import Content, Format, decode
from dataserver.inspection.problem import in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES: Final = 16 << 20
_START_LIMIT_S: Final = 120.0
# A child whose output has ended is as good as dead.
_DIES_WITHIN_S: Final = 5.0
_ALARM_GRACE_S: Final = 5
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
_CHILD: Final = (sys.executable, "-P", "-m", "dataserver.inspection.child")


class InspectorStoppedError(Exception):
    """The inspector is not running (any more): nothing was found out about the file."""


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    size_bytes: int
    format: Format
    found: asyncio.Future[Content]


class Inspector:
    """Finds out what files hold.

    `time_limit_s` is for one file, `memory_limit_bytes` for the child's address
    space. The child, the process that `command` starts, begins with the first file
    that needs it.
    """

    def __init__(
        self,
        *,
        time_limit_s: float = 60.0,
        memory_limit_bytes: int = 4 << 30,
        command: Sequence[str] = _CHILD,
    ) -> None:
        self._command = command
        self._time_limit_s = time_limit_s
        self._memory_limit_bytes = memory_limit_bytes
        self._waiting: asyncio.Queue[_Job] = asyncio.Queue()
        self._unfinished = 0
        self._worker: asyncio.Task[None] | None = None
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begins to take files; cheap, as the child starts only when needed."""
        self._worker = asyncio.create_task(self._work(), name="inspector")

    @property
    def waiting(self) -> int:
        """How many files wait for the child, or are in its hands."""
        return self._unfinished

    async def inspect(self, path: Path, size_bytes: int) -> Content:
        """What the file holds, whatever it is like. Waits its turn; may be cancelled.

        Raises InspectorStoppedError if the inspector is stopped before it knows.
        """
        found = await asyncio.to_thread(magic.look, path, size_bytes)
        if isinstance(found, Content):
            return found
        if self._worker is None:
            raise InspectorStoppedError("the inspector was not started")
        job = _Job(path, size_bytes, found, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(job)
        self._unfinished += 1
        try:
            return await job.found
        finally:
            self._unfinished -= 1

    async def stop(self) -> None:
        """Ends the child; inspections that still wait raise InspectorStoppedError."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.wait([worker])
        await self._end_child()
        while not self._waiting.empty():
            _give_up(self._waiting.get_nowait())

    async def _work(self) -> None:
        while True:
            job = await self._waiting.get()
            try:
                if not job.found.done():
                    content = await self._content_of(job)
                    if not job.found.done():
                        job.found.set_result(content)
            finally:
                _give_up(job)

    async def _content_of(self, job: _Job) -> Content:
        try:
            child = await self._begin(job)
        except (OSError, EOFError, TimeoutError) as error:
            _log.exception("cannot start the inspection's process")
            await self._end_child()
            return Content(job.format, problem=f"was not inspected: {in_one_line(error)}")
        try:
            async with asyncio.timeout(self._time_limit_s):
                return decode(await _read_line(child))
        except TimeoutError:
            await self._end_child()
            problem = f"inspection took longer than {self._time_limit_s:g} s"
        except EOFError:
            problem = f"inspection died of it ({_manner_of_death(await self._bury_child())})"
        except ValueError:
            await self._end_child()
            problem = "holds more tables than an inspection can tell"
        _log.warning("%s: %s", job.path, problem)
        return Content(job.format, problem=problem)

    async def _begin(self, job: _Job) -> asyncio.subprocess.Process:
        """Hands the job to the child; returns it once it begins on the file.

        A child that died in its sleep is replaced. Raises OSError, EOFError or
        TimeoutError if there is no getting one to work.
        """
        request = {
            "path": os.fspath(job.path),
            "size_bytes": job.size_bytes,
            "format": job.format.value,
        }
        line = json.dumps(request).encode() + b"\n"
        async with asyncio.timeout(_START_LIMIT_S):
            if self._child is not None:
                with contextlib.suppress(OSError, EOFError):
                    return await _hand_over(self._child, line)
                await self._end_child()
            self._child = await self._new_child()
            return await _hand_over(self._child, line)

    async def _new_child(self) -> asyncio.subprocess.Process:
        alarm_s = int(self._time_limit_s) + _ALARM_GRACE_S
        paths = [os.fspath(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return await asyncio.create_subprocess_exec(
            *self._command,
            f"--memory-bytes={self._memory_limit_bytes}",
            f"--alarm-s={alarm_s}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_ANSWER_BYTES,
            # Numerical libraries must not start threads for work that never comes.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )

    async def _bury_child(self) -> int:
        """Returns how a child ended that has just closed its output.

        It is not killed at once: to send a signal, `subprocess` looks whether the process
        has ended, and then nobody else would learn its exit code.
        """
        assert self._child is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DIES_WITHIN_S):
                await self._child.wait()
        return await self._end_child()

    async def _end_child(self) -> int:
        """Kills the child, if there is one, and returns how it ended."""
        child, self._child = self._child, None
        if child is None:
            return 0
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        return await child.wait()


def _give_up(job: _Job) -> None:
    """Tells whoever still waits for the job that there will be no answer."""
    if not job.found.done():
        job.found.set_exception(InspectorStoppedError("the inspector was stopped"))


async def _hand_over(child: asyncio.subprocess.Process, line: bytes) -> asyncio.subprocess.Process:
    assert child.stdin is not None
    child.stdin.write(line)
    await child.stdin.drain()
    await _read_line(child)
    return child


async def _read_line(child: asyncio.subprocess.Process) -> bytes:
    """One line of the child's. Raises EOFError if it dies, ValueError beyond the limit."""
    assert child.stdout is not None
    line = await child.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the process died")
    return line


def _manner_of_death(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit code {status}"
