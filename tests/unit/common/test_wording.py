"""Sizes, durations and counts as people read them."""

from __future__ import annotations

import pytest

from common import wording


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (1_234_567_890, "1.23 GB"),
        (12_345_678, "12.3 MB"),
        (2**63 - 1, "9.22 EB"),
        (10**22, "1e+04 EB"),
    ],
)
def test_sizes_have_three_digits(size_bytes: int, text: str) -> None:
    assert wording.size(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.0123, "0.0123 s"), (119, "119 s"), (120, "2 min"), (9000, "2.5 h"), (604800, "7 d")],
)
def test_durations_have_one_unit(duration_s: float, text: str) -> None:
    assert wording.duration(duration_s) == text


def test_counts_know_their_plurals() -> None:
    assert wording.count(1, "file") == "1 file"
    assert wording.count(1200, "file") == "1,200 files"
