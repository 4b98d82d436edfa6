"""Having the archive make files ready, and then having them copied.

Three things go on beside one another: what is wanted is submitted, many files together where
the command can; what waits is polled, at a pace that slackens while nothing changes; and
what nobody needs any more is cancelled or released. `Book` says how each file stands.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure
from common.errors import PackhorseError
from dataserver.archive.model import Fetched
from dataserver.archive.submitting.asking import AskingCommand
from dataserver.archive.submitting.book import State
from dataserver.archive.submitting.ending import Ending
from dataserver.archive.submitting.ledger import Ledger, ordering
from dataserver.archive.submitting.polling import Polling
from dataserver.threads import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataserver.archive.model import Fetcher, FetchOrder
    from dataserver.archive.site_commands import SiteCommands
    from dataserver.archive.submitting.book import Submission
    from dataserver.archive.submitting.words import Answer

#: What a submitcmd may be told of a file in its words, and what the other commands may.
ORDERING: Final = ("key", "source", "lfn", "size")
ASKING: Final = ("key", "id", "source", "lfn")

#: The most files a command is told of in one run.
TOGETHER: Final = 1000
#: How long a stop waits for orders that are just being placed.
CLOSING_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSettings:
    """The commands, and how they are used; `cancelcmd` and `releasecmd` None for none."""

    submitcmd: Sequence[str]
    pollcmd: Sequence[str]
    cancelcmd: Sequence[str] | None
    releasecmd: Sequence[str] | None
    poll_s: float
    poll_max_s: float
    deadline_s: float
    stall_s: float
    parallel: int
    copies: int


class Submitter:
    """A `Fetcher` that has files made ready before `fetcher` copies up to `copies` at a time.

    What is on order is kept in a file at `path`; None: nothing outlives this process.
    """

    def __init__(
        self,
        settings: SubmitSettings,
        commands: SiteCommands,
        fetcher: Fetcher,
        path: Path | None,
    ) -> None:
        def asking(template: Sequence[str], names: Sequence[str] = ASKING) -> AskingCommand:
            return AskingCommand(template, names, commands, settings.parallel)

        cancel, release = settings.cancelcmd, settings.releasecmd
        self._names = commands.names
        self._fetcher = fetcher
        self._ledger = Ledger(path)
        self._book = self._ledger.book
        self._submit = asking(settings.submitcmd, ORDERING)
        self._polling = Polling(
            self._ledger,
            asking(settings.pollcmd),
            poll_s=settings.poll_s,
            poll_max_s=settings.poll_max_s,
            deadline_s=settings.deadline_s,
            stall_s=settings.stall_s,
            together=TOGETHER,
        )
        self._ending = Ending(
            self._ledger,
            None if cancel is None else asking(cancel),
            None if release is None else asking(release),
            together=TOGETHER,
        )
        self._copies = asyncio.Semaphore(settings.copies)
        # What is wanted while one run is under way goes into the next together.
        parallel = 1 if self._submit.takes_many else settings.parallel
        self._submits = Batcher(self._submit_all, TOGETHER, parallel=parallel)
        self._submitting: dict[str, asyncio.Future[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Takes up what an earlier life has ordered. Raises ConfigError, Damaged."""
        await self._ledger.open()
        self._loops = [
            asyncio.create_task(self._polling.run(), name="polling the archive"),
            asyncio.create_task(self._ending.run(), name="releasing in the archive"),
        ]

    async def close(self) -> None:
        """Ends what is under way; what is on order stays on order."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        finishing = asyncio.create_task(self._submits.finish())
        await asyncio.wait([finishing], timeout=CLOSING_S)
        await self._submits.stop()
        await finishing
        await self._ledger.close()

    def call_off(self, lfn: str) -> None:
        """Nobody will want the file again whose fetch was cancelled.

        Without that, it is kept on order for a while: whoever ended the fetch, a stop of the
        server or silence of the redirector, is likely to be followed by another one.
        """
        one = self._book.of_file(lfn)
        if one is not None and one.unwanted_s is not None:
            self._book.call_off(one)
            self._end_if_called_off(one)

    def published(self, lfn: str) -> None:
        """The file is safe in the pool: the archive need not keep it ready."""
        one = self._book.of_file(lfn)
        if one is not None and one.state is State.READY:
            self._ledger.end(one, "the file is in the pool")

    # --- one file -------------------------------------------------------------

    async def fetch(self, order: FetchOrder) -> Fetched:
        """Has a file made ready, and copied. Raises NameRefused."""
        source = self._names.archive_name(order.lfn)
        begun_s = self._now_s()
        self._ledger.orders[order.lfn] = order
        try:
            one = await self._want(order.lfn, source)
            fetched = await self._bring(one, order)
        finally:
            del self._ledger.orders[order.lfn]
        return replace(fetched, duration_s=self._now_s() - begun_s)

    async def _want(self, lfn: str, source: str) -> Submission:
        """The file's submission, which may be of an earlier try or an earlier life."""
        while (one := self._book.of_file(lfn)) is not None:
            if one.source != source and one.state in {State.WAITING, State.READY}:
                self._ledger.end(one, f"the archive calls the file {source} by now")
            if one.state is not State.ENDING:
                self._book.want(one, self._now_s())
                return one
            await self._ledger.turn_of(one).wait()
        return self._book.order(secrets.token_hex(8), lfn, source, self._now_s())

    async def _bring(self, one: Submission, order: FetchOrder) -> Fetched:
        try:
            failure = await self._until_ready(one, order)
            if failure is None:
                self._ledger.tell(one, f"{one.archive_id}: ready")
                async with self._copies:
                    fetched = await self._fetcher.fetch(order)
        except BaseException:
            self._book.leave(one, self._now_s())
            raise
        self._book.leave(one, self._now_s())
        if failure is not None:
            return Fetched(failure)
        # Who tries again finds it ready; who cannot succeed does not need it.
        why = fetched.failure
        if why is not None and why.error_class in {ErrorClass.NOT_FOUND, ErrorClass.PERMANENT}:
            self._ledger.end(one, why.reason)
        return fetched

    async def _until_ready(self, one: Submission, order: FetchOrder) -> Failure | None:
        """Why the archive will not make it ready; None once it is."""
        # Once is not enough for one that was skipped, because nobody wanted it just then.
        while one.state in {State.NEW, State.PLACING} and one.failure is None:
            await asyncio.shield(self._submitted(one, order.size_bytes))
        self._polling.expect_news()
        while one.state is State.WAITING and one.failure is None:
            await self._ledger.turn_of(one).wait()
        assert one.failure is not None or one.state is State.READY, one.story
        return one.failure

    def _end_if_called_off(self, one: Submission) -> None:
        if one.is_called_off and one.state in {State.WAITING, State.READY}:
            self._ledger.end(one, "cancelled")

    def _now_s(self) -> float:
        return self._ledger.clock.now_s()

    # --- submitting ------------------------------------------------------------

    def _submitted(self, one: Submission, size_bytes: int | None) -> asyncio.Future[None]:
        """Done when the archive was asked for it, once, however many want that."""
        future = self._submitting.get(one.key)
        if future is None:
            future = self._submitting[one.key] = self._submits.do((one, size_bytes))
            future.add_done_callback(lambda _: self._submitting.pop(one.key, None))
        return future

    async def _submit_all(
        self, batch: list[tuple[Submission, int | None]]
    ) -> list[Exception | None]:
        """Notes and submits what is still wanted; what came of each is its state."""
        await self._forget([one for one, _ in batch if one.is_called_off])
        wanted = [(one, size) for one, size in batch if one.unwanted_s is None]
        submissions = [one for one, _ in wanted]
        for one in submissions:
            self._book.place(one, self._now_s())
        try:
            await self._ledger.keep(submissions)
        except PackhorseError as error:
            failure = Failure(ErrorClass.TRANSIENT, str(error))
            for one in submissions:
                self._book.refused(one, failure, self._now_s())
            submissions = []
        if submissions:
            answers = await self._submit.ask([ordering(one, size) for one, size in wanted])
            for one in submissions:
                self._enter(one, answers.answered.get(one.key), answers.failed.get(one.key))
            taken = [one for one in submissions if one.state is not State.GONE]
            gone = [one for one in submissions if one.state is State.GONE]
            await self._ledger.note(taken, gone)
        return [None] * len(batch)

    async def _forget(self, unwanted: Sequence[Submission]) -> None:
        """Drops orders that were cancelled before they were placed.

        One that the archive may know of keeps its key for a while, for whoever wants it again.
        """
        forgotten = [one for one in unwanted if one.state is State.NEW and not one.was_placed]
        for one in forgotten:
            self._book.forget(one, self._now_s(), "cancelled before it was submitted")
        await self._ledger.note((), forgotten)

    def _enter(self, one: Submission, answer: Answer | None, failure: Failure | None) -> None:
        """What the archive said to an order; who ordered may have left meanwhile."""
        if answer is not None:
            failure = _refusal(answer)
        if failure is None:
            assert answer is not None
            self._book.submitted(one, answer.archive_id, self._now_s())
            self._ledger.tell(one, f"submitted as {one.archive_id}")
            self._end_if_called_off(one)
        elif answer is None and failure.error_class is ErrorClass.TRANSIENT:
            self._book.no_answer(one, failure, self._now_s())
        else:
            self._book.refused(one, failure, self._now_s())


def _refusal(answer: Answer) -> Failure | None:
    """Why an answer is none to an order, or says that it is not taken on."""
    if answer.failure is not None:
        return answer.failure
    if not answer.archive_id:
        return Failure(ErrorClass.TRANSIENT, "submitcmd ended well but printed no id")
    return None
