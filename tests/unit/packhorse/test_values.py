"""Values say what the messages say."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING

import pytest

from packhorse import values
from packhorse.values.convert import state_of
from packhorse.values.files import format_name, locations_of
from protos.packhorse.v1 import packetizer_pb2, redirector_pb2, types_pb2

if TYPE_CHECKING:
    from enum import StrEnum

    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


@pytest.mark.parametrize(
    ("kind", "messages", "prefix"),
    [
        (values.FileState, types_pb2.FileState, "FILE_STATE_"),
        (values.EventKind, redirector_pb2.FileEvent.Kind, "KIND_"),
        (values.RequestState, redirector_pb2.RequestState, "REQUEST_STATE_"),
        (values.NodeState, redirector_pb2.NodeState, "NODE_STATE_"),
        (values.SessionState, packetizer_pb2.SessionState, "SESSION_STATE_"),
    ],
)
def test_states_have_the_names_of_the_messages(
    kind: type[StrEnum], messages: EnumTypeWrapper, prefix: str
) -> None:
    for name, number in messages.items():
        if number:
            assert state_of(kind, number) == name.removeprefix(prefix).lower()
    assert len(kind) == len(messages.items())
    assert state_of(kind, 99) is next(iter(kind))


def test_formats_have_the_names_of_the_messages() -> None:
    for name, number in types_pb2.Content.Format.items():
        if number:
            assert format_name(number) == name.removeprefix("FORMAT_").lower()
    assert format_name(99) == ""


NODE = types_pb2.NodeAddress(node="n", address="h:1", host="h")


@pytest.mark.parametrize(
    "value",
    [
        values.FileInfo.of(types_pb2.FileInfo(lfn="/a", size_bytes=3)),
        values.Explanation.of("/a", redirector_pb2.ExplainReply(next="wait")),
        values.StageRequest.of(redirector_pb2.RequestInfo(request_id="r")),
        values.FileEvent.of(
            redirector_pb2.FileEvent(lfn="/a", kind=redirector_pb2.FileEvent.KIND_QUEUED)
        ),
        values.DatasetFile.of(redirector_pb2.DatasetFile(lfn="/a")),
        values.DatasetVerification.of(redirector_pb2.VerifyReply(complete=True)),
        values.SiteStatus.of(
            redirector_pb2.StatusReply(nodes=[redirector_pb2.NodeStatus(address=NODE)])
        ),
        values.PurgePlan.of(redirector_pb2.PlanPurgeReply.NodePlan(node="n", problem="gone")),
        values.Recall.of(redirector_pb2.RecallInfo(recall_id="x")),
        values.SessionStatus.of(
            packetizer_pb2.SessionStatus(missing=[packetizer_pb2.MissingRange(lfn="/a", stop=3)])
        ),
        values.PacketRecord.of(packetizer_pb2.PacketRecord(worker="w")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_plain_enough_for_json_and_pickle(value: object) -> None:
    assert is_dataclass(value)
    assert not isinstance(value, type)
    assert set(json.loads(json.dumps(asdict(value)))) == {one.name for one in fields(value)}
    assert pickle.loads(pickle.dumps(value)) == value


def test_locations_are_rows_made_of_columns() -> None:
    other = types_pb2.NodeAddress(node="m", address="g:1", host="g")
    reply = redirector_pb2.LocateReply(
        nodes=[NODE, other],
        holder=[1, 0, 2, 0],
        size_bytes=[10, 0, 30, 0],
        more=[redirector_pb2.LocateReply.Copy(row=2, holder=1)],
        offline=[
            redirector_pb2.LocateReply.Offline(
                row=3, state=types_pb2.FILE_STATE_MISSING, reason="not in the archive"
            )
        ],
    )
    a, b, c, d = locations_of(["/a", "/b", "/c", "/d"], reply)
    assert (a.state, a.size_bytes, [node.node for node in a.nodes]) == ("online", 10, ["n"])
    assert (b.state, b.size_bytes, b.nodes) == ("nearline", 0, ())
    assert [node.node for node in c.nodes] == ["m", "n"]
    assert (d.state, d.reason) == ("missing", "not in the archive")


def test_a_session_has_ended_when_it_will_not_go_on_by_itself() -> None:
    ended = {state for state in values.SessionState if state.ended}
    assert ended == {"done", "failed", "cancelled"}


def test_what_is_neither_online_nor_given_up_is_waited_for() -> None:
    progress = values.StageProgress(10, 4, 1, 2, 0, ())
    assert (progress.waiting, progress.ended) == (3, False)
    assert values.StageProgress(3, 1, 1, 1, 0, ()).ended
