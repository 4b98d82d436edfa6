"""Progress bars on stderr, for people who watch; silence for everybody else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from common.text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One line that shows how far a command is, while it is in `with`.

    `unit` is "files", "entries" or "bytes"; bytes are shown as sizes.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what = what
        self._unit = unit
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            progress = _progress(self._unit)
            progress.start()
            self._shown = progress, progress.add_task(self._what, total=None, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown[0].stop()

    def update(self, done: float, total: float, note: str = "") -> None:
        """How much is done of how much (0: not known yet), and what else there is to say."""
        if self._shown is not None:
            progress, task = self._shown
            progress.update(task, completed=done, total=total or None, note=one_line(note))


def _progress(unit: str) -> Progress:
    """Columns: what, a bar, how much, the rate and the time left, a note."""
    from rich import progress
    from rich.console import Console

    amount: list[progress.ProgressColumn] = [
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
    ]
    if unit == "bytes":
        amount = [progress.DownloadColumn(), progress.TransferSpeedColumn()]
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        *amount,
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
