"""What the end of a command that was given many files means for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.command import ErrorClass, Failure

if TYPE_CHECKING:
    from common.command import CommandResult

#: What an exit code says of the command itself, and not of one of its files: wrong usage, a
#: wrong set-up, a program that cannot be run.
ABOUT_THE_COMMAND: Final = frozenset({64, 78, 126, 127})


def failure_of_run(result: CommandResult) -> Failure | None:
    """Why a file that the command did not speak of has failed; None if the command has not.

    An exit code is about the run: it must not call ninety files lost of which the command
    has not looked at one.
    """
    if result.failure is None:
        return None
    never_ran = result.exit_code is None
    if never_ran or result.cut is not None or result.exit_code in ABOUT_THE_COMMAND:
        return result.failure
    return Failure(ErrorClass.TRANSIENT, result.failure.reason)
