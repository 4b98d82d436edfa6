"""Running a command about submitted files: once for each of them, or once for many.

Which of the two follows from its template: with a placeholder it is told of one file, without
any it gets them all on its standard input.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from common.command import ErrorClass, Failure, check_template, fill_words, run_command
from dataserver.archive.run_failure import ABOUT_THE_COMMAND, failure_of_run
from dataserver.archive.submitting.words import Answer, line_of, many_answers, one_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.command import CommandResult
    from dataserver.archive.site_commands import SiteCommands

#: A command that takes longer to ask or tell the archive something is given up.
ASKING_DEADLINE_S: Final = 300.0
#: The most that a command may answer: some hundred bytes for each of many thousand files.
ANSWER_LIMIT_BYTES: Final = 16 << 20

#: What is known of a file: "key", "id", "source", "lfn" and the like.
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """By key: what was answered, and why there is no answer where there is none.

    `ended_well`: a command that was told of many files has not failed, although it may have
    said nothing of some of them.
    """

    answered: dict[str, Answer] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    ended_well: bool = False


class AskingCommand:
    """One of the site's commands about submitted files; up to `parallel` runs at a time."""

    def __init__(
        self,
        template: Sequence[str],
        placeholders: Sequence[str],
        commands: SiteCommands,
        parallel: int,
    ) -> None:
        self._template = template
        self._commands = commands
        self._turns = asyncio.Semaphore(parallel)
        self.takes_many = not check_template(template, placeholders)

    async def ask(self, files: Sequence[Values]) -> Answers:
        """What it says of each file, all of which have the same fields."""
        if not self.takes_many:
            return await self._ask_one_by_one(files)
        lines = b"".join(line_of(values) for values in files)
        spec = self._commands.spec(
            fill_words(self._template, {}),
            ASKING_DEADLINE_S,
            stdin=lines,
            output_limit_bytes=ANSWER_LIMIT_BYTES,
        )
        async with self._turns:
            result = await run_command(spec)
        keys = {values["key"] for values in files}
        answers = dict(many_answers(result.stdout))
        answered = {key: answer for key, answer in answers.items() if key in keys}
        silent = Failure(ErrorClass.TRANSIENT, f"{self._template[0]} said nothing of this file")
        failed = dict.fromkeys(keys - answered.keys(), failure_of_run(result) or silent)
        return Answers(answered, failed, ended_well=result.failure is None)

    async def _ask_one_by_one(self, files: Sequence[Values]) -> Answers:
        answers = Answers()

        async def ask(values: Mapping[str, Any]) -> None:
            spec = self._commands.spec(fill_words(self._template, values), ASKING_DEADLINE_S)
            async with self._turns:
                result = await run_command(spec)
            if result.failure is None:
                answers.answered[values["key"]] = one_answer(result.stdout)
            elif _is_final(result):
                answers.answered[values["key"]] = Answer(state="failed", failure=result.failure)
            else:
                answers.failed[values["key"]] = result.failure

        async with asyncio.TaskGroup() as group:
            for values in files:
                group.create_task(ask(values))
        return answers


def _is_final(result: CommandResult) -> bool:
    """Whether an exit code says something of the file, and for good."""
    assert result.failure is not None
    if result.exit_code is None or result.exit_code in ABOUT_THE_COMMAND:
        return False
    return result.failure.error_class in {ErrorClass.NOT_FOUND, ErrorClass.PERMANENT}
