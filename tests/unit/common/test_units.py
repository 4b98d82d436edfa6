"""Units are read as people write them, and what is not clear is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.units import (
    MAX_SIZE_BYTES,
    format_duration,
    parse_duration,
    parse_percent,
    parse_size,
    write_duration,
    write_percent,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("2TB", 2 * 10**12),
        ("2TiB", 2 * 2**40),
        ("2 tib", 2 * 2**40),
        ("1.5GB", 1_500_000_000),
        (".5KB", 500),
        ("500", 500),
        (501, 501),
        ("64KB", 64_000),
        ("0", 0),
        ("7B", 7),
        (5e9, 5_000_000_000),
    ],
)
def test_sizes_are_decimal_or_binary_as_written(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "2T", "5 XB", "-5GB", "GB", "1.0001KiB", "1e3", "0x10", "9EiB", "٣GB", True, None, -1, 1.5,
     float("nan"), float("inf")],
)  # fmt: skip
def test_what_is_no_clear_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'write it like "500GB"'):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2w", 1209600),
        ("45", 45),
        (0.25, 0.25),
        (60, 60),
        (1e-7, 1e-7),
    ],
)
def test_durations_are_seconds(text: str | float, duration_s: float) -> None:
    assert parse_duration(text) == duration_s


@pytest.mark.parametrize(
    "text",
    ["", "s", "5 years", "-5s", "5m!", "1:30", "5M", "200000d", True, [], float("nan"), float("inf"), -1],
)  # fmt: skip
def test_what_is_no_clear_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'write it like "30s"'):
        parse_duration(text)


def test_a_share_is_written_in_percent_and_never_as_a_bare_number() -> None:
    assert parse_percent("95%") == 0.95
    assert parse_percent("0.5 %") == 0.005
    for text in ("95", 95, 0.95, "101%", "-1%", "%", True):
        with pytest.raises(ValueError, match=r'write it like "95%"'):
            parse_percent(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0 ms"),
        (0.0351, "35 ms"),
        (0.9999, "1.0 s"),
        (4.21, "4.2 s"),
        (59.97, "1m 00s"),
        (65, "1m 05s"),
        (3599.9, "1h 00m"),
        (7500, "2h 05m"),
        (604800, "7d 00h"),
        (-65, "-1m 05s"),
    ],
)
def test_durations_are_shown_in_their_two_largest_units(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_written_size_is_read_back(size_bytes: int) -> None:
    assert parse_size(write_size(size_bytes)) == size_bytes


@given(st.floats(0, 1e9).map(lambda value: round(value, 6)))
def test_a_written_duration_is_read_back(duration_s: float) -> None:
    assert parse_duration(write_duration(duration_s)) == duration_s


@given(st.integers(0, 10000))
def test_a_written_share_is_read_back(hundredths: int) -> None:
    share = parse_percent(f"{hundredths / 100:.2f}%")
    assert parse_percent(write_percent(share)) == share


def test_exact_forms_use_the_largest_unit_that_divides() -> None:
    assert [write_size(size) for size in (500 * 10**9, 2**41, 1001, 0)] == [
        "500GB",
        "2TiB",
        "1001B",
        "0B",
    ]
    assert [write_duration(s) for s in (6 * 3600, 90, 1.5, 0.5, 0, 0.00025)] == [
        "6h",
        "90s",
        "1.5s",
        "500ms",
        "0s",
        "0.00025s",
    ]
    assert write_percent(0.95) == "95%"
