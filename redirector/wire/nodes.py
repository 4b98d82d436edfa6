"""What data servers say, as events; what they are told, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from common.address import split_address
from common.errors import UsageError
from common.names import normalise, normalise_all
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core import events, instructions
from redirector.core.model import (
    Failure,
    NodeAddress,
    NodeLoad,
    ReplicaChange,
    RunningRecall,
)
from redirector.core.states import ErrorClass
from redirector.wire.values import (
    checked_label,
    checked_number,
    checked_size,
    checksum_message,
    checksum_of,
    required,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protos.packhorse.v1 import types_pb2
    from redirector.core.model import PinOrder

#: Answers to questions; they go to whoever asked, not to the head.
ANSWERS = (
    pb.Described,
    pb.Examined,
    pb.Listed,
    pb.ReplicaStats,
    pb.PurgePlan,
    pb.Evicted,
    pb.Stores,
    pb.StoresTaken,
)
Answer = (
    pb.Described
    | pb.Examined
    | pb.Listed
    | pb.ReplicaStats
    | pb.PurgePlan
    | pb.Evicted
    | pb.Stores
    | pb.StoresTaken
)


def hello(message: pb.NodeMessage, connection: int) -> events.NodeHello:
    """A stream's first message; raises UsageError."""
    if message.WhichOneof("message") != "hello":
        raise UsageError("a data server's first message must be Hello")
    said = message.hello
    address = said.address
    node = checked_label("Hello: address.node", required("Hello: address.node", address.node))
    split_address(required("Hello: address.address", address.address))
    if address.root_address:
        split_address(address.root_address)
    return events.NodeHello(
        connection=connection,
        address=NodeAddress(
            node=node,
            address=address.address,
            host=checked_label("Hello: address.host", address.host),
            rack=checked_label("Hello: address.rack", address.rack),
            site=checked_label("Hello: address.site", address.site),
            root_address=address.root_address,
        ),
        boot_epoch=required("Hello: boot_epoch", said.boot_epoch),
        pool_id=required("Hello: pool_id", said.pool_id),
        quota_bytes=_positive("Hello: quota_bytes", said.quota_bytes),
        max_files=said.max_files,
        recall_slots=_positive("Hello: recall_slots", said.recall_slots),
        running=tuple(
            RunningRecall(
                required("Hello: running.recall_id", recall.recall_id),
                required("Hello: running.lfn", recall.lfn),
                checked_size("Hello: running.reserved_bytes", recall.reserved_bytes),
            )
            for recall in said.running
        ),
        version=checked_label("Hello: version", said.version),
        drain=said.drain,
        claims=normalise_all(list(dict.fromkeys(said.claims))),
        served_by_others=said.served_by_others,
    )


def event(message: pb.NodeMessage, connection: int) -> events.Event | Answer:
    """A later message: what it means for the head, or the answer it holds.

    Raises UsageError.
    """
    match message.WhichOneof("message"):
        case "heartbeat":
            return _heartbeat(message.heartbeat, connection)
        case "changes":
            return _changes(message.changes, connection)
        case "inventory":
            return _inventory(message.inventory, connection)
        case "recall_progress":
            return _recall_progress(message.recall_progress, connection)
        case "recall_ended":
            return _recall_ended(message.recall_ended, connection)
        case "claim_ended":
            ended = message.claim_ended
            return events.ClaimEnded(connection, normalise(ended.lfn), ended.claim_id)
        case "described":
            return message.described
        case "examined":
            return message.examined
        case "purge_plan":
            return message.purge_plan
        case "evicted":
            return message.evicted
        case "listed":
            return message.listed
        case "replica_stats":
            return message.replica_stats
        case "stores":
            return message.stores
        case "stores_taken":
            return message.stores_taken
        case "hello":
            raise UsageError("a data server says Hello once a stream")
        case _:
            raise UsageError("a message without content, or of a newer version")


def command(order: instructions.NodeCommand) -> pb.NodeCommand:
    """What the head wants told to a node, as the message that tells it."""
    match order:
        case instructions.Welcome():
            return pb.NodeCommand(
                welcome=pb.Welcome(
                    heartbeat_s=order.heartbeat_s,
                    recall_lease_s=order.recall_lease_s,
                    redirector_epoch=order.redirector_epoch,
                    takes_batches=True,
                    root_address=order.root_address,
                )
            )
        case instructions.SendInventory():
            return pb.NodeCommand(send_inventory=pb.SendInventory())
        case instructions.ConfirmHeartbeat(number=number):
            return pb.NodeCommand(heartbeat_seen=pb.HeartbeatSeen(number=number))
        case instructions.StartRecall():
            return pb.NodeCommand(
                start_recall=pb.StartRecall(
                    recall_id=order.recall_id,
                    lfn=order.lfn,
                    size_bytes=order.size_bytes,
                    checksum=checksum_message(order.checksum),
                    reserve_bytes=order.reserve_bytes,
                    pins=_pin_orders(order.pins),
                )
            )
        case instructions.CancelRecall(recall_id=recall_id, reason=reason):
            return pb.NodeCommand(cancel_recall=pb.CancelRecall(recall_id=recall_id, reason=reason))
        case instructions.SetPins(files=files, complete=complete):
            return pb.NodeCommand(
                set_pins=pb.SetPins(
                    files=[
                        pb.FilePins(lfn=file.lfn, pins=_pin_orders(file.pins)) for file in files
                    ],
                    complete=complete,
                )
            )
        case instructions.DoneWith(lfns=lfns):
            return pb.NodeCommand(done_with=pb.DoneWith(lfns=lfns))
        case instructions.NoteUses(lfns=lfns):
            return pb.NodeCommand(note_uses=pb.NoteUses(lfns=lfns))
        case _:
            assert_never(order)


