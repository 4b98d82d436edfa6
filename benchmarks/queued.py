"""A million recalls that wait: 5,000 requests of 200 files at one redirector, and no data server.

The redirector is a process of its own, as at a site, and is killed and started again. Its
clients are threads of this process, which have requests accepted durably, so many at a time.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from benchmarks.figures import Figure
from protos.packhorse.v1 import redirector_pb2, redirector_pb2_grpc
from tests.support.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

REQUESTS = 5_000
FILES = 200
OWNERS = 50
CLIENTS = 8
STATUS_ASKED = 500
#: How often the redirector is asked for a sign of life while requests come in.
PULSE_S = 0.02


def measure() -> list[Figure]:
    """Fills one redirector, looks at it, kills it, and starts it again."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as name:
        site = Cluster(Path(name), [], packetizer=None)
        try:
            site.start("redirector")
            with grpc.insecure_channel(site.redirector_address) as channel:
                files = redirector_pb2_grpc.FilesStub(channel)
                empty_bytes = _resident_bytes(site)
                with _Pulse(files) as pulse:
                    took_s, request_ids = _ask_for_all(files)
                full_bytes = _resident_bytes(site)
                status_s = _status_times(files, request_ids)
                cancel_s = _timed(partial(_cancel, files, request_ids[0]))
            site.kill("redirector")
            restart_s = _timed(partial(site.start, "redirector"))
            restarted_bytes = _resident_bytes(site)
            restart_cpu_s = _cpu_s(site)
            with grpc.insecure_channel(site.redirector_address) as channel:
                files = redirector_pb2_grpc.FilesStub(channel)
                listing = files.ListRequests(
                    redirector_pb2.ListRequestsRequest(active_only=True, limit=REQUESTS)
                )
                assert len(listing.requests) == REQUESTS - 1
        finally:
            site.stop()
    accepted = REQUESTS * FILES / took_s
    return [
        Figure("accepted_files_per_s", "accepted durably", accepted, "files/s", at_least=20_000),
        Figure(
            "resident_mb",
            "memory of the redirector with all of them",
            full_bytes / 1e6,
            "MB",
            at_most=500,
        ),
        Figure("empty_mb", "the same without any", empty_bytes / 1e6, "MB"),
        Figure("restarted_mb", "the same after the restart", restarted_bytes / 1e6, "MB"),
        Figure("restart_s", "from kill -9 to being ready again", restart_s, "s", at_most=10),
        Figure("restart_cpu_s", "CPU time of that", restart_cpu_s, "s"),
        Figure(
            "status_ms",
            "status of a request with its files (median)",
            statistics.median(status_s) * 1e3,
            "ms",
            at_most=5,
        ),
        Figure("status_worst_ms", "the slowest of them", max(status_s) * 1e3, "ms"),
        Figure("cancel_ms", "cancelling a request of 200 files", cancel_s * 1e3, "ms"),
        Figure(
            "pulse_ms",
            "an answer while requests come in (median)",
            statistics.median(pulse.times_s) * 1e3,
            "ms",
        ),
        Figure("pulse_worst_ms", "the slowest of them", max(pulse.times_s) * 1e3, "ms"),
    ]


def _names(number: int) -> list[str]:
    """The files of one request, as long as experiments call theirs."""
    dataset = f"/store/data/Run2026A/dataset{number:04}/AOD/v1"
    return [f"{dataset}/file_{number:04}_{place:04}.root" for place in range(FILES)]


def _ask_for_all(files: redirector_pb2_grpc.FilesStub) -> tuple[float, list[str]]:
    """Has all requests accepted; how long that took, and their ids."""

    def ask(number: int) -> str:
        asked = redirector_pb2.StageRequest(lfns=_names(number), owner=f"user{number % OWNERS}")
        return str(files.Stage(asked).request_id)

    begun_s = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        request_ids = list(clients.map(ask, range(REQUESTS)))
    return time.perf_counter() - begun_s, request_ids


def _status_times(files: redirector_pb2_grpc.FilesStub, request_ids: list[str]) -> list[float]:
    def ask(request_id: str) -> None:
        asked = redirector_pb2.ListRequestsRequest(request_id=request_id, with_files=True)
        (found,) = files.ListRequests(asked).requests
        assert len(found.file) == FILES

    chosen = request_ids[:: len(request_ids) // STATUS_ASKED]
    return [_timed(partial(ask, request_id)) for request_id in chosen]


def _cancel(files: redirector_pb2_grpc.FilesStub, request_id: str) -> None:
    reply = files.Cancel(redirector_pb2.CancelRequest(request_id=request_id))
    assert reply.files_cancelled == FILES


class _Pulse:
    """A client that asks the redirector for nothing much, all the time, and measures."""

    def __init__(self, files: redirector_pb2_grpc.FilesStub) -> None:
        self.times_s: list[float] = []
        self._files = files
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        ask = partial(self._files.Locate, redirector_pb2.LocateRequest(lfns=["/store/none"]))
        while not self._over.wait(PULSE_S):
            self.times_s.append(_timed(ask))


def _resident_bytes(site: Cluster) -> int:
    return int(psutil.Process(site.processes["redirector"].pid).memory_info().rss)


def _cpu_s(site: Cluster) -> float:
    times = psutil.Process(site.processes["redirector"].pid).cpu_times()
    return float(times.user + times.system)


def _timed(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s
