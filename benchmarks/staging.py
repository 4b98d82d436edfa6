"""Staging through a redirector and one data server, beside bare copying.

Every file has 1 MB. The stage command is a shell script that runs `cp`; its peers are
that script alone, and threads that do nothing but copy. A batch command copies many files
a run; its peer is the same program, given the same lines, alone. What we do on top: choose a
node, reserve room, watch the command, check the size and the checksum, and make the
file and its directory durable (fsync) before anybody sees it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from benchmarks.figures import Figure
from protos.packhorse.v1 import redirector_pb2, redirector_pb2_grpc, types_pb2
from tests.support.cluster import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FILE_BYTES = 1_000_000
COLD_STAGES = 40
SCRIPT_FILES = 400
BUILTIN_FILES = 1_500
AT_A_TIME = 4
BATCH_FILES = 2_000
FILES_IN_A_RUN = 250

BATCH_COMMAND = f"""#!{sys.executable} -SE
import json, shutil, sys
for line in sys.stdin:
    file = json.loads(line)
    print(json.dumps({{"id": file["id"], "state": "started"}}), flush=True)
    shutil.copyfile(file["source"], file["target"])
    print(json.dumps({{"id": file["id"], "state": "done"}}), flush=True)
"""


def measure() -> list[Figure]:
    """Runs one site for each kind of stage command, and the peers between."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as name:
        folder = Path(name)
        script = folder / "stage.sh"
        script.write_text('#!/bin/sh\ncp "$1" "$2"\n')
        script.chmod(0o755)
        with_script = _site(folder / "script", [str(script), "{source}", "{target}"])
        batch = folder / "batch.py"
        batch.write_text(BATCH_COMMAND)
        batch.chmod(0o755)
        of_batches = {"contract": "batch", "batch_files": FILES_IN_A_RUN, "batch_wait": "100ms"}
        with_batches = _site(folder / "batches", [str(batch)], of_batches)
        builtin = _site(folder / "builtin", "builtin")
        return [
            *_cold_stages(with_script, script),
            *_with_script(with_script, script),
            *_with_batches(with_batches, batch),
            *_with_copier(builtin),
        ]


def _site(
    folder: Path, stagecmd: Sequence[str] | str, mss: Mapping[str, object] | None = None
) -> Cluster:
    command = stagecmd if isinstance(stagecmd, str) else list(stagecmd)
    node = Node("disk1", "20GB", {"slots": AT_A_TIME})
    return Cluster(folder, [node], stagecmd=command, mss=mss or {})


def _fill(site: Cluster, kind: str, count: int) -> list[str]:
    """Puts `count` names of one and the same file into the archive; the names.

    So the disk is busy with what is staged, and not with the archive.
    """
    lfns = [f"/store/{kind}/f{i:05}.dat" for i in range(count)]
    first = site.write(lfns[0], os.urandom(FILE_BYTES))
    for lfn in lfns[1:]:
        (site.archive / lfn[1:]).hardlink_to(first)
    return lfns


def _cold_stages(site: Cluster, script: Path) -> list[Figure]:
    lfns = _fill(site, "cold", COLD_STAGES)
    try:
        site.start("redirector", "disk1")
        with grpc.insecure_channel(site.redirector_address) as channel:
            files = redirector_pb2_grpc.FilesStub(channel)
            cluster = redirector_pb2_grpc.ClusterStub(channel)
            _wait_for_node(cluster)
            ours, bare = [], []
            for lfn in lfns:
                ours.append(_seconds(partial(_stage, files, [lfn])))
                target = site.folder / "bare.dat"
                argv = [str(script), str(site.archive / lfn[1:]), str(target)]
                bare.append(_seconds(partial(subprocess.run, argv, check=True)))
                target.unlink()
            recalls = cluster.ListRecalls(redirector_pb2.ListRecallsRequest()).recalls
            within = [recall.command_s for recall in recalls]
    finally:
        site.stop()
    ours_ms, bare_ms = statistics.median(ours) * 1e3, statistics.median(bare) * 1e3
    return [
        Figure("cold_ms", "one cold stage, asked for to online (median)", ours_ms, "ms"),
        Figure("cold_bare_ms", "its command run by itself", bare_ms, "ms"),
        Figure(
            "cold_overhead_ms",
            "overhead of one cold stage (median)",
            ours_ms - bare_ms,
            "ms",
            at_most=30,
        ),
        Figure(
            "cold_worst_ms",
            "the slowest of them",
            (max(ours) - statistics.median(bare)) * 1e3,
            "ms",
        ),
        Figure(
            "cold_command_ms",
            "the command as the data server measured it",
            statistics.median(within) * 1e3,
            "ms",
        ),
    ]


def _with_script(site: Cluster, script: Path) -> list[Figure]:
    lfns = _fill(site, "script", SCRIPT_FILES)

    def run_script(lfn: str) -> None:
        target = bare_folder / Path(lfn).name
        subprocess.run([str(script), str(site.archive / lfn[1:]), str(target)], check=True)

    rate = _rate(site, lfns)
    ours = rate.files_per_s
    with tempfile.TemporaryDirectory(dir=site.folder) as name:
        bare_folder = Path(name)
        bare = _bare_files_per_second(run_script, lfns)
    return [
        Figure("script_files_per_s", "files a second with a script", ours, "files/s", at_least=250),
        Figure("script_bare_files_per_s", "its command, 4 at a time, bare", bare, "files/s"),
        Figure("script_ratio", "ours over bare", ours / bare, ""),
        *rate.costs("script"),
    ]


