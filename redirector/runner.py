"""The head at work: events in, one at a time, and its instructions carried out.

This is where the pure core meets the world. The doors hand in what happened;
the runner gives it to the head together with the time, and carries out what the
head returns, in order: commands go down the nodes' links, what must last goes to
the journal, what happened to files goes to those who watch, and whoever asked
gets the answer, not before what it promises is on disk. Between events the head
is woken when it asked to be.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, NoReturn

from common.errors import PackhorseError, Refused, StaleEpoch
from redirector.core.events import CancelAsked, StageAsked
from redirector.core.instructions import (
    AnswerCancel,
    AnswerClaim,
    AnswerDirectory,
    AnswerDrain,
    AnswerForget,
    AnswerPin,
    AnswerStage,
    AnswerUnpin,
    AskHints,
    CloseConnection,
    EndRequest,
    PublishFiles,
    RefuseNode,
    SendToNode,
)
from redirector.wire import nodes as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.clock import Clock
    from redirector.core.events import Event
    from redirector.core.head import Head
    from redirector.core.instructions import Answer, Durable, Instruction
    from redirector.journal import Journal
    from redirector.links import Links
    from redirector.watching import Watchers

log = logging.getLogger(__name__)

#: The head is not woken again before this, however much it wants to be.
MIN_PAUSE_S = 0.01


class Runner:
    """Owns the head: everything that happens to it comes through here."""

    def __init__(
        self, head: Head, clock: Clock, journal: Journal, links: Links, watchers: Watchers
    ) -> None:
        self.head = head
        self.clock = clock
        self.journal = journal
        self.links = links
        self.watchers = watchers
        #: Files whose places on tape the head asks for; see Hinter.
        self.hints_asked: asyncio.Queue[Sequence[str]] = asyncio.Queue()
        self._due = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_s = math.inf

    async def run(self) -> NoReturn:
        """Wakes the head when it asked to be, for as long as it is let."""
        try:
            while True:
                self._set_alarm()
                await self._due.wait()
                self._due.clear()
                self._alarm_s = math.inf
                self._carry_out(self.head.tick(self.now_s()))
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    def now_s(self) -> float:
        """The head's time."""
        return self.clock.now_s()

    def tell(self, event: Event) -> None:
        """Hands in something that happened."""
        self._carry_out(self.head.handle(event, self.now_s()))

    async def ask(self, event: Event) -> Answer:
        """Hands in somebody's wish, and returns its answer when that is durable.

        Raises what the head raises, and `PackhorseError` if the disk takes
        nothing: then nothing was accepted.
        """
        if self.journal.trouble:
            raise Refused(f"the redirector accepts nothing now: {self.journal.trouble}")
        answer, kept = self._carry_out(self.head.handle(event, self.now_s()))
        assert answer is not None, f"the head has no answer to {type(event).__name__}"
        try:
            await kept
        except PackhorseError as error:
            if isinstance(event, StageAsked):
                self.tell(CancelAsked(event.request_id, reason=f"not accepted: {error}"))
            raise
        return answer

    def ask_at_once(self, event: Event) -> Answer:
        """Hands in a wish whose answer rests on nothing that is kept, and returns the answer.

        Raises what the head raises.
        """
        answer, _kept = self._carry_out(self.head.handle(event, self.now_s()))
        assert answer is not None, f"the head has no answer to {type(event).__name__}"
        return answer

    def _carry_out(
        self, instructions: Sequence[Instruction]
    ) -> tuple[Answer | None, asyncio.Future[None]]:
        """What is answered, if anything, and the future that it has to wait for."""
        answer: Answer | None = None
        durable: list[Durable] = []
        ended: list[str] = []
        for instruction in instructions:
            match instruction:
                case SendToNode(connection=connection, command=command):
                    if (link := self.links.get(connection)) is not None:
                        link.send(wire.command(command))
                case AskHints(lfns=lfns):
                    self.hints_asked.put_nowait(lfns)
                case PublishFiles(events=events):
                    self.watchers.publish(events)
                case RefuseNode(connection=connection, reason=reason):
                    self._close(connection, Refused(reason))
                case CloseConnection(connection=connection, reason=reason):
                    self._close(connection, StaleEpoch(reason))
                case (
                    AnswerStage()
                    | AnswerCancel()
                    | AnswerPin()
                    | AnswerUnpin()
                    | AnswerDrain()
                    | AnswerForget()
                    | AnswerClaim()
                    | AnswerDirectory()
                ):
                    answer = instruction
                case _:
                    durable.append(instruction)
                    if isinstance(instruction, EndRequest):
                        ended.append(instruction.request_id)
        for request_id in ended:
            self.watchers.end_request(request_id)
        self._set_alarm()
        # An answer without anything to keep may still rest on what is on its way to the disk.
        return answer, self.journal.keep(durable)

    def _close(self, connection: int, error: PackhorseError) -> None:
        link = self.links.get(connection)
        if link is not None:
            log.warning("data server %s: %s", link.node, error)
            link.close(error)

    def _set_alarm(self) -> None:
        due_s = self.head.next_wakeup_s()
        if due_s >= self._alarm_s:
            # Woken earlier than it needs to be, the head is asked again.
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_s = due_s
        delay_s = max(MIN_PAUSE_S, due_s - self.now_s())
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._due.set)
