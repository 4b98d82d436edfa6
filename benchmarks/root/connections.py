"""What two thousand clients of one redirector cost that are there at the same time.

Most of them are told again and again where files are; a tenth waits for files that are still
in the archive, held back there until all the others have been served.
"""

from __future__ import annotations

import contextlib
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.figures import Figure
from benchmarks.root.peers import folder_for_all
from benchmarks.root.raw_client import Address, Connection, Lane, Refused, Work, drive, said
from tests.support.cluster import free_port
from tests.support.patience import eventually
from tests.support.staging_site import StagingSite, staging_site
from xroot.protocol import OpenFlag, Status
from xroot.requests import Open

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS: Final = 2_000
WAITING: Final = 200
REQUESTS: Final = 20
HELD: Final = 200
QUOTA: Final = "100MB"
KIB: Final = 1024


def measure(only: str | None = None) -> list[Figure]:
    """Measures ours; nobody else lets that many wait."""
    if only not in (None, "ours"):
        return []
    _allow_descriptors(CLIENTS + 500)
    port = free_port()
    with folder_for_all() as folder, contextlib.ExitStack() as running:
        desk = running.enter_context(
            staging_site(folder / "site", QUOTA, root_listen=f"127.0.0.1:{port}")
        )
        held = desk.archived(*(f"held-{number:03}.root" for number in range(HELD)))
        cold = desk.archived(*(f"cold-{number:03}.root" for number in range(WAITING)))
        desk.site.stage(held).wait()
        return list(_figures(desk, Address("127.0.0.1", port), held, cold))


def _figures(
    desk: StagingSite, address: Address, held: list[str], cold: list[str]
) -> Iterator[Figure]:
    redirector = psutil.Process(desk.cluster.processes["redirector"].pid)
    with contextlib.ExitStack() as open_ones:
        connect = partial(_connected, open_ones, address)
        # The first ones find room where something else has been.
        for connection in [connect() for _ in range(100)]:
            connection.ask(Open(held[0], options=OpenFlag.READ))
        before = redirector.memory_info().rss
        begun_s = time.monotonic()
        connections = [connect() for _ in range(CLIENTS)]
        took_s = time.monotonic() - begun_s
        idle = redirector.memory_info().rss
        yield Figure("connect_rate", "connections made and logged in", CLIENTS / took_s, "/s")
        yield _kib("idle_client_kib", "memory for each that is there", idle - before, CLIENTS, 8)

        desk.hold(*cold)
        with ThreadPoolExecutor(WAITING) as threads:
            answers = [
                threads.submit(connection.ask, Open(lfn, options=OpenFlag.READ))
                for connection, lfn in zip(connections, cold, strict=False)
            ]
            eventually(lambda: desk.site.status().requests_active == WAITING)
            waiting = redirector.memory_info().rss
            yield _kib(
                "waiting_client_kib", "more for each that waits", waiting - idle, WAITING, 16
            )
            yield from _served(connections[WAITING:], held)
            desk.release()
            for answer in answers:
                if answer.result().status != Status.REDIRECT:
                    raise Refused(f"a waiting client: {said(answer.result())}")
        after = redirector.memory_info().rss
        yield _kib("after_client_kib", "memory for each in the end", after - before, CLIENTS, 10)


def _served(connections: list[Connection], held: list[str]) -> Iterator[Figure]:
    """Has all others asked at the same time, one request under way on each."""
    lanes = [
        Lane(
            connection,
            Work.of(
                Open(held[(number + turn) % HELD], options=OpenFlag.READ)
                for turn in range(REQUESTS)
            ),
            Status.REDIRECT,
        )
        for number, connection in enumerate(connections)
    ]
    begun_s, ended_s = drive(lanes, 1)
    rate = len(lanes) * REQUESTS / (ended_s - begun_s)
    yield Figure("redirect_rate", f"redirects meanwhile, {len(lanes):,} x 1 at a time", rate, "/s")


def _kib(key: str, what: str, grown_bytes: int, count: int, at_most: float) -> Figure:
    return Figure(key, what, grown_bytes / count / KIB, "KiB", at_most=at_most)


def _connected(open_ones: contextlib.ExitStack, address: Address) -> Connection:
    connection = Connection(address)
    open_ones.callback(connection.close)
    return connection


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
