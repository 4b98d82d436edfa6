"""How quickly clients are told which data server has a file that is on disk.

A redirector and two data servers of each kind, with the same files between them. XRootD has
been asked for every file once before, so that it finds all of them in its cache.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from benchmarks.root.clients import Clients
from benchmarks.root.compare import Case, Comparison
from benchmarks.root.compare import measure as measure_one
from benchmarks.root.jobs import Asking
from benchmarks.root.peers import OURS, XROOTD, Server, holding, wanted

if TYPE_CHECKING:
    from benchmarks.figures import Figure

FILES: Final = 2_000
ROUNDS: Final = 5
NAMES: Final = tuple(
    f"/store/data/Run2026A/DoubleMuon/NANOAOD/v1/{number // 100:04}/events_{number:06}.root"
    for number in range(FILES)
)


class Shape(NamedTuple):
    """So many connections with so many requests under way on each, and how many in all."""

    connections: int
    window: int
    requests: int

    def __str__(self) -> str:
        if self.connections == self.window == 1:
            return "one by one"
        return f"{self.connections} x {self.window} at a time"

    @property
    def key(self) -> str:
        """As it stands in keys."""
        return f"{self.connections}x{self.window}"


SHAPES: Final = (
    Shape(1, 1, 4_000),
    Shape(1, 64, 12_800),
    Shape(4, 64, 20_000),
    Shape(16, 16, 20_000),
    Shape(256, 1, 15_360),
)
ONE_BY_ONE: Final = 1.3
IN_PARALLEL: Final = 3.0


def measure(only: str | None = None) -> list[Figure]:
    """Asks each server in turn."""
    comparison = Comparison()
    with contextlib.ExitStack() as running:
        clients = running.enter_context(Clients(1))
        servers = [
            running.enter_context(holding(name, NAMES, b"on disk"))
            for name in wanted(only, XROOTD, OURS)
        ]
        for server in servers:
            _warm_up(clients, server)
        for _ in range(ROUNDS):
            for how in ("open", "locate"):
                for shape in SHAPES:
                    case = _case(how, shape)
                    for server in servers:
                        job = Asking(server.address, how, NAMES, shape.requests, *shape[:2])
                        pids = server.redirecting
                        sample = measure_one(clients, [job], shape.requests, pids)
                        comparison.note(case, server.name, sample)
    return sorted(comparison.figures(), key=lambda figure: figure.key.startswith("locate"))


def _case(how: Literal["open", "locate"], shape: Shape) -> Case:
    key = f"{how}_{shape.key}"
    if how == "locate":
        return Case(key, f"locate, {shape}", "", "µs")
    aim = ONE_BY_ONE if shape.connections * shape.window == 1 else IN_PARALLEL
    return Case(key, f"open to redirect, {shape}", "", "µs", aim)


def _warm_up(clients: Clients, server: Server) -> None:
    """Has every name looked up once."""
    everything = Asking(server.address, "open", NAMES, 0, 1, 1)
    measure_one(clients, [everything], FILES, server.redirecting)
