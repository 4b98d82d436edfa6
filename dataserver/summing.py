"""Checksums of replicas that somebody asks for: looked up, or computed once and kept.

The one that was computed when a file came is in its row. Any other is computed when it is
first asked for; who asks meanwhile waits for the same one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING

from common.errors import NotFound, PackhorseError, Refused, UsageError
from common.names import normalise
from dataserver import checksum as checksums
from dataserver.catalogue import Version
from dataserver.threads import finished

if TYPE_CHECKING:
    from dataserver.catalogue import Catalogue
    from dataserver.checksum import Checksum
    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.replicas import Replicas

log = logging.getLogger(__name__)


class Summing:
    """Tells the checksums of one pool's replicas."""

    def __init__(
        self, engine: Engine, disk: PoolDisk, catalogue: Catalogue, replicas: Replicas
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._replicas = replicas
        self._stopped = threading.Event()
        self._under_way: dict[tuple[Replica, str], asyncio.Task[Checksum]] = {}

    async def stop(self) -> None:
        """Ends what is being computed."""
        self._stopped.set()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def checksum(self, lfn: str, algorithm: str) -> Checksum:
        """A replica's checksum. Raises NotFound, NameRefused, UsageError, Damaged."""
        lfn = normalise(lfn)
        if algorithm not in checksums.ALGORITHMS:
            raise UsageError(
                f"checksum algorithm {algorithm!r} is not known; it may be one of "
                f"{', '.join(checksums.ALGORITHMS)}"
            )
        node = self._engine.node
        await self._engine.until(lambda: not node.is_moving(lfn))
        replica = node.pool.get(lfn)
        if replica is None or not node.is_visible(lfn):
            raise NotFound(f"{lfn} is not on this node")
        known = await self._catalogue.checksum(lfn, algorithm)
        if known is not None:
            return known
        key = (replica, algorithm)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._compute(lfn, algorithm), name=f"sum {lfn}")
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[Replica, str], task: asyncio.Task[Checksum]) -> None:
        del self._under_way[key]
        # Whoever asked may be gone.
        if not task.cancelled():
            task.exception()

    async def _compute(self, lfn: str, algorithm: str) -> Checksum:
        replica, fd = await self._replicas.open(lfn, is_use=False)
        try:
            found, mtime_ns = await finished(
                self._disk.checkers.call(lambda: self._sum(fd, algorithm))
            )
        except OSError as error:
            raise self._replicas.losses.unreadable(replica, error) from error
        finally:
            os.close(fd)
            self._replicas.give_back(replica, is_use=False)
        if found is None:
            raise Refused("this data server is being stopped")
        try:
            version = Version(lfn, replica.size_bytes, mtime_ns)
            await self._catalogue.add_checksum(version, found)
        except PackhorseError as error:
            log.warning("the checksum of %s cannot be kept: %s", lfn, error)
        return found

    def _sum(self, fd: int, algorithm: str) -> tuple[Checksum | None, int]:
        found = checksums.of_fd(fd, algorithm, lambda: not self._stopped.is_set())
        return found, os.fstat(fd).st_mtime_ns
