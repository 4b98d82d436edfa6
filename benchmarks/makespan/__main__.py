"""Every scenario under every scheduler: `python -m benchmarks.makespan [SEEDS [SEED0]]`.

Prints a table, and as its last line one JSON object: scenario → policy → mean of makespan over
bound. Of the baselines with several rules of place the best one is taken.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.table import Table

from benchmarks.makespan.bound import bound_s
from benchmarks.makespan.policies import OURS, schedulers
from benchmarks.makespan.running import Run
from benchmarks.makespan.scenarios import SCENARIOS, world_of

SEEDS = 10
SEED0 = 1
#: Of makespan over bound, on average.
AIMS = {"A": 1.07, "B": 1.08, "C": 1.15, "D": 1.12, "E": 1.20, "G": 1.12}

_Job = tuple[str, str, int]


def _ratio(job: _Job) -> float:
    scenario, policy, seed = job
    world = world_of(scenario, seed)
    return Run(world, schedulers()[policy](world)).go().makespan_s / bound_s(world)


def _measure(seeds: range) -> dict[str, dict[str, float]]:
    """Scenario -> policy, with its rule of place -> mean."""
    jobs = [(name, policy, seed) for name in SCENARIOS for policy in schedulers() for seed in seeds]
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for (name, policy, _), ratio in zip(jobs, processes.map(_ratio, jobs), strict=True):
            ratios[name, policy].append(ratio)
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, policy), several in ratios.items():
        means[name][policy] = statistics.fmean(several)
    return means


def _best(means: dict[str, float]) -> dict[str, float]:
    """Policy -> mean with the best of its rules."""
    best: dict[str, float] = {}
    for name, mean in means.items():
        policy = name.partition("/")[0]
        best[policy] = min(mean, best.get(policy, mean))
    return best


def main(seeds: int, seed0: int) -> None:
    """Plays them all, and prints what they took."""
    results = {name: _best(means) for name, means in _measure(range(seed0, seed0 + seeds)).items()}
    table = Table("scenario", OURS, "aim", "best of the others", *sorted({*results["A"]} - {OURS}))
    for name, means in results.items():
        others = {policy: mean for policy, mean in means.items() if policy != OURS}
        winner = min(others, key=others.__getitem__)
        table.add_row(
            name,
            f"{means[OURS]:.3f}",
            f"≤ {AIMS[name]}" if name in AIMS else "",
            f"{winner} {others[winner]:.3f}",
            *(f"{others[policy]:.2f}" for policy in sorted(others)),
        )
    Console(width=200).print(table)
    print(json.dumps({name: dict(sorted(means.items())) for name, means in results.items()}))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*numbers, *(SEEDS, SEED0)[len(numbers) :])