def _with_batches(site: Cluster, batch: Path) -> list[Figure]:
    lfns = _fill(site, "batch", BATCH_FILES)
    runs = [lfns[start : start + FILES_IN_A_RUN] for start in range(0, len(lfns), FILES_IN_A_RUN)]

    def run_batch(some: list[str]) -> None:
        lines = [
            json.dumps(
                {
                    "id": lfn,
                    "source": str(site.archive / lfn[1:]),
                    "target": str(bare_folder / Path(lfn).name),
                }
            )
            for lfn in some
        ]
        subprocess.run(
            [str(batch)], input="\n".join(lines).encode(), check=True, capture_output=True
        )

    rate = _rate(site, lfns)
    ours = rate.files_per_s
    with tempfile.TemporaryDirectory(dir=site.folder) as name:
        bare_folder = Path(name)
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            bare_s = _seconds(lambda: list(threads.map(run_batch, runs)))
    bare = len(lfns) / bare_s
    return [
        Figure("batch_files_per_s", "files a second with a batch command", ours, "files/s"),
        Figure("batch_bare_files_per_s", "its command, 4 at a time, bare", bare, "files/s"),
        Figure("batch_ratio", "ours over bare", ours / bare, ""),
        *rate.costs("batch"),
    ]


def _with_copier(site: Cluster) -> list[Figure]:
    lfns = _fill(site, "builtin", BUILTIN_FILES)

    def copy(lfn: str, durably: bool = False) -> None:
        target = bare_folder / f"{Path(lfn).name}.part"
        reading = os.open(site.archive / lfn[1:], os.O_RDONLY)
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.copy_file_range(reading, writing, FILE_BYTES)
        if durably:
            os.fsync(writing)
        os.close(writing)
        os.close(reading)
        target.rename(target.with_suffix(""))
        if durably:
            directory = os.open(bare_folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)

    rate = _rate(site, lfns)
    ours = rate.files_per_s
    with tempfile.TemporaryDirectory(dir=site.folder) as name:
        bare_folder = Path(name)
        bare = _bare_files_per_second(copy, lfns)
    with tempfile.TemporaryDirectory(dir=site.folder) as name:
        bare_folder = Path(name)
        durable = _bare_files_per_second(partial(copy, durably=True), lfns)
    return [
        Figure(
            "builtin_files_per_s",
            "files a second with the built-in copier",
            ours,
            "files/s",
            at_least=1_500,
        ),
        Figure("builtin_bare_files_per_s", "4 threads that only copy", bare, "files/s"),
        Figure("builtin_bare_durable_files_per_s", "those with fsync", durable, "files/s"),
        Figure("builtin_ratio", "ours over bare", ours / bare, ""),
        Figure("builtin_durable_ratio", "ours over bare with fsync", ours / durable, ""),
        *rate.costs("builtin"),
    ]


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a site stages, and the CPU time of its servers for one file."""

    files_per_s: float
    data_server_ms: float
    redirector_ms: float

    def costs(self, kind: str) -> list[Figure]:
        """The CPU times as figures."""
        node, head = "CPU of the data server for a file", "CPU of the redirector for a file"
        return [
            Figure(f"{kind}_data_server_ms", node, self.data_server_ms, "ms"),
            Figure(f"{kind}_redirector_ms", head, self.redirector_ms, "ms"),
        ]


def _rate(site: Cluster, lfns: list[str]) -> Rate:
    """How fast a site stages files asked for in one request."""
    try:
        site.start("redirector", "disk1")
        node, head = (psutil.Process(site.processes[role].pid) for role in ("disk1", "redirector"))
        with grpc.insecure_channel(site.redirector_address) as channel:
            _wait_for_node(redirector_pb2_grpc.ClusterStub(channel))
            files = redirector_pb2_grpc.FilesStub(channel)
            used_s = _cpu_s(node), _cpu_s(head)
            took_s = _seconds(partial(_stage, files, lfns))
            return Rate(
                len(lfns) / took_s,
                (_cpu_s(node) - used_s[0]) / len(lfns) * 1e3,
                (_cpu_s(head) - used_s[1]) / len(lfns) * 1e3,
            )
    finally:
        site.stop()


def _cpu_s(process: psutil.Process) -> float:
    """CPU time of a process by itself, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _stage(files: redirector_pb2_grpc.FilesStub, lfns: Sequence[str]) -> None:
    """Has files staged; returns once all are online."""
    request_id = files.Stage(redirector_pb2.StageRequest(lfns=lfns, owner="bench")).request_id
    online = set()
    for reply in files.Watch(redirector_pb2.WatchRequest(request_id=request_id)):
        for event in reply.events:
            assert event.state != types_pb2.FILE_STATE_FAILED, event.reason
            if event.state == types_pb2.FILE_STATE_ONLINE:
                online.add(event.lfn)
    assert len(online) == len(lfns)


def _wait_for_node(cluster: redirector_pb2_grpc.ClusterStub) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        nodes = cluster.Status(redirector_pb2.StatusRequest()).nodes
        if any(node.state == redirector_pb2.NODE_STATE_UP for node in nodes):
            return
        time.sleep(0.05)
    raise TimeoutError("the data server did not join")


def _bare_files_per_second(work: Callable[[str], None], lfns: Sequence[str]) -> float:
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return len(lfns) / _seconds(lambda: list(threads.map(work, lfns)))


def _seconds(work: Callable[[], object]) -> float:
    # What was written before is not to be charged to this.
    os.sync()
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s
