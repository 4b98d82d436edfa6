"""A head node's core on a table: events by hand, instructions to look at.

site = Site()
site.join("disk1")
site.stage("/f")          # returns the instructions
site.publish("disk1", "/f")
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeVar

from redirector.core import events, instructions
from redirector.core.head import Head
from redirector.core.model import (
    Failure,
    FileFacts,
    NodeAddress,
    NodeLoad,
    ReplicaChange,
    RunningRecall,
)
from redirector.core.settings import HeadSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redirector.core.events import Event, Restored
    from redirector.core.instructions import Instruction, NodeCommand, StartRecall
    from redirector.core.model import FileEvent
    from redirector.core.states import ErrorClass

T = TypeVar("T")

GB = 1_000_000_000
EPOCH = "E"
START_S = 1_000_000.0


def of_kind(done: Sequence[Instruction], kind: type[T]) -> list[T]:
    """The instructions of one kind."""
    return [one for one in done if isinstance(one, kind)]


def file_events(done: Sequence[Instruction]) -> list[FileEvent]:
    """What those who watch are told."""
    return [one for told in of_kind(done, instructions.PublishFiles) for one in told.events]


class Site:
    """A head, a clock, and the connections of hand-made data servers."""

    def __init__(
        self,
        settings: HeadSettings | None = None,
        restored: Restored | None = None,
        start_s: float = START_S,
    ) -> None:
        self.now_s = start_s
        self.head = Head(settings or HeadSettings(), EPOCH, random.Random(1), start_s)
        self.connections: dict[str, int] = {}
        self.change_numbers: dict[str, int] = {}
        self.loads: dict[str, NodeLoad] = {}
        self._connections_made = 0
        self._requests_made = 0
        self.restored = self.give(restored or events.Restored())

    def give(self, event: Event) -> list[Instruction]:
        """Gives the head an event and checks all invariants."""
        done = self.head.handle(event, self.now_s)
        self.head.check()
        return done

    def wait(self, duration_s: float) -> list[Instruction]:
        """Lets time pass; connected nodes send heartbeats, the head is woken when it wants."""
        done: list[Instruction] = []
        end_s = self.now_s + duration_s
        while True:
            while self.head.next_wakeup_s() <= self.now_s:
                done += self.give(events.Tick())
            if self.now_s >= end_s:
                return done
            self.now_s = min(end_s, self.now_s + 1.0)
            for name in list(self.connections):
                done += self.beat(name)

    # --- nodes ---

    def hello(
        self,
        name: str,
        *,
        quota_bytes: int = 100 * GB,
        max_files: int = 0,
        slots: int = 4,
        running: Sequence[tuple[str, str, int]] = (),
        boot: str = "boot1",
        pool: str = "",
        drain: bool = False,
        claims: Sequence[str] = (),
        root: bool = True,
        host: str = "",
        served_by_others: bool = False,
    ) -> list[Instruction]:
        """A node opens a stream, says hello, and sends its first heartbeat."""
        self._connections_made += 1
        hello = events.NodeHello(
            self._connections_made,
            NodeAddress(
                name,
                f"{name}:7000",
                host or f"host-{name}",
                root_address=f"{name}:1094" if root else "",
            ),
            boot,
            pool or f"pool-{name}",
            quota_bytes,
            max_files,
            recall_slots=slots,
            running=tuple(RunningRecall(*run) for run in running),
            drain=drain,
            claims=claims,
            served_by_others=served_by_others,
        )
        done = self.give(hello)
        if not of_kind(done, instructions.RefuseNode):
            self.connections[name] = hello.connection
            done += self.beat(name)
        return done

    def inventory(
        self, name: str, files: Mapping[str, int] | None = None, number: int = 0
    ) -> list[Instruction]:
        """A node sends its whole inventory."""
        held = dict(files or {})
        self.change_numbers[name] = number
        return self.give(
            events.InventoryPiece(
                self.connections[name],
                list(held),
                list(held.values()),
                last=True,
                change_number=number,
            )
        )

    def join(
        self,
        name: str,
        files: Mapping[str, int] | None = None,
        *,
        quota_bytes: int = 100 * GB,
        slots: int = 4,
        load: NodeLoad | None = None,
        **more: Any,
    ) -> list[Instruction]:
        """A node says hello, sends a heartbeat and its inventory."""
        self.loads[name] = load or NodeLoad(staging_rate=100e6)
        done = self.hello(name, quota_bytes=quota_bytes, slots=slots, **more)
        return done + self.inventory(name, files)

    def beat(self, name: str, load: NodeLoad | None = None, number: int = 0) -> list[Instruction]:
        """A node sends a heartbeat, with its last load if no other is given."""
        self.loads[name] = load or self.loads.get(name) or NodeLoad()
        return self.give(
            events.NodeHeartbeat(self.connections[name], self.loads[name], number=number)
        )

    def lose(self, name: str) -> list[Instruction]:
        """A node's connection ends."""
        return self.give(events.NodeLost(self.connections.pop(name)))

    def change(
        self, name: str, lfn: str, size_bytes: int, *, recall_id: str = "", dropped: bool = False
    ) -> list[Instruction]:
        """A node reports its next change."""
        self.change_numbers[name] += 1
        number = self.change_numbers[name]
        reason = "purged" if dropped else ""
        change = ReplicaChange(number, lfn, size_bytes, dropped, reason, recall_id)
        return self.give(events.ReplicaChanges(self.connections[name], [change]))

    def publish(self, name: str, start: StartRecall, size_bytes: int = GB) -> list[Instruction]:
        """A node publishes what a recall brought."""
        return self.change(name, start.lfn, size_bytes, recall_id=start.recall_id)

    def end(
        self,
        name: str,
        start: StartRecall,
        error_class: ErrorClass | None = None,
        reason: str = "tape trouble",
        **details: object,
    ) -> list[Instruction]:
        """A node says that a run is over; without an error class: well."""
        failure = Failure(error_class, reason) if error_class is not None else None
        return self.give(
            events.RecallEnded(
                self.connections[name],
                start.recall_id,
                start.lfn,
                failure,
                **details,  # type: ignore[arg-type]
            )
        )

    def claim(
        self,
        name: str,
        lfn: str,
        *,
        claim_id: str = "u1",
        replaces: bool = False,
        boot: str = "boot1",
    ) -> list[Instruction]:
        """A node asks to let a client write under a name."""
        return self.give(events.ClaimAsked(name, boot, lfn, claim_id, replaces))

    def end_claim(self, name: str, lfn: str, claim_id: str = "u1") -> list[Instruction]:
        """A node says that the writing under a name has ended."""
        return self.give(events.ClaimEnded(self.connections[name], lfn, claim_id))

    # --- clients ---

    def stage(
        self,
        *lfns: str,
        sizes: Mapping[str, int] | None = None,
        request_id: str = "",
        **wishes: object,
    ) -> list[Instruction]:
        """Somebody asks for files; requests are called r1, r2, ..."""
        self._requests_made += 1
        facts = {lfn: FileFacts(size_bytes) for lfn, size_bytes in (sizes or {}).items()}
        return self.give(
            events.StageAsked(
                request_id or f"r{self._requests_made}",
                lfns,
                facts=facts,
                **wishes,  # type: ignore[arg-type]
            )
        )

    # --- looking at instructions ---

    def sent(self, done: Sequence[Instruction], name: str) -> list[NodeCommand]:
        """The commands sent to a node."""
        connection = self.connections[name]
        sent = of_kind(done, instructions.SendToNode)
        return [one.command for one in sent if one.connection == connection]

    def starts(self, done: Sequence[Instruction]) -> dict[str, tuple[str, StartRecall]]:
        """Recalls that were given to nodes: lfn -> (node, command)."""
        names = {connection: name for name, connection in self.connections.items()}
        return {
            one.command.lfn: (names[one.connection], one.command)
            for one in of_kind(done, instructions.SendToNode)
            if isinstance(one.command, instructions.StartRecall)
        }

    def start_of(self, done: Sequence[Instruction], lfn: str) -> StartRecall:
        """The command that started the recall of a file."""
        return self.starts(done)[lfn][1]

    def node_of(self, done: Sequence[Instruction], lfn: str) -> str:
        """The node that was given the recall of a file."""
        return self.starts(done)[lfn][0]
