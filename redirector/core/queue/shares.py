"""Who is counted together when recalls are given out, and what each of them has had.

A *share* is one owner within one activity. Among the shares that can have a recall
now, it is the turn of the one that has *had* least: the bytes brought for it, each
recall counted with a fixed cost besides, divided by its weight. The weight of a share
is that of its activity, split among the owners that wait in it by weights of their
own: so an activity gets no more by having more owners.

What a share did not use while it wanted nothing, or could have nothing, is not saved
up for it: it begins where the turns have come to. This is start-time fair queueing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sortedcontainers import SortedKeyList

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from redirector.core.queue.lanes import Lane
    from redirector.core.queue.volumes import Loose, Volume

#: Shares that want nothing are swept out when there are so many, and twice as many.
_SWEPT_FROM = 1_000


class ShareKey(NamedTuple):
    """Whose share it is; "" is whoever named none."""

    activity: str
    owner: str

    def __str__(self) -> str:
        owner = self.owner or "somebody"
        return f"{owner} ({self.activity})" if self.activity else owner


@dataclass(frozen=True, slots=True)
class Weights:
    """How much more than others some activities and owners get; those not named have 1."""

    activities: Mapping[str, float] = field(default_factory=dict)
    owners: Mapping[str, float] = field(default_factory=dict)


class _Activity:
    """The owners of one activity that want something, as the sum of their weights."""

    __slots__ = ("owners_weight", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.owners_weight = 0.0


class Share:
    """One share: what it has had, and where its recalls stand."""

    __slots__ = (
        "_activity",
        "alone",
        "had",
        "key",
        "lanes",
        "number",
        "recalls",
        "served_s",
        "turns",
        "weight",
    )

    def __init__(self, key: ShareKey, number: int, activity: _Activity, weight: float) -> None:
        self.key = key
        self.number = number
        self.weight = weight  # among the owners of its activity
        self.had = 0.0  # in bytes over weight
        self.recalls = 0  # live ones that it wants
        self.served_s = 0.0  # when it was last given one
        self.alone = (self,)
        self.lanes: dict[Loose | Volume, Lane] = {}
        self.turns: dict[Turns, None] = {}  # that it waits in
        self._activity = activity

    @property
    def weight_now(self) -> float:
        """Its part of the weight of its activity, as long as the same owners want something."""
        return self._activity.weight * self.weight / max(self._activity.owners_weight, self.weight)

    def want(self, recalls: int) -> None:
        """Counts recalls that it wants, or with a number below 0 wants no longer."""
        before, self.recalls = self.recalls, self.recalls + recalls
        assert self.recalls >= 0
        if bool(before) != bool(self.recalls):
            change = self.weight if self.recalls else -self.weight
            self._activity.owners_weight = max(0.0, self._activity.owners_weight + change)


class Turns:
    """Shares in the order of their turns."""

    __slots__ = ("_shares",)

    def __init__(self) -> None:
        self._shares: SortedKeyList[Share] = SortedKeyList(key=_turn)

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[Share]:
        return iter(self._shares)

    def add(self, share: Share) -> None:
        """A share waits here."""
        self._shares.add(share)
        share.turns[self] = None

    def remove(self, share: Share) -> None:
        """A share waits here no longer."""
        self._shares.remove(share)
        del share.turns[self]

    def first(self, besides: Container[Share] = ()) -> Share | None:
        """The share whose turn it is."""
        return next((share for share in self._shares if share not in besides), None)

    def before(self, share: Share) -> int:
        """How many shares have their turn before this one."""
        return self._shares.bisect_key_left(_turn(share))

    def check(self) -> None:
        """Asserts that shares stand in order, each once."""
        turns = [_turn(share) for share in self._shares]
        assert turns == sorted(set(turns))
        assert all(self in share.turns for share in self._shares)


class Shares:
    """All shares that want something, or owe something."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._shares: dict[ShareKey, Share] = {}
        self._activities: dict[str, _Activity] = {}
        self._numbers = 0
        self._sweep_at = _SWEPT_FROM
        self._reached = 0.0  # where the turns have come to

    def reweigh(self, weights: Weights) -> None:
        """Other weights hold from here on; what was had stays as it was counted."""
        self._weights = weights
        for name, activity in self._activities.items():
            activity.weight = weights.activities.get(name, 1.0)
            activity.owners_weight = 0.0
        for key, share in self._shares.items():
            share.weight = weights.owners.get(key.owner, 1.0)
            if share.recalls:
                self._activities[key.activity].owners_weight += share.weight

    def of(self, key: ShareKey) -> Share:
        """The share of this key."""
        share = self._shares.get(key)
        if share is None:
            self._sweep()
            share = self._shares[key] = self._new(key)
        return share

    def want(self, share: Share) -> None:
        """A share wants one recall more."""
        if not share.recalls:
            self._move(share, max(share.had, self._reached))
        share.want(1)

    def charge(self, share: Share, cost_bytes: float) -> None:
        """A share has had something; or, below 0, less than was thought."""
        self._move(share, max(share.had, self._reached) + cost_bytes / share.weight_now)

    def reached(self, had: float) -> None:
        """It was the turn of a share that had had so much."""
        self._reached = max(self._reached, had)

    def in_turn(self) -> list[Share]:
        """All that want something, those that have had least first."""
        return sorted((share for share in self._shares.values() if share.recalls), key=_turn)

    def check(self) -> None:
        """Asserts that weights and counts agree."""
        wanting: dict[str, float] = dict.fromkeys(self._activities, 0.0)
        for key, share in self._shares.items():
            assert share.key == key
            assert share.had >= 0
            if share.recalls:
                wanting[key.activity] += share.weight
            else:
                assert not share.lanes
                assert not share.turns
        for name, activity in self._activities.items():
            assert abs(activity.owners_weight - wanting[name]) < 1e-6 * (1 + wanting[name])

    # --- inside ---

    def _new(self, key: ShareKey) -> Share:
        activity = self._activities.get(key.activity)
        if activity is None:
            weight = self._weights.activities.get(key.activity, 1.0)
            activity = self._activities[key.activity] = _Activity(weight)
        self._numbers += 1
        return Share(key, self._numbers, activity, self._weights.owners.get(key.owner, 1.0))

    def _move(self, share: Share, had: float) -> None:
        """Sets what a share has had, and its place wherever it waits."""
        if had == share.had:
            return
        waits_in = list(share.turns)
        for turns in waits_in:
            turns.remove(share)
        share.had = max(0.0, had)
        for turns in waits_in:
            turns.add(share)

    def _sweep(self) -> None:
        """Forgets shares that want nothing and owe nothing, now and then."""
        if len(self._shares) < self._sweep_at:
            return
        self._shares = {
            key: share
            for key, share in self._shares.items()
            if share.recalls or share.had > self._reached
        }
        used = {key.activity for key in self._shares}
        self._activities = {name: one for name, one in self._activities.items() if name in used}
        self._sweep_at = max(_SWEPT_FROM, 2 * len(self._shares))


def _turn(share: Share) -> tuple[float, int]:
    return (share.had, share.number)
