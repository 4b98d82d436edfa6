"""Where the shell and the core meet: events go in, instructions are handed out.

The engine owns the node and the clock. Whoever has an event calls `post`; the
instructions it leads to are handed at once to whoever signed up for their kind, who
starts what takes time as a task of their own. A bug in the core must not be served on
with: the error is kept, and `failure` raises it where the service waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from dataserver.core.events import Tick
from dataserver.core.instructions import Tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from common.clock import Clock
    from dataserver.core.events import Event
    from dataserver.core.instructions import Instruction
    from dataserver.core.node import Node

log = logging.getLogger(__name__)

TICK_S = 1.0


class Engine:
    """Feeds one node, and hands out what it wants done."""

    def __init__(self, node: Node, clock: Clock, name: str) -> None:
        self.node = node
        self.clock = clock
        self.name = name
        self._carriers: dict[type, Callable[[Any], None]] = {
            Tell: lambda tell: log.warning("%s: %s", name, tell.text)
        }
        #: Called when there are changes the redirector should hear of.
        self.on_change: Callable[[], None] = lambda: None
        #: Set while no recall, upload or rename is under way.
        self.idle = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def carry_with(self, carriers: Mapping[type[Instruction], Callable[[Any], None]]) -> None:
        """Signs up who carries out which kinds of instructions."""
        self._carriers.update(carriers)

    def now_s(self) -> float:
        """The time, as the node counts it."""
        return self.clock.now_s()

    def post(self, event: Event) -> None:
        """Lets the node handle an event, and hands out what follows from it."""
        try:
            for one in self.node.handle(event, self.clock.now_s()):
                self._carriers[type(one)](one)
            if len(self.node.changes):
                self.on_change()
            if self.node.is_idle:
                self.idle.set()
            else:
                self.idle.clear()
            self._wake()
        except Exception as error:
            if not self._broken.done():
                log.critical("%s: %s failed", self.name, event, exc_info=error)
                self._broken.set_exception(error)

    async def until(self, what: Callable[[], object]) -> None:
        """Waits until something is true of the node; it is looked at after every event."""
        while not what():
            handled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(handled)
            await handled

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for handled in waiting:
            if not handled.done():
                handled.set_result(None)

    async def tick(self) -> None:
        """Tells the node that time passes, for ever. Raises what broke the core."""
        while True:
            self.post(Tick())
            await asyncio.wait({self._broken}, timeout=TICK_S)
            if self._broken.done():
                self._broken.result()
