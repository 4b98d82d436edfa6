"""Time, chance, and the order of things: one queue of what happens next."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START_S = 1_000_000.0
STORY_LINES = 300


@dataclass(order=True)
class Planned:
    """Something that will happen, unless it is called off."""

    at_s: float
    number: int
    action: Callable[[], None] = field(compare=False)
    called_off: bool = field(default=False, compare=False)

    def call_off(self) -> None:
        """It will not happen."""
        self.called_off = True


class World:
    """One seed's time line. `after_each` runs after everything that happens."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_s = START_S
        self.after_each: list[Callable[[], None]] = []
        self._queue: list[Planned] = []
        self._count = 0
        self._story: deque[str] = deque(maxlen=STORY_LINES)

    def after(self, delay_s: float, action: Callable[[], None]) -> Planned:
        """Plans an action."""
        self._count += 1
        planned = Planned(self.now_s + delay_s, self._count, action)
        heapq.heappush(self._queue, planned)
        return planned

    def delay_s(self, mean_s: float) -> float:
        """A random delay; now and then a long one."""
        return self.rng.expovariate(1 / mean_s)

    def tell(self, text: str) -> None:
        """Adds a line to the story that a failure prints."""
        self._story.append(f"{self.now_s - START_S:10.3f}  {text}")

    def run(self, until_s: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Lets things happen until a time (since the start), or until it is enough."""
        while self._queue and not enough():
            planned = self._queue[0]
            if planned.at_s > START_S + until_s:
                self.now_s = START_S + until_s
                return
            heapq.heappop(self._queue)
            if planned.called_off:
                continue
            self.now_s = max(self.now_s, planned.at_s)
            planned.action()
            for check in self.after_each:
                check()

    def story(self) -> str:
        """The last lines of what happened, and the seed that makes it happen again."""
        return "\n".join([f"seed {self.seed}", *self._story])
