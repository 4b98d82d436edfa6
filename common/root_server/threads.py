"""The threads that send to clients, so that the event loop need not.

Those that may have to wait for a disk are the door's own, for it knows its disks. Those that
send from the page cache are here: as many as there are processors, for none of them ever waits
for long.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.root_server.outbox import Outcome

#: A thread waits so long for a client to take more, each time it sends.
PATIENCE_S: Final = 0.02
#: What a kernel takes for `SO_SNDTIMEO`: seconds and microseconds.
_TIMEVAL: Final = struct.Struct("@ll")


class SendingThreads:
    """Where one door's files are sent."""

    def __init__(
        self, from_disk: Callable[[Callable[[], Outcome]], asyncio.Future[Outcome]] | None
    ) -> None:
        """`from_disk` runs what may have to wait for a disk; a door without files has none."""
        self._from_disk = from_disk
        self._executor = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "sends from the cache")

    def from_disk(self, send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
        """Sends what has to be read from a disk."""
        assert self._from_disk is not None, "this door has no files to send"
        return self._from_disk(send)

    def from_cache(self, send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
        """Sends what is in the page cache."""
        return asyncio.get_running_loop().run_in_executor(self._executor, send)

    def close(self) -> None:
        """Nothing will be sent any more."""
        self._executor.shutdown(wait=False)


def be_patient(sock: socket.socket) -> None:
    """Has sends down a socket wait for `PATIENCE_S`, unless they say `MSG_DONTWAIT`."""
    sock.setblocking(True)
    microseconds = round(PATIENCE_S * 1_000_000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(0, microseconds))
