"""`AsyncSite`: one site, and all that a client can ask of it."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import socket
from typing import TYPE_CHECKING, Self

from common.errors import NotFound, PackhorseError, UsageError
from common.grpc_client import call
from packhorse.aio.connection import Connection
from packhorse.aio.copying import copy_replica, target_of
from packhorse.aio.datasets import AsyncDatasets
from packhorse.aio.processing import process
from packhorse.aio.replica import AsyncReplica
from packhorse.aio.sessions import AsyncSessions
from packhorse.aio.staging import AsyncStaging
from packhorse.aio.streams import name_batches, replies
from packhorse.finding import find_site
from packhorse.labels import host_label
from packhorse.urls import lfn_of, lfns_of
from packhorse.values import (
    DrainReport,
    Eviction,
    Explanation,
    FileEvent,
    FileInfo,
    Location,
    NodeStores,
    Pinning,
    PurgePlan,
    Recall,
    Refusal,
    SiteStatus,
    StageRequest,
    Storing,
)
from packhorse.values.files import locations_of
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from os import PathLike
    from pathlib import Path

    from packhorse.aio.sessions import Missing
    from packhorse.functions import Function, Merge
    from packhorse.result import Result
    from packhorse.values import NodeAddress, NodeStatus, SessionStatus

    Names = str | Iterable[str]

# A replica may be purged, and its node may go, between being located and being opened.
_OPEN_ATTEMPTS = 3


async def connect(
    config: str | PathLike[str] | None = None,
    redirector: str = "",
    *,
    owner: str = "",
    host: str = "",
) -> AsyncSite:
    """A client of the site that a configuration file, an address, or PACKHORSE_CONFIG names.

    `owner` is who asks, for people (default: user@machine); `host` is this machine's host
    label (default: PACKHORSE_HOST, else its name). Nothing is sent before the first call.
    Raises UsageError if no site is named, ConfigError if the file holds mistakes.
    """
    found = find_site(config, redirector)
    return AsyncSite(Connection(found.redirector, found.packetizer), owner=owner, host=host)


class AsyncSite:
    """One site. Close it, or use it in `async with`."""

    def __init__(self, connection: Connection, *, owner: str = "", host: str = "") -> None:
        self._connection = connection
        self._files = connection.files
        self._cluster = connection.cluster
        self._peer = connection.redirector_name
        self.owner = owner or f"{getpass.getuser()}@{socket.gethostname()}"
        self.host = host or host_label()
        self.datasets = AsyncDatasets(connection, self.owner)
        self.sessions = AsyncSessions(connection, self.owner)

    @property
    def redirector(self) -> str:
        """HOST:PORT of the site's redirector."""
        return self._connection.redirector

    async def close(self) -> None:
        """Closes every connection; what was asked of the site goes on there."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- where files are ----------------------------------------------------

    async def locate(self, names: Names) -> list[Location]:
        """Where files are, in the order asked; any number of names."""
        found: list[Location] = []
        for piece in name_batches(lfns_of(names)):
            reply = await call(self._files.Locate(pb.LocateRequest(lfns=piece)), self._peer)
            found += locations_of(piece, reply)
        return found

    async def describe(self, names: Names, *, wait_for_content: bool = False) -> list[FileInfo]:
        """Size, checksum and content of those files that are online, in no order.

        With `wait_for_content`, a file just staged is inspected before it is answered.
        """
        found: list[FileInfo] = []
        for piece in name_batches(lfns_of(names)):
            request = pb.DescribeRequest(lfns=piece, wait_for_content=wait_for_content)
            stream = replies(self._files.Describe(request), self._peer)
            async with contextlib.aclosing(stream):
                async for reply in stream:
                    found += [FileInfo.of(file) for file in reply.files]
        return found

    async def watch(
        self, names: Names = (), *, dataset: str = ""
    ) -> AsyncGenerator[FileEvent, None]:
        """How files stand, then every change to them; of the whole site if none are named."""
        lfns = lfns_of(names)
        request = pb.WatchRequest(lfns=lfns, dataset=dataset, all=not lfns and not dataset)
        stream = replies(self._files.Watch(request), self._peer)
        async with contextlib.aclosing(stream):
            async for reply in stream:
                for event in reply.events:
                    yield FileEvent.of(event)

    async def explain(self, name: str) -> Explanation:
        """A file's story: who asked, which node and why, what ran, what comes next."""
        lfn = lfn_of(name)
        reply = await call(self._files.Explain(pb.ExplainRequest(lfn=lfn)), self._peer)
        return Explanation.of(lfn, reply)

    # --- having files staged ------------------------------------------------

    async def stage(
        self,
        names: Names = (),
        *,
        dataset: str = "",
        priority: int = 0,
        pin_s: float = 0.0,
        deadline_s: float = 0.0,
        owner: str = "",
        activity: str = "",
    ) -> AsyncStaging:
        """Asks for files to be brought online; the request is durable when this returns.

        Files are named, or are those of a dataset. `pin_s` pins each from when it comes
        online; a higher `priority` goes before others of the same owner; `deadline_s` gives up
        (0: the site's default). `activity` is what it is for: recalls are shared out by it.
        """
        lfns = lfns_of(names)
        if not lfns and not dataset:
            raise UsageError("nothing to stage: name files, or a dataset")
        ids, files = [], 0
        for number, piece in enumerate(name_batches(lfns) if lfns else [lfns]):
            request = pb.StageRequest(
                lfns=piece,
                dataset=dataset if number == 0 else "",
                owner=owner or self.owner,
                priority=priority,
                pin_s=pin_s,
                deadline_s=deadline_s,
                idempotency_key=secrets.token_hex(16),
                activity=activity,
            )
            reply = await call(self._files.Stage(request), self._peer)
            ids.append(reply.request_id)
            files += reply.files
        return AsyncStaging(self._connection, ids, files)

    async def cancel(self, request_id: str, names: Names = ()) -> int:
        """Cancels a stage request, or some of its files; returns how many files that were."""
        request = pb.CancelRequest(request_id=request_id, lfns=lfns_of(names))
        return (await call(self._files.Cancel(request), self._peer)).files_cancelled

    async def requests(
        self,
        request_id: str = "",
        *,
        active_only: bool = False,
        with_files: bool = False,
        limit: int = 0,
    ) -> list[StageRequest]:
        """Stage requests of the present and the recent past."""
        request = pb.ListRequestsRequest(
            request_id=request_id, active_only=active_only, with_files=with_files, limit=limit
        )
        reply = await call(self._files.ListRequests(request), self._peer)
        return [StageRequest.of(info) for info in reply.requests]

    async def pin(
        self, names: Names, *, lifetime_s: float, owner: str = "", reason: str = ""
    ) -> Pinning:
        """Keeps files from being purged for a while; a later call moves the end."""
        pinned = 0
        not_online: list[str] = []
        for piece in name_batches(lfns_of(names)):
            request = pb.PinRequest(
                lfns=piece, owner=owner or self.owner, lifetime_s=lifetime_s, reason=reason
            )
            reply = await call(self._files.Pin(request), self._peer)
            pinned += reply.pinned
            not_online += reply.not_online
        return Pinning(pinned, tuple(not_online))

    async def unpin(self, names: Names = (), *, owner: str = "") -> int:
        """Takes pins back: those on the files named, or every one of the owner."""
        lfns = lfns_of(names)
        unpinned = 0
        for piece in name_batches(lfns) if lfns else [lfns]:
            request = pb.UnpinRequest(lfns=piece, owner=owner or self.owner)
            unpinned += (await call(self._files.Unpin(request), self._peer)).unpinned
        return unpinned

    async def evict(self, names: Names, *, soft: bool = False) -> Eviction:
        """Drops replicas now; those open or pinned stay, and are named.

        `soft`: nothing goes now, but these go before all others once room is needed, unless
        they are opened again.
        """
        evicted, refused = 0, []
        for piece in name_batches(lfns_of(names)):
            request = pb.EvictRequest(lfns=piece, soft=soft, owner=self.owner)
            reply = await call(self._files.Evict(request), self._peer)
            evicted += reply.evicted
            refused += [Refusal(row.lfn, row.reason) for row in reply.refused]
        return Eviction(evicted, tuple(refused))

    # --- reading files ------------------------------------------------------

    async def open(self, name: str, *, stage: bool = True) -> AsyncReplica:
        """Opens a replica for reading; it is not purged before it is closed.

        A file that is not online is staged first, or, without `stage`, refused as NotFound.
        """
        lfn = lfn_of(name)
        problem: PackhorseError | None = None
        for _ in range(_OPEN_ATTEMPTS):
            for node in await self.holders(lfn, stage=stage):
                try:
                    return await AsyncReplica.open(self._connection, node, lfn, self.host)
                except PackhorseError as error:
                    problem = error
        raise problem or NotFound(f"{lfn} has no replica")

    async def cp(
        self,
        name: str,
        destination: str | PathLike[str],
        *,
        stage: bool = True,
        overwrite: bool = False,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Copies a file to a path or into a directory; returns where it is now.

        The copy appears once it is whole and its checksum is right. `on_progress` gets
        bytes done and bytes in all.
        """
        target = target_of(lfn_of(name), destination, overwrite=overwrite)
        async with await self.open(name, stage=stage) as replica:
            await copy_replica(replica, target, on_progress)
        return target

    async def holders(self, name: str, *, stage: bool = True) -> tuple[NodeAddress, ...]:
        """The nodes that hold a file, this machine's own first; stages it if need be."""
        (found,) = await self.locate(name)
        if not found.nodes and stage:
            await (await self.stage(found.lfn)).wait()
            (found,) = await self.locate(name)
        if not found.nodes:
            reason = f": {found.reason}" if found.reason else ""
            raise NotFound(f"{found.lfn} is {found.state}{reason}")
        return tuple(sorted(found.nodes, key=lambda node: node.host != self.host))

    # --- the cluster --------------------------------------------------------

    async def status(self) -> SiteStatus:
        """The whole site in one look."""
        return SiteStatus.of(await call(self._cluster.Status(pb.StatusRequest()), self._peer))

    async def nodes(self) -> tuple[NodeStatus, ...]:
        """Every data server, as the redirector sees it."""
        return (await self.status()).nodes

    async def drain(self, node: str, *, undo: bool = False, look: bool = False) -> DrainReport:
        """Gives a node no more recalls, or, with `undo`, does so again.

        With `look` nothing is changed, and only told what it has left.
        """
        request = pb.DrainRequest(node=node, undo=undo, look=look)
        return DrainReport.of(await call(self._cluster.Drain(request), self._peer))

    async def stores(
        self, node: str = "", *, failed_only: bool = False, limit: int = 0
    ) -> list[NodeStores]:
        """What nodes have to store in the archive, at most `limit` files of each."""
        request = pb.ListStoresRequest(node=node, failed_only=failed_only, limit=limit)
        reply = await call(self._cluster.ListStores(request), self._peer)
        return [NodeStores.of(one) for one in reply.nodes]

    async def store(self, names: Names = (), *, all_failed: bool = False) -> Storing:
        """Has files stored in the archive now, or all that have failed for good."""
        lfns = lfns_of(names)
        if bool(lfns) == all_failed:
            raise UsageError("nothing to store: name files, or ask for all that have failed")
        taken: list[str] = []
        refused: list[Refusal] = []
        for piece in name_batches(lfns) if lfns else [[]]:
            request = pb.StoreNowRequest(lfns=piece)
            reply = await call(self._cluster.StoreNow(request), self._peer)
            taken += reply.taken
            refused += [Refusal(row.lfn, row.reason) for row in reply.refused]
        return Storing(tuple(taken), tuple(refused))

    async def forget(self, node: str) -> None:
        """Forgets a data server that is gone for good, or whose pool was replaced.

        Raises NotFound, or Refused while it may come back to what is still its own.
        """
        await call(self._cluster.Forget(pb.ForgetRequest(node=node)), self._peer)

    async def purge_plan(
        self, node: str = "", *, target_bytes: int = 0, limit: int = 0
    ) -> list[PurgePlan]:
        """What each node's next purge would take, and why; nothing is purged.

        `target_bytes` is how much should stay (0: the low watermark), `limit` the rows per node.
        """
        request = pb.PlanPurgeRequest(node=node, target_bytes=target_bytes, limit=limit)
        reply = await call(self._cluster.PlanPurge(request), self._peer)
        return [PurgePlan.of(plan) for plan in reply.plans]

    async def recalls(self, *, since_unix_s: float = 0.0, limit: int = 0) -> list[Recall]:
        """Recalls of the present and the recent past."""
        request = pb.ListRecallsRequest(since_unix_s=since_unix_s, limit=limit)
        reply = await call(self._cluster.ListRecalls(request), self._peer)
        return [Recall.of(info) for info in reply.recalls]

    # --- processing ---------------------------------------------------------

    async def process(
        self,
        dataset: str,
        function: Function,
        *,
        workers: int | None = None,
        merge: Merge | None = None,
        missing: Missing = "wait",
        tree: str = "",
        on_progress: Callable[[SessionStatus], object] | None = None,
        max_bad_packets: int = 0,
        packet_entries: int = 0,
        memory_bytes: int = 0,
        worker_hosts: Sequence[str] = (),
    ) -> Result:
        """Runs a function over every packet of a dataset, and merges what it returns.

        `workers` is how many to start here (default: one per core; 0: others do the work,
        see `packhorse worker`); they end with this call. `missing` says what to do about
        files that are not online: "wait" for their staging, "skip" and name them, or
        "abort". `tree` replaces the dataset's. `memory_bytes` is what a worker may use,
        `worker_hosts` the host labels they bear, dealt out in turn (default: this one's).
        `packet_entries` fixes the size of packets, for measuring. The session is given up
        after `max_bad_packets` (0: never); it is cancelled if this call is.

        Returns what could be processed, and names what could not. Raises UsageError for a
        function that cannot be sent to workers, Incomplete for a session that failed or
        was cancelled.
        """
        return await process(
            self.sessions,
            self._connection,
            dataset,
            function,
            workers=workers,
            worker_hosts=worker_hosts or (self.host,),
            memory_bytes=memory_bytes,
            missing=missing,
            merge=merge,
            tree=tree,
            max_bad_packets=max_bad_packets,
            packet_entries=packet_entries,
            on_progress=on_progress,
        )
