"""What a benchmark finds out, and how it is shown."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and what it should be at least or at most.

    `key` is its name in the JSON line, with the unit last; `what` is for people. `beside` is
    what it was made of, shown in the same row.
    """

    key: str
    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    beside: tuple[Figure, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None if there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None

    @property
    def aim(self) -> str:
        """The aim as people read it."""
        if self.at_least is not None:
            return f"≥ {short(self.at_least)}"
        return "" if self.at_most is None else f"≤ {short(self.at_most)}"


def short(value: float) -> str:
    """A number with three significant digits, thousands set apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Prints one benchmark's figures as a table."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("aim", justify="right")
    table.add_column("")
    width = 110
    if any(figure.beside for figure in figures):
        table.add_column("made of", style="dim")
        width = 160
    for figure in figures:
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met]
        made_of = ", ".join(f"{part.what} {_valued(part)}" for part in figure.beside)
        row = (figure.what, _valued(figure), figure.aim, verdict, made_of)
        table.add_row(*row[: len(table.columns)])
    Console(width=width).print(table)


def flat(figures: Iterable[Figure]) -> Iterator[Figure]:
    """All figures, and those that they were made of."""
    for figure in figures:
        yield figure
        yield from figure.beside


def _valued(figure: Figure) -> str:
    return f"{short(figure.value)} {figure.unit}".rstrip()


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
