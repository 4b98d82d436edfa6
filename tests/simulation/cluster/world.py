"""Time, chance, and the order of things: one queue of what happens next."""

from __future__ import annotations

import heapq
import math
import random
import re
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START_S = 1_000_000.0
STORY_LINES = 300
#: Moments are multiples of this. So are the hosts' clocks set off, and a difference of two
#: readings of one clock is the same, to the last bit, however wrong that clock is.
GRAIN_S = 2.0**-20


class Crashed(Exception):
    """A process has died in the midst of what it did: `end` is what becomes of it."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__("crashed")
        self.end = end


class Planned:
    """Something that will happen, unless it is called off."""

    __slots__ = ("action", "called_off")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.called_off = False

    def call_off(self) -> None:
        """It will not happen."""
        self.called_off = True


class World:
    """One seed's time line. `after_each` runs after everything that happens.

    `touched` collects the names of the hosts that something has happened to; the checks
    look at these, and empty it.
    """

    def __init__(self, seed: int, *, story_lines: int | None = STORY_LINES) -> None:
        """`story_lines`: how many of the last lines are kept; None keeps all."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_s = START_S
        self.steps = 0
        #: How many clocks hosts were given.
        self.clocks = 0
        self.after_each: list[Callable[[], None]] = []
        self.touched: set[str] = set()
        #: Called after every effect with the host that had it, and what it was.
        self.on_effect: Callable[[str, str], None] = lambda _host, _what: None
        self._queue: list[tuple[float, int, Planned]] = []
        self._count = 0
        self._story: deque[str] = deque(maxlen=story_lines)

    @property
    def elapsed_s(self) -> float:
        """How long the world has existed."""
        return self.now_s - START_S

    def after(self, delay_s: float, action: Callable[[], None]) -> Planned:
        """Plans an action."""
        self._count += 1
        planned = Planned(action)
        at_s = math.ceil((self.now_s + delay_s) / GRAIN_S) * GRAIN_S
        heapq.heappush(self._queue, (at_s, self._count, planned))
        return planned

    def delay_s(self, mean_s: float) -> float:
        """A random delay; now and then a long one."""
        return self.rng.expovariate(1 / mean_s)

    def tell(self, text: str) -> None:
        """Adds a line to the story that a failure prints."""
        self._story.append(f"{self.elapsed_s:10.3f}  {text}")

    def effect(self, host: str, what: str) -> None:
        """Something has been done that others see or that outlives its process.

        A disk operation, a commit of a database, a message: after any of them may come a
        crash, and the crash sweep has one come after each.
        """
        self.on_effect(host, what)

    def run(self, until_s: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Lets things happen until a time (since the start), or until it is enough."""
        while self._queue and not enough():
            at_s, _, planned = self._queue[0]
            if at_s > START_S + until_s:
                self.now_s = START_S + until_s
                return
            heapq.heappop(self._queue)
            if planned.called_off:
                continue
            self.now_s = max(self.now_s, at_s)
            self.steps += 1
            try:
                planned.action()
            except Crashed as crash:
                crash.end()
            for check in self.after_each:
                check()
            self.touched.clear()

    def story(self, about: str = "") -> list[str]:
        """The last lines of what happened, all of them or those that name something."""
        named = re.compile(rf"{re.escape(about)}\b")
        return [line for line in self._story if named.search(line)]
