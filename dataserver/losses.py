"""Replicas that turn out not to be what they should be, as a reader finds out.

A file that is missing, or cannot be read, may be one of many whose disk is gone or failing.
So it is dropped only once the disk was found to be there: nothing is forgotten, and nothing
removed, for what its disk has done.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Final

from common.errors import Damaged, NotFound
from dataserver.core.events import Lost
from dataserver.descriptors import NotAFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.health import DiskHealth

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Losses:
    """Drops what is lost, so that the redirector finds its readers another copy."""

    def __init__(self, engine: Engine, disk: PoolDisk, health: DiskHealth) -> None:
        self._engine = engine
        self._disk = disk
        self._health = health
        self._doubtful: dict[Replica, asyncio.Task[None]] = {}

    async def stop(self) -> None:
        """Gives up looking for disks; what is missing is found out at the next start."""
        doubts = list(self._doubtful.values())
        for doubt in doubts:
            doubt.cancel()
        await asyncio.gather(*doubts, return_exceptions=True)

    async def until_sure(self, timeout_s: float) -> None:
        """Waits until it is known of all that was found missing so far whether it is lost; at
        the longest for `timeout_s`, for the disk may hang."""
        if self._doubtful:
            await asyncio.wait(list(self._doubtful.values()), timeout=timeout_s)

    async def check(self, lfns: Iterable[str]) -> None:
        """Looks whether replicas are there and of their size; drops those that are not."""
        for lfn in lfns:
            replica = self._engine.node.pool.get(lfn)
            if replica is None or not self._engine.node.is_visible(lfn):
                continue
            try:
                size_bytes = await self._disk.readers.call(lambda lfn=lfn: self._size(lfn))  # type: ignore[misc]
            except OSError as error:
                self.unreadable(replica, error)
                if (doubt := self._doubtful.get(replica)) is not None:
                    await asyncio.wait([doubt])
            else:
                if size_bytes != replica.size_bytes:
                    self.wrong_size(replica, size_bytes)

    def _size(self, lfn: str) -> int:
        fd = self._disk.open_replica(lfn)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def unreadable(self, replica: Replica, error: OSError) -> NotFound | Damaged:
        """What a reader is told whose file could not be opened or read."""
        if error.errno in _GONE or isinstance(error, NotAFileError):
            return self._doubt(replica, "vanished", error.strerror or "it is gone")
        if error.errno == errno.EIO:
            return self._doubt(replica, "damaged", "it cannot be read: Input/output error")
        return Damaged(f"{replica.lfn} cannot be read on this node: {error.strerror}")

    def wrong_size(self, replica: Replica, size_bytes: int) -> NotFound:
        """The same for a file that is shorter or longer than what was published."""
        why = f"it has {size_bytes} bytes instead of {replica.size_bytes}"
        return self.lost(replica, "damaged", why)

    def cut_short(self, replica: Replica, offset: int) -> NotFound:
        """The same for a file that ends at `offset`."""
        return self.lost(replica, "damaged", f"it ends at {offset} bytes")

    def _doubt(self, replica: Replica, reason: str, why: str) -> NotFound:
        """Drops the replica if its disk is there without it, and says what its reader is told."""
        if replica not in self._doubtful:
            work = self._lose_if_disk_is_there(replica, reason, why)
            self._doubtful[replica] = asyncio.create_task(work, name=f"doubt {replica.lfn}")
        return NotFound(f"{replica.lfn} is not on this node any more: {why}")

    async def _lose_if_disk_is_there(self, replica: Replica, reason: str, why: str) -> None:
        try:
            if await self._health.is_there():
                self.lost(replica, reason, why)
        finally:
            del self._doubtful[replica]

    def lost(self, replica: Replica, reason: str, why: str) -> NotFound:
        """Drops the replica, and says what its reader is told."""
        if self._engine.node.pool.get(replica.lfn) is replica:
            self._engine.post(Lost(replica.lfn, reason, why))
        return NotFound(f"{replica.lfn} is not on this node any more: {why}")
