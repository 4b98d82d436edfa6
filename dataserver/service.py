"""A data server as a service: one pool, put together, started and stopped.

Several may live in one process; they share nothing but its threads. A start takes the
pool (one server at a time can have its catalogue), ends what an earlier life left
running, puts disk and catalogue right, opens the door and then joins the redirector.
A stop ends the recalls first and tells the redirector so, for it would otherwise wait
for this node's recall lease to run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from common import wording
from common.address import public_address
from common.clock import Clock
from common.command import Janitor
from common.config.root import RootConfig
from common.errors import ConfigError, PackhorseError
from common.grpc_server import make_server
from common.root_server import DoorLimits, Listener
from common.writable import Writable
from dataserver import adopt
from dataserver.access_log import AccessLog
from dataserver.archive import Archive
from dataserver.archive.site_commands import recalls_of
from dataserver.attributes import Attributes
from dataserver.catalogue import Catalogue
from dataserver.changing import Changing
from dataserver.claims import Claims
from dataserver.core.events import Closing, LimitsChanged
from dataserver.core.instructions import KeepCommands
from dataserver.core.node import Node
from dataserver.core.policies import POLICIES
from dataserver.core.pool import Pool
from dataserver.core.replica import Limits
from dataserver.core.scrub import Scrub
from dataserver.core.stores import StoreRules
from dataserver.describing import Describer
from dataserver.disk import PoolDisk
from dataserver.doors.reading import ReadingDoor
from dataserver.doors.root import RootDoor
from dataserver.engine import Engine
from dataserver.health import DiskHealth
from dataserver.heartbeat import Pulse
from dataserver.identity import pool_id
from dataserver.inspection import Inspector
from dataserver.leftovers import Running
from dataserver.link import Link
from dataserver.losses import Losses
from dataserver.migratable import Migratable
from dataserver.openers import Openers
from dataserver.orders import Orders
from dataserver.purger import Purger
from dataserver.recalls import Recalls
from dataserver.replicas import Replicas
from dataserver.scrubber import Scrubber
from dataserver.shares import groups_of
from dataserver.storing import Storing
from dataserver.summing import Summing
from dataserver.uploads import Uploads
from dataserver.uses import Uses
from protos.packhorse.v1 import dataserver_pb2_grpc, types_pb2
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpc import aio

    from common.config.model import DataServerConfig, GroupConfig, MssConfig
    from common.names import NameMap
    from common.service import NamedTasks
    from dataserver.adopt import Reconciled

log = logging.getLogger(__name__)

#: Whether the janitor still waits is looked at this often.
LOOK_EVERY_S: Final = 5.0
#: How long a stop waits for the redirector to hear how the recalls ended.
LAST_WORDS_S: Final = 1.0


#: What the redirector hears of only when the node joins.
_SAID_IN_HELLO: Final = ("max_files", "drain")


class DataServerService:
    """One pool's server. `names` says which files the site has, and where in its archive."""

    #: The keys of its table that `reconfigure` takes over.
    LIVE: Final = frozenset(
        {
            "quota",
            "high_watermark",
            "low_watermark",
            "max_files",
            "purge_policy",
            "drain",
            "scrub_rate",
            "scrub_interval",
        }
    )

    def __init__(
        self,
        config: DataServerConfig,
        mss: MssConfig,
        names: NameMap,
        *,
        root: RootConfig | None = None,
        groups: Mapping[str, GroupConfig] | None = None,
        version: str = "",
    ) -> None:
        """`root` is what all root:// doors have in common; its defaults if not given.

        `groups` are those of the site, some of which have a share of every pool.
        """
        self.name = config.name
        self._config = config
        self._mss = mss
        self._names = names
        self._root = root if root is not None else RootConfig.model_validate({})
        self._writable = Writable(names, self._root.writable)
        self._groups = groups if groups is not None else {}
        self._version = version
        self._address = ""
        #: HOST:PORT where clients read its files by root://; "" if they cannot.
        self._root_address = config.serve or ""
        self._boot_epoch = secrets.token_hex(8)
        self._clock = Clock()
        self._closing = contextlib.AsyncExitStack()
        self._background: list[asyncio.Task[Any]] = []
        self._engine: Engine | None = None
        self._link: Link | None = None
        self._health: DiskHealth | None = None
        self._losses: Losses | None = None
        self._scrubber: Scrubber | None = None
        self._uploads: Uploads | None = None
        self._changing: Changing | None = None

    @property
    def address(self) -> str:
        """HOST:PORT of its door, once it has started."""
        return self._address

    @property
    def root_address(self) -> str:
        """HOST:PORT where clients read its files by root://, once it has started."""
        return self._root_address

    @property
    def node(self) -> Node:
        """The node at its core, once it has started; for looking at."""
        assert self._engine is not None
        return self._engine.node

    @property
    def uploads(self) -> Uploads:
        """What lets clients write, once it has started."""
        assert self._uploads is not None
        return self._uploads

    @property
    def changing(self) -> Changing:
        """What lets clients rename, remove and describe files, once it has started."""
        assert self._changing is not None
        return self._changing

    @property
    def health(self) -> DiskHealth:
        """What tries its disk, once it has started."""
        assert self._health is not None
        return self._health

    @property
    def losses(self) -> Losses:
        """What drops replicas that are no good, once it has started."""
        assert self._losses is not None
        return self._losses

    @property
    def scrubber(self) -> Scrubber:
        """What verifies its replicas again, once it has started."""
        assert self._scrubber is not None
        return self._scrubber

    def reconfigure(self, config: DataServerConfig) -> None:
        """Other limits hold from here on: the keys of `LIVE`. All that is under way goes on."""
        old, self._config = self._config, config
        if self._engine is None or self._link is None:
            return
        policy = POLICIES[config.purge_policy]
        self._engine.post(LimitsChanged(_limits(config), policy))
        self.scrubber.set_limits(config.scrub_rate, config.scrub_interval)
        if any(getattr(old, key) != getattr(config, key) for key in _SAID_IN_HELLO):
            self._link.join_anew()

    async def until_pool_is_replaced(self) -> None:
        """Waits until another pool is at its path, or its own one mounted anew.

        Only another life of the server could use that.
        """
        await self.health.replaced.wait()

    # --- start --------------------------------------------------------------

    async def start(self, tasks: NamedTasks) -> None:
        """Returns when files can be read. Raises ConfigError, Damaged."""
        config = self._config
        disk, catalogue, identity = await self._take_pool()
        this_life = f"{_owner(identity)}/{self._boot_epoch}"
        orders = disk.private / "orders.sqlite"
        archive = Archive(
            self._mss, self._names, owner=this_life, slots=config.slots, orders=orders
        )
        running = Running(disk.private / "running", _owner(identity), disk.threads)
        await asyncio.to_thread(running.end_leftovers)
        janitor = await asyncio.to_thread(Janitor, this_life, recalls_of(this_life))
        self._closing.push_async_callback(asyncio.to_thread, janitor.close)
        await asyncio.to_thread(disk.sweep_incoming)
        await self._sync(disk)
        reconciled = await self._reconcile(disk, catalogue)
        engine = self._engine = self._make_engine(reconciled, archive)
        engine.carry_with(
            {KeepCommands: lambda order: janitor.keep(order.until_s - engine.now_s())}
        )
        uses = Uses(engine, catalogue, self._open_access_log(disk))
        self._closing.push_async_callback(uses.stop)
        await self._take_up_stores(engine, catalogue, reconciled)
        algorithm = None if config.checksum == "none" else config.checksum
        has_command = not isinstance(self._mss.stagecmd, str)
        recalls = Recalls(
            engine, archive, disk, catalogue, running, algorithm, has_command=has_command
        )
        await archive.start()
        # In the opposite order: when no recall is left, nor are their commands.
        self._closing.push_async_callback(archive.close)
        self._closing.push_async_callback(recalls.stop)
        openers = await self._find_openers(disk)
        passes = self._mss.pass_environment
        purger = Purger(engine, disk, catalogue, config.purgecmd, this_life, openers, passes)
        self._closing.push_async_callback(purger.stop)
        describer = await self._make_describer(engine, disk, catalogue)
        health = self._health = DiskHealth(engine, disk, identity)
        losses = self._losses = Losses(engine, disk, health)
        self._closing.push_async_callback(losses.stop)
        link = self._link = Link(
            engine,
            config.redirector,
            lambda: self._hello(engine, identity, archive.capacity),
            Pulse(engine, health),
            Orders(engine, archive, catalogue, describer, purger, losses),
        )
        replicas = Replicas(engine, disk, losses)
        summing = Summing(engine, disk, catalogue, replicas)
        storing = Storing(engine, archive, disk, catalogue, running, summing, losses)
        self._closing.push_async_callback(storing.stop)
        scrubber = await self._make_scrubber(engine, catalogue, replicas)
        self._let_clients_write(
            engine, archive, disk, catalogue, replicas, link, summing, algorithm
        )
        await self._open_door(ReadingDoor(engine, disk, catalogue, replicas, config.host))
        if config.serve is None:
            self._open_root_door(tasks, engine, disk, catalogue, replicas, link)
        checker = adopt.Checker(engine, archive, disk, catalogue)
        self._spawn(tasks, "time", engine.tick())
        self._spawn(tasks, "inspections", describer.work())
        self._spawn(tasks, "janitor", self._keep_janitor(janitor))
        self._spawn(tasks, "disk health", health.watch())
        self._spawn(tasks, "scrubber", scrubber.run())
        self._spawn(tasks, "times of use", uses.work())
        self._spawn(tasks, "link", link.run())
        work = checker.check(reconciled.suspects, reconciled.unarchived)
        self._background.append(tasks.spawn(f"{self.name}: adoption", work))
        self._closing.push_async_callback(self._end_recalls, engine, link)

    async def _sync(self, disk: PoolDisk) -> None:
        """What an earlier life has moved to its place, and was killed over, may not be synced."""
        try:
            await asyncio.to_thread(disk.sync)
        except OSError as error:
            raise ConfigError(
                f"pool {disk.root} cannot be used: it cannot be synced: {error.strerror}"
            ) from error

    async def _take_pool(self) -> tuple[PoolDisk, Catalogue, str]:
        disk = await asyncio.to_thread(PoolDisk, self._config.pool)
        self._closing.callback(disk.close)
        total_bytes = await asyncio.to_thread(disk.total_bytes)
        if total_bytes < self._config.quota:
            quota, total = wording.size(self._config.quota), wording.size(total_bytes)
            log.warning("%s: its quota is %s, but its disk has only %s", self.name, quota, total)
        catalogue = await asyncio.to_thread(Catalogue, disk.private / "catalogue.sqlite")
        self._closing.push_async_callback(asyncio.to_thread, catalogue.close)
        return disk, catalogue, await asyncio.to_thread(pool_id, disk.private)

    async def _reconcile(self, disk: PoolDisk, catalogue: Catalogue) -> Reconciled:
        rows = await catalogue.rows()
        now_s = self._clock.now_s()
        found = await asyncio.to_thread(adopt.reconcile, disk, rows, self._names, now_s)
        adopt.report(self.name, found)
        try:
            await catalogue.remove(found.orphans)
        except PackhorseError as error:
            # A full disk must not keep the server from starting, and purging.
            log.warning("%s: rows without files stay for now: %s", self.name, error)
        return found

    def _open_access_log(self, disk: PoolDisk) -> AccessLog | None:
        limit_bytes = self._config.access_log
        return AccessLog(disk.private, limit_bytes) if limit_bytes else None

    def _make_engine(self, reconciled: Reconciled, archive: Archive) -> Engine:
        config = self._config
        limits = _limits(config)
        pool = Pool(limits, groups_of(self._groups, limits))
        pool.load(reconciled.found)
        node = Node(
            pool,
            slots=archive.capacity,
            examines=archive.can_examine,
            # A mounted file system tells sizes only; there is no use in asking it for more.
            learns_checksums=self._mss.statcmd is not None,
            policy=POLICIES[config.purge_policy],
            asks_purge_command=config.purgecmd is not None,
            store_rules=self._store_rules(archive),
            withdraws=archive.can_remove,
        )
        return Engine(node, self._clock, self.name)

    def _store_rules(self, archive: Archive) -> StoreRules | None:
        mss = self._mss
        if not archive.can_store:
            return None
        return StoreRules(
            self._config.store_slots,
            mss.store_delay,
            mss.store_backoff,
            mss.store_backoff_max,
            archive.can_examine,
            Migratable(mss.migratable, mss.notmigratable).covers,
        )

    async def _take_up_stores(
        self, engine: Engine, catalogue: Catalogue, reconciled: Reconciled
    ) -> None:
        """Goes on with what was to be stored when the server stopped.

        What the archive may have of a file that was sent is for its storing to judge.
        """
        stores = engine.node.stores
        if not stores.is_enabled:
            return
        stores.load(await catalogue.stores.found(), self._clock.now_s())
        reconciled.unarchived = [
            one
            for one in reconciled.unarchived
            if (store := stores.table.get(one.file.lfn)) is None or not store.replica.sent
        ]

    async def _find_openers(self, disk: PoolDisk) -> Openers | None:
        """Who looks out for readers of a pool that another program serves."""
        if self._config.serve is None:
            return None
        openers = await disk.threads.call(lambda: Openers(disk.private))
        if not openers.knows_leases:
            log.warning(
                "%s: the file system of %s grants no leases, so files that programs of other "
                "users have open may be purged",
                self.name,
                disk.root,
            )
        return openers

    async def _make_describer(
        self, engine: Engine, disk: PoolDisk, catalogue: Catalogue
    ) -> Describer:
        inspector = None
        if self._config.inspect:
            inspector = Inspector()
            await inspector.start()
            self._closing.push_async_callback(inspector.stop)
        return Describer(engine, disk, catalogue, inspector)

    async def _make_scrubber(
        self, engine: Engine, catalogue: Catalogue, replicas: Replicas
    ) -> Scrubber:
        config = self._config
        scrub = Scrub(await catalogue.scrub.load(), config.scrub_rate, config.scrub_interval)
        scrubber = self._scrubber = Scrubber(engine, catalogue, replicas, scrub)
        self._closing.push_async_callback(scrubber.save)
        return scrubber

    async def _open_door(self, door: ReadingDoor) -> None:
        server, self._address = make_server(self._config.listen)
        dataserver_pb2_grpc.add_DataServerServicer_to_server(door, server)
        await server.start()
        self._closing.push_async_callback(self._close_door, server, door)

    def _let_clients_write(
        self,
        engine: Engine,
        archive: Archive,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        link: Link,
        summing: Summing,
        algorithm: str | None,
    ) -> None:
        """Makes what doors call for clients who write, rename and remove."""
        claims = Claims(engine, archive, link, self._config.redirector, self._boot_epoch)
        self._uploads = Uploads(
            engine, disk, catalogue, replicas, claims, link, self._writable, algorithm
        )
        attributes = Attributes(engine, catalogue, self._writable)
        self._changing = Changing(
            engine, disk, catalogue, replicas, link, self._writable, attributes, summing
        )
        # In the opposite order: no upload waits for the redirector's answer any more.
        self._closing.push_async_callback(self._uploads.stop)
        self._closing.push_async_callback(self._changing.stop)
        self._closing.push_async_callback(claims.stop)

    def _open_root_door(
        self,
        tasks: NamedTasks,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        link: Link,
    ) -> None:
        config, root = self._config, self._root
        door = RootDoor(
            engine,
            disk,
            catalogue,
            replicas,
            self.uploads,
            self.changing,
            self._names,
            self._writable,
            root.max_open_files,
            "adler32" if config.checksum == "none" else config.checksum,
            self._version,
            link,
        )
        limits = DoorLimits(root.max_connections, root.max_requests, root.idle_timeout)
        listener = Listener(door, limits, disk.senders.call)
        address = listener.open(config.root_listen)
        # In the opposite order: first every connection ends.
        self._closing.push_async_callback(door.stop)
        self._closing.push_async_callback(listener.stop)
        self._root_address = config.root_advertise or public_address(address)
        door.looking.address = self._root_address
        self._spawn(tasks, "root door", listener.watch())

    def _spawn(self, tasks: NamedTasks, what: str, work: Any) -> None:
        task = tasks.spawn(f"{self.name}: {what}", work, endless=True)
        self._background.append(task)

    def _hello(self, engine: Engine, identity: str, capacity: int) -> pb.Hello:
        config = self._config
        return pb.Hello(
            address=types_pb2.NodeAddress(
                node=self.name,
                address=config.advertise or public_address(self._address),
                host=config.host,
                rack=config.rack,
                site=config.site,
                root_address=self._root_address,
            ),
            boot_epoch=self._boot_epoch,
            pool_id=identity,
            quota_bytes=config.quota,
            max_files=config.max_files,
            recall_slots=capacity,
            running=[
                pb.RunningRecall(
                    recall_id=recall.recall_id,
                    lfn=recall.lfn,
                    reserved_bytes=engine.node.pool.reserved_for(recall.recall_id),
                )
                for recall in engine.node.staging.live()
            ],
            version=self._version,
            drain=config.drain,
            takes_batches=True,
            claims=engine.node.claims(),
            served_by_others=config.serve is not None,
        )

    # --- stop ---------------------------------------------------------------

    async def stop(self, grace_s: float) -> None:
        """Ends recalls and readers, and lets go of the pool."""
        self._grace_s = grace_s
        await self._closing.aclose()

    async def _end_recalls(self, engine: Engine, link: Link) -> None:
        """Ends every recall, and gives the redirector a chance to hear of it."""
        engine.post(Closing())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s):
                await engine.idle.wait()
            async with asyncio.timeout(min(LAST_WORDS_S, self._grace_s)):
                await link.until_told()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _close_door(self, server: aio.Server, door: ReadingDoor) -> None:
        door.close()
        await server.stop(self._grace_s)

    async def _keep_janitor(self, janitor: Janitor) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(janitor.ensure)


def _limits(config: DataServerConfig) -> Limits:
    return Limits.of(config.quota, config.max_files, config.high_watermark, config.low_watermark)


def _owner(identity: str) -> str:
    """What marks the commands of a pool, over all lives of its server."""
    return f"pool-{identity}"
