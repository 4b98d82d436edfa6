"""The redirector: the real `Head` core, with a database that survives its crashes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from common.errors import PackhorseError
from redirector.core import events as ev
from redirector.core import instructions as do
from redirector.core.head import Head
from tests.simulation.cluster.database import Database
from tests.simulation.cluster.wire import KEEPALIVE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from redirector.core.model import FileEvent
    from redirector.core.settings import HeadSettings
    from tests.simulation.cluster.clock import HostClock
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import World

COMMIT_S = 0.003


class HeadNode:
    """The redirector's process and its database.

    `watchers` are told of every file event, as a client's watch stream would be.
    """

    name = "head"

    def __init__(self, world: World, settings: HeadSettings, clock: HostClock) -> None:
        self.alive = False
        self.clock = clock
        self.database = Database()
        self.head: Head
        self.watchers: list[Callable[[tuple[FileEvent, ...]], None]] = []
        #: Requests whose acceptance somebody was told of, and that were not cancelled since.
        self.accepted: set[str] = set()
        #: Called around what is read of a stream that was cut meanwhile, with its number.
        self.before_late: Callable[[int], None] = lambda _: None
        self.after_late: Callable[[int], None] = lambda _: None
        #: Called with everything that is to happen to the core.
        self.observers: list[Callable[[ev.Event], None]] = []
        self._world = world
        self._settings = settings
        self._life = 0
        self._frozen_until_s = 0.0
        self._wires: dict[int, Wire] = {}
        #: The connections that this process has ever had: streams die with it.
        self._of_this_life: set[int] = set()

    def start(self) -> None:
        """A new process reads the database."""
        self._life += 1
        self.alive = True
        self._of_this_life = set()
        self.clock.start_process()
        now_s = self.now_s()
        rng = random.Random(self._world.rng.random())
        self.head = Head(self._settings, f"head-{self._life}", rng, now_s)
        self._world.tell(f"head: starts, life {self._life}")
        self._carry_out(self.head.handle(self.database.restored(), now_s), lambda _: None)
        self._wake()

    @property
    def is_frozen(self) -> bool:
        """Whether the process is stopped (SIGSTOP)."""
        return self._world.now_s < self._frozen_until_s

    @property
    def awake_since_s(self) -> float:
        """When the process went on after it was stopped last, by the world's time; 0 if never."""
        return self._frozen_until_s

    @property
    def answers(self) -> bool:
        """Whether who asks something is answered."""
        return self.alive and not self.is_frozen

    def freeze(self, lasts_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while: what comes meanwhile is read after it."""
        self._world.tell(f"head: is stopped for {lasts_s:.1f} s")
        self._frozen_until_s = self._world.now_s + lasts_s
        if lasts_s > KEEPALIVE_S:
            for wire in self._wires.values():
                self._world.after(KEEPALIVE_S, lambda wire=wire: wire.cut(late=True))  # type: ignore[misc]

    def _when_awake(self, action: Callable[[], None]) -> None:
        """Does something in this life, at once or as soon as the process goes on."""
        life = self._life

        def act() -> None:
            if life == self._life and self.alive:
                if self.is_frozen:
                    self._world.after(self._frozen_until_s - self._world.now_s, act)
                else:
                    action()

        act()

    def now_s(self) -> float:
        """The time, as this process counts it."""
        return self.clock.now_s()

    def kill(self, *, power: bool = False) -> None:
        """kill -9, or the machine is off: what was not committed is gone either way."""
        self._world.tell(f"head: {'loses its power' if power else 'killed'}")
        self.alive = False
        self._life += 1
        self._frozen_until_s = 0.0
        for wire in self._wires.values():
            wire.cut()
        self._wires.clear()

    @property
    def life(self) -> int:
        """Counts the head's starts."""
        return self._life

    def accept(self, wire: Wire) -> None:
        """A data server connects."""
        self._wires[wire.number] = wire
        self._of_this_life.add(wire.number)
        wire.attach("server", lambda event: self._receive(wire, event), lambda: self._lost(wire))

    def wires(self) -> list[Wire]:
        """Every connection the head has now."""
        return list(self._wires.values())

    def _lost(self, wire: Wire) -> None:
        self._when_awake(lambda: self._let_go(wire))

    def _let_go(self, wire: Wire) -> None:
        if self._wires.get(wire.number) is wire:
            del self._wires[wire.number]
            wire.open = False
            self._handle(ev.NodeLost(wire.number))

    def _receive(self, wire: Wire, event: object) -> None:
        """What a node has sent; it may be read after its stream has ended."""
        if self.alive and wire.number in self._of_this_life:
            self._when_awake(lambda: self._take_in(wire, event))

    def _take_in(self, wire: Wire, event: object) -> None:
        # A hello makes its connection the node's, though that may have ended meanwhile.
        is_late = not wire.open and not isinstance(event, ev.NodeHello)
        if is_late:
            self.before_late(wire.number)
        self._handle(event)  # type: ignore[arg-type]
        if is_late:
            self.after_late(wire.number)

    def _wake(self) -> None:
        """Ticks the head whenever it wants to be woken, and a little late, as timers are."""
        life = self._life

        def tick() -> None:
            if life != self._life:
                return
            if self.is_frozen:
                self._world.after(self._frozen_until_s - self._world.now_s, tick)
                return
            if self.head.next_wakeup_s() <= self.now_s():
                self._handle(ev.Tick())
            self._wake()

        due_s = self.clock.delay_s(self.head.next_wakeup_s())
        self._world.after(min(0.5, max(0.005, due_s)), tick)

    def ask(
        self,
        event: ev.Event,
        answer: Callable[[do.Instruction], None] = lambda _: None,
        refused: Callable[[PackhorseError], None] = lambda _: None,
    ) -> None:
        """What a client asks; nothing comes back if the head dies first."""

        def handle() -> None:
            if not self.alive:
                return
            try:
                self._handle(event, answer)
            except PackhorseError as error:
                refused(error)

        # By itself: if the head crashes over it, whoever has asked does not.
        self._world.after(0.0, lambda: self._when_awake(handle))

    def _handle(
        self, event: ev.Event, answer: Callable[[do.Instruction], None] = lambda _: None
    ) -> None:
        self._world.touched.add(self.name)
        for observe in self.observers:
            observe(event)
        self._carry_out(self.head.handle(event, self.now_s()), answer)

    def _carry_out(
        self, instructions: list[do.Instruction], answer: Callable[[do.Instruction], None]
    ) -> None:
        """Sends at once; writes in one transaction; answers and tells after it."""
        durable: list[do.Durable] = []
        after: list[Callable[[], None]] = []
        for instruction in instructions:
            match instruction:
                case do.SendToNode(connection=connection, command=command):
                    wire = self._wires.get(connection)
                    if wire is not None:
                        wire.send("client", command)
                case (
                    do.RefuseNode(connection=connection) | do.CloseConnection(connection=connection)
                ):
                    wire = self._wires.pop(connection, None)
                    if wire is not None:
                        wire.cut()
                case do.PublishFiles(events=events):
                    after.append(lambda events=events: self._publish(events))  # type: ignore[misc]
                case (
                    do.AnswerStage()
                    | do.AnswerCancel()
                    | do.AnswerPin()
                    | do.AnswerUnpin()
                    | do.AnswerDrain()
                    | do.AnswerClaim()
                    | do.AnswerDirectory()
                ):
                    after.append(lambda one=instruction: self._answer(one, answer))  # type: ignore[misc]
                case _:
                    durable.append(instruction)
        life = self._life

        def commit() -> None:
            if life != self._life:
                return
            for instruction in durable:
                self.database.write(instruction)
            if durable:
                self._world.touched.add(self.name)
                self._world.effect(self.name, f"commit of {type(durable[0]).__name__}")
            for action in after:
                action()

        self._world.after(COMMIT_S, lambda: self._when_awake(commit))

    def _answer(self, answer: do.Instruction, tell: Callable[[do.Instruction], None]) -> None:
        if isinstance(answer, do.AnswerStage):
            self.accepted.add(answer.request_id)
        tell(answer)

    def _publish(self, events: tuple[FileEvent, ...]) -> None:
        for watcher in self.watchers:
            watcher(events)

    def unfinished(self) -> list[str]:
        """Accepted requests that have not ended."""
        return sorted(self.accepted - set(self.database.ended))
