"""What the redirector says, as events; what the node has to tell it, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import UsageError
from common.names import normalise
from dataserver import checksum as checksums
from dataserver.archive import Presence
from dataserver.core import events
from dataserver.core.failure import FailureKind
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dataserver.archive import ArchiveFile, Listing
    from dataserver.catalogue import Known, Stat
    from dataserver.checksum import Checksum
    from dataserver.core.changes import Change, Inventory
    from dataserver.core.instructions import TellEnded, TellEvicted
    from dataserver.core.purge_plan import Plan
    from dataserver.inspection import Content

#: Names in one message: below the 128 KiB from which on glibc keeps what it is given back
#: in pieces nobody can use. With 10,000 a redirector is larger by a quarter.
NAMES_IN_A_PIECE = 1_000

_ERROR_CLASSES = {
    FailureKind.NOT_FOUND: types_pb2.ERROR_CLASS_NOT_FOUND,
    FailureKind.PERMANENT: types_pb2.ERROR_CLASS_PERMANENT,
    FailureKind.TRANSIENT: types_pb2.ERROR_CLASS_TRANSIENT,
    FailureKind.NO_SPACE: types_pb2.ERROR_CLASS_NO_SPACE,
    FailureKind.CANCELLED: types_pb2.ERROR_CLASS_CANCELLED,
}
_PRESENCES = {
    Presence.THERE: pb.ArchiveFile.PRESENCE_THERE,
    Presence.NOT_THERE: pb.ArchiveFile.PRESENCE_NOT_THERE,
    Presence.UNKNOWN: pb.ArchiveFile.PRESENCE_UNKNOWN,
}

# --- from the redirector ------------------------------------------------------


def recall_ordered(said: pb.StartRecall) -> events.RecallOrdered:
    """The order for a recall; raises UsageError, NameRefused."""
    if not said.recall_id:
        raise UsageError("StartRecall: recall_id is missing")
    checksum = None
    if said.checksum.algorithm:
        checksum = checksums.canonical(said.checksum.algorithm, said.checksum.value)
    return events.RecallOrdered(
        said.recall_id,
        normalise(said.lfn),
        said.size_bytes or None,
        checksum,
        said.reserve_bytes,
        _pins(said.pins),
    )


def pins_ordered(said: pb.SetPins) -> events.PinsOrdered:
    """New pins of some files; raises NameRefused."""
    files = tuple((normalise(file.lfn), _pins(file.pins)) for file in said.files)
    return events.PinsOrdered(files, said.complete)


def _pins(said: Iterable[pb.PinOrder]) -> tuple[events.PinOrder, ...]:
    return tuple(events.PinOrder(pin.owner, pin.lifetime_s, pin.reason) for pin in said)


# --- to the redirector --------------------------------------------------------


def inventory(found: Inventory) -> Iterator[pb.NodeMessage]:
    """A whole inventory, in pieces."""
    for start in range(0, max(1, len(found.lfns)), NAMES_IN_A_PIECE):
        end = start + NAMES_IN_A_PIECE
        last = end >= len(found.lfns)
        yield pb.NodeMessage(
            inventory=pb.Inventory(
                lfns=found.lfns[start:end],
                size_bytes=found.size_bytes[start:end],
                last=last,
                change_number=found.number if last else 0,
            )
        )


def changes(entered: Sequence[Change]) -> pb.NodeMessage:
    """Some changes, in order."""
    return pb.NodeMessage(
        changes=pb.Changes(
            changes=[
                pb.Change(
                    number=one.number,
                    lfn=one.lfn,
                    size_bytes=one.size_bytes,
                    dropped=one.dropped,
                    reason=one.reason,
                    recall_id=one.recall_id,
                )
                for one in entered
            ]
        )
    )


def recall_ended(told: TellEnded) -> pb.NodeMessage:
    """How a recall ended."""
    ended = pb.RecallEnded(
        recall_id=told.recall_id,
        lfn=told.lfn,
        size_bytes=told.size_bytes or 0,
        checksum=_checksum(told.checksum),
        command_s=told.ran.command_s,
        total_s=told.total_s,
        exit_code=told.ran.exit_code or 0,
        output_tail=told.ran.output,
        arrived_bytes=told.arrived_bytes,
    )
    if told.failure is not None:
        ended.failure.error_class = _ERROR_CLASSES[told.failure.kind]
        ended.failure.reason = told.failure.reason
    return pb.NodeMessage(recall_ended=ended)


def evicted(told: TellEvicted) -> pb.NodeMessage:
    """What of an eviction has gone, and why the rest has not."""
    return pb.NodeMessage(
        evicted=pb.Evicted(
            query_id=told.query_id,
            evicted=told.evicted,
            refused=[pb.EvictReply.Refusal(lfn=lfn, reason=reason) for lfn, reason in told.refused],
        )
    )


def examined(query_id: int, files: Iterable[ArchiveFile], *, last: bool) -> pb.NodeMessage:
    """What the archive says of some files."""
    return pb.NodeMessage(
        examined=pb.Examined(
            query_id=query_id,
            files=[
                pb.ArchiveFile(
                    lfn=one.lfn,
                    presence=_PRESENCES[one.presence],
                    size_bytes=one.size_bytes or 0,
                    checksum=_checksum(one.checksum),
                    reason=one.reason,
                    mtime_unix_s=one.mtime_s or 0.0,
                    is_directory=one.is_directory,
                    is_beyond_asking=one.is_beyond_asking,
                    volume=one.volume,
                    position=one.position,
                )
                for one in files
            ],
            last=last,
        )
    )


def listed(query_id: int, listing: Listing) -> Iterator[pb.NodeMessage]:
    """What the archive has in a directory, in pieces."""
    for start in range(0, max(1, len(listing.entries)), NAMES_IN_A_PIECE):
        end = start + NAMES_IN_A_PIECE
        piece = pb.Listed(
            query_id=query_id,
            entries=[
                pb.ArchiveEntry(
                    name=one.name,
                    is_directory=one.is_directory,
                    size_bytes=one.size_bytes or 0,
                    mtime_unix_s=one.mtime_s or 0.0,
                )
                for one in listing.entries[start:end]
            ],
        )
        if end >= len(listing.entries):
            piece.last = True
            piece.presence = _PRESENCES[listing.presence]
            piece.reason = listing.reason
        yield pb.NodeMessage(listed=piece)


def replica_stats(
    query_id: int, stats: Mapping[str, Stat], *, with_checksums: bool = False, last: bool = False
) -> pb.NodeMessage:
    """When some replicas were last modified, and their checksums."""
    sums = [str(stat.checksum or "") for stat in stats.values()] if with_checksums else ()
    return pb.NodeMessage(
        replica_stats=pb.ReplicaStats(
            query_id=query_id,
            lfns=stats.keys(),
            mtime_unix_s=[stat.mtime_s for stat in stats.values()],
            checksums=sums,
            last=last,
        )
    )


def purge_plan(query_id: int, plan: Plan) -> pb.NodeMessage:
    """A dry run of purging."""
    return pb.NodeMessage(
        purge_plan=pb.PurgePlan(
            query_id=query_id,
            verdicts=[
                pb.PurgeVerdict(
                    lfn=one.lfn,
                    goes=one.goes,
                    why=one.why,
                    size_bytes=one.size_bytes,
                    unused_s=one.unused_s,
                )
                for one in plan.verdicts
            ],
            summary=plan.summary,
        )
    )


def file_info(known: Known) -> types_pb2.FileInfo:
    """All that is known of one replica."""
    content = None
    if known.content is not None:
        content = types_pb2.Content.FromString(known.content)
    return types_pb2.FileInfo(
        lfn=known.lfn,
        size_bytes=known.size_bytes,
        checksum=_checksum(known.checksum),
        content=content,
    )


def content_bytes(found: Content) -> bytes:
    """What an inspection found, as the catalogue keeps it."""
    return types_pb2.Content(
        format=types_pb2.Content.Format.Value(f"FORMAT_{found.format.name}"),
        tables=[
            types_pb2.Table(name=one.name, entries=one.entries, cluster_ends=one.cluster_ends)
            for one in found.tables
        ],
        uuid=found.uuid,
        problem=found.problem,
    ).SerializeToString()


def _checksum(known: Checksum | None) -> types_pb2.Checksum | None:
    if known is None:
        return None
    return types_pb2.Checksum(algorithm=known.algorithm, value=known.value)
