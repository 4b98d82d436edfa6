"""Choosing 100,000 victims out of a pool of a million replicas."""

from __future__ import annotations

import random
import time

from benchmarks.figures import Figure
from dataserver.core.pool import Pool
from dataserver.core.purge import Goal, choose, oldest_first
from dataserver.core.replica import Found, Limits

REPLICAS = 1_000_000
VICTIMS = 100_000
SIZE_BYTES = 1_000_000_000
NOW_S = 2_000_000_000.0


def measure() -> list[Figure]:
    """Times the choice, and taking the victims out of the books."""
    rng = random.Random(1)
    pool = Pool(Limits.of(REPLICAS * SIZE_BYTES, 0, 0.95, 0.9))
    begun_s = time.perf_counter()
    pool.load(
        Found(
            f"/store/run{i // 1000:04}/events_{i:07}.root", SIZE_BYTES, NOW_S - rng.random() * 1e6
        )
        for i in range(REPLICAS)
    )
    loaded_s = time.perf_counter()
    victims = choose(pool, oldest_first(pool), Goal(VICTIMS, 0), NOW_S)
    chosen_s = time.perf_counter()
    assert len(victims) == VICTIMS
    for lfn in victims:
        pool.evict(lfn)
        pool.drop(lfn)
    dropped_s = time.perf_counter()
    return [
        Figure("load_s", "reading a million replicas into the books", loaded_s - begun_s, "s"),
        Figure("choose_s", "choosing 100,000 of 1,000,000", chosen_s - loaded_s, "s", at_most=1.0),
        Figure("drop_s", "taking those out of the books", dropped_s - chosen_s, "s"),
        Figure(
            "choose_and_drop_us",
            "both, for each file",
            (dropped_s - loaded_s) / VICTIMS * 1e6,
            "µs",
        ),
    ]
