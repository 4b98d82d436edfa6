"""The lines of the batch contract: JSON, one object a line, written by scripts of every quality.

In, for each file, and later for one that nobody wants any more:

    {"id": "1", "source": "/tape/a", "target": "/pool/.incoming/r1/a", "lfn": "/store/a", "size": 7}
    {"id": "1", "state": "cancelled"}

Out, as the work goes on:

    {"id": "1", "state": "started"}
    {"id": "1", "state": "progress", "note": "waits for VOL123"}
    {"id": "1", "state": "done"}
    {"id": "1", "state": "failed", "reason": "no such file on tape", "error": "not found"}

Instead of `error`, an `exit_code` of the blocking contract may say what kind of failure it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from common.command import ErrorClass, Failure, explain_exit, json_object, note_of
from common.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

STATES: Final = frozenset({"started", "progress", "done", "failed"})
REASON_CHARACTERS: Final = 400

_CLASSES: Final = {one.value: one for one in ErrorClass}


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said of one file; `failure` says why if the state is "failed"."""

    key: str
    state: str
    note: str = ""
    failure: Failure | None = None


def file_line(key: str, source: str, target: str, lfn: str, size_bytes: int | None) -> bytes:
    """The line that gives a command a file."""
    fields = {"id": key, "source": source, "target": target, "lfn": lfn, "size": size_bytes}
    return _line(fields)


def cancel_line(key: str) -> bytes:
    """The line that tells a command that nobody wants a file any more."""
    return _line({"id": key, "state": "cancelled"})


def understand(line: bytes) -> Said | None:
    """What a line says of a file; None if it is none of the contract's, and so chatter."""
    fields = json_object(line)
    if fields is None:
        return None
    key, state = fields.get("id"), fields.get("state")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not isinstance(state, str) or state not in STATES:
        return None
    failure = failure_of(fields) if state == "failed" else None
    return Said(key, state, note_of(fields), failure)


def failure_of(fields: Mapping[str, Any]) -> Failure:
    """The kind of a failure and its reason, as a command writes them; transient if it is silent."""
    error_class, meaning = ErrorClass.TRANSIENT, "the command gave no reason"
    code, error = fields.get("exit_code"), fields.get("error")
    if isinstance(code, int) and not isinstance(code, bool) and code:
        found, meaning = explain_exit(code)
        error_class = found or error_class
    if isinstance(error, str):
        error_class = _CLASSES.get(error.replace("-", " ").replace("_", " "), error_class)
    reason = fields.get("reason")
    if isinstance(reason, str) and reason.strip():
        meaning = one_line(reason.strip())
    if len(meaning) > REASON_CHARACTERS:
        meaning = f"{meaning[:REASON_CHARACTERS]}…"
    return Failure(error_class, meaning)


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"
