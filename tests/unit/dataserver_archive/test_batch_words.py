"""The lines of the batch contract, and who stands how on the roll of a run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.command import ErrorClass, Failure, progress_in
from dataserver.archive.batch_lines import (
    REASON_CHARACTERS,
    Said,
    cancel_line,
    file_line,
    understand,
)
from dataserver.archive.batch_roll import MOVES, OVER, WANTED, FileState, Roll
from dataserver.archive.submitting.words import many_answers, one_answer

WORDS = ("started", "progress", "done", "failed")


def test_a_file_is_one_line_whatever_its_name() -> None:
    name = '/store/a "b"\n{c}é'
    line = file_line("1", name, f"/pool{name}", name, None)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "id": "1",
        "source": name,
        "target": f"/pool{name}",
        "lfn": name,
        "size": None,
    }
    assert json.loads(cancel_line("1")) == {"id": "1", "state": "cancelled"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": "1", "state": "started"}', Said("1", "started")),
        (b' {"state": "done", "id": 1, "more": []} ', Said("1", "done")),
        (b'{"id": "1", "state": "progress", "note": "VOL1"}', Said("1", "progress", "VOL1")),
        (b'{"id": "1", "state": "cancelled"}', None),
        (b'{"id": true, "state": "done"}', None),
        (b'{"id": ["1"], "state": "done"}', None),
        (b'{"id": "1", "state": ["done"]}', None),
        (b'{"id": "1"}', None),
        (b"copied 1 of 2", None),
        (b'{"id": "1", "state": "done"', None),
        (b"[" * 100_000, None),
        (b'{"a":' * 20_000, None),
        (b"\xff\xfe", None),
    ],
)
def test_what_is_said_of_a_file_is_told_from_chatter(line: bytes, said: Said | None) -> None:
    assert understand(line) == said


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({}, Failure(ErrorClass.TRANSIENT, "the command gave no reason")),
        ({"reason": "no\nsuch file", "error": "not found"},
         Failure(ErrorClass.NOT_FOUND, "no\\nsuch file")),
        ({"reason": "full", "error": "no-space"}, Failure(ErrorClass.NO_SPACE, "full")),
        ({"reason": "torn", "error": "permanent"}, Failure(ErrorClass.PERMANENT, "torn")),
        ({"reason": "odd", "error": "fatal"}, Failure(ErrorClass.TRANSIENT, "odd")),
        ({"reason": "odd", "error": {}}, Failure(ErrorClass.TRANSIENT, "odd")),
        ({"exit_code": 66, "reason": "gone"}, Failure(ErrorClass.NOT_FOUND, "gone")),
        ({"exit_code": 66},
         Failure(ErrorClass.NOT_FOUND, "exit code 66: the archive has no such file (EX_NOINPUT)")),
        ({"exit_code": 0, "reason": "x"}, Failure(ErrorClass.TRANSIENT, "x")),
        ({"exit_code": True, "reason": "x"}, Failure(ErrorClass.TRANSIENT, "x")),
        ({"reason": "x" * 1000}, Failure(ErrorClass.TRANSIENT, "x" * REASON_CHARACTERS + "…")),
    ],
)  # fmt: skip
def test_failures_have_a_class_and_a_reason(fields: dict[str, object], failure: Failure) -> None:
    said = understand(json.dumps({"id": "1", "state": "failed", **fields}).encode())
    assert said is not None
    assert said.failure == failure


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["id", "key", "state", "note", "reason", "error", "exit_code"]),
    JSON | st.sampled_from([*WORDS, "waiting", "ready", "unknown", "not found", "1"]),
)


@given(st.lists(FIELDS.map(json.dumps) | st.text() | JSON.map(json.dumps), max_size=5))
def test_whatever_a_command_prints_is_understood_or_passed_over(lines: list[str]) -> None:
    output = "\n".join(lines).encode("utf-8", "surrogatepass")
    for line in output.split(b"\n"):
        said = understand(line)
        if said is not None:
            assert said.state in WORDS
            assert (said.failure is not None) == (said.state == "failed")
            assert "\n" not in said.note
        assert progress_in(line) is None or "\n" not in str(progress_in(line))
    for answer in (one_answer(output), *(answer for _, answer in many_answers(output))):
        assert (answer.failure is not None) == (answer.state == "failed")
        assert "\0" not in answer.archive_id
        assert answer.failure is None or "\n" not in answer.failure.reason


def test_the_table_leads_from_every_state_to_an_end() -> None:
    for state in FileState:
        nexts = {after for (before, _), after in MOVES.items() if before is state}
        assert bool(nexts) == (state not in OVER)
        if state in WANTED:
            assert {FileState.DONE, FileState.FAILED, FileState.DROPPED} <= nexts


@given(st.lists(st.tuples(st.sampled_from("1234x"), st.sampled_from((*WORDS, "drop", "odd")))))
def test_the_roll_keeps_count_whatever_is_said(words: list[tuple[str, str]]) -> None:
    roll = Roll("1234")
    for key, word in words:
        before = None if key == "x" else roll[key]
        if word == "drop" and key != "x":
            roll.drop(key)
            assert roll[key] not in WANTED
        else:
            complaint = roll.hear(key, word)
            expected = None if before is None else MOVES.get((before, word))
            assert bool(complaint) == (expected is None)
            if before is not None:
                assert roll[key] is (expected or before)
        roll.check()
        assert roll.is_wanted == bool(roll.wanted)


def test_a_dropped_file_is_over_once_the_command_is_through_with_it() -> None:
    roll = Roll(["1", "2"])
    roll.hear("1", "done")
    roll.drop("2")
    assert not roll.is_wanted
    assert not roll.is_over
    assert roll.hear("2", "done") == ""
    assert roll["2"] is FileState.GONE
    assert roll.is_over
    assert "no id of this run" in roll.hear("3", "done")
    assert "when it is done" in roll.hear("1", "failed")
