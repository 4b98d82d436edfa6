"""Messages to values and back. Nothing of the core's knows a message, nothing here decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packetizer.core.events import FailureKind, Missing, Offline, PacketFailed
from packetizer.core.figures import SessionState
from packetizer.core.nodes import NodeSeen
from packetizer.core.plan import TableSeen
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packetizer.core.events import MissingRange
    from packetizer.core.figures import Figures
    from packetizer.core.leases import Lease

#: What people read of a failure; a function may raise with megabytes.
_REASON_CHARACTERS = 1_000
_TRACEBACK_CHARACTERS = 16_000
#: Room for missing ranges in one status: clients take messages of 16 MiB.
_MISSING_BYTES = 12 << 20

_MISSING = {
    pb.MISSING_POLICY_UNSPECIFIED: Missing.WAIT,
    pb.MISSING_POLICY_WAIT: Missing.WAIT,
    pb.MISSING_POLICY_SKIP: Missing.SKIP,
    pb.MISSING_POLICY_ABORT: Missing.ABORT,
}
_FAILURES = {
    pb.PacketFailure.KIND_UNSPECIFIED: FailureKind.FUNCTION,
    pb.PacketFailure.KIND_OPEN: FailureKind.OPEN,
    pb.PacketFailure.KIND_CORRUPT: FailureKind.CORRUPT,
    pb.PacketFailure.KIND_FUNCTION: FailureKind.FUNCTION,
    pb.PacketFailure.KIND_MERGE: FailureKind.MERGE,
    pb.PacketFailure.KIND_UNDONE: FailureKind.UNDONE,
}
_STATES = {
    SessionState.OPENING: pb.SESSION_STATE_OPENING,
    SessionState.RUNNING: pb.SESSION_STATE_RUNNING,
    SessionState.ENDING: pb.SESSION_STATE_RUNNING,
    SessionState.DONE: pb.SESSION_STATE_DONE,
    SessionState.FAILED: pb.SESSION_STATE_FAILED,
    SessionState.CANCELLED: pb.SESSION_STATE_CANCELLED,
}
_OFFLINE = {
    types_pb2.FILE_STATE_STAGING: Offline.STAGING,
    types_pb2.FILE_STATE_MISSING: Offline.LOST,
    types_pb2.FILE_STATE_FAILED: Offline.LOST,
    types_pb2.FILE_STATE_CORRUPT: Offline.LOST,
}


def missing_policy(policy: pb.MissingPolicy.ValueType) -> Missing:
    """What to do about files that are not online; one of a later version counts as `wait`."""
    return _MISSING.get(policy, Missing.WAIT)


def offline_state(state: types_pb2.FileState.ValueType) -> Offline:
    """How a file stands that has no replica."""
    return _OFFLINE.get(state, Offline.NEARLINE)


def node_seen(address: types_pb2.NodeAddress, *, up: bool) -> NodeSeen:
    """A data server with its labels."""
    return NodeSeen(address.node, address.host, address.rack, address.site, up)


def tables_of(content: types_pb2.Content) -> list[TableSeen]:
    """What an inspection has found."""
    return [TableSeen(table.name, table.entries, table.cluster_ends) for table in content.tables]


def packet_failed(failure: pb.PacketFailure) -> PacketFailed:
    """A worker's failure, in bounds."""
    return PacketFailed(
        failure.lease_id,
        _FAILURES.get(failure.kind, FailureKind.FUNCTION),
        failure.reason[:_REASON_CHARACTERS] or "no reason was given",
        failure.traceback[-_TRACEBACK_CHARACTERS:],
    )


def packets(
    leases: Iterable[Lease], addresses: Mapping[str, types_pb2.NodeAddress], *, commit_soon: bool
) -> pb.WorkerCommand:
    """Leases as the worker gets them. Those of one file and replica share all but five fields."""
    command = pb.WorkerCommand()
    message = command.packets
    message.commit_soon = commit_soon
    add = message.packets.add
    file = node = None
    template = pb.Packet()
    for lease in leases:
        if lease.file is not file or lease.node is not node:
            file, node = lease.file, lease.node
            template = pb.Packet(
                session_id=lease.session_id,
                lfn=file.lfn,
                tree=file.tree,
                format=types_pb2.Content.Format.ValueType(file.format),
                file_size_bytes=file.size_bytes,
            )
            address = addresses.get(node.name)
            if address is not None:
                getattr(template, "from").CopyFrom(address)
        packet = add()
        packet.MergeFrom(template)
        packet.lease_id = lease.lease_id
        packet.start = lease.start
        packet.stop = lease.stop
        packet.attempt = lease.tried + 1
    return command


def complete_records(
    records: Iterable[pb.PacketRecord],
    leases: Sequence[Lease],
    worker: str,
    host: str,
    now_s: float,
) -> None:
    """Fills in what the worker does not know, or is not trusted with."""
    for record, lease in zip(records, leases, strict=True):
        record.worker = worker
        record.host = host
        record.node = lease.node.name
        record.lfn = lease.file.lfn
        record.start = lease.start
        record.stop = lease.stop
        record.local = lease.is_local
        record.ended_unix_s = now_s


def session_status(figures: Figures, trouble: str = "") -> pb.SessionStatus:
    """A session's figures, without what is missing."""
    spec = figures.spec
    return pb.SessionStatus(
        session_id=figures.session_id,
        dataset=spec.dataset,
        owner=spec.owner,
        function_name=spec.function_name,
        state=_STATES[figures.state],
        reason=figures.reason or trouble,
        created_unix_s=spec.created_s,
        elapsed_s=figures.elapsed_s,
        files=figures.files,
        files_online=figures.files_online,
        files_staging=figures.files_staging,
        files_done=figures.files_done,
        files_bad=figures.files_bad,
        entries_total=figures.entries_total,
        files_of_unknown_entries=figures.files_of_unknown_entries,
        entries_done=figures.entries_done,
        entries_bad=figures.entries_bad,
        entries_local=figures.entries_local,
        bytes_read=figures.bytes_read,
        packets_done=figures.packets_done,
        packets_retried=figures.packets_retried,
        workers=figures.workers,
        rate=figures.rate,
        eta_s=figures.eta_s,
        first_packet_s=figures.first_packet_s,
        files_recalled=figures.files_recalled,
        files_recalled_at_first_packet=figures.files_online_at_first_lease,
        first_lease_s=figures.first_lease_s,
    )


def add_missing(status: pb.SessionStatus, missing: Iterable[MissingRange]) -> None:
    """Names what is missing; if that is too much for a message, says how much more there is."""
    room_bytes = _MISSING_BYTES
    left_out = 0
    for each in missing:
        row = pb.MissingRange(
            lfn=each.lfn,
            start=each.start,
            stop=each.stop,
            reason=each.reason,
            traceback=each.traceback,
        )
        room_bytes -= row.ByteSize() + 8
        if room_bytes < 0:
            left_out += 1
        else:
            status.missing.append(row)
    if left_out:
        status.missing.add(reason=f"and {left_out} more ranges, too many for one message")
