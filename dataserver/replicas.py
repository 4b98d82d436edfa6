"""Opening replicas by name, whatever becomes of the name meanwhile.

While a file is being replaced or renamed, what lies at its place may already be the new
one, or nothing. So whoever opens it then waits until that is over, and who opened the
wrong file in the very moment tries again. What is open stays open.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.losses import Losses


class Replicas:
    """Opens replicas, and counts who has them open."""

    def __init__(self, engine: Engine, disk: PoolDisk, losses: Losses) -> None:
        self.losses = losses
        self._engine = engine
        self._disk = disk

    async def open(self, lfn: str, *, is_use: bool = True) -> tuple[Replica, int]:
        """A replica, counted as open, and a descriptor of its file, which has its size.

        The replica is to be given back, and the descriptor closed. Raises NotFound if there
        is none, or it is not what it should be, and then drops it; Damaged if it cannot be
        read.
        """
        node = self._engine.node
        while True:
            await self._engine.until(lambda: not node.is_moving(lfn))
            replica = node.pool.open(lfn, self._engine.now_s(), is_use=is_use)
            try:
                fd = await self._open_fd(lfn)
            except OSError as error:
                self.give_back(replica, is_use=is_use)
                if self._is_current(lfn, replica):
                    raise self.losses.unreadable(replica, error) from error
                continue
            except BaseException:
                self.give_back(replica, is_use=is_use)
                raise
            size_bytes = os.fstat(fd).st_size
            if self._is_current(lfn, replica) and size_bytes == replica.size_bytes:
                return replica, fd
            os.close(fd)
            self.give_back(replica, is_use=is_use)
            if self._is_current(lfn, replica):
                raise self.losses.wrong_size(replica, size_bytes)

    def give_back(self, replica: Replica, *, is_use: bool = True) -> None:
        """Counts one reader less."""
        self._engine.node.pool.close(replica, self._engine.now_s(), is_use=is_use)

    def _is_current(self, lfn: str, replica: Replica) -> bool:
        """Whether what lies at the name's place is this replica's file."""
        node = self._engine.node
        return node.pool.get(lfn) is replica and not node.is_moving(lfn)

    async def _open_fd(self, lfn: str) -> int:
        opening = self._disk.readers.call(lambda: self._disk.open_replica(lfn))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise


def _close_opened(opening: asyncio.Future[int]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())
