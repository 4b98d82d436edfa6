"""Choosing 100,000 victims out of a pool of a million replicas, by every policy; its access log.

The pool is as bad as it gets for that: three groups with shares, sizes over seven decades,
and every mark there is, so that there are as many shelves as a real pool could have.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure
from dataserver.access_log import AccessLog, files_of, read
from dataserver.core.access import Access, AccessKind
from dataserver.core.candidates import Advice, Candidates
from dataserver.core.groups import Groups, GroupShare
from dataserver.core.policies import LRU, POLICIES
from dataserver.core.pool import Pool
from dataserver.core.purge import Goal, choose
from dataserver.core.purging import BATCH_FILES
from dataserver.core.replay import replay
from dataserver.core.replica import Found, Limits, Mark

REPLICAS = 1_000_000
ACCESSES = 300_000
VICTIMS = 100_000
NOW_S = 2_000_000_000.0
GROUPS = ("higgs", "top", "user")


def measure() -> list[Figure]:
    """Times loading, the choice by every policy, a whole round, and writing and playing a log."""
    pool, load_s = _pool(random.Random(1))
    figures = [Figure("load_s", "reading a million replicas into the books", load_s, "s")]
    for policy in POLICIES.values():
        begun_s = time.perf_counter()
        proposals = Candidates(pool, policy).propose(NOW_S)
        victims = choose(pool, proposals, Goal(VICTIMS, 0), NOW_S)
        spent_s = time.perf_counter() - begun_s
        assert len(victims) == VICTIMS
        what = f"choosing 100,000 of 1,000,000 by {policy.name}"
        key = f"choose_{policy.name.replace('-', '_')}_s"
        figures.append(Figure(key, what, spent_s, "s", at_most=1.0))
    kept = frozenset(one.lfn for one, _ in zip(pool.idle(), range(VICTIMS), strict=False))
    begun_s = time.perf_counter()
    _whole_round(pool, Candidates(pool, LRU, Advice(keep=kept)))
    spent_s = time.perf_counter() - begun_s
    what = "choosing them in batches, past 100,000 that a purge command keeps, and dropping them"
    figures.append(Figure("round_s", what, spent_s, "s"))
    each_us = spent_s / VICTIMS * 1e6
    figures.append(Figure("round_file_us", "that, for each file", each_us, "µs"))
    with TemporaryDirectory() as folder:
        return figures + _log_figures(Path(folder))


def _log_figures(folder: Path) -> list[Figure]:
    """What a log of half as many accesses again as there are files costs."""
    rng = random.Random(2)
    accesses = [
        Access(
            NOW_S + 100.0 * number, AccessKind.USED, 1_000_000_000, f"/store/events_{file:07}.root"
        )
        for number in range(ACCESSES)
        for file in (int(rng.paretovariate(0.3)) % (ACCESSES * 2 // 3),)
    ]
    log = AccessLog(folder, 1 << 30)
    begun_s = time.perf_counter()
    for start in range(0, ACCESSES, 1_000):
        log.write(accesses[start : start + 1_000])
    log.close()
    written_s = time.perf_counter()
    size_bytes = sum(path.stat().st_size for path in files_of(folder))
    limits = Limits.of(ACCESSES // 10 * 1_000_000_000, 0, 0.95, 0.9)
    outcome = replay(read(files_of(folder)), limits, LRU)
    played_s = time.perf_counter()
    assert outcome.wanted > ACCESSES // 2
    return [
        Figure(
            "log_line_us", "a line of the access log", (written_s - begun_s) / ACCESSES * 1e6, "µs"
        ),
        Figure("log_line_bytes", "its size", size_bytes / ACCESSES, "B"),
        Figure("replay_s", "playing 300,000 accesses again by lru", played_s - written_s, "s"),
    ]


def _pool(rng: random.Random) -> tuple[Pool, float]:
    """The pool, and how long it took to read it into the books."""
    marks = (None, None, None, *Mark)
    found = [
        Found(
            f"/store/{rng.choice(GROUPS)}/run{i // 1000:04}/events_{i:07}.root",
            int(10 ** rng.uniform(3, 10)),
            NOW_S - rng.random() * 1e6,
            mark=rng.choice(marks),
        )
        for i in range(REPLICAS)
    ]
    used_bytes = sum(one.size_bytes for one in found)
    begun_s = time.perf_counter()
    shares = [GroupShare(name, (f"/store/{name}/",), 0.25) for name in GROUPS]
    pool = Pool(Limits.of(used_bytes, 0, 0.95, 0.9), Groups(shares, used_bytes))
    pool.load(found)
    return pool, time.perf_counter() - begun_s


def _whole_round(pool: Pool, candidates: Candidates) -> None:
    """Chooses and drops in batches, as a round of purging does."""
    left = VICTIMS
    while left:
        proposals = candidates.propose(NOW_S)
        victims = choose(pool, proposals, Goal(left, 0), NOW_S, BATCH_FILES)
        for victim in victims:
            pool.evict(victim.lfn)
            pool.drop(victim.lfn)
        left -= len(victims)
