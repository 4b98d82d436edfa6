"""Sizes and durations as the core writes them into reasons and stories."""

from __future__ import annotations

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size_text(size_bytes: int) -> str:
    """A size for people: three digits or so, decimal units."""
    value = float(size_bytes)
    for unit in _SIZE_UNITS:
        if abs(value) < 999.5 or unit == _SIZE_UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("the last unit holds every size")


def duration_text(duration_s: float) -> str:
    """A duration for people: one unit, coarse."""
    if duration_s < 120:
        return f"{duration_s:.3g} s"
    if duration_s < 2 * 3600:
        return f"{duration_s / 60:.0f} min"
    if duration_s < 48 * 3600:
        return f"{duration_s / 3600:.0f} h"
    return f"{duration_s / 86400:.0f} days"
