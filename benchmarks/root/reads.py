"""How quickly a large file is read that is in the page cache.

One data server of each kind with the same file. A raw client shows what the servers can do;
`xrdcp` shows what people get. By default it reads pages with their checksums, and in a virtual
machine XRootD computes them slowly on both sides, for its code asks the processor with every
page what it can: so `xrdcp` without them (XRD_CPUSEPGWRTRD=0) is the fair comparison.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.root.clients import Clients
from benchmarks.root.compare import Case, Comparison, Sample
from benchmarks.root.compare import measure as measure_one
from benchmarks.root.jobs import Reading
from benchmarks.root.peers import OURS, XROOTD, Server, cpu_s, folder_for_all, reading, wanted
from benchmarks.root.raw_client import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.figures import Figure

ROUNDS: Final = 5
GIB: Final = 1 << 30
MIB: Final = 1 << 20
KIB: Final = 1 << 10
LFN: Final = "/store/large/events.root"
ONE_CLIENT: Final = 0.95
TWO_CLIENTS: Final = 0.9
VECTORS: Final = 0.8
XRDCP_TIMEOUT_S: Final = 60.0
PLAIN: Final = {"XRD_CPUSEPGWRTRD": "0"}


class Small(NamedTuple):
    """Reads of one size anywhere in the file, as so many connections have under way."""

    length_bytes: int
    connections: int
    window: int
    reads: int
    aim: float | None = None


class Vector(NamedTuple):
    """Reads of many ranges each, two under way."""

    chunks: int
    length_bytes: int
    reads: int


SMALL: Final = (
    Small(4 * KIB, 1, 1, 4_000),
    Small(4 * KIB, 1, 32, 40_000, 0.9),
    Small(4 * KIB, 8, 8, 40_000, 1.0),
    Small(64 * KIB, 1, 1, 4_000),
    Small(64 * KIB, 1, 32, 10_000, 0.85),
    Small(64 * KIB, 8, 8, 10_000, 0.85),
)
VECTOR: Final = (Vector(64, 4 * KIB, 1_000), Vector(128, 64 * KIB, 60))


class Reads(NamedTuple):
    """What the raw client does, in one process or in two at the same time."""

    case: Case
    job: Reading
    clients: int = 1


def measure(only: str | None = None) -> list[Figure]:
    """Reads from each server in turn."""
    comparison = Comparison()
    with contextlib.ExitStack() as running:
        file = running.enter_context(folder_for_all()) / "large.root"
        _write(file)
        clients = running.enter_context(Clients(2))
        servers = [
            running.enter_context(reading(name, file, LFN)) for name in wanted(only, XROOTD, OURS)
        ]
        doings = [*_raw(clients), *_xrdcp()]
        for _ in range(ROUNDS):
            for case, doing in doings:
                for server in servers:
                    _into_cache(server)
                    comparison.note(case, server.name, doing(server))
    return comparison.figures()


# --- by the raw client ----------------------------------------------------------


def _raw(clients: Clients) -> Iterator[tuple[Case, Callable[[Server], Sample]]]:
    for reads in (*_whole(), *_parts()):
        yield reads.case, partial(_read, clients, reads)


def _read(clients: Clients, reads: Reads, server: Server) -> Sample:
    jobs = [replace(reads.job, address=server.address)] * reads.clients
    one = reads.job.reads if reads.job.count else reads.job.content_bytes / GIB
    return measure_one(clients, jobs, reads.clients * one, server.serving)


def _job(length_bytes: int, **more: Any) -> Reading:
    """Of the large file, at an address that is filled in later."""
    return Reading(Address("", 0), LFN, GIB, length_bytes, **more)


def _whole() -> Iterator[Reads]:
    for mib in (1, 4, 8):
        case = Case(f"whole_{mib}mib", f"the whole, {mib} MiB a read", "GiB", "s", ONE_CLIENT)
        yield Reads(case, _job(mib * MIB, window=2))
    case = Case("whole_4mib_two", "the whole by two clients, 4 MiB a read", "GiB", "s", TWO_CLIENTS)
    yield Reads(case, _job(4 * MIB, window=2), clients=2)
    case = Case("pages_8mib", "the whole in pages, 8 MiB a read", "GiB", "s")
    yield Reads(case, replace(_job(8 * MIB, window=2), pages=True))


def _parts() -> Iterator[Reads]:
    for length_bytes, connections, window, reads, aim in SMALL:
        kib, shape = length_bytes // KIB, f"{connections}x{window}"
        what = f"{kib} KiB anywhere, {shape.replace('x', ' x ')} at a time"
        case = Case(f"read_{kib}kib_{shape}", what, "", "µs", aim)
        yield Reads(case, _job(length_bytes, count=reads, connections=connections, window=window))
    for chunks, length_bytes, reads in VECTOR:
        kib = length_bytes // KIB
        what = f"vectors of {chunks} x {kib} KiB, 2 at a time"
        case = Case(f"readv_{chunks}x{kib}kib", what, "", "µs", VECTORS)
        yield Reads(case, _job(length_bytes, count=reads, window=2, chunks=chunks))


# --- by XRootD's own client -----------------------------------------------------


def _xrdcp() -> Iterator[tuple[Case, Callable[[Server], Sample]]]:
    case = Case("xrdcp", "xrdcp without checksums", "GiB", "s", ONE_CLIENT)
    yield case, partial(_copy, 1, PLAIN)
    case = Case("xrdcp_two", "the same, two at a time", "GiB", "s", TWO_CLIENTS)
    yield case, partial(_copy, 2, PLAIN)
    yield Case("xrdcp_pages", "xrdcp as it comes", "GiB", "s"), partial(_copy, 1, {})


def _copy(count: int, env: dict[str, str], server: Server) -> Sample:
    argv = ["xrdcp", "--silent", "--force", f"root://{server.address}/{LFN}", "/dev/null"]
    used_s, begun_s = cpu_s(server.serving), time.monotonic()
    copying = [subprocess.Popen(argv, env=os.environ | env) for _ in range(count)]
    for process in copying:
        assert process.wait(XRDCP_TIMEOUT_S) == 0, argv
    took_s = time.monotonic() - begun_s
    return Sample(count / took_s, (cpu_s(server.serving) - used_s) / count)


# --- the file -------------------------------------------------------------------


def _write(file: Path) -> None:
    with file.open("wb") as writing:
        for _ in range(GIB // MIB):
            writing.write(os.urandom(MIB))


def _into_cache(server: Server) -> None:
    """Some machines take pages out of the cache that were not used for seconds."""
    (path,) = (path for pool in server.pools if (path := pool / LFN.lstrip("/")).exists())
    buffer = bytearray(MIB)
    with path.open("rb", buffering=0) as reading_it:
        while reading_it.readinto(buffer):
            pass
