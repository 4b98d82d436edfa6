"""Why each replica would go or stay: in a dry run of purging, and when it has gone."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common import wording
from dataserver.core.candidates import Advice, Candidates, Ground
from dataserver.core.purge import choose
from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataserver.core.books import Books
    from dataserver.core.candidates import Proposal
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.purge import Goal
    from dataserver.core.replica import Replica


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


def plan(
    books: Books, policy: PurgePolicy, advice: Advice, goal: Goal, now_s: float, limit: int
) -> Plan:
    """What a purge towards `goal` would do now with the `limit` likeliest replicas, and why."""
    victims = choose(books, Candidates(books, policy, advice).propose(now_s), goal, now_s)
    freed_bytes = sum(_replica(books, victim.lfn).size_bytes for victim in victims)
    going = {victim.lfn for victim in victims}
    verdicts = [_goes(books, victim, policy, now_s) for victim in victims[:limit]]
    others = (
        one
        for one in books.everything()
        if one.standing is not Standing.LEAVING and one.lfn not in going
    )
    oldest = heapq.nsmallest(limit - len(verdicts), others, key=lambda one: one.place)
    verdicts.extend(_stays(books, one, advice, goal, now_s) for one in oldest)
    return Plan(tuple(verdicts), _summary(books, policy, goal, victims, freed_bytes))


def ground_in_words(books: Books, victim: Proposal, policy: PurgePolicy, now_s: float) -> str:
    """Why a replica that is still here goes before others."""
    replica = _replica(books, victim.lfn)
    why = policy.words(replica, now_s)
    if victim.ground is Ground.OVER_SHARE:
        groups, group = books.groups, replica.group
        whose = f"group {group} has" if group else "what is of no group has"
        used, share = groups.used_bytes(group), groups.share_bytes(group)
        return f"{whose} {wording.size(used)}, its share is {wording.size(share)}; {why}"
    return f"{victim.ground.value}; {why}" if victim.ground.value else why


def _goes(books: Books, victim: Proposal, policy: PurgePolicy, now_s: float) -> Verdict:
    replica = _replica(books, victim.lfn)
    why = ground_in_words(books, victim, policy, now_s)
    return Verdict(victim.lfn, True, why, replica.size_bytes, _unused_s(replica, now_s))


def _stays(books: Books, replica: Replica, advice: Advice, goal: Goal, now_s: float) -> Verdict:
    unused_s = _unused_s(replica, now_s)
    why = books.veto(replica.lfn, now_s)
    if why is None and replica.lfn in advice.keep:
        why = "kept by the purge command"
    if why is None and not goal:
        why = "nothing has to go"
    if why is None:
        why = f"used {wording.duration(unused_s)} ago; what goes before it is enough"
    return Verdict(replica.lfn, False, why, replica.size_bytes, unused_s)


def _summary(
    books: Books, policy: PurgePolicy, goal: Goal, victims: Sequence[Proposal], freed_bytes: int
) -> str:
    state = "; ".join([books.standing_text(), *_shares(books)])
    if not goal:
        return f"{state}: nothing has to go"
    wanted = goal_in_words(goal)
    text = (
        f"{state}: {len(victims)} files with {wording.size(freed_bytes)} would go,"
        f" to free {wanted} (policy {policy.name})"
    )
    if freed_bytes < goal.size_bytes or len(victims) < goal.files:
        text += "; that is not enough, and nothing else may go"
    return text


def _shares(books: Books) -> list[str]:
    """How much every group uses of its share, if there are shares."""
    groups = books.groups
    return [
        f"{f'group {name}' if name else 'no group'} {wording.size(groups.used_bytes(name))} "
        f"of its share of {wording.size(groups.share_bytes(name))}"
        for name in groups.names()
    ]


def goal_in_words(goal: Goal) -> str:
    """`"50 GB"`, `"200 files"`, or both."""
    parts = []
    if goal.size_bytes > 0:
        parts.append(wording.size(goal.size_bytes))
    if goal.files > 0:
        parts.append(wording.count(goal.files, "file"))
    return " and ".join(parts)


def _replica(books: Books, lfn: str) -> Replica:
    replica = books.get(lfn)
    assert replica is not None, lfn
    return replica


def _unused_s(replica: Replica, now_s: float) -> float:
    return max(0.0, now_s - replica.last_use_s)
