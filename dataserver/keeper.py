"""A data server that outlives its disk.

While its disk is away a data server holds nothing, and goes on as before when it is back. But
a disk that is mounted anew, or another one in its place, is out of reach of what was opened
on the old one: descriptors, catalogue and lock. So the keeper ends that life of the server
then, and begins another one, in the same process.

In a process with other servers, a disk that is not there at the start, or is damaged, must not
keep those from serving: such a server is begun as soon as its disk comes, or is mended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from common.config.reloading import taken_over
from common.errors import Damaged, DiskAway, PackhorseError
from dataserver.service import DataServerService

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.config.model import DataServerConfig
    from common.service import NamedTasks

log = logging.getLogger(__name__)

#: How long a life that is over may take to end.
END_S: Final = 10.0
LATE_S: Final = 5.0
#: How often a server is tried to be begun that could not be.
RETRY_S: Final = 5.0


class KeptDataServer:
    """One node, over all the lives of its server, which `make` makes.

    `waits`: whether a disk that is away or damaged at the start is waited for, or is an error.
    """

    def __init__(
        self,
        config: DataServerConfig,
        make: Callable[[DataServerConfig], DataServerService],
        *,
        waits: bool,
    ) -> None:
        self.name = config.name
        self._config = config
        self._make = make
        self._waits = waits
        self._server: DataServerService | None = None
        self._address = ""
        self._complaint = ""

    @property
    def address(self) -> str:
        """HOST:PORT of its door; "" while it waits for its disk."""
        return self._address

    @property
    def server(self) -> DataServerService | None:
        """Its present life, None while it waits for its disk."""
        return self._server

    async def start(self, tasks: NamedTasks) -> None:
        """Returns when files can be read, or have to wait. Raises ConfigError, Damaged."""
        try:
            await self._begin(tasks)
        except (DiskAway, Damaged) as error:
            if not self._waits:
                raise
            self._complain(error)
        tasks.spawn(f"{self.name}: keeper", self._keep(tasks), endless=True)

    def reconfigure(self, config: DataServerConfig) -> None:
        """Takes over what can change while it runs: `DataServerService.LIVE`."""
        self._config = taken_over(self._config, config, DataServerService.LIVE)
        if self._server is not None:
            self._server.reconfigure(self._config)

    async def stop(self, grace_s: float) -> None:
        """Ends its present life, if it lives."""
        if self._server is not None:
            await self._server.stop(grace_s)

    # --- inside -------------------------------------------------------------

    async def _keep(self, tasks: NamedTasks) -> None:
        while True:
            if self._server is None:
                await asyncio.sleep(RETRY_S)
                await self._try_to_begin(tasks)
            else:
                await self._server.until_pool_is_replaced()
                log.warning("%s: starting anew, with what is mounted now", self.name)
                server, self._server = self._server, None
                await self._end(server)
                await self._try_to_begin(tasks)

    async def _end(self, server: DataServerService) -> None:
        """Ends a life; one that hangs with its disk is left behind, for it can do no harm."""
        try:
            async with asyncio.timeout(END_S + LATE_S):
                await server.stop(END_S)
        except TimeoutError:
            log.error("%s: its old disk hangs; what was opened there is left behind", self.name)

    async def _try_to_begin(self, tasks: NamedTasks) -> None:
        try:
            await self._begin(tasks)
        except PackhorseError as error:
            self._complain(error)

    async def _begin(self, tasks: NamedTasks) -> None:
        server = self._make(self._config)
        try:
            await server.start(tasks)
        except BaseException:
            await server.stop(END_S)
            raise
        self._server = server
        self._address = server.address
        if self._complaint:
            log.info("%s: ready at %s", self.name, self._address)
        self._complaint = ""

    def _complain(self, error: PackhorseError) -> None:
        """Logs why there is no server, once for each reason."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.error("%s: not started, and tried again and again: %s", self.name, error)
