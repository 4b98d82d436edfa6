"""How what was ordered from the archive stands, what its commands say, and how often they run."""

from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.command import ErrorClass, Failure
from common.story import IllegalMove
from dataserver.archive.submitting.book import KEPT_S, MOVES, Book, State, Submission
from dataserver.archive.submitting.pace import Pace
from dataserver.archive.submitting.words import LONGEST_ID, Answer, many_answers, one_answer

WHY = Failure(ErrorClass.TRANSIENT, "the tape is torn")


def test_the_pace_slackens_without_news_and_not_beyond_its_limit() -> None:
    pace = Pace(10.0, 60.0)
    pauses = []
    for _ in range(7):
        pauses.append(pace.pause_s)
        pace.no_news()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (10.0, 60.0)
    pace.news()
    assert pace.pause_s == 10.0
    assert Pace(10.0, 1.0).pause_s == 10.0


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (b"req-17\n", Answer("req-17")),
        (b"placing the order\nreq 17\n\n", Answer("req 17")),
        (b'{"id": 17}', Answer("17")),
        (b"waiting 3 of 17\n", Answer("waiting 3 of 17", "waiting", "3 of 17")),
        (b"Ready", Answer("Ready", "ready")),
        (b"failed: torn", Answer("failed: torn", "failed", "torn",
                                 Failure(ErrorClass.TRANSIENT, "torn"))),
        (b'{"state": "failed", "reason": "x", "error": "not found"}',
         Answer("", "failed", "", Failure(ErrorClass.NOT_FOUND, "x"))),
        (b'{"state": ["ready"]}', Answer()),
        (b'{"id": "a\\u0000b"}', Answer()),
        (b"x" * (LONGEST_ID + 1), Answer()),
        (b"", Answer()),
    ],
)  # fmt: skip
def test_the_last_line_of_one_answer_counts(output: bytes, answer: Answer) -> None:
    assert one_answer(output) == answer


def test_many_answers_are_told_apart_by_their_keys() -> None:
    lines = [
        b'{"key": "1", "id": "a"}',
        b"chatter",
        b'{"key": 2, "id": "b"}',
        b'{"key": "3", "state": "waiting", "note": "soon"}',
        json.dumps({"key": "1", "id": "c"}).encode(),
    ]
    answers = list(many_answers(b"\n".join(lines)))
    assert answers == [
        ("1", Answer("a")),
        ("3", Answer("", "waiting", "soon")),
        ("1", Answer("c")),
    ]


def test_an_illegal_move_tells_the_story() -> None:
    one = Submission("k", "/store/a", "/tape/a", 0.0)
    one.move("place", 1.0)
    one.move("submitted", 1.0, "as 17")
    with pytest.raises(IllegalMove, match="as 17"):
        one.move("ended", 2.0)


def test_every_state_leads_to_the_end() -> None:
    for state in State:
        assert any(before is state for before, _ in MOVES) == (state is not State.GONE)


class Orders(RuleBasedStateMachine):
    """Whatever happens in whatever order, the book is in order and nothing stays for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.now_s = 1000.0
        self.number = 0

    def some(self, data: st.DataObject, *states: State) -> Submission | None:
        found = [one for state in states for one in self.book.in_state(state)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(lfn=st.sampled_from("abc"))
    def wants(self, lfn: str) -> None:
        one = self.book.of_file(lfn)
        if one is None:
            self.number += 1
            one = self.book.order(str(self.number), lfn, f"/tape/{lfn}", self.now_s)
        elif one.state is not State.ENDING:
            self.book.want(one, self.now_s)
            assert one.state is not State.READY, "whether it is still ready is asked anew"
            assert one.failure is None
            assert not one.is_called_off

    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        if one := self.some(data, *State):
            self.book.leave(one, self.now_s)

    @rule(data=st.data())
    def is_called_off(self, data: st.DataObject) -> None:
        if one := self.some(data, *State):
            self.book.leave(one, self.now_s)
            self.book.call_off(one)

    @rule(data=st.data())
    def is_placed(self, data: st.DataObject) -> None:
        if one := self.some(data, State.NEW):
            self.book.place(one, self.now_s)

    @rule(data=st.data(), answer=st.sampled_from(["taken", "refused", "nothing"]))
    def is_answered(self, data: st.DataObject, answer: str) -> None:
        one = self.some(data, State.PLACING)
        if one is None:
            return
        if answer == "taken":
            self.book.submitted(one, f"req-{one.key}", self.now_s)
        elif answer == "refused":
            self.book.refused(one, WHY, self.now_s)
        else:
            # It is asked for again under the same key, by whoever wants it next.
            self.book.no_answer(one, WHY, self.now_s)
            assert self.book.of_file(one.lfn) is one

    @rule(data=st.data(), answer=st.sampled_from(["waits", "ready", "failed", "nothing"]))
    def is_polled(self, data: st.DataObject, answer: str) -> None:
        one = self.some(data, State.WAITING)
        if one is None:
            return
        if answer == "waits":
            self.book.waits(one, "soon", self.now_s)
        elif answer == "ready":
            self.book.ready(one, self.now_s)
        elif answer == "failed":
            self.book.failed(one, WHY, self.now_s)
            assert self.book.of_file(one.lfn) is None
        else:
            self.book.says_nothing(one)

    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        if one := self.some(data, State.WAITING, State.READY):
            self.book.leave(one, self.now_s)
            self.book.end(one, self.now_s, "not needed")

    @rule(data=st.data())
    def is_told(self, data: st.DataObject) -> None:
        if one := self.some(data, State.ENDING):
            self.book.ended(one, self.now_s)

    @rule(pause_s=st.sampled_from([1.0, KEPT_S]))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule()
    @precondition(lambda self: len(self.book) > 0)
    def restarts(self) -> None:
        kept = []
        for state in State:
            for one in self.book.in_state(state):
                again = Submission(one.key, one.lfn, one.source, one.submitted_s)
                again.archive_id = one.archive_id
                kept.append(again)
        self.book = Book()
        self.book.load(kept, self.now_s)
        assert len(self.book) == len(kept)

    @invariant()
    def is_in_order(self) -> None:
        self.book.check()

    def teardown(self) -> None:
        for one in self.book.in_state(State.PLACING):
            assert one not in self.book.left_alone(self.now_s + 2 * KEPT_S)
            self.book.refused(one, WHY, self.now_s)
        for state in State:
            for one in self.book.in_state(state):
                self.book.leave(one, self.now_s)
        self.now_s += KEPT_S
        for one in self.book.left_alone(self.now_s):
            if one.state is State.NEW:
                self.book.forget(one, self.now_s, "nobody wants it")
            else:
                self.book.end(one, self.now_s, "nobody wants it")
        for one in self.book.in_state(State.ENDING):
            self.book.ended(one, self.now_s)
        self.book.check()
        assert len(self.book) == 0


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
