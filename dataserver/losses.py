"""Replicas that turn out not to be what they should be, as a reader finds out."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from common.errors import Damaged, NotFound
from dataserver.core.events import Lost
from dataserver.disk import NotAFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Losses:
    """Drops what is lost, so that the redirector finds its readers another copy."""

    def __init__(self, engine: Engine, disk: PoolDisk) -> None:
        self._engine = engine
        self._disk = disk

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
            return self.lost(replica, "vanished", error.strerror or "it is gone")
        if error.errno == errno.EIO:
            return self.lost(replica, "damaged", "it cannot be read: Input/output error")
        return Damaged(f"{replica.lfn} cannot be read on this node: {error.strerror}")

    def wrong_size(self, replica: Replica, size_bytes: int) -> NotFound:
        """The same for a file that is shorter or longer than what was published."""
        why = f"it has {size_bytes} bytes instead of {replica.size_bytes}"
        return self.lost(replica, "damaged", why)

    def cut_short(self, replica: Replica, offset: int) -> NotFound:
        """The same for a file that ends at `offset`."""
        return self.lost(replica, "damaged", f"it ends at {offset} bytes")

    def lost(self, replica: Replica, reason: str, why: str) -> NotFound:
        """Drops the replica, and says what its reader is told."""
        if self._engine.node.pool.get(replica.lfn) is replica:
            self._engine.post(Lost(replica.lfn, reason, why))
        return NotFound(f"{replica.lfn} is not on this node any more: {why}")
