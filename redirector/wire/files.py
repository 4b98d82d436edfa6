"""Where files are and how they stand, requests and stories: answers to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core.states import FileState, RequestFileState
from redirector.core.telling import dropped_line
from redirector.wire.values import address_message, state_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redirector.core.figures import (
        Explanation,
        FileStanding,
        LocateColumns,
        RequestFigures,
    )
    from redirector.core.model import DropRecord, FileEvent, RecallRecord, RequestFile

_STATE_IN_REQUEST = {
    RequestFileState.WAITING: FileState.STAGING,
    RequestFileState.DONE: FileState.ONLINE,
    RequestFileState.FAILED: FileState.FAILED,
    RequestFileState.CANCELLED: FileState.NEARLINE,
}


def locate_reply(columns: LocateColumns) -> pb.LocateReply:
    """Columns as columns; nothing here costs much for each name."""
    return pb.LocateReply(
        nodes=[address_message(node) for node in columns.nodes],
        holder=columns.holders,
        size_bytes=columns.sizes_bytes,
        more=[pb.LocateReply.Copy(row=row, holder=holder) for row, holder in columns.more],
        offline=[
            pb.LocateReply.Offline(row=row, state=state_value(state), reason=reason)
            for row, state, reason in columns.offline
        ],
    )


def snapshot_event(standing: FileStanding) -> pb.FileEvent:
    """How a file stands, as a row of a watcher's snapshot."""
    return pb.FileEvent(
        lfn=standing.lfn,
        state=state_value(standing.state),
        node=standing.node,
        size_bytes=standing.size_bytes,
        reason=standing.reason,
    )


def request_snapshot_event(file: RequestFile) -> pb.FileEvent:
    """How a file of a request that has ended stood then."""
    return pb.FileEvent(
        lfn=file.lfn,
        state=state_value(_STATE_IN_REQUEST[file.state]),
        reason=file.reason,
    )


def event_message(event: FileEvent) -> pb.FileEvent:
    """What happened to a file."""
    return pb.FileEvent(
        lfn=event.lfn,
        state=state_value(event.state),
        node=event.node,
        size_bytes=event.size_bytes,
        reason=event.reason,
        kind=pb.FileEvent.Kind.ValueType(event.kind),
    )


def request_message(figures: RequestFigures, files: Iterable[RequestFile] = ()) -> pb.RequestInfo:
    """A stage request, with its files if given."""
    record = figures.record
    return pb.RequestInfo(
        request_id=record.request_id,
        owner=record.owner,
        priority=record.priority,
        created_unix_s=record.created_unix_s,
        ended_unix_s=figures.ended_unix_s,
        state=pb.RequestState.ValueType(figures.state),
        files=figures.files,
        done=figures.done,
        failed=figures.failed,
        cancelled=figures.cancelled,
        dataset=record.dataset,
        activity=record.activity,
        file=[
            pb.RequestFile(
                lfn=file.lfn, state=state_value(_STATE_IN_REQUEST[file.state]), reason=file.reason
            )
            for file in files
        ],
    )


def explain_reply(
    explanation: Explanation,
    archive_name: str,
    stores: Sequence[str],
    drops: Sequence[DropRecord] = (),
) -> pb.ExplainReply:
    """The story of a file; `stores` are lines about replicas that are not archived yet.

    `drops` are those remembered for longer than stories are; they are told once.
    """
    story = [(line.unix_s, line.text) for line in explanation.story]
    remembered = ((one.dropped_unix_s, dropped_line(one.node, one.reason)) for one in drops)
    story += [line for line in remembered if line not in story]
    return pb.ExplainReply(
        state=state_value(explanation.state),
        replicas=[
            pb.ExplainReply.Replica(node=node, size_bytes=size_bytes)
            for node, size_bytes in explanation.replicas
        ],
        pins=[
            pb.ExplainReply.PinInfo(
                owner=pin.owner, expires_in_s=pin.expires_in_s, reason=pin.reason
            )
            for pin in explanation.pins
        ],
        request_ids=explanation.request_ids,
        story=[
            pb.StoryLine(unix_s=unix_s, text=text)
            for unix_s, text in sorted(story, key=lambda line: line[0])
        ],
        next=explanation.next,
        archive_name=archive_name,
        stores=stores,
    )


def recall_message(record: RecallRecord) -> pb.RecallInfo:
    """One run of a recall."""
    return pb.RecallInfo(
        recall_id=record.recall_id,
        lfn=record.lfn,
        node=record.node,
        state=record.state,
        queued_unix_s=record.queued_unix_s,
        started_unix_s=record.started_unix_s,
        ended_unix_s=record.ended_unix_s,
        size_bytes=record.size_bytes,
        command_s=record.command_s,
        attempt=record.attempt,
        reason=record.reason,
    )
