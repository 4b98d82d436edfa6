"""No scheduler can be faster than this.

The best that a fluid could do: work may be cut as finely as one likes, opening a file and asking
for work cost nothing, and everything to come is known. What remains is the speed of the workers
as it changes, when the files arrive, and what disks and network interfaces let through. For a
given time a linear program says whether all of it can be done (its variables: how much of the
work on these hosts is read from that one and done on that other one); the time is found by
bisection.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linprog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.makespan.world import File, World

_EXACT: Final = 1e-3


def bound_s(world: World) -> float:
    """The shortest time in which all good files can be done."""
    files = world.good_files
    arrivals = sorted({file.online_s for file in files})
    late = max(
        _shortest(
            lambda end_s, since_s=since_s: _done(world, since_s, end_s) >= _work(files, since_s)
        )  # type: ignore[misc]
        for since_s in _some(arrivals)
    )
    return max(late, _shortest(lambda end_s: _is_possible(world, files, end_s), at_least=late))


def _some(arrivals: Sequence[float]) -> Sequence[float]:
    """Enough of many times to begin at; more would say the same."""
    return arrivals[:: max(1, len(arrivals) // 200)]


def _work(files: Sequence[File], since_s: float) -> float:
    return sum(file.work_s for file in files if file.online_s >= since_s)


def _shortest(is_enough: Callable[[float], bool], at_least: float = 0.0) -> float:
    low_s, high_s = at_least, max(1.0, at_least)
    if at_least and is_enough(at_least):
        return at_least
    while not is_enough(high_s):
        low_s, high_s = high_s, 2 * high_s
    while high_s - low_s > _EXACT * high_s:
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if is_enough(middle_s) else (middle_s, high_s)
    return high_s


def _done(world: World, since_s: float, end_s: float) -> float:
    """What all workers together can do between two times, in seconds at speed 1."""
    return sum(_done_at(world, host, since_s, end_s) for host in range(len(world.hosts)))


def _done_at(world: World, host: int, since_s: float, end_s: float) -> float:
    alive = [
        (
            speed,
            min(
                [
                    end_s,
                    *(one.at_s for one in world.deaths if (one.host, one.place) == (host, place)),
                ]
            ),
        )
        for place, speed in enumerate(world.hosts[host].speeds)
    ]
    total = 0.0
    factor, now_s = 1.0, 0.0
    changes = sorted((one.at_s, one.factor) for one in world.slowdowns if one.host == host)
    for at_s, next_factor in [*changes, (end_s, 0.0)]:
        begin_s, stop_s = max(now_s, since_s), min(at_s, end_s)
        total += factor * sum(
            speed * max(0.0, min(stop_s, dies_s) - begin_s) for speed, dies_s in alive
        )
        factor, now_s = next_factor, at_s
    return total


def _is_possible(world: World, files: Sequence[File], end_s: float) -> bool:
    """Whether disks and interfaces let all of it be done in time."""
    hosts = len(world.hosts)
    work: dict[tuple[int, ...], float] = defaultdict(float)
    sizes: dict[tuple[int, ...], float] = defaultdict(float)
    for file in files:
        key = tuple(sorted(file.hosts))
        work[key] += file.work_s
        sizes[key] += file.size_bytes
    ways = [(key, source, place) for key in work for source in key for place in range(hosts)]
    everything = np.zeros((len(work), len(ways)))
    limits = np.zeros((4 * hosts, len(ways)))
    rows = {key: row for row, key in enumerate(work)}
    for column, (key, source, place) in enumerate(ways):
        everything[rows[key], column] = 1.0
        limits[place, column] = work[key]
        limits[hosts + source, column] = sizes[key]
        if source != place:
            limits[2 * hosts + source, column] = sizes[key]
            limits[3 * hosts + place, column] = sizes[key]
    available = [
        *(_done_at(world, host, 0.0, end_s) for host in range(hosts)),
        *(host.disk_bytes_per_s * end_s for host in world.hosts),
        *(host.network_bytes_per_s * end_s for host in world.hosts),
        *(host.network_bytes_per_s * end_s for host in world.hosts),
    ]
    scale = np.maximum(np.array(available), 1e-9)
    found = linprog(
        np.zeros(len(ways)),
        A_ub=limits / scale[:, None],
        b_ub=np.ones(4 * hosts),
        A_eq=everything,
        b_eq=np.ones(len(work)),
        bounds=(0, None),
        method="highs",
    )
    return bool(found.status == 0)
