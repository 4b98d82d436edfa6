"""The blocking twins of what hangs off a site: stagings, datasets, sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from packhorse.aio.datasets import AsyncDatasets, Mode
    from packhorse.aio.sessions import AsyncSessions, Missing
    from packhorse.aio.staging import AsyncStaging
    from packhorse.functions import Merge, Work
    from packhorse.listing import ListedFile, Listing
    from packhorse.portal import Portal
    from packhorse.result import Result
    from packhorse.values import (
        DatasetFile,
        DatasetListing,
        DatasetSummary,
        DatasetVerification,
        PacketRecord,
        Registration,
        SessionStatus,
        StageProgress,
        StageRequest,
    )


class Staging:
    """A stage request that was accepted; see `packhorse.aio.AsyncStaging`."""

    def __init__(self, staging: AsyncStaging, portal: Portal) -> None:
        self._staging = staging
        self._portal = portal

    @property
    def request_id(self) -> str:
        """The request's id; of the first one if there are several."""
        return self._staging.request_id

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The ids of all its requests: more names than one may hold make several."""
        return self._staging.request_ids

    @property
    def files(self) -> int:
        """How many different files were asked for."""
        return self._staging.files

    def wait(
        self,
        timeout_s: float | None = None,
        on_progress: Callable[[StageProgress], object] | None = None,
    ) -> StageProgress:
        """Waits until every file is online. Raises StageFailed, or TimedOut after `timeout_s`."""
        return self._portal.run_with(
            lambda relay: self._staging.wait(timeout_s, relay), on_progress
        )

    def progress(self) -> Iterator[StageProgress]:
        """How far it is: now, at every change, and once more when all has ended."""
        return self._portal.iterate(self._staging.progress())

    def requests(self, *, with_files: bool = False) -> list[StageRequest]:
        """The requests as they stand now."""
        return self._portal.run(self._staging.requests(with_files=with_files))

    def cancel(self) -> int:
        """Gives up what has not come yet; returns how many files that were."""
        return self._portal.run(self._staging.cancel())


class Datasets:
    """Registering, verifying, listing, showing and removing datasets."""

    def __init__(self, datasets: AsyncDatasets, portal: Portal) -> None:
        self._datasets = datasets
        self._portal = portal

    def register(
        self,
        name: str,
        files: Listing | Iterable[str | ListedFile],
        *,
        tree: str = "",
        group: str = "",
        mode: Mode = "new",
        title: str = "",
    ) -> Registration:
        """Registers files under a name; `tree` is the one their entries are counted in.

        `mode` "new" refuses a name that is taken, "replace" keeps only the files given,
        "update" adds them. `packhorse.read_listing` reads lists of files.
        """
        return self._portal.run(
            self._datasets.register(name, files, tree=tree, group=group, mode=mode, title=title)
        )

    def verify(
        self,
        name: str,
        *,
        stage: bool = False,
        pin_s: float = 0.0,
        priority: int = 0,
        activity: str = "",
        on_progress: Callable[[DatasetVerification], object] | None = None,
    ) -> DatasetVerification:
        """Locates every file and fills in what is known of those online.

        With `stage`, brings in what is not online and waits for it. The answer names
        every file not usable.
        """
        return self._portal.run_with(
            lambda relay: self._datasets.verify(
                name,
                stage=stage,
                pin_s=pin_s,
                priority=priority,
                activity=activity,
                on_progress=relay,
            ),
            on_progress,
        )

    def show(self, name: str) -> DatasetSummary:
        """One dataset in figures; raises NotFound."""
        return self._portal.run(self._datasets.show(name))

    def files(self, name: str) -> tuple[DatasetFile, ...]:
        """The files of a dataset as last verified; raises NotFound."""
        return self._portal.run(self._datasets.files(name))

    def remove(self, name: str) -> int:
        """Forgets a dataset, never its files; returns how many it had. Raises NotFound."""
        return self._portal.run(self._datasets.remove(name))

    def list(self, pattern: str = "", *, group: str = "") -> DatasetListing:
        """The datasets whose name matches a shell pattern, all if it is empty."""
        return self._portal.run(self._datasets.list(pattern, group=group))


class Sessions:
    """Opening, watching, cancelling and resuming sessions, and fetching their results."""

    def __init__(self, sessions: AsyncSessions, portal: Portal) -> None:
        self._sessions = sessions
        self._portal = portal

    def open(
        self,
        dataset: str,
        work: Work,
        *,
        missing: Missing = "wait",
        tree: str = "",
        max_bad_packets: int = 0,
        packet_entries: int = 0,
    ) -> str:
        """Opens a session for workers to serve; returns its id."""
        return self._portal.run(
            self._sessions.open(
                dataset,
                work,
                missing=missing,
                tree=tree,
                max_bad_packets=max_bad_packets,
                packet_entries=packet_entries,
            )
        )

    def watch(self, session_id: str) -> Iterator[SessionStatus]:
        """The session now, then every second or so until it has ended; raises NotFound."""
        return self._portal.iterate(self._sessions.watch(session_id))

    def status(self, session_id: str) -> SessionStatus:
        """The session now; raises NotFound."""
        return self._portal.run(self._sessions.status(session_id))

    def cancel(self, session_id: str, reason: str = "") -> None:
        """Ends a session; what was committed stays. Raises NotFound."""
        self._portal.run(self._sessions.cancel(session_id, reason))

    def resume(self, session_id: str) -> None:
        """Takes up a failed or cancelled session again. Raises NotFound, Refused."""
        self._portal.run(self._sessions.resume(session_id))

    def forget(self, session_id: str) -> None:
        """Drops a session that has ended, with its result. Raises NotFound, Refused."""
        self._portal.run(self._sessions.forget(session_id))

    def result(self, session_id: str, merge: Merge | None = None) -> Result:
        """The result of a session that has ended, merged here. Raises NotFound, Refused."""
        return self._portal.run(self._sessions.result(session_id, merge))

    def records(self, session_id: str) -> tuple[PacketRecord, ...]:
        """How every committed packet went; raises NotFound."""
        return self._portal.run(self._sessions.records(session_id))

    def list(self, *, active_only: bool = False) -> tuple[SessionStatus, ...]:
        """Every session the packetizer knows."""
        return self._portal.run(self._sessions.list(active_only=active_only))
