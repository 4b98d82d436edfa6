"""The packetizer as a service: put together, started, kept going and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, NoReturn

from common.address import public_address
from common.clock import Clock
from common.config.reloading import taken_over
from common.errors import ConfigError, PackhorseError, Unreachable
from common.grpc_options import DEFAULT_MAX_MESSAGE_BYTES
from common.grpc_server import make_server
from common.sqlite import Database
from packetizer.core.desk import Desk, Tuning
from packetizer.doors.sessions import PacketizerDoor
from packetizer.doors.workers import WorkersDoor
from packetizer.journal import Journal
from packetizer.link import RedirectorLink
from packetizer.runner import Runner
from packetizer.schema import MIGRATIONS
from packetizer.sessions import Sessions
from packetizer.store import Store
from packetizer.streams import Streams
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import packetizer_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from grpc import aio

    from common.config.model import PacketizerConfig, SiteConfig
    from common.service import NamedTasks

log = logging.getLogger(__name__)

DATABASE = "packetizer.sqlite"
CLEAR_EVERY_S = 3600.0
#: How long calls under way may take when the packetizer stops.
LAST_CALLS_S = 1.0


class PacketizerService:
    """The work node of one site."""

    name = "packetizer"

    #: The keys of its table that `reconfigure` takes over.
    LIVE: Final = frozenset({"history"})

    def __init__(self, site: SiteConfig, *, clock: Clock | None = None) -> None:
        """Raises ConfigError if the configuration has no packetizer."""
        if site.packetizer is None:
            raise ConfigError("this configuration has no [packetizer]")
        self._config = site.packetizer
        self._clock = clock or Clock()
        self._address = ""
        self._database: Database | None = None
        self._journal: Journal | None = None
        self._link: RedirectorLink | None = None
        self._sessions: Sessions | None = None
        self._link_tasks: list[asyncio.Task[NoReturn]] = []
        self._server: aio.Server | None = None
        self._streams = Streams()

    @property
    def address(self) -> str:
        """HOST:PORT of the gRPC door."""
        return self._address

    async def start(self, tasks: NamedTasks) -> None:
        """Takes up the sessions that were at work when the last one stopped, and opens the door.

        Raises ConfigError if the state directory or the address cannot be used.
        """
        config = self._config
        database = await asyncio.to_thread(Database, config.state / DATABASE, MIGRATIONS)
        self._database = database
        store = Store(database)
        epoch = await store.next_epoch()
        runner = Runner(Desk(epoch, tuning_of(config)), self._clock, self._streams)
        self._journal = Journal(database, self._clock, runner.kept)
        runner.write_to(self._journal)
        self._link = RedirectorLink(config.redirector, runner)
        self._sessions = sessions = Sessions(store, self._link, runner, tasks, epoch)
        self._open_door(runner, store, sessions, epoch)
        tasks.spawn("packetizer: journal", self._journal.run(), endless=True)
        tasks.spawn("packetizer: tell the time", runner.run(), endless=True)
        informed = self._link.keep_informed()
        self._link_tasks.append(
            tasks.spawn("packetizer: the site's status", informed, endless=True)
        )
        tasks.spawn("packetizer: clear history", self._clear(store), endless=True)
        await sessions.restore()
        assert self._server is not None
        await self._server.start()
        reachable = config.advertise or public_address(self._address)
        announce = self._link.announce(reachable, str(epoch))
        self._link_tasks.append(tasks.spawn("packetizer: announce", announce, endless=True))

    def reconfigure(self, config: PacketizerConfig) -> None:
        """Takes over what of its table can change while it runs: the keys of `LIVE`."""
        self._config = taken_over(self._config, config, self.LIVE)

    async def stop(self, grace_s: float) -> None:
        """Ends every stream and call, writes down what was committed, closes the database."""
        self._streams.close_all(Unreachable("the packetizer is stopping"))
        if self._server is not None:
            await self._server.stop(min(grace_s, LAST_CALLS_S))
        if self._journal is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._journal.idle(), grace_s)
        for task in self._link_tasks:
            task.cancel()
        await asyncio.gather(*self._link_tasks, return_exceptions=True)
        if self._sessions is not None:
            await self._sessions.pause()
        if self._link is not None:
            await self._link.close()
        if self._database is not None:
            await asyncio.to_thread(self._database.close)

    def _open_door(self, runner: Runner, store: Store, sessions: Sessions, epoch: int) -> None:
        config = self._config
        # A result, and around it the records of the packets it was made from.
        largest_message = config.max_result + DEFAULT_MAX_MESSAGE_BYTES
        self._server, self._address = make_server(config.listen, largest_message)
        welcome = pb.WorkerWelcome(
            epoch=str(epoch),
            heartbeat_s=config.heartbeat,
            commit_s=config.commit,
            max_result_bytes=config.max_result,
        )
        workers = WorkersDoor(runner, self._streams, welcome, config.max_result)
        door = PacketizerDoor(runner, store, sessions, workers)
        pb_grpc.add_PacketizerServicer_to_server(door, self._server)

    async def _clear(self, store: Store) -> NoReturn:
        while True:
            try:
                await store.clear(self._clock.now_s() - self._config.history)
            except PackhorseError as error:
                log.warning("history is not cleared: %s", error)
            await asyncio.sleep(CLEAR_EVERY_S)


def tuning_of(config: PacketizerConfig) -> Tuning:
    """What the configuration says about packets and workers."""
    return Tuning(
        packet_time_s=config.packet_time,
        locality_wait_s=config.locality_wait,
        window=config.window,
        attempts=config.attempts,
        lease_s=config.lease,
        heartbeat_s=config.heartbeat,
    )
