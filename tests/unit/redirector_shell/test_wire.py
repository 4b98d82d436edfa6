"""Messages become values and values messages; what makes no sense is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from common.errors import ConfigError, PackhorseError, UsageError
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from redirector.core import events, instructions
from redirector.core.datasets import DatasetFile, Mode
from redirector.core.model import (
    Checksum,
    Failure,
    FilePins,
    PinOrder,
    ReplicaChange,
    RunningRecall,
)
from redirector.core.states import (
    ErrorClass,
    FileEventKind,
    FileState,
    NodeState,
    RequestState,
)
from redirector.core.verdicts import ArchiveCopy, Replica
from redirector.wire import datasets, nodes, values

if TYPE_CHECKING:
    from enum import IntEnum

HELLO = pb.Hello(
    address=types_pb2.NodeAddress(node="disk1", address="127.0.0.1:9", host="h"),
    boot_epoch="boot",
    pool_id="pool",
    quota_bytes=1000,
    recall_slots=4,
    running=[pb.RunningRecall(recall_id="r1", lfn="/store/a", reserved_bytes=5)],
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FileState, types_pb2.FileState),
        (FileEventKind, pb.FileEvent.Kind),
        (ErrorClass, types_pb2.ErrorClass),
        (RequestState, pb.RequestState),
        (NodeState, pb.NodeState),
    ],
)
def test_the_core_counts_its_states_as_the_wire_does(ours: type[IntEnum], theirs: Any) -> None:
    on_the_wire = {name.removeprefix("KIND_"): number for name, number in theirs.items() if number}
    prefix = next(iter(on_the_wire)).removesuffix(ours(1).name)
    assert on_the_wire == {f"{prefix}{member.name}": member.value for member in ours}


def test_a_hello_says_all_the_head_needs() -> None:
    hello = nodes.hello(pb.NodeMessage(hello=HELLO), 7)
    assert (hello.connection, hello.address.node, hello.boot_epoch) == (7, "disk1", "boot")
    assert hello.running == (RunningRecall("r1", "/store/a", 5),)
    assert (hello.claims, hello.served_by_others, hello.address.root_address) == ([], False, "")


def test_a_hello_says_who_reads_and_writes_by_root() -> None:
    said = pb.Hello(claims=["/a", "//b", "/a"], served_by_others=True)
    said.MergeFrom(HELLO)
    said.address.root_address = "disk1:1094"
    hello = nodes.hello(pb.NodeMessage(hello=said), 1)
    assert (hello.claims, hello.served_by_others) == (["/a", "/b"], True)
    assert values.address_message(hello.address) == said.address
    said.address.root_address = "disk1"
    with pytest.raises(ConfigError, match="address"):
        nodes.hello(pb.NodeMessage(hello=said), 1)


@pytest.mark.parametrize("field", ["boot_epoch", "pool_id", "quota_bytes", "recall_slots"])
def test_a_hello_without_a_needed_field_is_refused(field: str) -> None:
    said = pb.Hello()
    said.CopyFrom(HELLO)
    said.ClearField(field)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"Hello: {field} is missing"):
        nodes.hello(pb.NodeMessage(hello=said), 1)


@pytest.mark.parametrize("field", ["node", "address"])
def test_a_hello_without_an_address_is_refused(field: str) -> None:
    said = pb.Hello()
    said.CopyFrom(HELLO)
    said.address.ClearField(field)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"Hello: address.{field} is missing"):
        nodes.hello(pb.NodeMessage(hello=said), 1)


@pytest.mark.parametrize("address", ["nowhere", "host:port", "host:99999"])
def test_a_hello_with_an_address_that_is_none_is_refused(address: str) -> None:
    said = pb.Hello()
    said.CopyFrom(HELLO)
    said.address.address = address
    with pytest.raises(ConfigError, match="address"):
        nodes.hello(pb.NodeMessage(hello=said), 1)


def test_the_first_message_must_be_hello() -> None:
    with pytest.raises(UsageError, match="first message must be Hello"):
        nodes.hello(pb.NodeMessage(heartbeat=pb.Heartbeat()), 1)


def test_an_inventory_is_columns_of_equal_length() -> None:
    message = pb.NodeMessage(
        inventory=pb.Inventory(lfns=["/a", "/b"], size_bytes=[1, 2], last=True, change_number=9)
    )
    assert nodes.event(message, 3) == events.InventoryPiece(3, ["/a", "/b"], [1, 2], True, 9)


NONSENSE = {
    "nothing": pb.NodeMessage(),
    "a second hello": pb.NodeMessage(hello=HELLO),
    "columns of unequal length": pb.NodeMessage(inventory=pb.Inventory(lfns=["/a"])),
    "a name with ..": pb.NodeMessage(inventory=pb.Inventory(lfns=["/a/../b"], size_bytes=[1])),
    "a size beyond reason": pb.NodeMessage(
        inventory=pb.Inventory(lfns=["/a"], size_bytes=[1 << 63])
    ),
    "a change without a name": pb.NodeMessage(changes=pb.Changes(changes=[pb.Change(number=1)])),
    "a load that is no number": pb.NodeMessage(heartbeat=pb.Heartbeat(cpu_percent=float("nan"))),
    "a rate below 0": pb.NodeMessage(heartbeat=pb.Heartbeat(staging_rate=-1.0)),
    "progress of nothing": pb.NodeMessage(recall_progress=pb.RecallProgress()),
    "a claim on nothing": pb.NodeMessage(claim_ended=pb.ClaimEnded()),
    "the end of nothing": pb.NodeMessage(recall_ended=pb.RecallEnded(lfn="/a")),
    "the end for no file": pb.NodeMessage(recall_ended=pb.RecallEnded(recall_id="r")),
    "a failure of no class": pb.NodeMessage(
        recall_ended=pb.RecallEnded(recall_id="r", lfn="/a", failure=types_pb2.Failure())
    ),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE)
def test_a_message_that_makes_no_sense_is_refused(message: pb.NodeMessage) -> None:
    with pytest.raises(PackhorseError):
        nodes.event(message, 1)


def test_the_end_of_a_claim_names_the_file_as_everybody_does() -> None:
    message = pb.NodeMessage(claim_ended=pb.ClaimEnded(lfn="/a//b", claim_id="u1"))
    assert nodes.event(message, 2) == events.ClaimEnded(2, "/a/b", "u1")


@pytest.mark.parametrize(
    "message",
    [
        pb.NodeMessage(described=pb.Described(query_id=7)),
        pb.NodeMessage(examined=pb.Examined(query_id=7)),
        pb.NodeMessage(listed=pb.Listed(query_id=7)),
        pb.NodeMessage(replica_stats=pb.ReplicaStats(query_id=7)),
        pb.NodeMessage(purge_plan=pb.PurgePlan(query_id=7)),
        pb.NodeMessage(evicted=pb.Evicted(query_id=7)),
    ],
    ids=lambda message: message.WhichOneof("message"),
)
def test_answers_go_to_whoever_asked(message: pb.NodeMessage) -> None:
    answer = nodes.event(message, 1)
    assert isinstance(answer, nodes.ANSWERS)
    assert answer.query_id == 7


def test_changes_and_endings_are_taken_over() -> None:
    change = pb.Change(number=4, lfn="/a", size_bytes=5, recall_id="r")
    said = nodes.event(pb.NodeMessage(changes=pb.Changes(changes=[change])), 2)
    assert said == events.ReplicaChanges(2, [ReplicaChange(4, "/a", 5, recall_id="r")])
    ended = nodes.event(
        pb.NodeMessage(
            recall_ended=pb.RecallEnded(
                recall_id="r",
                lfn="/a",
                failure=types_pb2.Failure(
                    error_class=types_pb2.ERROR_CLASS_NO_SPACE, reason="full"
                ),
                exit_code=28,
            )
        ),
        2,
    )
    assert isinstance(ended, events.RecallEnded)
    assert ended.failure == Failure(ErrorClass.NO_SPACE, "full")
    assert ended.exit_code == 28


def test_commands_say_what_the_head_wants() -> None:
    start = nodes.command(
        instructions.StartRecall(
            "r", "/a", 5, Checksum("md5", "ff"), 5, pins=(PinOrder("ada", 60.0),)
        )
    ).start_recall
    assert (start.recall_id, start.lfn, start.checksum.value) == ("r", "/a", "ff")
    assert start.pins[0].owner == "ada"
    pins = nodes.command(
        instructions.SetPins((FilePins("/a", (PinOrder("ada", 1.0),)),), complete=True)
    ).set_pins
    assert pins.complete
    assert pins.files[0].pins[0].lifetime_s == 1.0
    welcome = nodes.command(instructions.Welcome(1.0, 60.0, "e", "head:1094")).welcome
    assert welcome.root_address == "head:1094"
    uses = nodes.command(instructions.NoteUses(("/a", "/b"))).note_uses
    assert list(uses.lfns) == ["/a", "/b"]
    for order, field in (
        (instructions.Welcome(1.0, 60.0, "e"), "welcome"),
        (instructions.SendInventory(), "send_inventory"),
        (instructions.ConfirmHeartbeat(3), "heartbeat_seen"),
        (instructions.CancelRecall("r", "why"), "cancel_recall"),
    ):
        assert nodes.command(order).WhichOneof("command") == field


def test_a_registered_file_is_what_was_given_and_nothing_more() -> None:
    message = pb.DatasetFile(
        lfn="/a",
        size_bytes=5,
        checksum=types_pb2.Checksum(algorithm="MD5", value="FF"),
        entries=0,
        entries_known=True,
        state=types_pb2.FILE_STATE_ONLINE,
    )
    file = datasets.file_of(message, "/a")
    assert file == DatasetFile("/a", "", 5, Checksum("md5", "ff"), 0)
    assert datasets.file_of(pb.DatasetFile(lfn="/a"), "/a") == DatasetFile("/a")
    assert datasets.file_message(file).entries_known


def test_an_unspecified_mode_is_new() -> None:
    assert datasets.header_of(pb.RegisterHeader(name="zmm"))[1] is Mode.NEW
    unknown = pb.RegisterHeader(name="zmm", mode=17)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="mode 17"):
        datasets.header_of(unknown)


ROOT = types_pb2.Content(
    format=types_pb2.Content.FORMAT_ROOT, tables=[types_pb2.Table(name="Events", entries=7)]
)
PARQUET = types_pb2.Content(
    format=types_pb2.Content.FORMAT_PARQUET, tables=[types_pb2.Table(entries=7)]
)
TEXT = types_pb2.Content(problem="it is text")


@pytest.mark.parametrize(
    ("content", "replica"),
    [
        (None, Replica(5)),
        (ROOT, Replica(5, None, {"Events": 7})),
        (PARQUET, Replica(5, None, {"": 7}, has_trees=False)),
        (TEXT, Replica(5, None, problem="it is text")),
    ],
    ids=["not inspected", "ROOT", "Parquet", "text"],
)
def test_what_a_node_says_of_a_file_can_be_judged(
    content: types_pb2.Content | None, replica: Replica
) -> None:
    info = types_pb2.FileInfo(lfn="/a", size_bytes=5, content=content)
    assert datasets.replica_of(info) == replica


def test_what_the_archive_did_not_tell_is_unknown() -> None:
    there = pb.ArchiveFile(lfn="/a", presence=pb.ArchiveFile.PRESENCE_THERE)
    assert datasets.archive_copy_of(there) == ArchiveCopy(True)
    unknown = pb.ArchiveFile(lfn="/a", presence=pb.ArchiveFile.PRESENCE_UNKNOWN, reason="why")
    assert datasets.archive_copy_of(unknown) == ArchiveCopy(None, reason="why")


@pytest.mark.parametrize("duration_s", [-1.0, float("nan"), float("inf")])
def test_durations_that_are_none_are_refused(duration_s: float) -> None:
    with pytest.raises(UsageError, match="no duration"):
        values.checked_duration("Pin: lifetime_s", duration_s)


def test_labels_are_printable_and_short() -> None:
    assert values.checked_label("owner", "Ada L.") == "Ada L."
    for text in ("a\nb", "x" * 1025):
        with pytest.raises(UsageError, match="owner"):
            values.checked_label("owner", text)


def test_half_a_checksum_is_refused() -> None:
    for message in (
        types_pb2.Checksum(algorithm="md5"),
        types_pb2.Checksum(value="ff"),
        types_pb2.Checksum(algorithm="md5", value="f f"),
    ):
        with pytest.raises(UsageError, match="checksum"):
            values.checksum_of(message)
