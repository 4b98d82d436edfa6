"""A data server's stream to the head, as `dataserver.link` keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.core import events as ev
from redirector.core import events as head_ev
from redirector.core import instructions as head_do
from redirector.core.model import Failure as HeadFailure
from redirector.core.model import NodeAddress, NodeLoad, ReplicaChange, RunningRecall
from redirector.core.states import ErrorClass
from tests.simulation.cluster.disk import Mood
from tests.simulation.cluster.wire import KEEPALIVE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataserver.core import instructions as do
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import World

HEARTBEAT_S = 1.0
RECONNECT_S = 0.5
#: Changes in one message.
CHANGES_AT_A_TIME = 1000
SLOTS = 2


class NodeLink:
    """The stream of one life, opened again whenever it ends."""

    def __init__(
        self, node: DiskNode, world: World, dial: Callable[[DiskNode], Wire | None]
    ) -> None:
        #: All that the head has told of pins: name → owner → when it ends, by this host's clock.
        self.pins: dict[str, dict[str, float]] = {}
        self._node = node
        self._world = world
        self._dial = dial
        self._wire: Wire | None = None
        self._beats: dict[int, float] = {}
        self._beat_number = 0
        self._said_hello_s = 0.0
        #: When the stream there is now was opened, by the world's time.
        self.joined_since_s = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether the stream is well, and all that has happened was sent."""
        wire = self._wire
        return wire is not None and wire.is_well and not len(self._node.node.changes)

    @property
    def is_joined(self) -> bool:
        """Whether a stream to the head is open, as far as this end knows."""
        return self._wire is not None

    # --- coming and going --------------------------------------------------------

    def connect(self) -> None:
        """Opens a stream and says hello; tries again later if the head is not there."""
        node = self._node
        wire = self._dial(node)
        if wire is None:
            node.later(RECONNECT_S + self._world.delay_s(0.2), self.connect)
            return
        self._wire = wire
        self._said_hello_s = node.now_s()
        self.joined_since_s = self._world.now_s
        wire.attach(
            "client",
            lambda command: node.later(0.0, lambda: self._receive(wire, command)) and None,
            lambda: node.later(0.0, lambda: self._disconnected(wire)) and None,
        )
        core = node.node
        running = tuple(
            RunningRecall(one.recall_id, one.lfn, core.pool.reserved_for(one.recall_id))
            for one in core.staging.live()
        )
        self._send(
            head_ev.NodeHello(
                connection=wire.number,
                address=NodeAddress(
                    node.name, f"{node.name}:1", node.name, root_address=f"{node.name}:2"
                ),
                boot_epoch=node.boot_epoch,
                pool_id=f"pool-{node.name}",
                quota_bytes=node.quota_bytes,
                max_files=node.limits.max_files,
                recall_slots=SLOTS,
                running=running,
                claims=core.claims(),
            )
        )

    def _disconnected(self, wire: Wire) -> None:
        if self._wire is wire:
            wire.open = False
            self._wire = None
            self._node.node.changes.abandon()
            self._node.later(RECONNECT_S, self.connect)

    def cut(self, *, late: bool = False) -> None:
        """The connection is broken."""
        if self._wire is not None:
            self._wire.cut(late=late)
            self._wire = None if not self._node.alive else self._wire

    def fall_silent(self, *ends: str) -> None:
        """The network between this node and the head loses what goes to these ends."""
        if self._wire is not None:
            self._wire.fall_silent(*ends)

    def freeze(self, lasts_s: float) -> None:
        """The process does not answer; the head's keepalive gives it up if that lasts."""
        wire = self._wire
        if wire is not None and lasts_s > KEEPALIVE_S:
            self._world.after(KEEPALIVE_S, wire.cut)

    # --- what the head says --------------------------------------------------------

    def _receive(self, wire: Wire, command: object) -> None:
        node = self._node
        if self._wire is not wire:
            return
        match command:
            case head_do.Welcome(recall_lease_s=lease_s):
                node.handle(ev.Welcomed(lease_s, self._said_hello_s))
            case head_do.SendInventory():
                self._send_inventory(wire)
            case head_do.ConfirmHeartbeat(number=number):
                if number in self._beats:
                    node.handle(ev.InTouch(self._beats.pop(number)))
            case head_do.StartRecall():
                self._note_pins(command.lfn, command.pins)
                node.handle(
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
                self._set_pins({one.lfn: one.pins for one in files}, complete)
            case head_do.DoneWith(lfns=lfns):
                node.handle(ev.DoneWith(lfns))
            case head_do.NoteUses():
                pass
            case _:
                raise AssertionError(f"unknown command {command}")

    def _send_inventory(self, wire: Wire) -> None:
        inventory = self._node.node.inventory()
        self._send(
            head_ev.InventoryPiece(
                wire.number,
                inventory.lfns,
                inventory.size_bytes,
                last=True,
                change_number=inventory.number,
            )
        )

    def _cancel(self, recall_id: str, reason: str) -> None:
        """A recall this node does not run has ended already; that is the answer."""
        if self._node.node.staging.get(recall_id) is None:
            failure = HeadFailure(ErrorClass.CANCELLED, "not run here")
            self._send(head_ev.RecallEnded(self._number, recall_id, "", failure))
        else:
            self._node.handle(ev.RecallRevoked(recall_id, reason))

    def _set_pins(self, files: Mapping[str, tuple[head_do.PinOrder, ...]], complete: bool) -> None:
        staging = self._node.node.staging
        if complete:
            self.pins = {lfn: pins for lfn, pins in self.pins.items() if staging.is_staging(lfn)}
        for lfn, pins in files.items():
            self.pins.pop(lfn, None)
            self._note_pins(lfn, pins)
        orders = tuple(
            (lfn, tuple(ev.PinOrder(pin.owner, pin.lifetime_s) for pin in pins))
            for lfn, pins in files.items()
        )
        self._node.handle(ev.PinsOrdered(orders, complete))

    def _note_pins(self, lfn: str, pins: tuple[head_do.PinOrder, ...]) -> None:
        now_s = self._node.now_s()
        for pin in pins:
            self.pins.setdefault(lfn, {})[pin.owner] = now_s + pin.lifetime_s

    def pinned_by(self, lfn: str) -> list[str]:
        """Who, as far as the head has told this life, has a pin on a name now."""
        now_s = self._node.now_s()
        return [owner for owner, until_s in self.pins.get(lfn, {}).items() if until_s > now_s]

    # --- what the head is told -------------------------------------------------------

    @property
    def _number(self) -> int:
        return self._wire.number if self._wire is not None else 0

    def _send(self, event: object) -> None:
        if self._wire is not None:
            self._wire.send("server", event)

    def beat(self) -> None:
        """Tells the head that the node is alive, and how it is."""
        if self._wire is None:
            return
        now_s = self._node.now_s()
        load = self._node.node.load(now_s)
        self._beat_number += 1
        self._beats = {self._beat_number: now_s, **dict(list(self._beats.items())[:20])}
        mood = self._node.disk.mood
        for recall in self._node.node.staging.live():
            self._send(
                head_ev.RecallProgressed(
                    self._wire.number,
                    recall.recall_id,
                    recall.bytes_done,
                    recall.size_bytes or 0,
                    recall.state.value,
                )
            )
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
                    trouble="" if mood is Mood.WELL else f"the disk is {mood.value}",
                ),
                load.quota_bytes,
                self._beat_number,
            )
        )

    def tell_changes(self) -> None:
        """Sends what has changed since the last time."""
        changes = self._node.node.changes
        while self._wire is not None and len(changes):
            told = [
                ReplicaChange(
                    one.number, one.lfn, one.size_bytes, one.dropped, one.reason, one.recall_id
                )
                for one in changes.take(CHANGES_AT_A_TIME)
            ]
            self._send(head_ev.ReplicaChanges(self._wire.number, told))

    def tell_ended(self, ended: do.TellEnded) -> None:
        """A recall is over."""
        failure = None
        if ended.failure is not None:
            failure = HeadFailure(ErrorClass[ended.failure.kind.name], ended.failure.reason)
        self._send(
            head_ev.RecallEnded(
                self._number,
                ended.recall_id,
                ended.lfn,
                failure,
                ended.size_bytes or 0,
                total_s=ended.total_s,
                arrived_bytes=ended.arrived_bytes,
            )
        )

    def tell_claim_ended(self, lfn: str, claimant_id: str) -> None:
        """Nobody writes under a name any more."""
        self._send(head_ev.ClaimEnded(self._number, lfn, claimant_id))
