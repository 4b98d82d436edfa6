"""Is a pool worth it? One list of files read three times, with a pool and straight from the archive.

The archive answers after a fifth of a second, and copies as fast as `cp`; a real one is slower
by orders of magnitude, so the ratios here are the least a pool can give. The list is read by
one client, a file at a time. The first pass pays for the pool, the others are paid back; what
the pool is too small for has to be recalled again, so one pool holds all of the list, and one
three quarters of it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from tests.support.cluster import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = 20
FILE_BYTES = 2_000_000
PASSES = 3
ARCHIVE_S = 0.2


def measure() -> list[Figure]:
    """Reads the list without a pool, with one that holds it, and with one that does not."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as name:
        folder = Path(name)
        script = folder / "stage.sh"
        script.write_text(f'#!/bin/sh\nsleep {ARCHIVE_S}\ncp "$1" "$2"\n')
        script.chmod(0o755)
        all_bytes = FILES * FILE_BYTES
        large = _with_pool(folder / "large", script, 2 * all_bytes)
        small = _with_pool(folder / "small", script, all_bytes * 3 // 4)
        direct_s = _directly(folder / "large" / "archive", script)
    wanted = PASSES * FILES
    return [
        Figure("direct_s", f"{wanted} reads straight from the archive", direct_s, "s"),
        Figure("pool_s", "with a pool that holds the list", large.spent_s, "s"),
        Figure("pool_speedup", "times as fast with it", direct_s / large.spent_s, "", at_least=2.0),
        Figure("pool_archive_share", "of the bytes that come from the archive", large.share, ""),
        Figure("small_s", "with a pool that holds three quarters of it", small.spent_s, "s"),
        Figure("small_archive_share", "of the bytes that come from the archive", small.share, ""),
    ]


class _Measured:
    """One list read through one pool: how long it took, and what the archive had to give."""

    def __init__(self, spent_s: float, recalled: int) -> None:
        self.spent_s = spent_s
        self.share = recalled / (PASSES * FILES)


def _names() -> list[str]:
    return [f"/store/f{number:03}.dat" for number in range(FILES)]


def _with_pool(folder: Path, script: Path, quota_bytes: int) -> _Measured:
    argv: Sequence[str] = [str(script), "{source}", "{target}"]
    site = Cluster(folder, [Node("disk1", str(quota_bytes), {})], stagecmd=argv)
    for lfn in _names():
        site.write(lfn, os.urandom(FILE_BYTES))
    try:
        site.start("redirector", "disk1")
        with site.connect() as client:
            begun_s = time.perf_counter()
            for _ in range(PASSES):
                for lfn in _names():
                    with client.open(lfn) as file:
                        assert len(file.read()) == FILE_BYTES
            spent_s = time.perf_counter() - begun_s
            return _Measured(spent_s, client.status().recalls_done)
    finally:
        site.stop()


def _directly(archive: Path, script: Path) -> float:
    """What every user's own copy of a file costs, made for each use of it."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "file"
        begun_s = time.perf_counter()
        for _ in range(PASSES):
            for lfn in _names():
                subprocess.run([str(script), str(archive / lfn[1:]), str(target)], check=True)
                assert len(target.read_bytes()) == FILE_BYTES
        return time.perf_counter() - begun_s
