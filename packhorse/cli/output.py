"""What commands print on stdout: tables and lines for people, JSON for programs.

A table that goes to a terminal is drawn to fit it; anywhere else every column
keeps its full width, so that nothing a `grep` looks for is cut off.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from common.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def say(text: str = "") -> None:
    """One or more lines for people; control characters in them are taken out."""
    sys.stdout.write(printable(text) + "\n")


def say_json(value: object) -> None:
    """One JSON document: dataclasses and named tuples become objects of their fields."""
    sys.stdout.write(json.dumps(to_plain(value), indent=2) + "\n")


def say_table(titles: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> None:
    """A table. Columns whose title is in `right`, a text of titles, hold numbers."""
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    numbers = right.split()
    if sys.stdout.isatty():
        _draw(titles, cells, numbers)
        return
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    for row in ([title.upper() for title in titles], *cells):
        aligned = [
            cell.rjust(width) if title in numbers else cell.ljust(width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(
            title,
            justify="right" if title in numbers else "left",
            no_wrap=title in numbers,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def to_plain(value: Any) -> Any:
    """The value in terms of what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(part) for part in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def share(part: float, whole: float) -> str:
    """`"42%"`; a dash of nothing."""
    return f"{100 * part / whole:.0f}%" if whole else "-"


def moment(unix_s: float) -> str:
    """A time of day on this machine's calendar; a dash for 0, which means never."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s)) if unix_s else "-"


def counted(count: int, what: str) -> str:
    """`"1 file"`, `"2 files"`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
