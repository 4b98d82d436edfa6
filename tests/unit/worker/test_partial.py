"""Results are counted once, whatever is refused or lost on the way."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest

from packhorse.merging import MergeError
from packhorse.worker.partial import Partial
from protos.packhorse.v1.packetizer_pb2 import Commit, PacketRecord


class Counter:
    """What a packetizer counts: every accepted commit, less those replaced later."""

    def __init__(self) -> None:
        self.results: dict[int, bytes] = {}
        self.leases: list[int] = []

    def accept(self, commit: Commit) -> None:
        for replaced in commit.supersedes:
            del self.results[replaced]
        self.results[commit.commit_id] = commit.result
        self.leases += [record.lease_id for record in commit.packets]

    def total(self) -> Any:
        return sum(pickle.loads(result) for result in self.results.values())


def add(partial: Partial, lease_id: int, value: Any, now_s: float = 0.0) -> None:
    partial.add(PacketRecord(lease_id=lease_id), value, now_s)


def test_packets_are_committed_together_with_their_merged_result() -> None:
    partial = Partial("s")
    add(partial, 1, 10, now_s=5.0)
    add(partial, 2, 20, now_s=6.0)
    assert partial.since_s == 5.0
    commit = partial.commit(1)
    assert [record.lease_id for record in commit.packets] == [1, 2]
    assert pickle.loads(commit.result) == 30
    assert (commit.commit_id, commit.session_id, list(commit.supersedes)) == (1, "s", [])
    assert partial.is_empty
    assert partial.is_waiting


def test_a_result_that_does_not_grow_replaces_the_earlier_one() -> None:
    partial, counter = Partial("s"), Counter()
    for number in range(1, 6):
        add(partial, number, np.ones(100))
        commit = partial.commit(number)
        assert list(commit.supersedes) == ([number - 1] if number > 1 else [])
        counter.accept(commit)
        partial.answered(number, accepted=True)
    assert len(counter.results) == 1
    assert counter.total()[0] == 5


def test_a_result_that_grows_is_sent_in_parts_of_bounded_size() -> None:
    partial, counter = Partial("s"), Counter()
    sent = 0
    for number in range(1, 21):
        add(partial, number, list(range(1000)))
        commit = partial.commit(number)
        sent += len(commit.result)
        counter.accept(commit)
        partial.answered(number, accepted=True)
    merged: list[int] = []
    for result in counter.results.values():
        merged += pickle.loads(result)
    assert len(merged) == 20_000
    assert sent < 2 * len(pickle.dumps(merged))


def test_a_refused_commit_counts_nothing_and_the_rest_goes_on() -> None:
    partial, counter = Partial("s"), Counter()
    add(partial, 1, 1)
    counter.accept(partial.commit(1))
    partial.answered(1, accepted=True)
    add(partial, 2, 2)
    partial.commit(2)
    add(partial, 3, 4)
    partial.answered(2, accepted=False)
    counter.accept(partial.commit(3))
    assert counter.total() == 5
    assert counter.leases == [1, 3]


def test_after_a_lost_connection_what_was_counted_is_left_alone() -> None:
    partial, counter = Partial("s"), Counter()
    add(partial, 1, 1)
    counter.accept(partial.commit(1))  # counted, but the answer is lost
    add(partial, 2, 2)
    partial.forget()
    assert partial.is_empty
    assert not partial.is_waiting
    add(partial, 3, 4)
    commit = partial.commit(2)
    assert not commit.supersedes
    counter.accept(commit)
    assert counter.total() == 5


def test_an_answer_to_another_commit_is_ignored() -> None:
    partial = Partial("s")
    add(partial, 1, 1)
    partial.commit(7)
    partial.answered(6, accepted=True)
    assert partial.is_waiting


def test_a_value_that_does_not_merge_leaves_the_rest_as_it_was() -> None:
    partial = Partial("s")
    add(partial, 1, {"n": 1})
    with pytest.raises(MergeError):
        add(partial, 2, "text")
    commit = partial.commit(1)
    assert [record.lease_id for record in commit.packets] == [1]
    assert pickle.loads(commit.result) == {"n": 1}


def test_results_that_do_not_merge_with_earlier_ones_are_named_by_their_packets() -> None:
    partial = Partial("s")
    add(partial, 1, {"n": 1})
    partial.commit(1)
    partial.answered(1, accepted=True)
    add(partial, 2, 7)
    with pytest.raises(MergeError, match="dict and int"):
        partial.commit(2)
    assert [record.lease_id for record in partial.drop()] == [2]
    assert partial.is_empty


def test_nothing_is_a_result_too() -> None:
    partial = Partial("s")
    add(partial, 1, None)
    add(partial, 2, None)
    assert pickle.loads(partial.commit(1).result) is None


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    partial = Partial("s")
    add(partial, 1, threading.Lock())
    with pytest.raises(MergeError, match="lock cannot be pickled"):
        partial.commit(1)


def test_a_result_beyond_the_limit_is_refused_here() -> None:
    partial = Partial("s", max_result_bytes=1000)
    add(partial, 1, b"x" * 2000)
    with pytest.raises(MergeError, match=r"larger than the 1000 .*max_result"):
        partial.commit(1)


def test_a_merge_of_the_users_own_is_used_throughout() -> None:
    partial, counter = Partial("s", max), Counter()
    for number, value in enumerate([(1, 9), (2, 0), (1, 1)], start=1):
        add(partial, number, value)
        counter.accept(partial.commit(number))
        partial.answered(number, accepted=True)
    assert [pickle.loads(result) for result in counter.results.values()] == [(2, 0)]
