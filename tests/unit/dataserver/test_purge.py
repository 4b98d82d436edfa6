"""Choosing victims: policies propose, the mechanism vetoes, a plan says why."""

from __future__ import annotations

import random

import pytest

from dataserver.core.candidates import Advice, Candidates, Ground, Proposal, Proposals
from dataserver.core.groups import Groups, GroupShare
from dataserver.core.pins import Pin
from dataserver.core.policies import LRU, POLICIES
from dataserver.core.pool import Pool
from dataserver.core.purge import Goal, choose
from dataserver.core.purge_plan import plan
from dataserver.core.replica import Found, Limits, Mark

ALL = Goal(0, 10**9)


def make_pool(files: int, size_bytes: int = 10) -> Pool:
    pool = Pool(Limits.of(files * size_bytes, 0, 0.9, 0.5))
    pool.load(Found(f"/f{number}", size_bytes, float(number)) for number in range(files))
    return pool


def chosen(
    pool: Pool,
    goal: Goal = ALL,
    *,
    policy: str = "lru",
    advice: Advice | None = None,
    now_s: float = 9.0,
    max_files: int | None = None,
) -> list[str]:
    proposals = Candidates(pool, POLICIES[policy], advice).propose(now_s)
    return [victim.lfn for victim in choose(pool, proposals, goal, now_s, max_files)]


def test_the_longest_unused_go_until_enough_bytes_are_free() -> None:
    assert chosen(make_pool(5), Goal(0, 25)) == ["/f0", "/f1", "/f2"]


def test_the_longest_unused_go_until_enough_files_are_free() -> None:
    assert chosen(make_pool(5), Goal(2, 1)) == ["/f0", "/f1"]


def test_no_more_than_asked_for_are_chosen_at_a_time() -> None:
    assert chosen(make_pool(5), Goal(0, 50), max_files=2) == ["/f0", "/f1"]


def test_open_and_pinned_files_are_passed_over() -> None:
    pool = make_pool(4)
    pool.open("/f0", 0.0)
    pool.set_pins("/f1", [Pin("ann", 100.0)], 0.0)
    assert chosen(pool) == ["/f2", "/f3"]


def test_a_policy_is_told_every_veto_and_cannot_do_harm() -> None:
    pool = make_pool(3)
    pool.open("/f0", 0.0)
    told: list[str | None] = []

    def greedy() -> Proposals:
        for lfn in ("/f0", "/f1", "/f1", "/nowhere", "/f2"):
            veto = yield Proposal(lfn, Ground.POLICY)
            told.append(veto)

    assert [one.lfn for one in choose(pool, greedy(), ALL, 9.0)] == ["/f1", "/f2"]
    assert told == ["open", None, "proposed twice", "not held here", None]


def test_the_purge_command_ranks_adds_and_vetoes() -> None:
    pool = make_pool(6)
    pool.open("/f4", 0.0)
    advice = Advice(first=("/f5", "/f4", "/f2"), keep=frozenset({"/f0"}))
    candidates = Candidates(pool, LRU, advice)
    candidates.leave(["/f1"])
    victims = choose(pool, candidates.propose(9.0), ALL, 9.0)
    assert [one.lfn for one in victims] == ["/f5", "/f2", "/f3"]


# --- policies ---------------------------------------------------------------


def test_by_size_what_takes_most_room_for_longest_goes_first() -> None:
    pool = Pool(Limits.of(10_000, 0, 0.9, 0.5))
    pool.load(
        [
            Found("/small-old", 10, 0.0),
            Found("/large-young", 4000, 90.0),
            Found("/large-old", 4000, 50.0),
            Found("/middle", 600, 0.0),
            Found("/empty", 0, 0.0),
        ]
    )
    order = chosen(pool, policy="lru-by-size", now_s=100.0)
    assert order == ["/large-old", "/middle", "/large-young", "/small-old", "/empty"]
    assert chosen(pool, now_s=100.0)[-2:] == ["/large-old", "/large-young"]


def test_done_first_takes_what_sessions_have_done_with_until_it_is_used_again() -> None:
    pool = make_pool(4)
    pool.mark("/f2", Mark.DONE)
    pool.mark("/f3", Mark.DONE)
    assert chosen(pool, policy="done-first") == ["/f2", "/f3", "/f0", "/f1"]
    assert chosen(pool, policy="lru") == ["/f0", "/f1", "/f2", "/f3"]
    pool.close(pool.open("/f2", 5.0), 5.0)
    assert chosen(pool, policy="done-first") == ["/f3", "/f0", "/f1", "/f2"]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_evicted_softly_goes_before_all_others_whatever_the_policy(policy: str) -> None:
    pool = make_pool(5)
    pool.mark("/f4", Mark.SOFT)
    pool.mark("/f3", Mark.DONE)
    pool.mark("/f4", Mark.DONE)
    assert chosen(pool, policy=policy)[0] == "/f4"
    pool.touch("/f4", 6.0)
    assert chosen(pool, policy=policy)[-1] == "/f4"
    pool.check()


