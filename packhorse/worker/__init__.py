"""The worker: a process that pulls packets, runs the user's function, commits results.

`run_workers` is what `packhorse worker` does. The process that is started only
supervises; each worker is a child of its own, since a function may take its whole
process down. In a child, `link` keeps the connection, `engine` decides, `running`
calls the function, and `partial` holds results until they are counted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from packhorse.worker.options import WorkerOptions, worker_options
from packhorse.worker.supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WorkerOptions", "run_workers", "worker_options"]


def run_workers(options: Sequence[WorkerOptions], *, end_with_parent: bool = False) -> int:
    """Runs workers until they end or a signal stops them; returns an exit code.

    `end_with_parent` ends them when standard input is closed.
    """
    return asyncio.run(supervise(options, end_with_parent=end_with_parent))