def load_message(load: NodeLoad, quota_bytes: int) -> pb.Heartbeat:
    """A node's latest figures, as people are shown them."""
    return pb.Heartbeat(
        cpu_percent=load.cpu_percent,
        io_wait_percent=load.io_wait_percent,
        used_bytes=load.used_bytes,
        reserved_bytes=load.reserved_bytes,
        pinned_bytes=load.pinned_bytes,
        files=load.files,
        open_files=load.open_files,
        recalls_running=load.recalls_running,
        recalls_waiting=load.recalls_waiting,
        staging_bytes_left=load.staging_bytes_left,
        staging_rate=load.staging_rate,
        peak_used_bytes=load.peak_used_bytes,
        files_purged=load.files_purged,
        bytes_purged=load.bytes_purged,
        trouble=load.trouble,
        quota_bytes=quota_bytes,
        unarchived_files=load.unarchived_files,
        unarchived_bytes=load.unarchived_bytes,
        stores_waiting=load.stores_waiting,
        stores_waiting_bytes=load.stores_waiting_bytes,
        stores_failed=load.stores_failed,
        stores_oldest_s=load.stores_oldest_s,
        stores_trouble=load.stores_trouble,
        files_stored=load.files_stored,
        bytes_stored=load.bytes_stored,
    )


def _heartbeat(said: pb.Heartbeat, connection: int) -> events.NodeHeartbeat:
    return events.NodeHeartbeat(
        connection=connection,
        load=NodeLoad(
            cpu_percent=checked_number("Heartbeat: cpu_percent", said.cpu_percent),
            io_wait_percent=checked_number("Heartbeat: io_wait_percent", said.io_wait_percent),
            used_bytes=said.used_bytes,
            reserved_bytes=said.reserved_bytes,
            pinned_bytes=said.pinned_bytes,
            files=said.files,
            open_files=said.open_files,
            recalls_running=said.recalls_running,
            recalls_waiting=said.recalls_waiting,
            staging_bytes_left=said.staging_bytes_left,
            staging_rate=checked_number("Heartbeat: staging_rate", said.staging_rate),
            peak_used_bytes=said.peak_used_bytes,
            files_purged=said.files_purged,
            bytes_purged=said.bytes_purged,
            trouble=said.trouble,
            unarchived_files=said.unarchived_files,
            unarchived_bytes=said.unarchived_bytes,
            stores_waiting=said.stores_waiting,
            stores_waiting_bytes=said.stores_waiting_bytes,
            stores_failed=said.stores_failed,
            stores_oldest_s=checked_number("Heartbeat: stores_oldest_s", said.stores_oldest_s),
            stores_trouble=said.stores_trouble,
            files_stored=said.files_stored,
            bytes_stored=said.bytes_stored,
        ),
        quota_bytes=said.quota_bytes,
        number=said.number,
    )


def _inventory(said: pb.Inventory, connection: int) -> events.InventoryPiece:
    lfns = list(said.lfns)
    sizes_bytes = list(said.size_bytes)
    if len(lfns) != len(sizes_bytes):
        raise UsageError(f"Inventory: {len(lfns)} names, but {len(sizes_bytes)} sizes")
    checked_size("Inventory: size_bytes", max(sizes_bytes, default=0))
    return events.InventoryPiece(
        connection=connection,
        lfns=normalise_all(lfns),
        sizes_bytes=sizes_bytes,
        last=said.last,
        change_number=said.change_number,
    )


def _changes(said: pb.Changes, connection: int) -> events.ReplicaChanges:
    lfns = normalise_all([change.lfn for change in said.changes])
    return events.ReplicaChanges(
        connection=connection,
        changes=[
            ReplicaChange(
                number=change.number,
                lfn=lfn,
                size_bytes=checked_size("Change: size_bytes", change.size_bytes),
                dropped=change.dropped,
                reason=change.reason,
                recall_id=change.recall_id,
            )
            for lfn, change in zip(lfns, said.changes, strict=True)
        ],
    )


def _recall_progress(said: pb.RecallProgress, connection: int) -> events.RecallProgressed:
    return events.RecallProgressed(
        connection=connection,
        recall_id=required("RecallProgress: recall_id", said.recall_id),
        bytes_done=said.bytes_done,
        size_bytes=said.size_bytes,
        phase=said.phase,
    )


def _recall_ended(said: pb.RecallEnded, connection: int) -> events.RecallEnded:
    return events.RecallEnded(
        connection=connection,
        recall_id=required("RecallEnded: recall_id", said.recall_id),
        lfn=required("RecallEnded: lfn", said.lfn),
        failure=_failure(said.failure) if said.HasField("failure") else None,
        size_bytes=checked_size("RecallEnded: size_bytes", said.size_bytes),
        checksum=checksum_of(said.checksum),
        command_s=checked_number("RecallEnded: command_s", said.command_s),
        total_s=checked_number("RecallEnded: total_s", said.total_s),
        exit_code=said.exit_code,
        output_tail=said.output_tail,
        arrived_bytes=checked_size("RecallEnded: arrived_bytes", said.arrived_bytes),
    )


def _failure(said: types_pb2.Failure) -> Failure:
    try:
        return Failure(ErrorClass(said.error_class), said.reason)
    except ValueError:
        raise UsageError(
            f"RecallEnded: failure.error_class {said.error_class} is missing or unknown"
        ) from None


def _positive(what: str, number: int) -> int:
    if number < 1:
        raise UsageError(f"{what} is missing")
    return checked_size(what, number)


def _pin_orders(pins: Iterable[PinOrder]) -> list[pb.PinOrder]:
    return [
        pb.PinOrder(owner=pin.owner, lifetime_s=pin.lifetime_s, reason=pin.reason) for pin in pins
    ]
