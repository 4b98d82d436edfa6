"""The clocks of hosts: wrong, of uneven pace, and set by somebody now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.cluster.world import START_S

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World


class HostClock:
    """One host's wall clock, and the clock that a process makes of it.

    As `common.clock` does, a process reads the wall once, when it starts, and counts on from
    there by a clock that nobody sets. So a jump is seen by the next life only. `drift` is
    how much faster than the world this host counts.
    """

    def __init__(self, world: World, offset_s: int = 0, drift: float = 0.0) -> None:
        self._world = world
        self._offset_s = offset_s
        self._drift = drift
        self._process_offset_s = offset_s

    def jump(self, by_s: int) -> None:
        """Somebody sets the wall clock."""
        self._offset_s += by_s

    def start_process(self) -> None:
        """A process starts, and reads the wall clock."""
        self._process_offset_s = self._offset_s

    def now_s(self) -> float:
        """What the process takes the time to be, in Unix seconds."""
        now_s = self._world.now_s + self._process_offset_s
        if self._drift:
            now_s += (self._world.now_s - START_S) * self._drift
        return now_s

    def delay_s(self, until_s: float) -> float:
        """How long it is, for the world, until this process's clock shows a time."""
        return max(0.0, until_s - self.now_s()) / (1.0 + self._drift)
