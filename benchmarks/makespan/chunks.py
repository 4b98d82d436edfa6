"""How much the schedulers of the literature hand out at a time.

`R` is what nobody was given yet, `N` all there was, `P` the number of workers; all in entries.
A packet ends where its file does at the latest. Sources: the survey of loop scheduling in
hal-01986361 for the formulas; AFS after Markatos and LeBlanc 1994.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from benchmarks.makespan.running import Worker


@dataclass(eq=False, slots=True)
class Measured:
    """What is known of one worker."""

    entries: float = 0.0
    busy_s: float = 0.0
    #: Of the last packet.
    latest_per_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Its rate so far; 0 if nothing was measured."""
        return self.entries / self.busy_s if self.busy_s else 0.0


@dataclass(eq=False, slots=True)
class State:
    """What a rule may look at."""

    total: int
    workers: int
    #: On each host, and on all of them.
    left_at: list[int]
    left: int
    #: The host that the next packet is taken from, and the workers that live on each.
    there: int = 0
    neighbours: int = 1
    #: What has been done.
    done: int = 0
    measured: dict[int, Measured] = field(default_factory=dict)

    def weight(self, worker: Worker) -> float:
        """A worker's measured rate beside the mean of all; 1 as long as it is not known."""
        rates = [one.per_s for one in self.measured.values() if one.per_s]
        mine = self.measured[worker.number].per_s
        return mine * len(rates) / sum(rates) if mine else 1.0


class Rule(Protocol):
    """How many entries a worker is given next."""

    def entries(self, worker: Worker, state: State) -> float:
        """May be less than one, or more than is left."""
        ...


class Affinity:
    """AFS: of what is left on the own host a part for each worker there, of another's one in P."""

    def entries(self, worker: Worker, state: State) -> float:
        """`state.there` is the host."""
        left = state.left_at[state.there]
        return left / (state.neighbours if state.there == worker.host else state.workers)


class Fixed:
    """N/(parts * P), as chunks of coffea and ranges of RDataFrame are fixed beforehand."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def entries(self, worker: Worker, state: State) -> float:  # noqa: ARG002
        """Always the same."""
        return state.total / (self._parts * state.workers)


class Guided:
    """GSS: R/P."""

    def entries(self, worker: Worker, state: State) -> float:  # noqa: ARG002
        """Less and less."""
        return state.left / state.workers


class Trapezoid:
    """TSS: from N/2P down to 1, by the same step each time."""

    def __init__(self) -> None:
        self._next: float | None = None

    def entries(self, worker: Worker, state: State) -> float:  # noqa: ARG002
        """A step less than the one before."""
        first = state.total / (2 * state.workers)
        if self._next is None:
            self._next = first
        steps = 2 * state.total / (first + 1)
        size = self._next
        self._next = max(1.0, size - (first - 1) / max(1.0, steps - 1))
        return size


class Factoring:
    """FAC2: batches of P chunks, each batch half of what is left."""

    def __init__(self) -> None:
        self._in_batch = 0
        self._size = 0.0

    def entries(self, worker: Worker, state: State) -> float:  # noqa: ARG002
        """The same within a batch."""
        if not self._in_batch:
            self._in_batch = state.workers
            self._size = state.left / (2 * state.workers)
        self._in_batch -= 1
        return self._size


class Weighted(Factoring):
    """WF: the chunks of a batch go with the workers' speeds, which are told beforehand."""

    def __init__(self, mean_speed: float) -> None:
        super().__init__()
        self._mean_speed = mean_speed

    def entries(self, worker: Worker, state: State) -> float:
        """More for the quick ones."""
        return super().entries(worker, state) * worker.speed / self._mean_speed


class AdaptiveByBatch(Factoring):
    """AWF-B: the speeds are measured, and looked at once in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._weights: dict[int, float] = {}

    def entries(self, worker: Worker, state: State) -> float:
        """More for those who were quick."""
        if not self._in_batch:
            self._weights.clear()
        size = super().entries(worker, state)
        return size * self._weights.setdefault(worker.number, state.weight(worker))


class AdaptiveByChunk:
    """AWF-C: the same, looked at with every chunk."""

    def entries(self, worker: Worker, state: State) -> float:
        """Half of the share that is due to the worker."""
        return state.weight(worker) * state.left / (2 * state.workers)


class UnitTimes:
    """PROOF's TPacketizerUnit: the share that is due by rate, of one to three seconds.

    The first packet of a worker is one in a hundred of N/P.
    """

    def entries(self, worker: Worker, state: State) -> float:
        """By its rate over the last packets, as described in ROOT's TPacketizerUnit.cxx."""
        rate = state.measured[worker.number].latest_per_s
        if not rate:
            return 0.01 * state.total / state.workers
        rates = [one.latest_per_s for one in state.measured.values() if one.latest_per_s]
        share_s = state.left * len(rates) / (sum(rates) * state.workers)
        return rate * min(3.0, max(1.0, share_s))


class AdaptiveTimes:
    """PROOF's TPacketizerAdaptive: a fourth of the time that is left, of 3 to 20 seconds.

    What is in workers' hands counts as not done. The first packet has 1000 entries.
    """

    def entries(self, worker: Worker, state: State) -> float:
        """As described in ROOT's TPacketizerAdaptive.cxx."""
        mine = state.measured[worker.number]
        if not mine.per_s:
            return 1000
        busy_s = sum(one.busy_s for one in state.measured.values())
        cluster_rate = state.done * state.workers / busy_s
        time_s = (state.total - state.done) / cluster_rate / 4
        return (mine.latest_per_s or mine.per_s) * min(20.0, max(3.0, time_s))
