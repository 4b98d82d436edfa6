"""Choosing victims: policies propose, the mechanism vetoes, a plan says why."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from dataserver.core.pool import Pool
from dataserver.core.purge import Advice, Goal, advised, choose, oldest_first, plan
from dataserver.core.replica import Found, Limits

if TYPE_CHECKING:
    from dataserver.core.purge import PurgePolicy


def make_pool(files: int, size_bytes: int = 10) -> Pool:
    pool = Pool(Limits.of(files * size_bytes, 0, 0.9, 0.5))
    pool.load(Found(f"/f{number}", size_bytes, float(number)) for number in range(files))
    return pool


def test_the_longest_unused_go_until_enough_bytes_are_free() -> None:
    pool = make_pool(5)
    assert choose(pool, oldest_first(pool), Goal(0, 25), 9.0) == ["/f0", "/f1", "/f2"]


def test_the_longest_unused_go_until_enough_files_are_free() -> None:
    pool = make_pool(5)
    assert choose(pool, oldest_first(pool), Goal(2, 1), 9.0) == ["/f0", "/f1"]


def test_no_more_than_asked_for_are_chosen_at_a_time() -> None:
    pool = make_pool(5)
    assert choose(pool, oldest_first(pool), Goal(0, 50), 9.0, 2) == ["/f0", "/f1"]


def test_open_and_pinned_files_are_passed_over() -> None:
    pool = make_pool(4)
    pool.open("/f0", 0.0)
    pool.set_pins("/f1", [("ann", 100.0)], 0.0)
    assert choose(pool, oldest_first(pool), Goal(0, 1000), 9.0) == ["/f2", "/f3"]


def test_a_policy_is_told_every_veto_and_cannot_do_harm() -> None:
    pool = make_pool(3)
    pool.open("/f0", 0.0)
    told: list[str | None] = []

    def greedy() -> PurgePolicy:
        for lfn in ("/f0", "/f1", "/f1", "/nowhere", "/f2"):
            veto = yield lfn
            told.append(veto)

    assert choose(pool, greedy(), Goal(0, 1000), 9.0) == ["/f1", "/f2"]
    assert told == ["open", None, "proposed twice", "not held here", None]


def test_the_purge_command_ranks_adds_and_vetoes() -> None:
    pool = make_pool(6)
    pool.open("/f4", 0.0)
    advice = Advice(first=("/f5", "/f4", "/f2"), keep=frozenset({"/f0"}))
    chosen = choose(pool, advised(pool, advice, {"/f1"}), Goal(0, 1000), 9.0)
    assert chosen == ["/f5", "/f2", "/f3"]


def test_a_plan_says_why_each_file_goes_or_stays() -> None:
    pool = make_pool(6)
    pool.open("/f1", 100.0)
    pool.set_pins("/f2", [("ann", 400.0)], 0.0)
    advice = Advice(first=("/f4",), keep=frozenset({"/f3"}))
    dry_run = plan(pool, advice, Goal(0, 15), 100.0, 10)
    told = [(one.lfn, one.goes, one.why) for one in dry_run.verdicts]
    assert told == [
        ("/f4", True, "named by the purge command; unused for 96 s"),
        ("/f0", True, "unused for 100 s"),
        ("/f2", False, "pinned by ann for another 5 min"),
        ("/f3", False, "kept by the purge command"),
        ("/f5", False, "used 95 s ago; what was used longer ago is enough"),
        ("/f1", False, "open"),
    ]
    assert dry_run.summary.endswith("2 files with 20 B would go, to free 15 B")
    assert all(one.standing.value == "held" for one in pool.everything())


def test_a_plan_that_cannot_reach_its_goal_says_so() -> None:
    pool = make_pool(2)
    pool.open("/f0", 0.0)
    dry_run = plan(pool, Advice(), Goal(0, 15), 9.0, 10)
    assert dry_run.summary.endswith("that is not enough, and nothing else may go")


def test_a_plan_with_nothing_to_do_says_so_and_keeps_to_its_limit() -> None:
    pool = make_pool(5)
    dry_run = plan(pool, Advice(), Goal(0, 0), 9.0, 3)
    assert [one.lfn for one in dry_run.verdicts] == ["/f0", "/f1", "/f2"]
    assert {one.why for one in dry_run.verdicts} == {"nothing has to go"}
    assert dry_run.summary.endswith("nothing has to go")


def test_a_tenth_of_two_hundred_thousand_files_is_chosen_in_a_moment() -> None:
    rng = random.Random(1)
    pool = Pool(Limits.of(10**12, 0, 0.9, 0.5))
    pool.load(Found(f"/store/{n}", 10, rng.random()) for n in range(200_000))
    before_s = time.perf_counter()
    victims = choose(pool, oldest_first(pool), Goal(20_000, 0), 2.0)
    spent_s = time.perf_counter() - before_s
    assert len(victims) == 20_000
    assert spent_s < 1.0
