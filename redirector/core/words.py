"""Sizes and durations in the sentences the core writes for people."""

from __future__ import annotations


def size(size_bytes: int) -> str:
    """`"1.50 GB"`: three digits that matter, in decimal units."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000.0
    return f"{value:.3g} PB"


def duration(duration_s: float) -> str:
    """`"12 s"`, `"5 min"`, `"3.5 h"`, `"7 d"`."""
    if duration_s < 120.0:
        return f"{duration_s:.3g} s"
    if duration_s < 7200.0:
        return f"{duration_s / 60.0:.3g} min"
    if duration_s < 172800.0:
        return f"{duration_s / 3600.0:.3g} h"
    return f"{duration_s / 86400.0:.3g} d"


def count(number: int, noun: str) -> str:
    """`"1 file"`, `"3 files"`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
