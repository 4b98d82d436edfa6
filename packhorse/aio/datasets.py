"""Datasets, as a client sees them: `site.datasets`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from common.grpc_client import answers_from, call
from packhorse.aio.streams import batches, names_per_call, replies
from packhorse.listing import ListedFile, Listing, listed_files
from packhorse.values import (
    DatasetFile,
    DatasetListing,
    DatasetSummary,
    DatasetVerification,
    Group,
    Registration,
)
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
    from typing import Literal

    from packhorse.aio.connection import Connection

    Mode = Literal["new", "replace", "update"]

_MODES = {
    "new": pb.RegisterHeader.MODE_NEW,
    "replace": pb.RegisterHeader.MODE_REPLACE,
    "update": pb.RegisterHeader.MODE_UPDATE,
}


class AsyncDatasets:
    """Registering, verifying, listing, showing and removing datasets."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self._owner = owner

    async def register(
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
        "update" adds them. Raises NameRefused, AlreadyExists, QuotaExceeded (of the group).
        """
        rows = listed_files(files)
        if isinstance(files, Listing):
            title = title or files.title
        header = pb.RegisterHeader(
            name=name,
            tree=tree,
            group=group,
            mode=_MODES[mode],
            owner=self._owner,
            title=title,
            files=len(rows),
        )
        peer = self._connection.redirector_name
        with answers_from(peer):
            reply = await self._connection.datasets.Register(_registration(header, rows))
        return Registration(reply.files, reply.added, reply.duplicates, reply.bytes_known)

    async def verify(
        self,
        name: str,
        *,
        stage: bool = False,
        pin_s: float = 0.0,
        priority: int = 0,
        activity: str = "",
        on_progress: Callable[[DatasetVerification], object] | None = None,
    ) -> DatasetVerification:
        """Locates every file and fills in size, checksum and entries of those online.

        With `stage`, brings in what is not online and waits for it. The answer names
        every file not usable.
        """
        async with contextlib.aclosing(
            self.verifying(name, stage=stage, pin_s=pin_s, priority=priority, activity=activity)
        ) as steps:
            async for step in steps:
                if on_progress is not None:
                    on_progress(step)
        return step

    async def verifying(
        self,
        name: str,
        *,
        stage: bool = False,
        pin_s: float = 0.0,
        priority: int = 0,
        activity: str = "",
    ) -> AsyncGenerator[DatasetVerification, None]:
        """The steps of `verify` as they come; the last one is complete."""
        request = pb.VerifyRequest(
            name=name,
            stage=stage,
            owner=self._owner,
            pin_s=pin_s,
            priority=priority,
            activity=activity,
        )
        stream = self._connection.datasets.Verify(request)
        async with contextlib.aclosing(replies(stream, self._connection.redirector_name)) as steps:
            async for reply in steps:
                yield DatasetVerification.of(reply)

    async def list(self, pattern: str = "", *, group: str = "") -> DatasetListing:
        """The datasets whose name matches a shell pattern, all if it is empty."""
        reply = await call(
            self._connection.datasets.List(pb.ListDatasetsRequest(pattern=pattern, group=group)),
            self._connection.redirector_name,
        )
        return DatasetListing(
            tuple(DatasetSummary.of(row) for row in reply.datasets),
            tuple(Group(row.group, row.registered_bytes, row.quota_bytes) for row in reply.groups),
        )

    async def show(self, name: str) -> DatasetSummary:
        """One dataset in figures; raises NotFound."""
        summary, _ = await self._show(name, with_files=False)
        return summary

    async def files(self, name: str) -> tuple[DatasetFile, ...]:
        """The files of a dataset as last verified; raises NotFound."""
        _, files = await self._show(name, with_files=True)
        return files

    async def remove(self, name: str) -> int:
        """Forgets a dataset, never its files; returns how many it had. Raises NotFound."""
        reply = await call(
            self._connection.datasets.Remove(pb.RemoveDatasetRequest(name=name)),
            self._connection.redirector_name,
        )
        return reply.files

    async def _show(
        self, name: str, *, with_files: bool
    ) -> tuple[DatasetSummary, tuple[DatasetFile, ...]]:
        request = pb.ShowDatasetRequest(name=name, with_files=with_files)
        stream = self._connection.datasets.Show(request)
        summary = pb.DatasetSummary()
        files = []
        async with contextlib.aclosing(replies(stream, self._connection.redirector_name)) as parts:
            async for part in parts:
                if part.HasField("summary"):
                    summary = part.summary
                files += [DatasetFile.of(file) for file in part.files]
        return DatasetSummary.of(summary), tuple(files)


async def _registration(
    header: pb.RegisterHeader, rows: Sequence[ListedFile]
) -> AsyncIterator[pb.RegisterRequest]:
    """The messages of one registration: its header, then its files in pieces."""
    yield pb.RegisterRequest(header=header)
    for piece in batches(rows, names_per_call(row.lfn for row in rows)):
        files = [
            pb.DatasetFile(
                lfn=row.lfn,
                tree=row.tree,
                entries=row.entries or 0,
                entries_known=row.entries is not None,
            )
            for row in piece
        ]
        yield pb.RegisterRequest(files=pb.RegisterFiles(files=files))
