"""Connections: ordered and delayed while they last; cut or silent when the network wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.world import World

MEAN_DELAY_S = 0.002
#: How long a silent connection lasts before keepalive gives it up.
KEEPALIVE_S = 20.0


class Wire:
    """One stream between two processes.

    Each end gives a function for what it receives and one for when the stream has ended.
    What is under way when the stream is cut is lost. A *silent* wire loses everything, in
    both directions, and neither end knows before its keepalive runs out.
    """

    def __init__(self, world: World, number: int) -> None:
        self.number = number
        self.open = True
        self._world = world
        self._silent = False
        self._receivers: dict[str, Callable[[object], None]] = {}
        self._enders: dict[str, Callable[[], None]] = {}
        self._free_at_s = {"client": 0.0, "server": 0.0}

    def attach(
        self, end: str, receive: Callable[[object], None], ended: Callable[[], None]
    ) -> None:
        """Connects one end ("client" or "server")."""
        self._receivers[end] = receive
        self._enders[end] = ended

    def send(self, to: str, message: object) -> None:
        """Sends to an end; messages to one end keep their order."""
        if not self.open or self._silent:
            return
        at_s = max(self._free_at_s[to], self._world.now_s + self._world.delay_s(MEAN_DELAY_S))
        self._free_at_s[to] = at_s
        self._world.after(at_s - self._world.now_s, lambda: self._deliver(to, message))

    def _deliver(self, to: str, message: object) -> None:
        if self.open and not self._silent:
            self._receivers[to](message)

    def cut(self) -> None:
        """Ends the stream; each end learns of it a little later."""
        if not self.open:
            return
        self.open = False
        for ended in self._enders.values():
            self._world.after(self._world.delay_s(MEAN_DELAY_S), ended)

    def fall_silent(self) -> None:
        """Nothing passes any more; the ends find out by their keepalives."""
        if self._silent or not self.open:
            return
        self._silent = True
        for ended in self._enders.values():
            self._world.after(KEEPALIVE_S + self._world.delay_s(1.0), ended)
