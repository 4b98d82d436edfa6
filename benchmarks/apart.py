"""Running one benchmark in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.figures import Figure


def run_apart(name: str) -> list[Figure] | None:
    """The figures of one benchmark, run in a new process; None if it failed."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(name, sending))
    process.start()
    sending.close()
    try:
        figures: list[Figure] = receiving.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return figures


def _run(name: str, sending: Connection) -> None:
    sending.send(importlib.import_module(f"benchmarks.{name}").measure())
    sending.close()
    sys.stdout.flush()
    # What a benchmark leaves behind in memory is not worth taking down in order.
    os._exit(0)
