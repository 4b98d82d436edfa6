"""Samples of several servers, measured in turn, and what they say about ours."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import Figure
from benchmarks.root.peers import OURS, XROOTD, cpu_s

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from benchmarks.root.clients import Clients
    from benchmarks.root.jobs import Job


class Case(NamedTuple):
    """Something that is done to every server; `aim` is for the ratio of ours to XRootD."""

    key: str
    what: str
    unit: str  # of what is done, in a second
    cost_unit: str  # of the servers' CPU time for one: "µs" or "s"
    aim: float | None = None


class Sample(NamedTuple):
    """How much of it was done in a second, and the server's CPU time for one, in seconds."""

    rate: float
    cost_s: float


@dataclass(slots=True)
class Comparison:
    """All samples by case and server, in the order of the rounds."""

    samples: dict[Case, dict[str, list[Sample]]] = field(default_factory=dict)

    def note(self, case: Case, server: str, sample: Sample) -> None:
        """Adds one sample."""
        self.samples.setdefault(case, {}).setdefault(server, []).append(sample)

    def figures(self) -> list[Figure]:
        """The medians over all rounds; of ratios, of what was measured in one round."""
        return [_figure(case, servers) for case, servers in self.samples.items()]


def measure(clients: Clients, jobs: Sequence[Job], amount: float, pids: Collection[int]) -> Sample:
    """Has each client do a job, all at the same time; together they do `amount`."""
    clients.get_ready(jobs)
    used_s = cpu_s(pids)
    ran = clients.go(len(jobs))
    return Sample(amount / ran.took_s, (cpu_s(pids) - used_s) / amount)


def _figure(case: Case, servers: dict[str, list[Sample]]) -> Figure:
    beside = tuple(part for name in servers for part in _parts(case, name, servers[name]))
    if OURS not in servers or XROOTD not in servers:
        first, *others = beside
        name = next(iter(servers))
        what = f"{case.what}: {name}"
        return Figure(first.key, what, first.value, first.unit, beside=tuple(others))
    ratios = [
        ours.rate / peer.rate for ours, peer in zip(servers[OURS], servers[XROOTD], strict=True)
    ]
    key = f"{case.key}_ratio"
    return Figure(key, case.what, statistics.median(ratios), "x", case.aim, beside=beside)


def _parts(case: Case, name: str, samples: Sequence[Sample]) -> Iterator[Figure]:
    side = name.lower().replace(", ", "_")
    rate = statistics.median(sample.rate for sample in samples)
    # The kernel counts CPU time in steps of 10 ms.
    cost = statistics.fmean(sample.cost_s for sample in samples)
    yield Figure(f"{case.key}_{side}_per_s", name, rate, f"{case.unit}/s")
    if case.cost_unit == "µs":
        yield Figure(f"{case.key}_{side}_cpu_us", "CPU", cost * 1e6, "µs")
    else:
        yield Figure(f"{case.key}_{side}_cpu_s", "CPU", cost, f"s/{case.unit}")
