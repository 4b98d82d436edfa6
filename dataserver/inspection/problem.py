"""Saying in one line what is wrong with a file."""

from __future__ import annotations

from typing import Final

from common.text import one_line

_MAX_CHARACTERS: Final = 300


def in_one_line(error: BaseException) -> str:
    """The error's class and the first line of what it says, not too long."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = one_line(as_utf8(f"{type(error).__name__}: {said}" if said else type(error).__name__))
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


def as_utf8(text: str) -> str:
    """The text as UTF-8 can carry it: what was no text in the file is shown as \\uNNNN."""
    return text.encode("utf-8", "backslashreplace").decode()
