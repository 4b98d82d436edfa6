"""Verifying a dataset: finding out how each of its files stands.

All files are located; those online are described by their data servers, the
archive is asked about the others, and if that is wished they are staged and
described as they come online. What is concluded about each is
`redirector.core.verdicts`' to say. Everything goes in batches: a dataset of
100,000 files costs some hundred messages and a few dozen commits.

Files that are staged for this are pinned until they have been described, so
that those of a dataset larger than the pools are not purged again unseen.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import Refused
from redirector.core.events import StageAsked, UnpinAsked
from redirector.core.states import FileState, RequestFileState
from redirector.core.verdicts import (
    UNUSABLE,
    RunningTally,
    judge_archive_copy,
    judge_failure,
    judge_replica,
    judge_staging,
    judge_unstaged,
)
from redirector.ids import new_request_id
from redirector.wire import datasets as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from redirector.core.datasets import DatasetFile
    from redirector.core.figures import FileStanding
    from redirector.core.model import FileEvent
    from redirector.core.verdicts import Tally
    from redirector.questions import Questions
    from redirector.runner import Runner
    from redirector.store.datasets import Dataset, DatasetStore
    from redirector.store.history import History

LOCATE_BATCH = 10_000
#: Verdicts that gather before they are written.
SAVE_BATCH = 5_000
#: Progress is told no more often than this.
PROGRESS_S = 0.2
#: How long a staged file is kept for being described, where its pin is not wished for.
HOLD_PIN_S = 300.0
#: A file that went offline again before it was described is staged again, so often in all.
ROUNDS = 3

_GONE = "it went offline again before its data server described it"
_CANCELLED = "its staging was cancelled"


@dataclass(frozen=True, slots=True)
class StagingWish:
    """That what is not online be staged, and how."""

    owner: str = ""
    priority: int = 0
    pin_s: float = 0.0
    activity: str = ""


class Verification:
    """One verification of one dataset."""

    def __init__(
        self,
        runner: Runner,
        questions: Questions,
        history: History,
        store: DatasetStore,
        dataset: Dataset,
    ) -> None:
        self._runner = runner
        self._questions = questions
        self._history = history
        self._store = store
        self._dataset = dataset
        self._files: dict[str, DatasetFile] = {}
        self._tally = RunningTally(())
        self._unsaved: dict[str, DatasetFile] = {}
        self.request_id = ""  # of the staging, if there is any

    def tally(self) -> Tally:
        """The counts as far as is known now."""
        return self._tally.now()

    def problems(self) -> list[DatasetFile]:
        """Every file that cannot be used."""
        return [file for file in self._files.values() if file.state in UNUSABLE]

    async def run(self, wish: StagingWish | None) -> AsyncGenerator[None, None]:
        """Verifies; yields now and then, when there is progress to tell."""
        files = await self._store.all_files(self._dataset.number)
        self._files = {file.lfn: file for file in files}
        self._tally = RunningTally(files)
        last_told_s = float("-inf")
        clock = asyncio.get_running_loop()
        async with aclosing(self._steps(wish)) as steps:
            async for _ in steps:
                if len(self._unsaved) >= SAVE_BATCH:
                    await self._save()
                if clock.time() - last_told_s >= PROGRESS_S:
                    last_told_s = clock.time()
                    yield
        await self._save()

    async def finish(self) -> Dataset:
        """The dataset as it is now; raises Refused if it is not there any more."""
        dataset = await self._store.mark_verified(self._dataset.number, self._runner.now_s())
        if dataset is None:
            raise Refused(
                f"dataset {self._dataset.header.name} was removed or replaced "
                "while it was verified; verify it again"
            )
        return dataset

    async def _steps(self, wish: StagingWish | None) -> AsyncGenerator[None, None]:
        online: list[str] = []
        offline: list[str] = []
        for lfns in _batches(list(self._files), LOCATE_BATCH):
            self._sort(lfns, online, offline)
            yield
        for lfns in _batches(online, LOCATE_BATCH):
            async with aclosing(self._describe(lfns, gone=offline)) as describing:
                async for _ in describing:
                    yield
        async with aclosing(self._questions.examine(offline)) as answers:
            async for copies in answers:
                for copy in copies:
                    file = self._files[copy.lfn]
                    self._conclude(judge_archive_copy(file, wire.archive_copy_of(copy)))
                yield
        if wish is not None:
            async with aclosing(self._stage_all(wish)) as staging:
                async for _ in staging:
                    yield

    async def _stage_all(self, wish: StagingWish) -> AsyncGenerator[None, None]:
        wanted = [
            lfn
            for lfn, file in self._files.items()
            if file.state in {FileState.NEARLINE, FileState.STAGING}
        ]
        for _ in range(ROUNDS):
            if not wanted:
                return
            gone: list[str] = []
            async with aclosing(self._stage(wanted, wish, gone)) as staging:
                async for _ in staging:
                    yield
            wanted = gone

    def _sort(self, lfns: Sequence[str], online: list[str], offline: list[str]) -> None:
        """Tells the files that are online from those that are not; concludes on those on the way."""
        columns = self._runner.head.locate(lfns, self._runner.now_s())
        staging = {row for row, state, _ in columns.offline if state is FileState.STAGING}
        for row, (lfn, holder) in enumerate(zip(lfns, columns.holders, strict=True)):
            if holder:
                online.append(lfn)
            elif row in staging:
                self._conclude(judge_staging(self._files[lfn]))
            else:
                offline.append(lfn)

    async def _describe(self, lfns: Sequence[str], gone: list[str]) -> AsyncGenerator[None, None]:
        """Concludes on files that are online; those that are not any more go into `gone`."""
        tree = self._dataset.header.tree
        async with aclosing(self._questions.describe(lfns, wait_for_content=True)) as answers:
            async for description in answers:
                for info in description.files:
                    file = self._files[info.lfn]
                    self._conclude(judge_replica(file, tree, wire.replica_of(info)))
                gone.extend(description.not_online)
                yield

    async def _stage(
        self, wanted: Sequence[str], wish: StagingWish, gone: list[str]
    ) -> AsyncGenerator[None, None]:
        """Has files staged, and concludes on each as soon as it is online or has failed.

        Those that go offline again before they are described go into `gone`.
        """
        runner = self._runner
        self.request_id = request_id = new_request_id()
        subscription = runner.watchers.subscribe(wanted, request_id)
        waiting = dict.fromkeys(wanted)
        try:
            await runner.ask(
                StageAsked(
                    request_id=request_id,
                    lfns=wanted,
                    owner=wish.owner,
                    priority=wish.priority,
                    pin_s=wish.pin_s or HOLD_PIN_S,
                    dataset=self._dataset.header.name,
                    activity=wish.activity,
                    facts=wire.facts_of(self._files[lfn] for lfn in wanted),
                )
            )
            news: Sequence[FileEvent | FileStanding] | None = []
            while waiting:
                # Nothing new to tell means that events were lost, as at the start.
                arrived = self._take_in(news or self._standing(waiting), waiting)
                before = len(gone)
                async with aclosing(self._describe(arrived, gone)) as describing:
                    async for _ in describing:
                        yield
                for lfn in gone[before:]:
                    self._conclude(judge_unstaged(self._files[lfn], _GONE))
                if arrived and not wish.pin_s:
                    runner.tell(UnpinAsked(owner=request_id, lfns=arrived))
                if news is None:
                    await self._conclude_rest(request_id, waiting)
                    return
                if waiting:
                    news = await subscription.take()
                yield
        finally:
            runner.watchers.unsubscribe(subscription, request_id)
            if not wish.pin_s:
                runner.tell(UnpinAsked(owner=request_id))

    def _standing(self, lfns: Iterable[str]) -> list[FileStanding]:
        return self._runner.head.standing(list(lfns), self._runner.now_s())

    def _take_in(
        self, news: Iterable[FileEvent | FileStanding], waiting: dict[str, None]
    ) -> list[str]:
        """Concludes on files that failed; returns those that came online. None waits any more."""
        arrived: dict[str, None] = {}
        for lfn, state, reason in ((new.lfn, new.state, new.reason) for new in news):
            if lfn not in waiting:
                continue
            if state is FileState.ONLINE:
                arrived[lfn] = None
                del waiting[lfn]
            elif state in {FileState.FAILED, FileState.MISSING}:
                not_found = state is FileState.MISSING
                self._conclude(judge_failure(self._files[lfn], reason, not_found=not_found))
                del waiting[lfn]
        return list(arrived)

    async def _conclude_rest(self, request_id: str, waiting: Iterable[str]) -> None:
        """The request has ended: what it says of files of which no more was heard."""
        await self._runner.journal.keep(())
        kept = await self._history.request(request_id)
        reasons = {} if kept is None else {file.lfn: file for file in kept[1]}
        for lfn in waiting:
            file = reasons.get(lfn)
            if file is not None and file.state is RequestFileState.FAILED:
                verdict = judge_failure(self._files[lfn], file.reason, not_found=False)
            else:
                verdict = judge_unstaged(self._files[lfn], _CANCELLED)
            self._conclude(verdict)

    def _conclude(self, verdict: DatasetFile) -> None:
        before = self._files[verdict.lfn]
        if verdict is not before:
            self._files[verdict.lfn] = verdict
            self._tally.change(before, verdict)
            self._unsaved[verdict.lfn] = verdict

    async def _save(self) -> None:
        verdicts, self._unsaved = self._unsaved, {}
        if verdicts:
            await self._store.save_verdicts(self._dataset.number, verdicts.values())


def _batches(lfns: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(lfns), size):
        yield lfns[start : start + size]
