"""What submit, poll, cancel and release commands are told, and what they answer.

A command that is told of one file at a time answers in the last line of its output, with a
word or with JSON; one that is told of many gets and prints a line of JSON for each.

    req-17                                                    submitcmd: the archive's id
    {"key": "f3…", "id": "req-17"}
    waiting 3 of 17 in the queue                              pollcmd: a word, and a note
    {"key": "f3…", "state": "waiting", "note": "3 of 17"}
    {"key": "f3…", "state": "failed", "reason": "no such file", "error": "not found"}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from common.command import ErrorClass, Failure, as_note, json_object, note_of
from common.text import decode
from dataserver.archive.batch_lines import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATES: Final = frozenset({"waiting", "ready", "failed", "unknown"})
LONGEST_ID: Final = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of one file: an id, or a state, or neither if it made no sense.

    `failure` says why if the state is "failed"; "unknown" is an archive that does not know
    what it is asked about.
    """

    archive_id: str = ""
    state: str = ""
    note: str = ""
    failure: Failure | None = None


def line_of(values: Mapping[str, Any]) -> bytes:
    """The line that tells a command of one of many files."""
    return json.dumps(values).encode() + b"\n"


def many_answers(output: bytes) -> Iterator[tuple[str, Answer]]:
    """The answers in an output, by key; lines that are none are passed over."""
    for line in output.split(b"\n"):
        fields = json_object(line)
        if fields is not None and isinstance(fields.get("key"), str):
            yield fields["key"], _answer(fields)


def one_answer(output: bytes) -> Answer:
    """The answer in the last line that says anything."""
    lines = [line for line in output.split(b"\n") if line.strip()]
    if not lines:
        return Answer()
    fields = json_object(lines[-1])
    if fields is not None:
        return _answer(fields)
    text = decode(lines[-1]).strip()
    word, _, rest = text.partition(" ")
    state = word.rstrip(":").lower()
    if state not in STATES:
        return Answer(archive_id=_id(text))
    note = as_note(rest)
    reason = {"reason": rest} if rest else {}
    failure = failure_of(reason) if state == "failed" else None
    return Answer(_id(text), state, note, failure)


def _answer(fields: Mapping[str, Any]) -> Answer:
    state = fields.get("state")
    if not isinstance(state, str) or state not in STATES:
        state = ""
    failure = failure_of(fields) if state == "failed" else None
    return Answer(_id(fields.get("id")), state, note_of(fields), failure)


def _id(written: object) -> str:
    """An id as the archive's other commands will be given it; "" if it is none."""
    if isinstance(written, int) and not isinstance(written, bool):
        written = str(written)
    if not isinstance(written, str) or "\0" in written or len(written) > LONGEST_ID:
        return ""
    return written.strip()


def forgotten(archive_id: str) -> Failure:
    """Why a file does not come of which the archive says that it was never asked for it."""
    return Failure(ErrorClass.TRANSIENT, f"the archive does not know request {archive_id} any more")
