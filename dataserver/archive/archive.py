"""The archive: one door for sites with commands and for mounted file systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.command import fill_words
from dataserver.archive.batch import BatchCommand
from dataserver.archive.batch_files import BatchSettings
from dataserver.archive.commanded import ListCommand, StageCommand, StatCommand
from dataserver.archive.hinted import HintCommand
from dataserver.archive.lister import Lister
from dataserver.archive.model import FetchOrder, beyond_asking
from dataserver.archive.mounted import MountedArchive
from dataserver.archive.mounted_lister import MountedLister
from dataserver.archive.site_commands import SiteCommands
from dataserver.archive.storing import remover_of, storer_of
from dataserver.archive.submitting import SubmitSettings, Submitter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from common.command import Failure
    from common.config.mss import MssConfig
    from common.names import NameMap
    from dataserver.archive.lister import ArchiveLister
    from dataserver.archive.model import ArchiveFile, Fetched, Fetcher, Listing, ToStore


class Archive:
    """Asks the archive about files, fetches, stores and removes them, as `[mss]` says.

    `owner` marks the processes of its commands, for `common.command.kill_leftovers`.
    `parallel_stats` is how many files are asked about, and directories listed by a
    command, at a time, `slots` how many runs of a stage command there may be. What is on
    order in the archive is kept in a file at `orders`; None: it is forgotten at the end.
    """

    def __init__(
        self,
        config: MssConfig,
        names: NameMap,
        *,
        owner: str,
        parallel_stats: int = 8,
        slots: int = 4,
        orders: Path | None = None,
    ) -> None:
        commands = SiteCommands.of(config, names, owner)
        #: How many files may be on their way at a time.
        self.capacity = slots
        self._batches: BatchCommand | None = None
        self._submitter: Submitter | None = None
        self._examiner: MountedArchive | StatCommand | None = None
        lister: ArchiveLister | None = None
        fetcher: Fetcher
        if isinstance(config.stagecmd, str):
            mounted = MountedArchive(names, config.deadline, config.stall, parallel_stats)
            fetcher = self._examiner = mounted
            lister = MountedLister(parallel_stats)
        elif config.contract == "batch":
            fetcher = self._batches = _batch_command(config, config.stagecmd, commands, slots)
            self.capacity = slots * config.batch_files
        else:
            fetcher = StageCommand(config.stagecmd, commands, config.deadline, config.stall)
        settings = _submit_settings(config, copies=self.capacity, parallel=parallel_stats)
        if settings is not None:
            fetcher = self._submitter = Submitter(settings, commands, fetcher, orders)
            self.capacity = config.submit_files
        self._fetcher = fetcher
        if config.statcmd is not None:
            self._examiner = StatCommand(config.statcmd, commands, parallel_stats)
        self._hinter: HintCommand | None = None
        if isinstance(config.hintcmd, list):
            self._hinter = HintCommand(config.hintcmd, commands)
        if config.listcmd is not None:
            lister = ListCommand(config.listcmd, commands, parallel_stats)
        self._lister = Lister(names, lister)
        self._storer = storer_of(config, names, commands)
        self._remover = remover_of(config, names, commands)

    async def start(self) -> None:
        """Takes up what is on order in the archive. Raises ConfigError, Damaged."""
        if self._submitter is not None:
            await self._submitter.start()

    def call_off(self, lfn: str) -> None:
        """Nobody wants a file any more whose fetch was cancelled: it is not kept on order."""
        if self._submitter is not None:
            self._submitter.call_off(lfn)

    async def close(self) -> None:
        """Ends what commands are still running for files that nobody waits for any more."""
        if self._submitter is not None:
            await self._submitter.close()
        if self._batches is not None:
            await self._batches.close()

    def published(self, lfn: str) -> None:
        """A file that was fetched is safe in the pool, so the archive need not keep it ready."""
        if self._submitter is not None:
            self._submitter.published(lfn)

    @property
    def can_examine(self) -> bool:
        """Whether the site has a way to tell what its archive holds."""
        return self._examiner is not None

    @property
    def can_store(self) -> bool:
        """Whether the site has a way to bring files to its archive."""
        return self._storer is not None

    @property
    def can_remove(self) -> bool:
        """Whether the site has a way to remove files from its archive."""
        return self._remover is not None

    async def examine(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """What the archive says of each file, in the order asked.

        Nothing that is wrong with a file, a name or the archive raises: the file is
        UNKNOWN then, with the reason.
        """
        if self._examiner is not None:
            return await self._examiner.examine(lfns)
        reason = "the site has no statcmd, so its archive cannot be asked"
        return [beyond_asking(lfn, reason) for lfn in lfns]

    async def hints(self, lfns: Sequence[str]) -> list[ArchiveFile]:
        """Where files lie on tape, as the site's hintcmd or statcmd says, in the order asked.

        Nothing raises: a file that nobody could ask about is UNKNOWN, with the reason.
        """
        if self._hinter is not None:
            return await self._hinter.hints(lfns)
        return await self.examine(lfns)

    async def list_directory(self, lfn: str) -> Listing:
        """What the archive has in a directory of the name space; `/` is the top.

        Only what the site exports is told. Nothing that is wrong with the directory, its
        name or the archive raises: the listing is UNKNOWN then, with the reason.
        """
        return await self._lister.list_directory(lfn)

    async def fetch(
        self,
        lfn: str,
        target: Path,
        *,
        size_bytes: int | None = None,
        limit_bytes: int | None = None,
        on_start: Callable[[int, float], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> Fetched:
        """Brings one file to `target`, which must not exist yet, in a directory of its own.

        `size_bytes` is what the file is expected to have and the command's `{size}`
        (0 there if unknown). A file that grows beyond `limit_bytes` is stopped.
        `on_start` is given the command's process id, which is its group's as well,
        and its start time, as soon as it runs; `on_progress` the bytes that are
        there and `on_note` what is said of the work, now and then. When the task is
        cancelled, nothing of the command is left when CancelledError leaves here. What lies
        at `target` after a failure is the caller's to remove. Raises NameRefused for a name
        that no rule maps.
        """
        order = FetchOrder(
            lfn=lfn,
            target=target,
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
            on_start=on_start,
            on_progress=on_progress,
            on_note=on_note,
        )
        return await self._fetcher.fetch(order)

    async def store(
        self, file: ToStore, *, on_start: Callable[[int, float], None] | None = None
    ) -> Fetched:
        """Brings one file to the archive; only where `can_store`.

        `on_start` is as for `fetch`. When the task is cancelled, nothing of the command is
        left when CancelledError leaves here. Raises NameRefused for a name that no rule maps.
        """
        assert self._storer is not None
        return await self._storer.store(file, on_start)

    async def remove(self, lfn: str) -> Failure | None:
        """Removes one file from the archive; only where `can_remove`.

        Returns why it is there still, or NOT_FOUND if it was not there. Raises NameRefused.
        """
        assert self._remover is not None
        return await self._remover.remove(lfn)


def _batch_command(
    config: MssConfig, template: Sequence[str], commands: SiteCommands, slots: int
) -> BatchCommand:
    settings = BatchSettings(
        argv=fill_words(template, {}),
        commands=commands,
        deadline_s=config.deadline,
        stall_s=config.stall,
        hears_cancel=config.batch_cancel,
    )
    return BatchCommand(
        settings, slots=slots, most_files=config.batch_files, wait_s=config.batch_wait
    )


def _submit_settings(config: MssConfig, *, copies: int, parallel: int) -> SubmitSettings | None:
    if config.submitcmd is None or config.pollcmd is None:
        return None
    return SubmitSettings(
        submitcmd=config.submitcmd,
        pollcmd=config.pollcmd,
        cancelcmd=config.cancelcmd,
        releasecmd=config.releasecmd,
        poll_s=config.poll,
        poll_max_s=config.poll_max,
        deadline_s=config.submit_deadline,
        stall_s=config.stall,
        parallel=parallel,
        copies=copies,
    )
