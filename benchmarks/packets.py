"""Packets a second from one packetizer, beside dask.distributed's tasks a second.

Both hand a function that does nothing to two workers on this machine, by processes of
their own: the servers of a whole site here, a scheduler there. dask is measured as it
comes, and at its best for such tasks (`worker-saturation: inf`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from distributed import Client, wait

import packhorse
from benchmarks.figures import Figure
from tests.support.cluster import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse import Packet

WORKERS = 2
PACKETS = 200_000
DASK_TASKS = {"1.1": 4_000, "inf": 10_000}
LFN = "/store/entries.dat"


def nothing(_packet: Packet | int) -> int:
    """The work of one packet, or of one task."""
    return 1


def measure() -> list[Figure]:
    """Runs dask twice, then us."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as folder:
        default = _dask_tasks_per_second(Path(folder), "1.1")
        best = _dask_tasks_per_second(Path(folder), "inf")
        ours, server_us = _packets_per_second(Path(folder))
    peer = max(default, best)
    return [
        Figure("packets_per_s", "packets a second", ours, "packets/s"),
        Figure("dask_tasks_per_s", "dask.distributed, as it comes", default, "tasks/s"),
        Figure("dask_best_tasks_per_s", "dask.distributed, at its best", best, "tasks/s"),
        Figure("ratio", "ours over dask's best", ours / peer, "", at_least=4),
        Figure("packetizer_us", "CPU of the packetizer for each packet", server_us, "µs"),
    ]


def _packets_per_second(folder: Path) -> tuple[float, float]:
    """Also tells the packetizer's CPU time for one packet, in microseconds."""
    site = Cluster(folder / "site", [Node("disk1", "1GB")])
    site.write(LFN, bytes(PACKETS))
    try:
        site.start()
        packetizer = psutil.Process(site.processes["packetizer"].pid)
        with packhorse.connect(config=site.config) as connected:
            connected.stage([LFN]).wait(timeout_s=60)
            connected.datasets.register("entries", [LFN])
            used_s = sum(packetizer.cpu_times()[:2])
            result = connected.process(
                "entries", nothing, workers=WORKERS, packet_entries=1, missing="skip"
            )
            used_s = sum(packetizer.cpu_times()[:2]) - used_s
            (session,) = connected.sessions.list()
            assert result.value == PACKETS
            assert session.packets_done == PACKETS
            took_s = session.elapsed_s - session.first_lease_s
            return PACKETS / took_s, used_s / PACKETS * 1e6
    finally:
        site.stop()


def _dask_tasks_per_second(folder: Path, saturation: str) -> float:
    tasks = DASK_TASKS[saturation]
    with _dask(folder / f"scheduler-{saturation}.json", saturation) as client:
        # The first tasks pay for imports and connections.
        wait(client.map(nothing, range(100), pure=False))
        begun_s = time.perf_counter()
        wait(client.map(nothing, range(tasks), pure=False))
        return tasks / (time.perf_counter() - begun_s)


@contextlib.contextmanager
def _dask(address_file: Path, saturation: str) -> Iterator[Client]:
    """A scheduler and workers in processes of their own, and a client of them."""
    settings = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": saturation,
        "DASK_DISTRIBUTED__DASHBOARD__ENABLED": "False",
        # So that the workers find the function, which travels by name.
        "PYTHONPATH": str(Path.cwd()),
    }
    common = ["--scheduler-file", str(address_file), "--no-dashboard"]
    roles = [["scheduler", "--host", "127.0.0.1", "--port", "0", *common]]
    roles += [["worker", "--nthreads", "1", "--no-nanny", *common]] * WORKERS
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *role],
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for role in roles
    ]
    try:
        with Client(scheduler_file=str(address_file), timeout=60) as client:
            client.wait_for_workers(WORKERS, timeout=60)
            yield client
    finally:
        for process in processes:
            process.kill()
            process.wait()
