"""Purging: a policy proposes victims one by one, the mechanism may veto each.

A policy is a generator of names. It is sent back None when its proposal was taken,
and the reason in words when it was vetoed: open, pinned, on its way out, or not safe
in the archive. So a policy can be replaced without being able to do harm, and the
rules that protect a replica stand in one place, `Pool.veto`.

Nothing is removed here. `choose` and `plan` only look; the caller evicts.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common import wording
from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from dataserver.core.pool import Pool
    from dataserver.core.replica import Replica

#: Yields names; is sent the veto, or None if the name was taken.
PurgePolicy = Generator[str, str | None, None]


@dataclass(frozen=True, slots=True)
class Goal:
    """How much has to go."""

    files: int
    size_bytes: int

    def __bool__(self) -> bool:
        return self.files > 0 or self.size_bytes > 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a purge would do with one replica, and why."""

    lfn: str
    goes: bool
    why: str
    size_bytes: int
    unused_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run: verdicts, the victims first, and one line about them all."""

    verdicts: tuple[Verdict, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What the site's purge command said: whom first, in order, and whom to keep."""

    first: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()


def oldest_first(pool: Pool) -> PurgePolicy:
    """The longest unused first. The pool must not change while this runs."""
    for replica in pool.idle():
        yield replica.lfn


def advised(
    pool: Pool,
    advice: Advice,
    leave: AbstractSet[str] = frozenset(),
    until_s: float = math.inf,
) -> PurgePolicy:
    """Whom the purge command named first, then the longest unused, but for those it keeps.

    Names in `leave` are not proposed at all, nor, unless they were named, files that
    were used after `until_s` (Unix seconds).
    """
    named = set(advice.first)
    for lfn in advice.first:
        if lfn not in leave:
            yield lfn
    for replica in pool.idle():
        lfn = replica.lfn
        if replica.last_use_s > until_s:
            return
        if lfn not in named and lfn not in advice.keep and lfn not in leave:
            yield lfn


def choose(
    pool: Pool, policy: PurgePolicy, goal: Goal, now_s: float, max_files: int | None = None
) -> list[str]:
    """Victims that reach `goal`, or as many as the policy and the vetoes allow.

    Stops after `max_files` victims. O(log n) or better for each proposal.
    """
    victims: list[str] = []
    taken: set[str] = set()
    files, size_bytes = goal.files, goal.size_bytes
    veto: str | None = None
    started = False
    while (files > 0 or size_bytes > 0) and (max_files is None or len(victims) < max_files):
        try:
            lfn = policy.send(veto) if started else next(policy)
        except StopIteration:
            break
        started = True
        veto = "proposed twice" if lfn in taken else pool.veto(lfn, now_s)
        if veto is None:
            replica = pool.get(lfn)
            assert replica is not None, lfn
            taken.add(lfn)
            victims.append(lfn)
            files -= 1
            size_bytes -= replica.size_bytes
    policy.close()
    return victims


def plan(pool: Pool, advice: Advice, goal: Goal, now_s: float, limit: int) -> Plan:
    """What a purge towards `goal` would do now with the `limit` likeliest replicas, and why."""
    victims = choose(pool, advised(pool, advice), goal, now_s)
    freed_bytes = 0
    for lfn in victims:
        victim = pool.get(lfn)
        assert victim is not None, lfn
        freed_bytes += victim.size_bytes
    going = set(victims)
    named = set(advice.first)
    verdicts = [_goes(pool, lfn, lfn in named, now_s) for lfn in victims[:limit]]
    others = (one for one in _every(pool) if one.lfn not in going)
    oldest = heapq.nsmallest(limit - len(verdicts), others, key=lambda one: one.place)
    verdicts.extend(_stays(pool, one, advice, goal, now_s) for one in oldest)
    return Plan(tuple(verdicts), _summary(pool, goal, victims, freed_bytes))


def _every(pool: Pool) -> list[Replica]:
    return [one for one in pool.everything() if one.standing is not Standing.LEAVING]


def _goes(pool: Pool, lfn: str, named: bool, now_s: float) -> Verdict:
    replica = pool.get(lfn)
    assert replica is not None, lfn
    unused_s = max(0.0, now_s - replica.last_use_s)
    why = f"unused for {wording.duration(unused_s)}"
    if named:
        why = f"named by the purge command; {why}"
    return Verdict(lfn, True, why, replica.size_bytes, unused_s)


def _stays(pool: Pool, replica: Replica, advice: Advice, goal: Goal, now_s: float) -> Verdict:
    unused_s = max(0.0, now_s - replica.last_use_s)
    why = pool.veto(replica.lfn, now_s)
    if why is None and replica.lfn in advice.keep:
        why = "kept by the purge command"
    if why is None and not goal:
        why = "nothing has to go"
    if why is None:
        why = f"used {wording.duration(unused_s)} ago; what was used longer ago is enough"
    return Verdict(replica.lfn, False, why, replica.size_bytes, unused_s)


def _summary(pool: Pool, goal: Goal, victims: Sequence[str], freed_bytes: int) -> str:
    state = pool.standing_text()
    if not goal:
        return f"{state}: nothing has to go"
    wanted = wording.size(goal.size_bytes) if goal.size_bytes else f"{goal.files} files"
    text = (
        f"{state}: {len(victims)} files with {wording.size(freed_bytes)} would go, to free {wanted}"
    )
    if freed_bytes < goal.size_bytes or len(victims) < goal.files:
        text += "; that is not enough, and nothing else may go"
    return text