def test_a_soft_eviction_is_no_licence_to_take_what_is_open_or_pinned() -> None:
    pool = make_pool(3)
    reader = pool.open("/f0", 3.0)
    pool.mark("/f0", Mark.SOFT)
    pool.set_pins("/f1", [Pin("ann", 100.0)], 0.0)
    pool.mark("/f1", Mark.SOFT)
    assert chosen(pool) == ["/f2"]
    # The end of that reading is none that began since.
    pool.close(reader, 4.0)
    assert chosen(pool) == ["/f0", "/f2"]


def test_marks_that_could_not_be_kept_are_told_again() -> None:
    pool = make_pool(3)
    pool.mark("/f0", Mark.SOFT)
    pool.mark("/f1", Mark.DONE)
    taken = pool.take_remarked()
    pool.touch("/f1", 5.0)
    pool.give_back_remarked(taken)
    assert pool.take_remarked() == {"/f0": Mark.SOFT, "/f1": None}
    assert pool.take_remarked() == {}


def test_new_content_of_a_name_does_not_inherit_the_mark() -> None:
    pool = Pool(Limits.of(100, 0, 0.9, 0.5))
    pool.load([Found("/mine", 10, 1.0, archived=False, mark=Mark.SOFT)])
    assert pool.reserve("u1", 20)
    pool.publish("u1", "/mine", 20, 2.0, archived=False)
    assert pool.take_remarked() == {"/mine": None}
    pool.check()


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_proposes_everything_once(policy: str) -> None:
    rng = random.Random(7)
    groups = Groups([GroupShare("a", ("/a/",), 0.2), GroupShare("b", ("/b/",), 0.1)], 5000)
    pool = Pool(Limits.of(100_000, 0, 0.9, 0.5), groups)
    names = [f"/{rng.choice('abc')}/{number}" for number in range(300)]
    pool.load(
        Found(lfn, rng.randrange(500), rng.random(), mark=rng.choice([None, *Mark]))
        for lfn in names
    )
    pool.check()
    assert sorted(chosen(pool, policy=policy)) == sorted(names)


def test_choosing_looks_at_no_more_than_it_chooses() -> None:
    """However large the pool is: this is what makes a purge O(log n) a file."""

    class Counting(Pool):
        looks = 0

        def get(self, lfn: str):  # type: ignore[no-untyped-def]
            self.looks += 1
            return super().get(lfn)

    rng = random.Random(1)
    looks = []
    for files in (2_000, 20_000):
        pool = Counting(Limits.of(10**12, 0, 0.9, 0.5))
        pool.load(Found(f"/store/{n}", 10, rng.random()) for n in range(files))
        assert len(chosen(pool, Goal(1000, 0), now_s=2.0)) == 1000
        looks.append(pool.looks)
    assert looks[0] == looks[1] < 3_100


def test_what_the_purge_command_keeps_is_passed_over_once_in_a_round() -> None:
    pool = make_pool(1000)
    kept = frozenset(f"/f{number}" for number in range(900))
    candidates = Candidates(pool, LRU, Advice(keep=kept))
    assert len(choose(pool, candidates.propose(2000.0), Goal(1, 0), 2000.0)) == 1
    passed = list(candidates._passed.values())
    assert [place[2] for place in passed] == ["/f899"]
    assert candidates.start_over()
    assert not candidates.start_over()


# --- groups -----------------------------------------------------------------


def shared_pool() -> Pool:
    """Shares of 500: `a` counts on 200, `b` on 100, what is of no group on 200."""
    groups = Groups([GroupShare("a", ("/a/",), 0.4), GroupShare("b", ("/b/", "/a/b/"), 0.2)], 500)
    return Pool(Limits.of(1000, 0, 0.9, 0.5), groups)


def test_the_longest_path_says_whose_a_file_is() -> None:
    groups = shared_pool().groups
    assert [groups.of(lfn) for lfn in ("/a/x", "/a/b/x", "/a/b", "/b/c/d/x", "/ab/x", "/x")] == [
        *("a", "b", "a", "b", "", "")
    ]


def test_who_has_more_than_his_share_gives_it_back_first() -> None:
    pool = shared_pool()
    # What is used within the shares is older than all that is beyond them.
    pool.load(Found(f"/a/{n}", 50, float(n)) for n in range(4))
    pool.load(Found(f"/b/{n}", 50, 10.0 + n) for n in range(4))
    pool.load(Found(f"/c/{n}", 50, 20.0 + n) for n in range(6))
    assert pool.groups.over_bytes() == {"b": 100, "": 100}
    assert chosen(pool, Goal(0, 200)) == ["/b/0", "/b/1", "/c/0", "/c/1"]
    # Beyond that nobody has too much, and the longest unused of all goes.
    assert chosen(pool, Goal(0, 250))[-1] == "/a/0"
    pool.check()


