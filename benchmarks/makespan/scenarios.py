"""The scenarios, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.makespan.bound import bound_s
from benchmarks.makespan.world import Death, File, Host, Slowdown, World

if TYPE_CHECKING:
    from collections.abc import Callable

FILES: Final = 400
HOSTS: Final = 10
WORKERS_A_HOST: Final = 4
#: Of a file, if nothing is said; the sizes of files spread by `SPREAD_OF_SIZES`.
ENTRIES: Final = 2_600
ENTRY_S: Final = 0.010
ENTRY_BYTES: Final = 300_000.0
DISK_BYTES_PER_S: Final = 400e6
NETWORK_BYTES_PER_S: Final = 125e6
#: Standard deviations of logarithms.
SPREAD_OF_SIZES: Final = 0.5
SPREAD_OF_COSTS: Final = 0.25
SPREAD_OF_SPEEDS: Final = 0.4
JITTER: Final = 0.05


def _hosts(
    rng: random.Random, *, alike: bool, hosts: int = HOSTS, workers: int = WORKERS_A_HOST
) -> tuple[Host, ...]:
    made = []
    for _ in range(hosts):
        speed = 1.0 if alike else rng.lognormvariate(0.0, SPREAD_OF_SPEEDS)
        speeds = tuple(speed * rng.uniform(1 - JITTER, 1 + JITTER) for _ in range(workers))
        made.append(Host(speeds, DISK_BYTES_PER_S, NETWORK_BYTES_PER_S))
    return tuple(made)


def _files(
    rng: random.Random,
    hosts: int,
    *,
    skew: float = 0.0,
    replicas: int = 1,
    entries: int = ENTRIES,
) -> tuple[File, ...]:
    """`skew`: the n-th host has a share of the files that goes with n ** -skew."""
    order = rng.sample(range(hosts), hosts)
    weights = [(order.index(host) + 1) ** -skew for host in range(hosts)]
    made = []
    for number in range(FILES):
        there: list[int] = []
        while len(there) < replicas:
            (host,) = rng.choices(range(hosts), weights)
            if host not in there:
                there.append(host)
        made.append(
            File(
                number,
                max(1, round(entries * rng.lognormvariate(0.0, SPREAD_OF_SIZES))),
                ENTRY_S * rng.lognormvariate(0.0, SPREAD_OF_COSTS),
                ENTRY_BYTES,
                tuple(there),
            )
        )
    return tuple(made)


def homogeneous(rng: random.Random) -> World:
    """Hosts alike, files spread evenly."""
    hosts = _hosts(rng, alike=True)
    return World(hosts, _files(rng, len(hosts)))


def skewed(rng: random.Random) -> World:
    """Hosts of different speed, and some have many more files than others."""
    hosts = _hosts(rng, alike=False)
    return World(hosts, _files(rng, len(hosts), skew=1.0))


def slow_host(rng: random.Random) -> World:
    """One host in ten becomes five times slower after two fifths of the time."""
    hosts = _hosts(rng, alike=True)
    world = World(hosts, _files(rng, len(hosts), skew=0.3))
    at_s = 0.4 * bound_s(world)
    slow = rng.sample(range(len(hosts)), max(1, len(hosts) // 10))
    return replace(world, slowdowns=tuple(Slowdown(at_s, host, 0.2) for host in slow))


def staged(rng: random.Random) -> World:
    """Three files in five arrive while the first four fifths of the time go by."""
    hosts = _hosts(rng, alike=True)
    world = World(hosts, _files(rng, len(hosts), skew=0.3))
    last_s = 0.8 * bound_s(world)
    late = set(rng.sample(range(FILES), FILES * 3 // 5))
    files = tuple(
        replace(file, online_s=rng.uniform(0.0, last_s)) if file.number in late else file
        for file in world.files
    )
    return replace(world, files=files)


def short(rng: random.Random) -> World:
    """Half a minute in all."""
    hosts = _hosts(rng, alike=False)
    return World(hosts, _files(rng, len(hosts), entries=ENTRIES // 10))


def faulty(rng: random.Random) -> World:
    """A worker dies half way, and one file in a hundred is corrupt."""
    world = homogeneous(rng)
    bad = set(rng.sample(range(FILES), FILES // 100))
    files = tuple(replace(file, is_corrupt=file.number in bad) for file in world.files)
    death = Death(0.5 * bound_s(world), rng.randrange(HOSTS), rng.randrange(WORKERS_A_HOST))
    return replace(world, files=files, deaths=(death,))


def many_workers(rng: random.Random) -> World:
    """Two hundred workers on 25 hosts of different speed."""
    hosts = _hosts(rng, alike=False, hosts=25, workers=8)
    return World(hosts, _files(rng, len(hosts), entries=5 * ENTRIES))


def two_replicas(rng: random.Random) -> World:
    """As the skewed one, with every file on two hosts."""
    hosts = _hosts(rng, alike=False)
    return World(hosts, _files(rng, len(hosts), skew=1.0, replicas=2))


SCENARIOS: Final[dict[str, Callable[[random.Random], World]]] = {
    "A": homogeneous,
    "B": skewed,
    "C": slow_host,
    "D": staged,
    "E": short,
    "F": faulty,
    "G": many_workers,
    "R2": two_replicas,
}


def world_of(scenario: str, seed: int) -> World:
    """A scenario with its numbers drawn."""
    return SCENARIOS[scenario](random.Random(f"{scenario} {seed}"))
