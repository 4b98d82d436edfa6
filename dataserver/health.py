"""How the machine and the pool's disk are: what heartbeats carry besides the node's figures."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import psutil

from common import wording
from common.text import one_line

if TYPE_CHECKING:
    from dataserver.disk import PoolDisk

#: How often the disk is tried, and how long it may take to answer.
PROBE_EVERY_S: Final = 5.0
PROBE_LIMIT_S: Final = 20.0
_PROBE_BYTES: Final = b"packhorse tries whether this disk can be written to\n"


class MachineLoad:
    """How busy the machine was since the last look, in percent of all its cores."""

    def __init__(self) -> None:
        self._last = psutil.cpu_times()

    def look(self) -> tuple[float, float]:
        """CPU in use, and waiting for disks; both 0.0 if no time has passed."""
        last, self._last = self._last, psutil.cpu_times()
        passed = [max(0.0, now - then) for now, then in zip(self._last, last, strict=True)]
        spent = dict(zip(self._last._fields, passed, strict=True))
        # Guests' time is counted in that of their hosts' users already.
        total = sum(passed) - spent.get("guest", 0.0) - spent.get("guest_nice", 0.0)
        if total <= 0:
            return 0.0, 0.0
        waiting = spent.get("iowait", 0.0)
        used = total - spent.get("idle", 0.0) - waiting
        return max(0.0, 100 * used / total), 100 * waiting / total


class DiskHealth:
    """Tries the pool's disk now and then; `trouble` says why it should get no recalls."""

    def __init__(self, disk: PoolDisk) -> None:
        self._disk = disk
        self._free_bytes: int | None = None
        self._problem = ""

    def trouble(self, bytes_to_come: int) -> str:
        """What is wrong with the disk; also if it cannot hold what is still to come."""
        if self._problem:
            return self._problem
        if self._free_bytes is not None and self._free_bytes < bytes_to_come:
            return (
                f"the pool's file system has {wording.size(self._free_bytes)} left, though "
                f"{wording.size(bytes_to_come)} are still to come; is the quota too large?"
            )
        return ""

    async def watch(self) -> None:
        """Tries the disk for ever."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_EVERY_S)

    async def probe(self) -> None:
        """Tries the disk once. A disk that hangs is reported, and then waited for."""
        probe = self._disk.threads.call(self._try)
        done, _ = await asyncio.wait([probe], timeout=PROBE_LIMIT_S)
        if not done:
            self._problem = f"the pool's disk has not answered for {PROBE_LIMIT_S:g} s"
            await asyncio.wait([probe])
        try:
            self._free_bytes = probe.result()
            self._problem = ""
        except OSError as error:
            self._problem = one_line(f"the pool's disk cannot be written to: {error.strerror}")

    def _try(self) -> int:
        free_bytes = self._disk.free_bytes()
        path = self._disk.private / "probe"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            if free_bytes:
                os.write(fd, _PROBE_BYTES)
                os.fsync(fd)
        finally:
            os.close(fd)
        return free_bytes