def test_a_share_is_lent_as_long_as_nobody_needs_it() -> None:
    pool = shared_pool()
    pool.load(Found(f"/b/{n}", 50, float(n)) for n in range(10))
    assert chosen(pool, Goal(0, 100)) == ["/b/0", "/b/1"]


def test_what_is_on_its_way_out_is_nobodys_any_more() -> None:
    pool = shared_pool()
    pool.load(Found(f"/b/{n}", 50, float(n)) for n in range(4))
    pool.evict("/b/0")
    pool.evict("/b/1")
    assert pool.groups.over_bytes() == {}
    pool.spare("/b/0")
    assert pool.groups.over_bytes() == {"b": 50}
    pool.check()


def test_shares_follow_the_limits() -> None:
    pool = shared_pool()
    pool.load(Found(f"/b/{n}", 50, float(n)) for n in range(4))
    pool.set_limits(Limits.of(2000, 0, 0.9, 0.5))
    assert (pool.groups.share_bytes("b"), pool.groups.share_bytes("")) == (200, 400)
    assert pool.groups.over_bytes() == {}


def test_a_renamed_file_changes_hands() -> None:
    pool = shared_pool()
    pool.load([Found("/a/x", 50, 1.0)])
    pool.rename("/a/x", "/b/x")
    assert (pool.groups.used_bytes("a"), pool.groups.used_bytes("b")) == (0, 50)
    pool.check()


# --- plans ------------------------------------------------------------------


def test_a_plan_says_why_each_file_goes_or_stays() -> None:
    pool = make_pool(7)
    pool.open("/f1", 100.0)
    pool.set_pins("/f2", [Pin("ann", 400.0)], 0.0)
    pool.mark("/f6", Mark.SOFT)
    advice = Advice(first=("/f4",), keep=frozenset({"/f3"}))
    dry_run = plan(pool, LRU, advice, Goal(0, 25), 100.0, 10)
    told = [(one.lfn, one.goes, one.why) for one in dry_run.verdicts]
    assert told == [
        ("/f4", True, "named by the purge command; unused for 96 s"),
        ("/f6", True, "evicted softly; unused for 94 s"),
        ("/f0", True, "unused for 100 s"),
        ("/f2", False, "pinned by ann for another 5 min"),
        ("/f3", False, "kept by the purge command"),
        ("/f5", False, "used 95 s ago; what goes before it is enough"),
        ("/f1", False, "open"),
    ]
    assert dry_run.summary.endswith("3 files with 30 B would go, to free 25 B (policy lru)")
    assert all(one.standing.value == "held" for one in pool.everything())


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("lru", "group b has 200 B, its share is 100 B; unused for 100 s"),
        ("lru-by-size", "group b has 200 B, its share is 100 B; 50 B unused for 100 s"),
        ("done-first", "group b has 200 B, its share is 100 B; unused for 100 s"),
    ],
)
def test_a_plan_tells_the_policys_reasons_and_the_shares(policy: str, why: str) -> None:
    pool = shared_pool()
    pool.load(Found(f"/b/{n}", 50, float(n)) for n in range(4))
    dry_run = plan(pool, POLICIES[policy], Advice(), Goal(1, 0), 100.0, 1)
    assert [one.why for one in dry_run.verdicts] == [why]
    assert "; group b 200 B of its share of 100 B; no group 0 B of its share of" in dry_run.summary
    assert dry_run.summary.endswith(f"would go, to free 1 file (policy {policy})")


def test_a_plan_that_cannot_reach_its_goal_says_so() -> None:
    pool = make_pool(2)
    pool.open("/f0", 0.0)
    dry_run = plan(pool, LRU, Advice(), Goal(0, 15), 9.0, 10)
    assert dry_run.summary.endswith("that is not enough, and nothing else may go")


def test_a_plan_with_nothing_to_do_says_so_and_keeps_to_its_limit() -> None:
    pool = make_pool(5)
    dry_run = plan(pool, LRU, Advice(), Goal(0, 0), 9.0, 3)
    assert [one.lfn for one in dry_run.verdicts] == ["/f0", "/f1", "/f2"]
    assert {one.why for one in dry_run.verdicts} == {"nothing has to go"}
    assert dry_run.summary.endswith("nothing has to go")


def test_a_round_takes_up_where_its_last_go_ended() -> None:
    pool = make_pool(10)
    candidates = Candidates(pool)
    for first in range(0, 10, 4):
        expected = tuple(f"/f{n}" for n in range(first, min(10, first + 4)))
        victims = choose(pool, candidates.propose(9.0), ALL, 9.0, 4)
        assert tuple(one.lfn for one in victims) == expected
        for one in victims:
            pool.evict(one.lfn)
    # One that could not be removed is back, and found again from the beginning.
    pool.spare("/f3")
    assert not choose(pool, candidates.propose(9.0), ALL, 9.0, 4)
    assert candidates.start_over()
    assert [one.lfn for one in choose(pool, candidates.propose(9.0), ALL, 9.0)] == ["/f3"]
