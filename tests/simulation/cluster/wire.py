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
    """One stream between two processes, from `client` to `server` (the hosts' names).

    Each end gives a function for what it receives and one for when the stream has ended.
    What is under way when the stream is cut is lost, or else still read by the server: by
    then the client may have connected anew, and said more. A *silent* wire loses what is
    sent in the directions that are dead, and neither end knows before its keepalive runs out.
    """

    def __init__(
        self, world: World, number: int, client: str = "client", server: str = "server"
    ) -> None:
        self.number = number
        self.open = True
        self.hosts = {"client": client, "server": server}
        self._world = world
        self._dead: frozenset[str] = frozenset()  # the ends that nothing gets to any more
        self._late = False
        self._receivers: dict[str, Callable[[object], None]] = {}
        self._enders: dict[str, Callable[[], None]] = {}
        self._free_at_s = {"client": 0.0, "server": 0.0}

    @property
    def is_well(self) -> bool:
        """Whether what is sent arrives, both ways, and soon."""
        lags = self._free_at_s["server"] > self._world.now_s + 1.0
        return self.open and not self._dead and not lags

    def attach(
        self, end: str, receive: Callable[[object], None], ended: Callable[[], None]
    ) -> None:
        """Connects one end ("client" or "server")."""
        self._receivers[end] = receive
        self._enders[end] = ended

    def send(self, to: str, message: object) -> None:
        """Sends to an end; messages to one end keep their order."""
        if not self.open or to in self._dead:
            return
        at_s = max(self._free_at_s[to], self._world.now_s + self._world.delay_s(MEAN_DELAY_S))
        self._free_at_s[to] = at_s
        self._world.after(at_s - self._world.now_s, lambda: self._deliver(to, message))
        sender = self.hosts["client" if to == "server" else "server"]
        self._world.effect(sender, f"message {type(message).__name__}")

    def _deliver(self, to: str, message: object) -> None:
        if to not in self._dead and (self.open or (self._late and to == "server")):
            self._receivers[to](message)

    def lag(self, lasts_s: float) -> None:
        """The server reads nothing for a while, and then all that was sent meanwhile."""
        self._free_at_s["server"] = max(self._free_at_s["server"], self._world.now_s + lasts_s)

    def cut(self, *, late: bool = False) -> None:
        """Ends the stream; each end learns of it a little later.

        `late`: the server reads all that was sent, which is a while if it lags, before or
        after it learns of the end.
        """
        if not self.open:
            return
        self.open = False
        self._late = late
        for end, ended in self._enders.items():
            delay_s = self._world.delay_s(MEAN_DELAY_S)
            if late and end == "server" and self._world.rng.random() < 0.5:
                delay_s += max(0.0, self._free_at_s[end] - self._world.now_s)
            self._world.after(delay_s, ended)

    def fall_silent(self, *ends: str) -> None:
        """Nothing gets to these ends any more (to both, if none is named)."""
        if self._dead or not self.open:
            return
        self._dead = frozenset(ends or ("client", "server"))
        for ended in self._enders.values():
            self._world.after(KEEPALIVE_S + self._world.delay_s(1.0), ended)
