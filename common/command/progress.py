"""What a command says of its own progress, in a line of its standard output.

Two ways of writing it, one for shells and one for programs:

    progress: waiting for tape VOL123
    {"state": "progress", "note": "waiting for tape VOL123"}

All other lines are chatter.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from common.text import decode, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = b"progress:"
NOTE_CHARACTERS: Final = 200


def progress_in(line: bytes) -> str | None:
    """The note in a line of progress, "" if it has none; None if the line is not about progress."""
    if line.startswith(PREFIX):
        return as_note(decode(line.removeprefix(PREFIX)))
    fields = json_object(line)
    if fields is None or fields.get("state") != "progress":
        return None
    return note_of(fields)


def json_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line consists of; None if it is something else."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def note_of(fields: Mapping[str, Any]) -> str:
    """What an object of a command's says for people under "note"."""
    note = fields.get("note")
    return as_note(note) if isinstance(note, str) else ""


def as_note(text: str) -> str:
    """A text as people see it: one line, of bounded length."""
    line = one_line(text.strip())
    return line if len(line) <= NOTE_CHARACTERS else f"{line[:NOTE_CHARACTERS]}…"
