"""Sizes, durations and counts in sentences for people, the same everywhere."""

from __future__ import annotations

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size(size_bytes: float) -> str:
    """`"1.5 GB"`: three digits that matter, in decimal units."""
    value = float(size_bytes)
    for unit in _SIZE_UNITS:
        # 999.5 would be written as 1e+03, so it belongs to the next unit.
        if abs(value) < 999.5 or unit == _SIZE_UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def duration(duration_s: float) -> str:
    """`"12 s"`, `"5 min"`, `"3.5 h"`, `"7 d"`: one unit, three digits that matter."""
    if duration_s < 120:
        return f"{duration_s:.3g} s"
    if duration_s < 2 * 3600:
        return f"{duration_s / 60:.3g} min"
    if duration_s < 48 * 3600:
        return f"{duration_s / 3600:.3g} h"
    return f"{duration_s / 86400:.3g} d"


def count(number: int, noun: str) -> str:
    """`"1 file"`, `"3 files"`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
