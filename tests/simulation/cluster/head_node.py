"""The redirector: the real `Head` core, with a database that survives its crashes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.errors import PackhorseError
from redirector.core import events as ev
from redirector.core import instructions as do
from redirector.core.head import Head
from redirector.core.states import RequestFileState, RequestState

if TYPE_CHECKING:
    from collections.abc import Callable

    from redirector.core.model import FileEvent, NodeRecord, PinRecord, RequestFile, RequestRecord
    from redirector.core.settings import HeadSettings
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import World

COMMIT_S = 0.003


@dataclass
class Database:
    """What is on the head's disk."""

    requests: dict[str, RequestRecord] = field(default_factory=dict)
    request_files: dict[str, dict[str, RequestFile]] = field(default_factory=dict)
    ended: dict[str, RequestState] = field(default_factory=dict)
    pins: dict[tuple[str, str], PinRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def write(self, instruction: do.Durable) -> None:
        """Carries out one durable instruction."""
        match instruction:
            case do.SaveRequest(record=record, files=files):
                self.requests[record.request_id] = record
                self.request_files[record.request_id] = {one.lfn: one for one in files}
            case do.SaveRequestFiles(request_id=request_id, files=files):
                self.request_files[request_id].update((one.lfn, one) for one in files)
            case do.EndRequest(request_id=request_id, state=state):
                self.ended[request_id] = state
            case do.SavePins(pins=pins):
                self.pins.update(((pin.lfn, pin.owner), pin) for pin in pins)
            case do.RemovePins(keys=keys):
                for key in keys:
                    self.pins.pop(key, None)
            case do.SaveDirectories(lfns=lfns):
                self.directories.update(lfns)
            case do.RemoveDirectory(lfn=lfn):
                self.directories.discard(lfn)
            case do.SaveNode(record=record):
                self.nodes[record.node] = record
            case do.RemoveNode(node=node):
                self.nodes.pop(node, None)
            case do.SaveRecall():
                pass

    def restored(self) -> ev.Restored:
        """What a starting head reads."""
        return ev.Restored(
            nodes=tuple(self.nodes.values()),
            requests=tuple(
                ev.RestoredRequest(record, tuple(self.request_files[request_id].values()))
                for request_id, record in self.requests.items()
                if request_id not in self.ended
            ),
            pins=tuple(self.pins.values()),
            directories=tuple(sorted(self.directories)),
            idempotency_keys={
                record.idempotency_key: request_id
                for request_id, record in self.requests.items()
                if request_id in self.ended and record.idempotency_key
            },
        )


class HeadNode:
    """The redirector's process and its database.

    `watch` is told of every file event, as a client's watch stream would be.
    """

    def __init__(self, world: World, settings: HeadSettings) -> None:
        self.alive = False
        self.database = Database()
        self.head: Head
        self.watchers: list[Callable[[tuple[FileEvent, ...]], None]] = []
        #: Requests whose acceptance somebody was told of.
        self.accepted: set[str] = set()
        self._world = world
        self._settings = settings
        self._life = 0
        self._wires: dict[int, Wire] = {}

    def start(self) -> None:
        """A new process reads the database."""
        self._life += 1
        self.alive = True
        now_s = self._world.now_s
        rng = random.Random(self._world.rng.random())
        self.head = Head(self._settings, f"head-{self._life}", rng, now_s)
        self._world.tell(f"head: starts, life {self._life}")
        self._carry_out(self.head.handle(self.database.restored(), now_s), lambda _: None)
        self._wake()

    def kill(self) -> None:
        """kill -9: what was not committed is gone."""
        self._world.tell("head: killed")
        self.alive = False
        self._life += 1
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
        wire.attach("server", self._receive, lambda: self._lost(wire))

    def wires(self) -> list[Wire]:
        """Every connection the head has now."""
        return list(self._wires.values())

    def _lost(self, wire: Wire) -> None:
        if self._wires.get(wire.number) is wire:
            del self._wires[wire.number]
            wire.open = False
            self._handle(ev.NodeLost(wire.number))

    def _receive(self, event: object) -> None:
        if self.alive:
            self._handle(event)  # type: ignore[arg-type]

    def _wake(self) -> None:
        """Ticks the head whenever it wants to be woken, and a little late, as timers are."""
        life = self._life

        def tick() -> None:
            if life != self._life:
                return
            if self.head.next_wakeup_s() <= self._world.now_s:
                self._carry_out(self.head.tick(self._world.now_s), lambda _: None)
                self.head.check()
            self._wake()

        due_s = self.head.next_wakeup_s() - self._world.now_s
        self._world.after(min(0.5, max(0.005, due_s)), tick)

    def ask(
        self,
        event: ev.Event,
        answer: Callable[[do.Instruction], None] = lambda _: None,
        refused: Callable[[PackhorseError], None] = lambda _: None,
    ) -> None:
        """What a client asks; nothing comes back if the head dies first."""
        if not self.alive:
            return
        try:
            self._handle(event, answer)
        except PackhorseError as error:
            refused(error)

    def _handle(
        self, event: ev.Event, answer: Callable[[do.Instruction], None] = lambda _: None
    ) -> None:
        instructions = self.head.handle(event, self._world.now_s)
        self.head.check()
        self._carry_out(instructions, answer)

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
            for action in after:
                action()

        self._world.after(COMMIT_S, commit)

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

    def check_ended(self) -> None:
        """Every request on disk that has ended says how each of its files ended."""
        for request_id, state in self.database.ended.items():
            files = self.database.request_files[request_id].values()
            if state is RequestState.DONE:
                assert all(one.state is RequestFileState.DONE for one in files), (request_id, files)
            waiting = [one for one in files if one.state is RequestFileState.WAITING]
            assert not waiting, f"{request_id} ended {state.name} with {waiting} still waiting"
