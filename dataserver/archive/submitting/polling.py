"""Asking the archive how what it was asked for stands, at a pace that follows the news."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure
from common.units import write_duration
from dataserver.archive.submitting.book import State
from dataserver.archive.submitting.ledger import asking
from dataserver.archive.submitting.pace import Pace
from dataserver.archive.submitting.words import forgotten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataserver.archive.submitting.asking import AskingCommand
    from dataserver.archive.submitting.book import Submission
    from dataserver.archive.submitting.ledger import Ledger
    from dataserver.archive.submitting.words import Answer

log = logging.getLogger(__name__)

#: An archive that was asked so often in vain, and for the stall limit, does not answer.
SILENCES: Final = 3


class Polling:
    """Polls for ever; durations in seconds, and up to `together` files in a run.

    `deadline_s`: from the order until the file is ready, `stall_s`: without an answer.
    """

    def __init__(
        self,
        ledger: Ledger,
        command: AskingCommand,
        *,
        poll_s: float,
        poll_max_s: float,
        deadline_s: float,
        stall_s: float,
        together: int,
    ) -> None:
        self._ledger = ledger
        self._book = ledger.book
        self._command = command
        self._pace = Pace(poll_s, poll_max_s)
        self._deadline_s = deadline_s
        self._stall_s = stall_s
        self._together = together

    def expect_news(self) -> None:
        """Something was ordered that may be ready soon."""
        self._pace.news()
        self._ledger.to_poll.set()

    async def run(self) -> None:
        """Asks about what is waited for, again and again."""
        while True:
            if not self._waited_for():
                await self._ledger.to_poll.wait()
            self._ledger.to_poll.clear()
            await self._pause()
            try:
                await self._poll_all()
            except Exception:
                log.exception("polling the archive failed in an unexpected way")

    async def _pause(self) -> None:
        """Until the next poll is due, which news make sooner."""
        begun_s = self._now_s()
        while (left_s := begun_s + self._pace.pause_s - self._now_s()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._ledger.to_poll.wait()
            self._ledger.to_poll.clear()

    def _waited_for(self) -> list[Submission]:
        """What to ask about, first that of which nothing was heard for longest."""
        waiting = self._book.in_state(State.WAITING)
        wanted = [one for one in waiting if one.unwanted_s is None and one.failure is None]
        return sorted(wanted, key=lambda one: one.answered_s)

    async def _poll_all(self) -> None:
        asked = self._waited_for()
        has_news = False
        for start in range(0, len(asked), self._together):
            if await self._poll(asked[start : start + self._together]):
                has_news = True
        if has_news:
            self._pace.news()
        else:
            self._pace.no_news()

    async def _poll(self, asked: Sequence[Submission]) -> bool:
        """Asks about some; whether any has news."""
        answers = await self._command.ask([asking(one) for one in asked])
        # Others may have been cancelled meanwhile.
        asked = [one for one in asked if one.state is State.WAITING and one.unwanted_s is None]
        has_news = False
        for one in asked:
            before = one.note
            self._take(one, answers.answered.get(one.key), answers.failed.get(one.key))
            has_turned = one.state is not State.WAITING or one.failure is not None
            has_news = has_news or has_turned or one.note != before
            if has_turned:
                self._ledger.turn(one)
        await self._ledger.note((), [one for one in asked if one.state is State.GONE])
        return has_news

    def _take(self, one: Submission, answer: Answer | None, failure: Failure | None) -> None:
        """What the archive says of a file, or why it says nothing."""
        now_s = self._now_s()
        match None if answer is None else answer.state:
            case "ready":
                self._book.ready(one, now_s)
                return
            case "failed":
                assert answer is not None
                assert answer.failure is not None
                self._book.failed(one, answer.failure, now_s)
                return
            case "unknown":
                self._book.failed(one, forgotten(one.archive_id), now_s)
                return
            case "waiting":
                assert answer is not None
                self._book.waits(one, answer.note, now_s)
                self._ledger.tell(one, f"{one.archive_id}: {answer.note or 'waiting'}")
            case _:
                why = "pollcmd said nothing of this file" if failure is None else failure.reason
                self._hear_nothing(one, why, now_s)
        if one.failure is None and now_s - one.submitted_s >= self._deadline_s:
            limit = write_duration(self._deadline_s)
            reason = f"the archive has not made it ready within {limit}, as {one.archive_id}"
            self._book.give_up(one, Failure(ErrorClass.TRANSIENT, reason))
            self._ledger.end(one, reason)

    def _hear_nothing(self, one: Submission, why: str, now_s: float) -> None:
        self._book.says_nothing(one)
        self._ledger.tell(one, f"{one.archive_id}: {why}")
        if one.unanswered >= SILENCES and now_s - one.answered_s >= self._stall_s:
            silence = write_duration(self._stall_s)
            reason = f"no answer about {one.archive_id} for {silence}: {why}"
            self._book.give_up(one, Failure(ErrorClass.TRANSIENT, reason))

    def _now_s(self) -> float:
        return self._ledger.clock.now_s()
