"""Sizes, durations and shares, as people write and read them.

`parse_...` reads what stands in a configuration file or on a command line and
raises ValueError with a message for its author; `format_...` rounds for reading;
`write_...` is exact, and is read back to the same value. The annotated types at
the end are for pydantic models.

A size is a whole number of bytes, a duration is in seconds, a share is a
fraction from 0 to 1 that is always written in percent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

_SIZE_UNITS: Final = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTPE", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTPE", 1)},
}
_SIZE_BY_LOWER_CASE: Final = {unit.lower(): factor for unit, factor in _SIZE_UNITS.items()}
#: What SQLite and the messages on the wire can hold.
MAX_SIZE_BYTES: Final = 2**63 - 1

_DURATION_UNITS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
#: A century: longer than any promise, and short enough for every timer.
MAX_DURATION_S: Final = 36500 * 86400

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_SIZE: Final = re.compile(_NUMBER + r"\s*([A-Za-z]*)", re.ASCII)
_DURATION_PART: Final = re.compile(_NUMBER + r"\s*([a-z]+)\s*", re.ASCII)
_PLAIN_NUMBER: Final = re.compile(_NUMBER, re.ASCII)
_PERCENT: Final = re.compile(_NUMBER + r"\s*%", re.ASCII)


def parse_size(text: str | int) -> int:
    """Bytes in `"2TB"` (decimal), `"2TiB"` (binary), `"1.5GB"` or a whole number.

    Raises ValueError.
    """
    hint = 'write it like "500GB", "2TiB" or a whole number of bytes'
    match = _SIZE.fullmatch(_as_text(text, hint))
    if match is None:
        raise ValueError(f"{_quoted(text)} is not a size; {hint}")
    number, unit = match.groups()
    factor = _SIZE_BY_LOWER_CASE.get((unit or "B").lower())
    if factor is None:
        raise ValueError(f"{_quoted(text)} has no unit of size I know; {hint}")
    size = Decimal(number) * factor
    if size != int(size):
        raise ValueError(f"{_quoted(text)} is not a whole number of bytes; {hint}")
    if size > MAX_SIZE_BYTES:
        raise ValueError(f"{_quoted(text)} is beyond every disk; {hint}")
    return int(size)


def parse_duration(text: str | float) -> float:
    """Seconds in `"30s"`, `"500ms"`, `"1.5h"`, `"1h30m"`, `"7d"` or a plain number.

    Raises ValueError.
    """
    hint = 'write it like "30s", "5m", "2h" or "7d"'
    plain = _as_text(text, hint)
    if _PLAIN_NUMBER.fullmatch(plain):
        seconds = Decimal(plain)
    else:
        parts = _DURATION_PART.findall(plain)
        if not parts or _DURATION_PART.sub("", plain):
            raise ValueError(f"{_quoted(text)} is not a duration; {hint}")
        unknown = [unit for _, unit in parts if unit not in _DURATION_UNITS]
        if unknown:
            raise ValueError(f"{_quoted(text)}: {unknown[0]!r} is no unit of time; {hint}")
        seconds = sum(
            (Decimal(number) * _DURATION_UNITS[unit] for number, unit in parts), Decimal()
        )
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{_quoted(text)} is more than a century; {hint}")
    return float(seconds)


def parse_percent(text: str) -> float:
    """The share in `"95%"`: 0.95. Raises ValueError, for a bare number too."""
    hint = 'write it like "95%"'
    match = _PERCENT.fullmatch(_as_text(text, hint))
    if match is None:
        raise ValueError(f"{_quoted(text)} is not a share in percent; {hint}")
    share = Decimal(match[1]) / 100
    if share > 1:
        raise ValueError(f"{_quoted(text)} is more than 100%; {hint}")
    return float(share)


def _as_text(value: object, hint: str) -> str:
    """What was written, or the plain decimal form of a number that was."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{_quoted(value)} will not do; {hint}")  # noqa: TRY004 (pydantic's way)
    if isinstance(value, str):
        return value.strip()
    return format(Decimal(repr(value)), "f")


def _quoted(value: object) -> str:
    text = str(value)
    text = f"{text[:40]}..." if len(text) > 40 else text
    return ascii(text) if isinstance(value, str) else text


def format_duration(duration_s: float) -> str:
    """A duration for reading: its two largest units, `"2h 05m"`, `"4.2 s"`, `"35 ms"`."""
    if duration_s < 0:
        return "-" + format_duration(-duration_s)
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h"


def write_size(size_bytes: int) -> str:
    """A size exactly, in the largest unit that divides it: `"500GB"`, `"2TiB"`."""
    for unit, factor in sorted(_SIZE_UNITS.items(), key=lambda item: -item[1]):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return "0B"


def write_duration(duration_s: float) -> str:
    """A duration exactly, in the largest unit that divides it: `"6h"`, `"1.5s"`."""
    seconds = Decimal(repr(duration_s))
    for unit in ("d", "h", "m", "s") if seconds >= 1 else ("ms",):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{int(seconds / _DURATION_UNITS[unit])}{unit}"
    return f"{seconds:f}s"


def write_percent(share: float) -> str:
    """A share exactly: `"95%"`."""
    percent = Decimal(repr(share)) * 100
    return f"{percent.normalize():f}%"


@dataclass(frozen=True, slots=True)
class Written:
    """What a value is called in the reference of the configuration: `size`, `duration`, ..."""

    kind: str


SizeBytes = Annotated[
    int,
    Written("size"),
    BeforeValidator(parse_size),
    PlainSerializer(write_size, return_type=str, when_used="json"),
]
DurationS = Annotated[
    float,
    Written("duration"),
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration, return_type=str, when_used="json"),
]
#: A fraction from 0 to 1.
Percent = Annotated[
    float,
    Written("percent"),
    BeforeValidator(parse_percent),
    PlainSerializer(write_percent, return_type=str, when_used="json"),
]
