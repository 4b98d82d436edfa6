"""Which node is the least loaded: what a new recall would wait for there.

    cost = (bytes left to stage / staging rate + start) x load + fullness

The staging rate is the node's own measured one, or else the median of the site.
The load is 1 for an idle machine and 3 for one whose processors are all busy and
all waiting for disks. The fullness is the share of the quota that will be used
once every recall there has ended, in seconds of a full pool's cost, so that of
idle nodes the emptiest is taken. Ties go to the most free space, then the name.

A node that can run the recall at once goes before one where it would wait for
another to end, whatever they cost: rates measured on a few files are no ground to
leave a machine idle.
"""

from __future__ import annotations

from typing import NamedTuple

Order = tuple[bool, float, int, str]


class Candidate(NamedTuple):
    """The figures of one node that decide."""

    node: str
    bytes_left: int  # promised to it and still to come
    staging_rate: float  # bytes per second, above 0
    cpu_percent: float
    io_wait_percent: float
    used_bytes: int
    promised_bytes: int
    quota_bytes: int
    slots_free: int


class Weights(NamedTuple):
    """What the site lets an empty queue and a full pool cost."""

    start_s: float
    full_pool_s: float


class Cost(NamedTuple):
    """What a recall would wait for on a node, and what it is made of."""

    cost_s: float
    free_bytes: int
    node: str
    wait_s: float
    load: float
    fullness: float
    slots_free: int

    def __str__(self) -> str:
        parts = f"{self.wait_s:.2f} s of staging x {self.load:.2f} load, {self.fullness:.0%} full"
        busy = "" if self.slots_free > 0 else ", no slot free"
        return f"{self.node} costs {self.cost_s:.2f} s ({parts}{busy})"


def cost_of(candidate: Candidate, weights: Weights) -> Cost:
    """The cost of one node."""
    wait_s = candidate.bytes_left / candidate.staging_rate + weights.start_s
    load = 1.0 + (candidate.cpu_percent + candidate.io_wait_percent) / 100.0
    taken_bytes = candidate.used_bytes + candidate.promised_bytes
    fullness = taken_bytes / candidate.quota_bytes if candidate.quota_bytes else 1.0
    cost_s = wait_s * load + fullness * weights.full_pool_s
    free_bytes = candidate.quota_bytes - taken_bytes
    return Cost(cost_s, free_bytes, candidate.node, wait_s, load, fullness, candidate.slots_free)


def order(cost: Cost) -> Order:
    """Sorts costs: the best one first."""
    return (cost.slots_free <= 0, cost.cost_s, -cost.free_bytes, cost.node)
