"""Making what others wrote fit to be shown: one line for people, no surprises for terminals."""

from __future__ import annotations

import re

# C0 and C1 control characters, and the marks that turn the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What terminals take for orders: colours and cursor moves (CSI), titles (OSC), the rest.
_ESCAPE_SEQUENCE = re.compile(
    r"\x1b(?: \[ [0-?]* [ -/]* [@-~] | \] [^\x07\x1b]* (?: \x07 | \x1b\\ )? | [ -/]* [0-~] )",
    re.VERBOSE,
)


def printable(text: str) -> str:
    """The text without colours and control characters; tabs and newlines stay."""
    return _UNPRINTABLE.sub("", _ESCAPE_SEQUENCE.sub("", text))


def decode(output: bytes) -> str:
    """A program's output as printable text. What is not UTF-8 is shown as \\xNN.

    A carriage return ends a line: progress bars rewrite theirs again and again.
    """
    lines = output.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return printable(lines.decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """The text on one line, for a log or a status: newlines are shown as they are typed."""
    return printable(text).replace("\n", "\\n")
