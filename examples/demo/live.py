"""What the demo shows while it runs: files staged, online and purged, events, rate, ETA."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

import packhorse
from common import wording
from common.errors import PackhorseError
from common.units import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from packhorse.values import SessionStatus, SiteStatus

REFRESH_S = 0.5


class Display:
    """A live table on a terminal; a line now and then where there is none.

    It looks at the site by a connection of its own, as anybody could.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._session: SessionStatus | None = None
        self._site: SiteStatus | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()
        self._live.stop()

    def update(self, session: SessionStatus) -> None:
        """Takes the session's newest status."""
        self._session = session
        if not self._console.is_terminal:
            print(
                f"{session.elapsed_s:5.1f} s  {session.entries_done:9,} events, "
                f"{session.files_recalled} of {session.files} files staged, "
                f"{session.files_done} done",
                file=sys.stderr,
            )

    def _look(self) -> None:
        with packhorse.connect(config=self._config) as site:
            while not self._leave.wait(REFRESH_S):
                try:
                    self._site = site.status()
                except PackhorseError:
                    continue
                if self._console.is_terminal and self._session is not None:
                    self._live.update(_picture(self._session, self._site), refresh=True)


def _picture(session: SessionStatus, site: SiteStatus) -> Group:
    """One look at the session, and one at the pools."""
    files = Table.grid(padding=(0, 2))
    files.add_row(
        "files",
        f"{session.files_recalled} staged",
        f"{session.files_online} online",
        f"{sum(node.load.files_purged for node in site.nodes)} purged",
        f"{session.files_done} of {session.files} done",
    )
    eta = "" if session.eta_s < 0 else f"ETA {format_duration(session.eta_s)}"
    files.add_row(
        "events",
        f"{session.entries_done:,}",
        f"{session.rate:,.0f}/s",
        f"{session.workers} workers",
        eta,
    )
    pools = Table.grid(padding=(0, 2))
    for node in sorted(site.nodes, key=lambda node: node.address.node):
        load = node.load
        pools.add_row(
            node.address.node,
            ProgressBar(load.quota_bytes, load.used_bytes + load.reserved_bytes, width=30),
            f"{wording.size(load.used_bytes)} of {wording.size(load.quota_bytes)}",
            f"{load.recalls_running} staging",
        )
    bar = ProgressBar(session.files, session.files_done, width=60)
    return Group(bar, files, pools)
