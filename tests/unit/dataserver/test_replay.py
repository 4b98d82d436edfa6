"""An access log played again: what other policies, quotas and shares would have kept."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from dataserver.core.access import Access, AccessKind
from dataserver.core.groups import Groups, GroupShare
from dataserver.core.policies import LRU, POLICIES
from dataserver.core.replay import Outcome, as_it_was, held_before, replay
from dataserver.core.replica import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMITS = Limits.of(100, 0, 0.9, 0.5)
#: A round takes less: two of five files of 20.
GENTLE = Limits.of(100, 0, 0.9, 0.7)
HOUR_S = 3600.0


def log(*said: str, size_bytes: int = 20) -> list[Access]:
    """Lines an hour apart: `recalled /a`, or `used /a 50` with a size."""
    accesses = []
    for number, line in enumerate(said):
        kind, lfn, *size = line.split()
        size_of = int(size[0]) if size else size_bytes
        accesses.append(Access(number * HOUR_S, AccessKind(kind), size_of, lfn))
    return accesses


def played(accesses: Iterable[Access], policy: str = "lru", limits: Limits = LIMITS) -> Outcome:
    return replay(accesses, limits, POLICIES[policy])


def test_what_was_purged_and_is_wanted_again_has_to_be_recalled_again() -> None:
    lines = [f"recalled /{name}" for name in "abcdef"]
    outcome = played(log(*lines, "recalled /a", "used /f"))
    # With the fifth file the pool is above 90, and goes down to 50: a, b and c go.
    assert (outcome.purged, outcome.purged_bytes) == (3, 60)
    assert (outcome.wanted, outcome.recalled, outcome.recalled_bytes) == (8, 7, 140)
    assert (outcome.recalled_again, outcome.recalled_again_bytes) == (1, 20)
    assert outcome.hit_rate == pytest.approx(1 / 8)


def test_a_larger_quota_keeps_more() -> None:
    accesses = log(*(f"recalled /{name}" for name in "abcdefa"))
    assert played(accesses, limits=Limits.of(200, 0, 0.9, 0.5)).recalled_again == 0
    assert played(accesses, limits=Limits.of(200, 3, 0.9, 0.5)).recalled_again == 1


def test_what_was_here_before_the_log_begins_comes_for_nothing() -> None:
    outcome = played(log("used /a", "used /a", "put /b"))
    assert (outcome.wanted, outcome.recalled) == (2, 0)
    assert outcome.hit_rate == 1.0


def test_a_replay_begins_with_what_was_in_the_pool_when_the_log_begins() -> None:
    lines = log("recalled /new", "purged /old", "used /a", "purged /older", "gone /b", "used /new")
    found = held_before(lines)
    assert [one.lfn for one in found] == ["/old", "/older", "/a", "/b"]
    # With these 80 bytes the first recall is one too many, as it was in life.
    limits = Limits.of(90, 0, 0.9, 0.5)
    outcome = replay([*lines, *log("used /old", "used /a")], limits, LRU, found=found)
    assert (outcome.purged, outcome.recalled, outcome.recalled_again) == (2, 2, 1)
    assert replay(lines, limits, LRU).purged == 0


def test_what_is_used_again_at_once_was_wanted_once() -> None:
    accesses = [
        Access(0.0, AccessKind.RECALLED, 20, "/a"),
        *(Access(30.0 * number, AccessKind.USED, 20, "/a") for number in range(1, 5)),
        Access(500.0, AccessKind.USED, 20, "/a"),
    ]
    outcome = played(accesses)
    assert (outcome.wanted, outcome.recalled) == (2, 1)


def test_what_is_larger_than_the_pool_is_refused() -> None:
    outcome = played(log("recalled /small", "recalled /large 101", "used /small"))
    assert (outcome.refused, outcome.purged, outcome.recalled) == (1, 0, 2)


def test_what_somebody_removed_is_no_policys_fault() -> None:
    outcome = played(log("recalled /a", "gone /a", "recalled /a"))
    assert (outcome.recalled, outcome.recalled_again) == (2, 0)


def test_marks_count_as_they_do_in_life() -> None:
    lines = log(
        *(f"recalled /{name}" for name in "abcd"), "done /c", "done /d", "recalled /e", "used /a"
    )
    # The fifth file is one too many; 60 bytes go.
    assert played(lines, "lru").recalled_again == 1
    assert played(lines, "done-first").recalled_again == 1
    soft = [access._replace(kind=AccessKind.SOFT) if n in {4, 5} else access
            for n, access in enumerate(lines)]  # fmt: skip
    assert played(soft, "lru", GENTLE).recalled_again == 0
    assert played(lines, "done-first", GENTLE).recalled_again == 0
    assert played(lines, "lru", GENTLE).recalled_again == 1


def test_many_small_files_are_kept_by_size() -> None:
    small = [f"recalled /small{number} 1" for number in range(20)]
    large = ["recalled /large0 40", "recalled /large1 40", "recalled /large2 40"]
    again = [f"used /small{number} 1" for number in range(20)]
    accesses = log(*small, *large, *again)
    assert played(accesses, "lru", GENTLE).recalled_again == 20
    assert played(accesses, "lru-by-size", GENTLE).recalled_again == 0


def test_shares_of_groups_count() -> None:
    accesses = log(*(f"recalled /a/{n}" for n in range(2)), *(f"recalled /b/{n}" for n in range(3)))
    accesses += [one._replace(unix_s=one.unix_s + 10 * HOUR_S) for one in log("used /a/0")]
    groups = Groups([GroupShare("a", ("/a/",), 0.8), GroupShare("b", ("/b/",), 0.2)], 70)
    assert replay(accesses, GENTLE, LRU).recalled_again == 1
    assert replay(accesses, GENTLE, LRU, groups).recalled_again == 0


def test_what_the_pool_did_itself_is_in_its_log() -> None:
    outcome = as_it_was(
        log("used /old", "recalled /a", "used /a", "purged /a", "recalled /a", "gone /a", "put /b")
    )
    assert outcome == Outcome(
        wanted=4,
        wanted_bytes=80,
        recalled=2,
        recalled_bytes=40,
        recalled_again=1,
        recalled_again_bytes=20,
        purged=1,
        purged_bytes=20,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pool_that_replays_its_own_log_does_as_it_did(policy: str) -> None:
    """Its log is what the first replay did: the same recalls and purges must come of it again."""
    rng = random.Random(3)
    wishes = [
        Access(n * HOUR_S, AccessKind.USED, rng.randrange(1, 40), f"/{int(rng.expovariate(0.1))}")
        for n in range(2_000)
    ]
    sizes = {one.lfn: one.size_bytes for one in wishes}
    wishes = [one._replace(size_bytes=sizes[one.lfn]) for one in wishes]
    first = played(wishes, policy)
    assert first.recalled_again > 100
    assert played(wishes, policy) == first
    # Recalls of what was here before cost nothing; all others do.
    recalled = played((one._replace(kind=AccessKind.RECALLED) for one in wishes), policy)
    assert recalled.recalled_again == first.recalled_again
    assert recalled.recalled == first.recalled + len(sizes)
