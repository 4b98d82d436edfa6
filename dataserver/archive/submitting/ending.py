"""Telling the archive what is not needed any more: cancelled, or released once it was ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from dataserver.archive.submitting.book import State
from dataserver.archive.submitting.ledger import asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataserver.archive.submitting.asking import AskingCommand
    from dataserver.archive.submitting.book import Submission
    from dataserver.archive.submitting.ledger import Ledger

log = logging.getLogger(__name__)

#: How often what nobody wants is looked for, and what could not be told is told again.
TIDY_EVERY_S: Final = 30.0
#: An archive that could not be told for a day has forgotten by itself.
GIVE_UP_S: Final = 86400.0


class Ending:
    """Tells for ever, up to `together` files in a run; None where there is no such command."""

    def __init__(
        self,
        ledger: Ledger,
        cancel: AskingCommand | None,
        release: AskingCommand | None,
        *,
        together: int,
    ) -> None:
        self._ledger = ledger
        self._book = ledger.book
        self._cancel = cancel
        self._release = release
        self._together = together

    async def run(self) -> None:
        """Looks whenever there may be something to be told, and now and then."""
        while True:
            try:
                await self._tidy()
            except Exception:
                log.exception("releasing in the archive failed in an unexpected way")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIDY_EVERY_S):
                    await self._ledger.to_end.wait()
            self._ledger.to_end.clear()

    async def _tidy(self) -> None:
        gone = self._give_up_waiting()
        ending = self._book.in_state(State.ENDING)
        released = [one for one in ending if one.was_ready]
        cancelled = [one for one in ending if not one.was_ready]
        for command, some in ((self._release, released), (self._cancel, cancelled)):
            for start in range(0, len(some), self._together):
                gone += await self._tell(command, some[start : start + self._together])
        await self._ledger.note((), gone)
        for one in gone:
            self._ledger.turn(one)

    def _give_up_waiting(self) -> list[Submission]:
        """Ends what nobody has come back for; those that the archive need not be told of."""
        now_s = self._ledger.clock.now_s()
        gone = []
        for one in self._book.left_alone(now_s):
            if one.state is State.NEW:
                if one.was_placed:
                    log.warning(
                        "%s may be on order in the archive: its id never came, the key was %s",
                        one.source,
                        one.key,
                    )
                self._book.forget(one, now_s, "nobody wants it")
                gone.append(one)
            else:
                self._book.end(one, now_s, "nobody has come back for it")
        return gone

    async def _tell(
        self, command: AskingCommand | None, ending: Sequence[Submission]
    ) -> list[Submission]:
        """Tells the archive of some; those it was told of, or never will be."""
        failed = {}
        if command is not None:
            answers = await command.ask([asking(one) for one in ending])
            # Who is told of many need not answer for each of them.
            failed = {} if answers.ended_well else answers.failed
        now_s = self._ledger.clock.now_s()
        told = []
        for one in ending:
            why = failed.get(one.key)
            assert one.unwanted_s is not None, one.story
            if why is not None and now_s - one.unwanted_s < GIVE_UP_S:
                log.info("%s is told again later: %s", one.archive_id, why.reason)
                continue
            if why is not None:
                log.warning("%s stays in the archive: %s", one.archive_id, why.reason)
            self._book.ended(one, now_s)
            told.append(one)
        return told
