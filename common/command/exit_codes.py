"""What an exit code means: one table, which the code obeys and the documentation shows.

The codes are those that scripts of this field use already: 30 to 43 from dCache's
HSM scripts, 64 to 78 from sysexits.h, 126 and 127 from the shell. A code that is
not in the table means "try again": to call a healthy file lost because a script
stumbled would be worse than to try once more. That is also why 2, which some
XRootD scripts use for "no such file", is not in it: shells end with 2 when they
cannot even parse a script or open a file.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum


class ErrorClass(Enum):
    """How bad a failure is, and so what to do about it; named as in the protos."""

    NOT_FOUND = "not found"  # the archive has no such file
    PERMANENT = "permanent"  # it will fail again: tell the user at once
    TRANSIENT = "transient"  # try again later, on another node if there is one
    NO_SPACE = "no space"  # this node has no room now: try another one


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command did not do its work; `reason` is one line for people."""

    error_class: ErrorClass
    reason: str


@dataclass(frozen=True, slots=True)
class ExitCode:
    """The meaning of the exit codes from `first` to `last`."""

    first: int
    last: int
    error_class: ErrorClass
    meaning: str


EXIT_CODES = (
    ExitCode(30, 39, ErrorClass.PERMANENT, "refused, for a reason of the site's own (dCache)"),
    ExitCode(41, 41, ErrorClass.NO_SPACE, "no space left on this node (dCache)"),
    ExitCode(42, 43, ErrorClass.TRANSIENT, "reading or writing failed (dCache)"),
    ExitCode(64, 64, ErrorClass.PERMANENT, "wrong usage (EX_USAGE)"),
    ExitCode(65, 65, ErrorClass.PERMANENT, "the data in the archive are damaged (EX_DATAERR)"),
    ExitCode(66, 66, ErrorClass.NOT_FOUND, "the archive has no such file (EX_NOINPUT)"),
    ExitCode(69, 69, ErrorClass.TRANSIENT, "the archive is not available (EX_UNAVAILABLE)"),
    ExitCode(73, 73, ErrorClass.NO_SPACE, "the target cannot be created (EX_CANTCREAT)"),
    ExitCode(74, 75, ErrorClass.TRANSIENT, "try again later (EX_IOERR, EX_TEMPFAIL)"),
    ExitCode(77, 77, ErrorClass.PERMANENT, "permission denied (EX_NOPERM)"),
    ExitCode(78, 78, ErrorClass.PERMANENT, "the script is set up wrongly (EX_CONFIG)"),
    ExitCode(126, 127, ErrorClass.PERMANENT, "a program in the script cannot be run (shell)"),
)


def explain_exit(exit_code: int) -> tuple[ErrorClass | None, str]:
    """What an exit code means, and how to say it; no class for 0.

    Negative codes are signals, as in `subprocess`.
    """
    if exit_code == 0:
        return None, "done"
    if exit_code < 0:
        return ErrorClass.TRANSIENT, f"killed by {_signal_name(-exit_code)}"
    for row in EXIT_CODES:
        if row.first <= exit_code <= row.last:
            return row.error_class, f"exit code {exit_code}: {row.meaning}"
    return ErrorClass.TRANSIENT, f"exit code {exit_code}"


def exit_code_table() -> str:
    """The table in Markdown, for the documentation."""
    doing = {
        ErrorClass.NOT_FOUND: "not found: told at once",
        ErrorClass.PERMANENT: "permanent: told at once",
        ErrorClass.TRANSIENT: "transient: tried again, elsewhere if possible",
        ErrorClass.NO_SPACE: "no space: tried on another node",
    }
    lines = ["| exit code | meaning | what follows |", "|---|---|---|", "| 0 | done | |"]
    for row in EXIT_CODES:
        codes = str(row.first) if row.first == row.last else f"{row.first} to {row.last}"
        lines.append(f"| {codes} | {row.meaning} | {doing[row.error_class]} |")
    lines.append(f"| any other, or a signal | failed | {doing[ErrorClass.TRANSIENT]} |")
    return "\n".join(lines) + "\n"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
