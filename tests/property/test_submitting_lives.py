"""An archive that takes orders, over several lives of a data server, with everything going wrong.

The commands are played by an archive in memory, which fails, forgets to answer, and counts.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.command import Credentials, ErrorClass, Failure
from common.names import NameMap, NameRule
from dataserver.archive.model import Fetched, FetchOrder
from dataserver.archive.site_commands import SiteCommands
from dataserver.archive.submitting import SubmitSettings, Submitter, book, ending, submitter
from dataserver.archive.submitting.asking import Answers
from dataserver.archive.submitting.words import Answer
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataserver.archive.submitting.asking import Values

FILES = [f"/store/f{number}" for number in range(6)]
DOWN = Failure(ErrorClass.TRANSIENT, "the robot is on strike")
TORN = Failure(ErrorClass.TRANSIENT, "the tape is torn")


@dataclass
class Library:
    """The archive: which key has ordered each file; one file is never on order twice."""

    dice: random.Random
    on_order: dict[str, str] = field(default_factory=dict)
    is_calm: bool = False

    def fails(self, chance: float) -> bool:
        return not self.is_calm and self.dice.random() < chance

    def submit(self, file: Values) -> Answer:
        assert self.on_order.setdefault(file["lfn"], file["key"]) == file["key"], "ordered twice"
        return Answer(archive_id=f"req-{file['key']}")

    def poll(self, file: Values) -> Answer:
        if self.on_order.get(file["lfn"]) != file["key"]:
            return Answer(state="unknown")
        if self.fails(0.1):
            del self.on_order[file["lfn"]]
            return Answer(state="failed", failure=TORN)
        is_ready = self.is_calm or self.dice.random() < 0.3
        return Answer(state="ready" if is_ready else "waiting", note=str(self.dice.random()))

    def end(self, file: Values) -> Answer:
        if self.on_order.get(file["lfn"]) == file["key"]:
            del self.on_order[file["lfn"]]
        return Answer()


class Played:
    """A command that is told of many files, and does with each what the archive does."""

    takes_many = True

    def __init__(self, library: Library, act: Callable[[Values], Answer]) -> None:
        self._library = library
        self._act = act

    async def ask(self, files: Sequence[Values]) -> Answers:
        answers = Answers()
        is_lame = False
        for values in files:
            # It may have done something and not come to say so.
            is_lame = is_lame or self._library.fails(0.1)
            answer = None if is_lame else self._act(values)
            await asyncio.sleep(0)
            if answer is not None and not self._library.fails(0.1):
                answers.answered[values["key"]] = answer
            else:
                answers.failed[values["key"]] = DOWN
        # It ends well only if it has done everything, whatever it said.
        ended_well = not is_lame and not self._library.fails(0.1)
        return Answers(answers.answered, answers.failed, ended_well)


class Copier:
    """Copies what is ready, most of the time."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def fetch(self, order: FetchOrder) -> Fetched:
        assert order.lfn in self._library.on_order, "copied what is not ready"
        await asyncio.sleep(0)
        return Fetched(DOWN if self._library.fails(0.2) else None)


async def wants(one: Submitter, lfn: str, library: Library) -> bool:
    """A user's wish; whether it was fulfilled, and not given up."""
    order = FetchOrder(lfn=lfn, target=Path("/nowhere"))
    while True:
        fetching = asyncio.create_task(one.fetch(order))
        try:
            if library.fails(0.2):
                await asyncio.wait([fetching], timeout=library.dice.random() * 0.01)
                if not fetching.done():
                    fetching.cancel()
                    await asyncio.wait([fetching])
                    one.call_off(lfn)
                    return False
            fetched = await fetching
        except asyncio.CancelledError:
            fetching.cancel()
            await asyncio.wait([fetching])
            raise
        if fetched.failure is None:
            one.published(lfn)
            return True
        await asyncio.sleep(0.001)


async def live(library: Library, path: Path, *, is_last: bool) -> None:
    """One life of a server: it is wanted from, and ends amid it all unless it is the last."""
    library.is_calm = is_last
    commands = SiteCommands(
        names=NameMap([NameRule(archive="/tape/", prefix="/store/")], ["/store/"]),
        owner="nobody",
        output_limit_bytes=1,
        passes=(),
        credentials=Credentials(),
    )
    acts = {"submit": library.submit, "poll": library.poll}
    settings = SubmitSettings(
        submitcmd=["submit"],
        pollcmd=["poll"],
        cancelcmd=["cancel"],
        releasecmd=["release"],
        poll_s=0.001,
        poll_max_s=0.002,
        deadline_s=60.0,
        stall_s=0.0,
        parallel=2,
        copies=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            submitter,
            "AskingCommand",
            lambda words, *_: Played(library, acts.get(words[0], library.end)),
        )
        one = Submitter(settings, commands, Copier(library), path)
        await one.start()
    wishes = [asyncio.create_task(wants(one, lfn, library)) for lfn in FILES]
    _, going_on = await asyncio.wait(wishes, timeout=30.0 if is_last else 0.02)
    assert not (is_last and going_on)
    for wish in going_on:
        wish.cancel()
    for outcome in await asyncio.gather(*wishes, return_exceptions=True):
        assert outcome in {True, False} or isinstance(outcome, asyncio.CancelledError), outcome
    one._book.check()
    if is_last:
        await becomes_true(lambda: not library.on_order and not len(one._book))
    await one.close()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_nothing_is_ordered_twice_and_nothing_stays_on_order(seed: int) -> None:
    library = Library(random.Random(seed))

    async def lives(path: Path) -> None:
        for _ in range(3):
            await live(library, path, is_last=False)
        await live(library, path, is_last=True)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "TIDY_EVERY_S", 0.002)
        asyncio.run(lives(Path(folder) / "orders.sqlite"))
    assert not library.on_order
    assert book.KEPT_S > 60.0
