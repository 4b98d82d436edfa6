"""`Site`: the Python API for scripts and notebooks.

Every method is the one of the same name of `packhorse.aio.AsyncSite`, and is described
there; here it waits for the answer. One thread in the background does the talking.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from common.errors import NotFound, PackhorseError
from packhorse.aio.site import AsyncSite, connect
from packhorse.blocking import Datasets, Sessions, Staging
from packhorse.portal import Portal
from packhorse.replica import Channels, Replica
from packhorse.urls import lfn_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike
    from pathlib import Path

    from packhorse.aio.sessions import Missing
    from packhorse.aio.site import Names
    from packhorse.functions import Function, Merge
    from packhorse.result import Result
    from packhorse.values import (
        DrainReport,
        Eviction,
        Explanation,
        FileEvent,
        FileInfo,
        Location,
        NodeStatus,
        NodeStores,
        Pinning,
        PurgePlan,
        Recall,
        SessionStatus,
        SiteStatus,
        StageRequest,
        Storing,
    )

_OPEN_ATTEMPTS = 3
_BUFFER_BYTES = 64 << 10


class Site:
    """One site. Close it, or use it in `with`; `packhorse.connect` makes one."""

    def __init__(
        self,
        config: str | PathLike[str] | None = None,
        redirector: str = "",
        *,
        owner: str = "",
        host: str = "",
    ) -> None:
        """See `packhorse.aio.connect`."""
        self._portal = Portal()
        try:
            self._site: AsyncSite = self._portal.run(
                connect(config, redirector, owner=owner, host=host)
            )
        except BaseException:
            self._portal.close()
            raise
        self._channels = Channels()
        self.datasets = Datasets(self._site.datasets, self._portal)
        self.sessions = Sessions(self._site.sessions, self._portal)

    @property
    def owner(self) -> str:
        """Who asks, for people."""
        return self._site.owner

    @property
    def redirector(self) -> str:
        """HOST:PORT of the site's redirector."""
        return self._site.redirector

    def close(self) -> None:
        """Closes every connection; what was asked of the site goes on there."""
        if not self._portal.is_closed:
            self._portal.run(self._site.close())
            self._portal.close()
        self._channels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- where files are ----------------------------------------------------

    def locate(self, names: Names) -> list[Location]:
        """Where files are, in the order asked; any number of names."""
        return self._portal.run(self._site.locate(names))

    def describe(self, names: Names, *, wait_for_content: bool = False) -> list[FileInfo]:
        """Size, checksum and content of those files that are online, in no order."""
        return self._portal.run(self._site.describe(names, wait_for_content=wait_for_content))

    def watch(self, names: Names = (), *, dataset: str = "") -> Iterator[FileEvent]:
        """How files stand, then every change to them; of the whole site if none are named."""
        return self._portal.iterate(self._site.watch(names, dataset=dataset))

    def explain(self, name: str) -> Explanation:
        """A file's story: who asked, which node and why, what ran, what comes next."""
        return self._portal.run(self._site.explain(name))

    # --- having files staged ------------------------------------------------

    def stage(
        self,
        names: Names = (),
        *,
        dataset: str = "",
        priority: int = 0,
        pin_s: float = 0.0,
        deadline_s: float = 0.0,
        owner: str = "",
        activity: str = "",
    ) -> Staging:
        """Asks for files to be brought online; the request is durable when this returns."""
        staging = self._portal.run(
            self._site.stage(
                names,
                dataset=dataset,
                priority=priority,
                pin_s=pin_s,
                deadline_s=deadline_s,
                owner=owner,
                activity=activity,
            )
        )
        return Staging(staging, self._portal)

    def cancel(self, request_id: str, names: Names = ()) -> int:
        """Cancels a stage request, or some of its files; returns how many files that were."""
        return self._portal.run(self._site.cancel(request_id, names))

    def requests(
        self,
        request_id: str = "",
        *,
        active_only: bool = False,
        with_files: bool = False,
        limit: int = 0,
    ) -> list[StageRequest]:
        """Stage requests of the present and the recent past."""
        return self._portal.run(
            self._site.requests(
                request_id, active_only=active_only, with_files=with_files, limit=limit
            )
        )

    def pin(self, names: Names, *, lifetime_s: float, owner: str = "", reason: str = "") -> Pinning:
        """Keeps files from being purged for a while; a later call moves the end."""
        return self._portal.run(
            self._site.pin(names, lifetime_s=lifetime_s, owner=owner, reason=reason)
        )

    def unpin(self, names: Names = (), *, owner: str = "") -> int:
        """Takes pins back: those on the files named, or every one of the owner."""
        return self._portal.run(self._site.unpin(names, owner=owner))

    def evict(self, names: Names, *, soft: bool = False) -> Eviction:
        """Drops replicas now; those open or pinned stay, and are named."""
        return self._portal.run(self._site.evict(names, soft=soft))

    # --- reading files ------------------------------------------------------

    def open(self, name: str, *, stage: bool = True) -> BinaryIO:
        """Opens a file for reading, as a binary file that can seek.

        It is not purged before it is closed. A file that is not online is staged first,
        or, without `stage`, refused as NotFound.
        """
        lfn = lfn_of(name)
        problem: PackhorseError | None = None
        for _ in range(_OPEN_ATTEMPTS):
            for node in self._portal.run(self._site.holders(lfn, stage=stage)):
                try:
                    replica = Replica(self._channels, node, lfn, self._site.host)
                except PackhorseError as error:
                    problem = error
                else:
                    raw = replica.file(on_close=replica.close)
                    return cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))
        raise problem or NotFound(f"{lfn} has no replica")

    def cp(
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
        return self._portal.run_with(
            lambda relay: self._site.cp(
                name, destination, stage=stage, overwrite=overwrite, on_progress=relay
            ),
            on_progress,
        )

    # --- the cluster --------------------------------------------------------

    def status(self) -> SiteStatus:
        """The whole site in one look."""
        return self._portal.run(self._site.status())

    def nodes(self) -> tuple[NodeStatus, ...]:
        """Every data server, as the redirector sees it."""
        return self._portal.run(self._site.nodes())

    def drain(self, node: str, *, undo: bool = False, look: bool = False) -> DrainReport:
        """Gives a node no more recalls, or, with `undo`, does so again; `look` changes nothing."""
        return self._portal.run(self._site.drain(node, undo=undo, look=look))

    def stores(
        self, node: str = "", *, failed_only: bool = False, limit: int = 0
    ) -> list[NodeStores]:
        """What nodes have to store in the archive, at most `limit` files of each."""
        return self._portal.run(self._site.stores(node, failed_only=failed_only, limit=limit))

    def store(self, names: Names = (), *, all_failed: bool = False) -> Storing:
        """Has files stored in the archive now, or all that have failed for good."""
        return self._portal.run(self._site.store(names, all_failed=all_failed))

    def forget(self, node: str) -> None:
        """Forgets a data server that is gone for good, or whose pool was replaced."""
        self._portal.run(self._site.forget(node))

    def purge_plan(
        self, node: str = "", *, target_bytes: int = 0, limit: int = 0
    ) -> list[PurgePlan]:
        """What each node's next purge would take, and why; nothing is purged."""
        return self._portal.run(self._site.purge_plan(node, target_bytes=target_bytes, limit=limit))

    def recalls(self, *, since_unix_s: float = 0.0, limit: int = 0) -> list[Recall]:
        """Recalls of the present and the recent past."""
        return self._portal.run(self._site.recalls(since_unix_s=since_unix_s, limit=limit))

    # --- processing ---------------------------------------------------------

    def process(
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
        "abort". The rest is described at `packhorse.aio.AsyncSite.process`.

        Returns what could be processed, and names what could not. Ctrl-C cancels the
        session. Raises UsageError for a function that cannot be sent to workers,
        Incomplete for a session that failed or was cancelled.
        """
        return self._portal.run_with(
            lambda relay: self._site.process(
                dataset,
                function,
                workers=workers,
                merge=merge,
                missing=missing,
                tree=tree,
                on_progress=relay,
                max_bad_packets=max_bad_packets,
                packet_entries=packet_entries,
                memory_bytes=memory_bytes,
                worker_hosts=worker_hosts,
            ),
            on_progress,
        )
