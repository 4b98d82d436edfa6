"""The redirector as a service: put together, started, kept going and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Final, NoReturn

from common.address import public_address
from common.clock import Clock
from common.config.reloading import taken_over
from common.errors import ConfigError, PackhorseError, Unreachable
from common.garbage import ShortPauses, uncollected
from common.grpc_server import make_server
from common.root_server import DoorLimits, Listener
from common.sqlite import Database
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from redirector.core.head import Head
from redirector.doors.cluster import ClusterDoor
from redirector.doors.datasets import DatasetsDoor
from redirector.doors.files import FilesDoor
from redirector.doors.root import RootDoor
from redirector.hinter import Hinter
from redirector.ids import new_epoch
from redirector.journal import Journal
from redirector.links import Links
from redirector.questions import Questions
from redirector.runner import Runner
from redirector.settings import settings_of
from redirector.store.datasets import DatasetStore, Quotas
from redirector.store.history import History
from redirector.store.schema import MIGRATIONS
from redirector.watching import Watchers

if TYPE_CHECKING:
    from grpc import aio

    from common.config.model import RedirectorConfig, SiteConfig
    from common.service import NamedTasks

log = logging.getLogger(__name__)

DATABASE = "redirector.sqlite"
#: History is cleared so often of what is too old.
CLEAR_EVERY_S = 600.0
#: How long calls under way may take when the redirector stops; they are all quick,
#: but for those that only watch.
LAST_CALLS_S = 1.0


class RedirectorService:
    """The head node of one site."""

    name = "redirector"

    #: The keys of its table that `reconfigure` takes over.
    LIVE: Final = frozenset(
        {
            "attempts",
            "backoff",
            "backoff_max",
            "request_deadline",
            "assumed_size",
            "activities.weight",
            "groups.quota",
            "history",
            "owners.weight",
            "volume_time",
        }
    )

    def __init__(self, site: SiteConfig, *, version: str = "", clock: Clock | None = None) -> None:
        """`version` is shown in the status. Raises ConfigError if the file has no redirector."""
        if site.redirector is None:
            raise ConfigError("this configuration has no [redirector]")
        self._config = site.redirector
        self._root_config = site.root
        self._mss = site.mss
        self._names = site.name_map()
        self._version = version
        self._clock = clock or Clock()
        self._address = ""
        #: HOST:PORT of the root:// door, for clients; "" if there is none.
        self.root_address = ""
        self._database: Database | None = None
        self._journal: Journal | None = None
        self._server: aio.Server | None = None
        self._root: Listener | None = None
        self._head: Head | None = None
        self._datasets: DatasetsDoor | None = None
        self._pauses = ShortPauses()
        self._links = Links()
        self._watchers = Watchers()

    @property
    def address(self) -> str:
        """HOST:PORT of the gRPC door."""
        return self._address

    async def start(self, tasks: NamedTasks) -> None:
        """Takes up what was in force when the last one stopped, and opens the door.

        Raises ConfigError if the state directory or the address cannot be used.
        """
        database = await asyncio.to_thread(Database, self._config.state / DATABASE, MIGRATIONS)
        self._database = database
        history = History(database)
        self._journal = journal = Journal(database)
        head = self._head = Head(
            settings_of(self._config, self._mss, self._names),
            new_epoch(),
            random.Random(),
            self._clock.now_s(),
        )
        runner = Runner(head, self._clock, journal, self._links, self._watchers)
        await _restore(runner, history)
        self._pauses.begin()
        questions = Questions(runner)
        self._open_doors(runner, questions, history, DatasetStore(database))
        tasks.spawn("redirector: journal", journal.run(), endless=True)
        tasks.spawn("redirector: wake the head", runner.run(), endless=True)
        hinter = Hinter(runner, questions, one_by_one=self._mss.hintcmd == "statcmd")
        tasks.spawn("redirector: ask for hints", hinter.run(), endless=True)
        tasks.spawn("redirector: clear history", self._clear(history), endless=True)
        if self._root is not None:
            tasks.spawn("redirector: root door", self._root.watch(), endless=True)
        assert self._server is not None
        await self._server.start()

    def reconfigure(self, config: RedirectorConfig) -> None:
        """Takes over what of its table can change while it runs: the keys of `LIVE`."""
        self._config = taken_over(self._config, config, self.LIVE)
        if self._head is not None and self._datasets is not None:
            self._head.reconfigure(settings_of(self._config, self._mss, self._names))
            self._datasets.quotas = _quotas(self._config)

    async def stop(self, grace_s: float) -> None:
        """Ends every stream and call, then closes the database."""
        if self._root is not None:
            await self._root.stop(min(grace_s, LAST_CALLS_S))
        error = Unreachable("the redirector is stopping")
        self._links.close_all(error)
        self._watchers.close_all(error)
        if self._server is not None:
            await self._server.stop(min(grace_s, LAST_CALLS_S))
        if self._journal is not None:
            with contextlib.suppress(TimeoutError, PackhorseError):
                await asyncio.wait_for(self._journal.keep(()), grace_s)
        if self._database is not None:
            await asyncio.to_thread(self._database.close)
        self._pauses.end()

    def _open_doors(
        self, runner: Runner, questions: Questions, history: History, datasets: DatasetStore
    ) -> None:
        config = self._config
        self._server, self._address = make_server(config.listen)
        pb_grpc.add_FilesServicer_to_server(
            FilesDoor(runner, questions, history, datasets, self._names), self._server
        )
        self._datasets = DatasetsDoor(
            runner, questions, history, datasets, self._names, _quotas(config)
        )
        pb_grpc.add_DatasetsServicer_to_server(self._datasets, self._server)
        pb_grpc.add_ClusterServicer_to_server(
            ClusterDoor(runner, questions, history, self._version), self._server
        )

        if config.root_listen is not None:
            self._open_root_door(config.root_listen, runner, questions, history)

    def _open_root_door(
        self, listen: str, runner: Runner, questions: Questions, history: History
    ) -> None:
        config = self._root_config
        door = RootDoor(
            runner,
            questions,
            history,
            self._names,
            config,
            self._version,
            removes=self._mss.removecmd is not None,
        )
        limits = DoorLimits(config.max_connections, config.max_requests, config.idle_timeout)
        self._root = Listener(door, limits)
        address = self._root.open(listen)
        door.looking.address = self._config.root_advertise or public_address(address)
        self.root_address = door.looking.address
        runner.head.set_root_address(door.looking.address)

    async def _clear(self, history: History) -> NoReturn:
        while True:
            try:
                await history.clear(self._clock.now_s() - self._config.history)
            except PackhorseError as error:
                log.warning("history is not cleared: %s", error)
            await asyncio.sleep(CLEAR_EVERY_S)


def _quotas(config: RedirectorConfig) -> Quotas:
    return Quotas(
        by_group={name: group.quota or 0 for name, group in config.groups.items()},
        assumed_bytes=config.assumed_size,
    )


async def _restore(runner: Runner, history: History) -> None:
    """Takes up what was in force when the last one stopped."""
    with uncollected():
        runner.tell(await history.restored())
        async for piece in history.restored_requests():
            runner.tell(piece)
