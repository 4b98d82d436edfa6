"""Values merge as analysts expect, and say so when they do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import hist
import numpy as np
import pytest

from packhorse.merging import MergeError, merge_values


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        (1, 2, 3),
        (1, 2.5, 3.5),
        ([1], [2], [1, 2]),
        ({1}, {2}, {1, 2}),
        (None, 3, 3),
        (3, None, 3),
        (None, None, None),
        (0, None, 0),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"n": 1}}, {"a": {"n": 2, "m": 3}}, {"a": {"n": 3, "m": 3}}),
        ({"a": None}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": None}, {"a": 2}),
        (Counter("ab"), Counter("b"), Counter("abb")),
    ],
)
def test_values_merge(one: Any, other: Any, merged: Any) -> None:
    assert merge_values(one, other) == merged


def test_arrays_are_added_and_histograms_too() -> None:
    assert list(merge_values(np.array([1, 2]), np.array([3, 4]))) == [4, 6]
    filled = hist.Hist.new.Reg(4, 0, 4).Int64().fill([1.5, 2.5])
    assert merge_values(filled, filled).sum() == 4


def test_the_kind_of_a_dictionary_is_kept() -> None:
    merged = merge_values(defaultdict(int, a=1), {"a": 2})
    assert merged == {"a": 3}
    assert merged["new"] == 0


def test_neither_value_is_changed() -> None:
    one, other = {"a": {"n": 1}}, {"a": {"n": 2}}
    merge_values(one, other)
    assert (one, other) == ({"a": {"n": 1}}, {"a": {"n": 2}})


@pytest.mark.parametrize(
    ("one", "other", "complaint"),
    [
        ({"a": 1}, 2, "dict and int do not merge"),
        ({"a": {"b": 1}}, {"a": {"b": "x"}}, r"int and str in \['a'\] \['b'\] do not merge"),
        ((1, 2), (3, 4), "tuple and tuple do not merge: return a dict"),
        (np.zeros(3), np.zeros(1), r"numpy.ndarray of shapes \(3,\) and \(1,\) do not merge"),
        (object(), object(), "object and object do not merge"),
    ],
)
def test_what_does_not_merge_is_named(one: Any, other: Any, complaint: str) -> None:
    with pytest.raises(MergeError, match=complaint):
        merge_values(one, other)


def test_histograms_of_different_axes_do_not_merge() -> None:
    with pytest.raises(MergeError, match="hist"):
        merge_values(hist.Hist.new.Reg(4, 0, 4).Int64(), hist.Hist.new.Reg(5, 0, 4).Int64())


def test_a_merge_of_the_users_own_replaces_ours() -> None:
    assert merge_values((1, 2), (3, 1), max) == (3, 1)
    assert merge_values(None, (3, 1), max) == (3, 1)


def test_a_merge_that_raises_is_named() -> None:
    def merge(one: int, other: int) -> int:
        return one // (other - other)

    with pytest.raises(MergeError, match="merge failed for int and int: ZeroDivisionError"):
        merge_values(1, 2, merge)
