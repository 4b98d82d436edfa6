"""Finding out where files lie on tape, for the head that orders recalls by it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NoReturn

from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core.events import HintsTold
from redirector.wire.values import hint_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.model import Hint
    from redirector.questions import Questions
    from redirector.runner import Runner

log = logging.getLogger(__name__)

#: Questions of the head that are worked on at a time; it asks no more than that.
AT_ONCE: Final = 2


class Hinter:
    """Answers the head's questions, by asking data servers."""

    def __init__(self, runner: Runner, questions: Questions, *, one_by_one: bool) -> None:
        """`one_by_one`: data servers run a command for each file, not one for many."""
        self._runner = runner
        self._questions = questions
        self._one_by_one = one_by_one

    async def run(self) -> NoReturn:
        """Answers for as long as it is let."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._answer())
        raise AssertionError("nobody ends this")

    async def _answer(self) -> NoReturn:
        while True:
            lfns = await self._runner.hints_asked.get()
            self._runner.tell(await self._ask(lfns))

    async def _ask(self, lfns: Sequence[str]) -> HintsTold:
        hints: dict[str, Hint] = {}
        unanswered: list[str] = []
        reason = ""
        answers = self._questions.hints(lfns, one_by_one=self._one_by_one)
        async with aclosing(answers):
            async for files in answers:
                for file in files:
                    if file.volume:
                        hints[file.lfn] = hint_of(file)
                    elif _could_be_told(file):
                        unanswered.append(file.lfn)
                        reason = file.reason
        if unanswered:
            log.warning("it is not known where %d files lie on tape: %s", len(unanswered), reason)
        return HintsTold(lfns, hints, unanswered)


def _could_be_told(file: pb.ArchiveFile) -> bool:
    """Whether asking again may tell more."""
    unknown = file.presence not in {
        pb.ArchiveFile.PRESENCE_THERE,
        pb.ArchiveFile.PRESENCE_NOT_THERE,
    }
    return unknown and not file.is_beyond_asking
