"""A data server: the real `Node` core, with a disk that survives its crashes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.node import Node
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits
from redirector.core import events as head_ev
from redirector.core import instructions as head_do
from redirector.core.model import Failure as HeadFailure
from redirector.core.model import NodeAddress, NodeLoad, ReplicaChange, RunningRecall
from redirector.core.states import ErrorClass
from tests.simulation.cluster.uploads import Answered, Refused, Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.archive import Archive
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import Planned, World

HEARTBEAT_S = 1.0
RECONNECT_S = 0.5
#: How long the commands of a killed data server live on, until its janitor ends them.
JANITOR_S = 0.5


class DiskNode:
    """One data server's process and its disk.

    `dial` opens a wire to the head, or gives None while the head cannot be reached;
    `ask_head` asks it something by a call of its own.
    """

    def __init__(
        self,
        world: World,
        name: str,
        quota_bytes: int,
        archive: Archive,
        dial: Callable[[DiskNode], Wire | None],
        ask_head: Callable[[DiskNode, head_ev.Event, Answered, Refused], None],
    ) -> None:
        self.name = name
        self.alive = False
        self.quota_bytes = quota_bytes
        self.node: Node
        #: What lies in the pool, verified and synced, with its row in the catalogue.
        self.files: dict[str, int] = {}
        #: Of these, what clients wrote: the archive does not have it.
        self.unarchived: set[str] = set()
        #: Recall or upload id → (LFN, bytes): what lies in the incoming directory.
        self.incoming: dict[str, tuple[str, int]] = {}
        #: Commands that run on this machine; they outlive a killed server by a moment.
        self.commands: dict[str, str] = {}
        self._world = world
        self._archive = archive
        self._dial = dial
        self._ask_head = ask_head
        self._life = 0
        self._wire: Wire | None = None
        self.uploads: Uploads
        self._steps: dict[str, Planned] = {}
        self._beats: dict[int, float] = {}
        self._said_hello_s = 0.0

    # --- living and dying ------------------------------------------------------

    def start(self) -> None:
        """A new process: ends what a killed one left, and takes stock of the disk."""
        self._life += 1
        self.alive = True
        self.commands.clear()
        self.incoming.clear()
        pool = Pool(Limits.of(self.quota_bytes, 0, 0.95, 0.9))
        pool.load(
            Found(lfn, size, self._world.now_s, archived=lfn not in self.unarchived)
            for lfn, size in self.files.items()
        )
        self.node = Node(pool, slots=2, examines=True)
        self.uploads = Uploads(self, self._boot_epoch, partial(self._ask_head, self))
        self._beats = {}
        self._world.tell(f"{self.name}: starts, life {self._life}, {len(self.files)} files")
        self.later(0.0, self._connect)
        self.later(HEARTBEAT_S, self._beat)

    def kill(self) -> None:
        """kill -9: the process is gone; its janitor ends its commands a moment later."""
        self._world.tell(f"{self.name}: killed")
        self.alive = False
        self._life += 1
        self.later(JANITOR_S, self.commands.clear)
        self._steps.clear()
        if self._wire is not None:
            self._wire.cut()
            self._wire = None

    @property
    def _boot_epoch(self) -> str:
        return f"{self.name}-{self._life}"

    def delay_s(self, mean_s: float) -> float:
        """A random delay."""
        return self._world.delay_s(mean_s)

    def later(self, delay_s: float, action: Callable[[], None]) -> Planned:
        """Plans something this life of the process does."""
        life = self._life

        def act() -> None:
            if life == self._life:
                action()

        return self._world.after(delay_s, act)

    # --- the link to the head --------------------------------------------------

    def _connect(self) -> None:
        wire = self._dial(self)
        if wire is None:
            self.later(RECONNECT_S + self._world.delay_s(0.2), self._connect)
            return
        self._wire = wire
        self._said_hello_s = self._world.now_s
        wire.attach("client", self._receive, lambda: self._disconnected(wire))
        running = tuple(
            RunningRecall(one.recall_id, one.lfn, self.node.pool.reserved_for(one.recall_id))
            for one in self.node.staging.live()
        )
        self._send(
            head_ev.NodeHello(
                connection=wire.number,
                address=NodeAddress(
                    self.name, f"{self.name}:1", self.name, root_address=f"{self.name}:2"
                ),
                boot_epoch=self._boot_epoch,
                pool_id=f"pool-{self.name}",
                quota_bytes=self.quota_bytes,
                recall_slots=2,
                running=running,
                claims=self.node.claims(),
            )
        )

    def _disconnected(self, wire: Wire) -> None:
        if self._wire is not wire:
            return
        wire.open = False
        self._wire = None
        if self.alive:
            self.node.changes.abandon()
            self.later(RECONNECT_S, self._connect)

    def _send(self, event: object) -> None:
        if self._wire is not None:
            self._wire.send("server", event)

    def _receive(self, command: object) -> None:
        if not self.alive or self._wire is None:
            return
        match command:
            case head_do.Welcome(recall_lease_s=lease_s):
                self.handle(ev.Welcomed(lease_s, self._said_hello_s))
            case head_do.SendInventory():
                inventory = self.node.inventory()
                self._send(
                    head_ev.InventoryPiece(
                        self._wire.number,
                        inventory.lfns,
                        inventory.size_bytes,
                        last=True,
                        change_number=inventory.number,
                    )
                )
            case head_do.ConfirmHeartbeat(number=number):
                if number in self._beats:
                    self.handle(ev.InTouch(self._beats.pop(number)))
            case head_do.StartRecall():
                self.handle(
                    ev.RecallOrdered(
                        command.recall_id,
                        command.lfn,
                        command.size_bytes or None,
                        None,
                        command.reserve_bytes,
                        tuple(ev.PinOrder(pin.owner, pin.lifetime_s) for pin in command.pins),
                    )
                )
            case head_do.CancelRecall(recall_id=recall_id, reason=reason):
                self._cancel(recall_id, reason)
            case head_do.SetPins(files=files, complete=complete):
                orders = tuple(
                    (one.lfn, tuple(ev.PinOrder(pin.owner, pin.lifetime_s) for pin in one.pins))
                    for one in files
                )
                self.handle(ev.PinsOrdered(orders, complete))
            case _:
                raise AssertionError(f"unknown command {command}")

    def _cancel(self, recall_id: str, reason: str) -> None:
        """A recall this node does not run has ended already; that is the answer."""
        if self.node.staging.get(recall_id) is None:
            failure = HeadFailure(ErrorClass.CANCELLED, "not run here")
            self._send(
                head_ev.RecallEnded(self._wire.number if self._wire else 0, recall_id, "", failure)
            )
        else:
            self.handle(ev.RecallRevoked(recall_id, reason))

    def _beat(self) -> None:
        self.later(HEARTBEAT_S, self._beat)
        self.handle(ev.Tick())
        if self._wire is None:
            return
        load = self.node.load(self._world.now_s)
        number = len(self._beats) + int(self._world.now_s * 1000)
        self._beats = {number: self._world.now_s, **dict(list(self._beats.items())[:20])}
        self._send(
            head_ev.NodeHeartbeat(
                self._wire.number,
                NodeLoad(
                    used_bytes=load.used_bytes,
                    reserved_bytes=load.reserved_bytes,
                    pinned_bytes=load.protected_bytes,
                    files=load.files,
                    recalls_running=load.recalls_running,
                    recalls_waiting=load.recalls_waiting,
                    staging_bytes_left=load.staging_bytes_left,
                    staging_rate=load.staging_bytes_per_s,
                ),
                load.quota_bytes,
                number,
            )
        )

    # --- carrying out ----------------------------------------------------------

    def handle(self, event: ev.Event) -> None:
        """Gives the core an event, and carries out what it says."""
        instructions = self.node.handle(event, self._world.now_s)
        self.node.check()
        self._tell_changes()
        for instruction in instructions:
            self._do(instruction)

    def _tell_changes(self) -> None:
        if self._wire is None or not len(self.node.changes):
            return
        changes = [
            ReplicaChange(
                one.number, one.lfn, one.size_bytes, one.dropped, one.reason, one.recall_id
            )
            for one in self.node.changes.take(1000)
        ]
        self._send(head_ev.ReplicaChanges(self._wire.number, changes))

    def _do(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.Examine(recall_id=recall_id, lfn=lfn):
                self._step(recall_id, 0.02, lambda: self._examined(recall_id, lfn))
            case do.Copy(recall_id=recall_id, lfn=lfn):
                self.commands[recall_id] = lfn
                self.incoming[recall_id] = (lfn, 0)
                copy_s = self._archive.copy_s(lfn)
                self._world.tell(f"{self.name}: copies {lfn} as {recall_id} for {copy_s:.2f} s")
                self._step(recall_id, copy_s / 2, lambda: self._grew(recall_id, lfn, copy_s / 2))
            case do.Verify(recall_id=recall_id):
                size = self.incoming[recall_id][1]
                done = ev.Verified(recall_id, size, None)
                self._step(recall_id, 0.02, lambda: self.handle(done))
            case do.Publish(recall_id=recall_id, lfn=lfn, size_bytes=size):
                self._step(recall_id, 0.02, lambda: self._published(recall_id, lfn, size))
            case do.StopStep(recall_id=recall_id):
                planned = self._steps.pop(recall_id, None)
                if planned is not None:
                    planned.call_off()
                self.later(self._world.delay_s(0.1), lambda: self._stopped(recall_id))
            case do.TellEnded():
                self._tell_ended(instruction)
            case do.RemoveFiles(lfns=lfns):
                self.later(self._world.delay_s(0.01), lambda: self._removed(lfns))
            case do.TellEvicted():
                self._world.tell(f"{self.name}: evicted {instruction.evicted}")
            case do.TellClaimEnded(lfn=lfn, claimant_id=claimant_id):
                number = self._wire.number if self._wire else 0
                self._send(head_ev.ClaimEnded(number, lfn, claimant_id))
            case do.ClaimName() | do.GrantRoom() | do.PublishUpload() | do.EndUpload():
                self.uploads.carry_out(instruction)
            case do.RefuseUpload():
                self._world.tell(f"{self.name}: {instruction.error}")
            case do.Inspect():
                pass  # What is inside a file is known to `Archive.tapes` here.
            case do.Tell():
                self._world.tell(f"{self.name}: {instruction.text}")
            case _:
                raise AssertionError(f"unknown instruction {instruction}")

    def _step(self, recall_id: str, mean_s: float, action: Callable[[], None]) -> None:
        self._steps[recall_id] = self.later(self._world.delay_s(mean_s), action)

    def _examined(self, recall_id: str, lfn: str) -> None:
        self.handle(ev.Examined(recall_id, self._archive.tapes[lfn].size_bytes))

    def _grew(self, recall_id: str, lfn: str, rest_s: float) -> None:
        half = self._archive.tapes[lfn].size_bytes // 2
        self.incoming[recall_id] = (lfn, half)
        self._step(recall_id, rest_s, lambda: self._copied(recall_id, lfn))
        self.handle(ev.Grew(recall_id, half))

    def _copied(self, recall_id: str, lfn: str) -> None:
        del self.commands[recall_id]
        failure = self._archive.outcome(lfn)
        if failure is not None:
            del self.incoming[recall_id]
            self.handle(ev.StepFailed(recall_id, failure))
            return
        size = self._archive.tapes[lfn].size_bytes
        self.incoming[recall_id] = (lfn, size)
        self.handle(ev.Copied(recall_id, size))

    def _published(self, recall_id: str, lfn: str, size_bytes: int) -> None:
        del self.incoming[recall_id]
        assert lfn not in self.files, f"{lfn} is on {self.name} already"
        self.files[lfn] = size_bytes
        self._world.tell(f"{self.name}: holds {lfn}")
        self.handle(ev.Published(recall_id))

    def _stopped(self, recall_id: str) -> None:
        self.commands.pop(recall_id, None)
        self.incoming.pop(recall_id, None)
        self.handle(ev.Stopped(recall_id))

    def _removed(self, lfns: tuple[str, ...]) -> None:
        for lfn in lfns:
            del self.files[lfn]
            assert lfn not in self.unarchived, f"{lfn}, which is nowhere else, was removed"
        self._world.tell(f"{self.name}: removed {', '.join(lfns)}")
        self.handle(ev.Removed(lfns))

    def _tell_ended(self, ended: do.TellEnded) -> None:
        failure = ended.failure and HeadFailure(
            ErrorClass[ended.failure.kind.name], ended.failure.reason
        )
        self._send(
            head_ev.RecallEnded(
                self._wire.number if self._wire else 0,
                ended.recall_id,
                ended.lfn,
                failure or None,
                ended.size_bytes or 0,
                total_s=ended.total_s,
                arrived_bytes=ended.arrived_bytes,
            )
        )

    # --- what clients write ----------------------------------------------------

    @property
    def is_joined(self) -> bool:
        """Whether a stream to the head is open, as far as this end knows."""
        return self._wire is not None

    def write(self, lfn: str, size_bytes: int) -> None:
        """A client that was sent here writes a file."""
        if self.alive:
            self.uploads.begin(lfn, size_bytes)

    def written(self) -> list[str]:
        """The names that clients write under now."""
        return list(self.uploads.written.values()) if self.alive else []

    def keep_written(self, lfn: str, size_bytes: int) -> None:
        """A file that a client wrote has come to its place."""
        self.files[lfn] = size_bytes
        self.unarchived.add(lfn)
        self._world.tell(f"{self.name}: holds {lfn}, written by a client")

    # --- in use ----------------------------------------------------------------

    def evict(self, lfn: str) -> None:
        """Somebody wants a replica gone."""
        if self.alive:
            self.handle(ev.EvictionOrdered(0, (lfn,)))

    def bytes_on_disk(self) -> int:
        """What the pool's disk holds, finished or not."""
        return sum(self.files.values()) + sum(size for _, size in self.incoming.values())

    def fall_silent(self) -> None:
        """The network between this node and the head loses everything."""
        if self._wire is not None:
            self._wire.fall_silent()
