"""Saying in one line what is wrong with a file."""

from __future__ import annotations

from typing import Final

_MAX_CHARACTERS: Final = 300


def in_one_line(error: BaseException) -> str:
    """The error's class and the first line of what it says, not too long."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
