"""How the machine and the pool's disk are: what heartbeats carry besides the node's figures."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

import psutil

from common import wording
from common.text import one_line
from dataserver.core.events import DiskCame, DiskWent
from dataserver.identity import Whereabouts, find

if TYPE_CHECKING:
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine

log = logging.getLogger(__name__)

#: How often it is looked whether the disk is there, whether it can be written to, and how
#: long it may take to answer.
LOOK_EVERY_S: Final = 1.0
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
    """Tries the pool's disk now and then, and tells the node when it goes and comes.

    * A disk that is *away* is not mounted, fails to be read, or hangs: nothing of it can be
      relied upon, so the node holds nothing until it is back. What is not seen is not gone.
    * A disk that cannot be written to, or is full, is in *trouble*: it gets no recalls, and is
      read from as ever.
    * Another pool at its path, or its own mounted anew, can only be opened by a new life of
      the server, which `replaced` asks for.
    """

    def __init__(self, engine: Engine, disk: PoolDisk, identity: str) -> None:
        self._engine = engine
        self.disk = disk
        self._identity = identity
        self._free_bytes: int | None = None
        self._problem = ""
        self._looking: asyncio.Task[None] | None = None
        #: Set once only a new life of the server could use what is at the pool's path.
        self.replaced = asyncio.Event()

    def trouble(self, bytes_to_come: int) -> str:
        """What is wrong with the disk; also if it cannot hold what is still to come."""
        if self._engine.node.pool.away:
            return self._engine.node.pool.away
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_presence(), name="disk's presence")
            group.create_task(self._watch_writing(), name="disk's writing")

    async def is_there(self) -> bool:
        """Looks whether the disk is there; who asks meanwhile waits for the same look."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="look for the disk")
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)
        return not self._engine.node.pool.away

    # --- inside -------------------------------------------------------------

    async def _watch_presence(self) -> None:
        while True:
            await self.is_there()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _watch_writing(self) -> None:
        while True:
            await self._try_to_write()
            await asyncio.sleep(PROBE_EVERY_S)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            # Raised where it is waited for, if it is.
            looking.exception()

    async def _look(self) -> None:
        """Looks for the disk once. One that hangs is reported, and then waited for."""
        look = self.disk.probers.call(lambda: find(self.disk, self._identity))
        done, _ = await asyncio.wait([look], timeout=PROBE_LIMIT_S)
        if not done:
            self._went(f"the pool's disk has not answered for {PROBE_LIMIT_S:g} s")
            await asyncio.wait([look])
        try:
            found = look.result()
        except OSError as error:
            self._went(f"the pool's disk cannot be read: {error.strerror}")
            return
        match found:
            case Whereabouts.HERE:
                if self._engine.node.pool.away:
                    log.info("%s: the pool's disk is back", self._engine.name)
                    self._engine.post(DiskCame())
            case Whereabouts.AWAY:
                self._went(f"the pool is not at {self.disk.root} any more; is its disk mounted?")
            case Whereabouts.ANOTHER:
                self._went(f"another pool was mounted at {self.disk.root}, or this one anew")
                self.replaced.set()

    def _went(self, why: str) -> None:
        why = one_line(why)
        if self._engine.node.pool.away != why:
            log.error("%s: nothing is served: %s", self._engine.name, why)
            self._engine.post(DiskWent(why))

    async def _try_to_write(self) -> None:
        """Writes a little, and learns what is free. A disk that hangs is waited for."""
        if self._engine.node.pool.away:
            return
        probe = self.disk.probers.call(self._write)
        done, _ = await asyncio.wait([probe], timeout=PROBE_LIMIT_S)
        if not done:
            self._note(f"the pool's disk has not taken a byte for {PROBE_LIMIT_S:g} s")
            await asyncio.wait([probe])
        try:
            self._free_bytes = probe.result()
            self._note("")
        except OSError as error:
            self._note(f"the pool's disk cannot be written to: {error.strerror}")

    def _note(self, problem: str) -> None:
        problem = one_line(problem)
        if problem != self._problem:
            log.warning("%s: %s", self._engine.name, problem or "the pool's disk is well again")
        self._problem = problem

    def _write(self) -> int:
        free_bytes = self.disk.free_bytes()
        fd = self.disk.create_probe()
        try:
            if free_bytes:
                os.write(fd, _PROBE_BYTES)
                os.fsync(fd)
        finally:
            os.close(fd)
        return free_bytes
