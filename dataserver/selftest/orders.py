"""Checks of `submitcmd`, `pollcmd`, `cancelcmd` and `releasecmd`."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from common.command import ErrorClass
from dataserver.archive.submitting.asking import AskingCommand
from dataserver.archive.submitting.submitter import ASKING, ORDERING
from dataserver.archive.submitting.words import Answer
from dataserver.selftest.bench import took
from dataserver.selftest.finding import Subject
from dataserver.selftest.staging import MISSING, tells_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dataserver.archive.submitting.asking import Answers, Values
    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

ORDERS = "takes an order"
POLLS = "says how it stands"
#: The archive is asked again after so long at the most, for somebody watches.
ASK_AGAIN_S = 30.0


class Orders:
    """Orders placed for the check, and the commands that are told of them."""

    def __init__(self, bench: Bench) -> None:
        config = bench.config
        assert config.submitcmd is not None
        assert config.pollcmd is not None
        self._bench = bench
        self.submit = self._command(config.submitcmd, ORDERING)
        self.poll = self._command(config.pollcmd, ASKING)
        self.cancel = self._command_if(config.cancelcmd)
        self.release = self._command_if(config.releasecmd)
        #: The order whose file is ready, until it is given back.
        self.ready: Values | None = None

    def _command(self, template: Sequence[str], names: Sequence[str]) -> AskingCommand:
        return AskingCommand(template, names, self._bench.commands, 1)

    def _command_if(self, template: Sequence[str] | None) -> AskingCommand | None:
        return None if template is None else self._command(template, ASKING)

    async def abandon(self) -> None:
        """Gives back what was made ready, whatever comes of that."""
        values, self.ready = self.ready, None
        if values is not None and self.release is not None:
            await self.release.ask([values])

    async def place(self, lfn: str) -> tuple[Values, Answer, str]:
        """Orders a file: what other commands are told of it, the answer, why there is none."""
        key = secrets.token_hex(8)
        source = self._bench.names.archive_name(lfn)
        values = {"key": key, "source": source, "lfn": lfn, "size": None}
        answer, why = _only(await self.submit.ask([values]), key)
        return {"key": key, "id": answer.archive_id, "source": source, "lfn": lfn}, answer, why

    async def state(self, values: Values) -> tuple[Answer, str]:
        """How an order stands, or why that is not known."""
        return _only(await self.poll.ask([values]), values["key"])


async def check_orders(bench: Bench, orders: Orders, lfn: str) -> AsyncIterator[Finding]:
    """Places orders of a file and of one that is missing, calls one off, and waits for another.

    When this ends well, the file is ready in the archive until `give_back`.
    """
    subject = Subject("submit", lfn)
    values, answer, why = await orders.place(lfn)
    if not answer.archive_id or answer.state == "failed":
        reason = answer.failure.reason if answer.failure is not None else why
        advice = "print the archive's id of the order, in the last line or as the docs show, and exit with 0"
        yield subject.failed(ORDERS, reason or "it printed no id", advice)
        return
    yield subject.ok(ORDERS, answer.archive_id)
    async for finding in _check_cancel(orders, subject, values):
        yield finding
    yield await _check_missing(bench, orders, subject)
    values, answer, why = await orders.place(lfn)
    if not answer.archive_id:
        advice = "a file that was called off must be ordered again like any other"
        yield subject.failed("takes it again", why or "it printed no id", advice)
        return
    async for finding in _wait(bench, orders, Subject("poll", lfn), values):
        yield finding


async def give_back(orders: Orders) -> AsyncIterator[Finding]:
    """Releases what was made ready."""
    values, orders.ready = orders.ready, None
    if values is None:
        return
    subject = Subject("release", values["lfn"])
    if orders.release is None:
        yield subject.skipped("gives it back", "there is no releasecmd")
        return
    answers = await orders.release.ask([values])
    yield _told(subject, "gives it back", answers, values)


def _told(subject: Subject, check: str, answers: Answers, values: Values) -> Finding:
    if answers.ended_well or values["key"] in answers.answered:
        return subject.ok(check, values["id"])
    reason = answers.failed[values["key"]].reason
    return subject.failed(
        check, reason, "exit with 0 when the archive knows, or forgot it long ago"
    )


async def _check_cancel(orders: Orders, subject: Subject, values: Values) -> AsyncIterator[Finding]:
    if orders.cancel is None:
        yield subject.skipped("can be called off", "there is no cancelcmd")
        return
    answers = await orders.cancel.ask([values])
    cancel = Subject("cancel", subject.lfn)
    yield _told(cancel, "calls an order off", answers, values)
    # As after a crash, when nobody knows whether it was told.
    answers = await orders.cancel.ask([values])
    yield _told(cancel, "may be told twice", answers, values)


async def _check_missing(bench: Bench, orders: Orders, subject: Subject) -> Finding:
    """A file that does not exist is refused at once, or told of later."""
    values, answer, why = await orders.place(bench.missing(subject.lfn))
    if answer.failure is not None:
        return tells_missing(subject, answer.failure)
    if not answer.archive_id:
        advice = "exit with 66, or print an id and have pollcmd tell it"
        return subject.warning(MISSING, why or "it printed no id", advice)
    state, why = await orders.state(values)
    if orders.cancel is not None:
        await orders.cancel.ask([values])
    if state.failure is not None:
        return tells_missing(subject, state.failure)
    if state.state == "ready":
        advice = 'say "failed" of a file that is not there'
        return subject.failed(MISSING, "it is said to be ready", advice)
    said = f"its order stands as {state.state or why or 'nothing'}"
    advice = "tell it early if the archive can: people wait until then"
    return subject.warning(MISSING, said, advice)


async def _wait(
    bench: Bench, orders: Orders, subject: Subject, values: Values
) -> AsyncIterator[Finding]:
    """Asks until the file is ready, as long as there is patience."""
    begun_s = time.monotonic()
    pause_s = min(bench.config.poll, ASK_AGAIN_S)
    polls = 0
    while True:
        answer, why = await orders.state(values)
        polls += 1
        waited_s = time.monotonic() - begun_s
        if answer.state == "ready":
            yield subject.ok(POLLS, f"ready after {took(waited_s)} and {polls} polls")
            orders.ready = values
            return
        if answer.state != "waiting":
            said = answer.failure.reason if answer.failure is not None else answer.state
            advice = "print waiting, ready, failed or unknown, in the last line or as the docs show"
            yield subject.failed(POLLS, said or why or "it said nothing of the file", advice)
            return
        if waited_s + pause_s > bench.patience_s:
            said = f"still waiting after {took(waited_s)} and {polls} polls: {answer.note}"
            yield subject.skipped(POLLS, said, "give it more time with --patience")
            if orders.cancel is not None:
                await orders.cancel.ask([values])
            return
        await asyncio.sleep(pause_s)


def _only(answers: Answers, key: str) -> tuple[Answer, str]:
    """The one answer, and why there is none if there is none."""
    answer = answers.answered.get(key)
    if answer is not None:
        return answer, ""
    failure = answers.failed[key]
    if failure.error_class is ErrorClass.NOT_FOUND:
        return Answer(state="failed", failure=failure), failure.reason
    return Answer(), failure.reason
