"""What is said to and by the redirector and the purge command."""

from __future__ import annotations

import pytest

from common.errors import NameRefused, UsageError
from dataserver import wire
from dataserver.checksum import Checksum
from dataserver.core import events, instructions
from dataserver.core.candidates import Advice
from dataserver.core.changes import Change, Inventory
from dataserver.core.failure import Failure, FailureKind
from dataserver.ends import Ends
from dataserver.inspection import Content, Format, Table
from dataserver.purger import understand
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2

# --- the redirector ---------------------------------------------------------------


def test_an_order_is_understood_in_any_spelling() -> None:
    said = pb.StartRecall(
        recall_id="r1",
        lfn="//store/./a/",
        size_bytes=10,
        checksum=types_pb2.Checksum(algorithm="ADLER-32", value="0xABC"),
        reserve_bytes=20,
        pins=[pb.PinOrder(owner="ann", lifetime_s=5)],
    )
    assert wire.recall_ordered(said) == events.RecallOrdered(
        "r1", "/store/a", 10, Checksum("adler32", "00000abc"), 20, (events.PinOrder("ann", 5.0),)
    )


def test_an_unknown_size_and_checksum_are_none() -> None:
    order = wire.recall_ordered(pb.StartRecall(recall_id="r1", lfn="/a"))
    assert (order.size_bytes, order.checksum) == (None, None)


def test_an_order_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="recall_id is missing"):
        wire.recall_ordered(pb.StartRecall(lfn="/a"))
    with pytest.raises(NameRefused):
        wire.recall_ordered(pb.StartRecall(recall_id="r", lfn="/a/../b"))
    odd = types_pb2.Checksum(algorithm="adler32", value="xyz")
    with pytest.raises(UsageError):
        wire.recall_ordered(pb.StartRecall(recall_id="r", lfn="/a", checksum=odd))


@pytest.mark.parametrize(("names", "pieces"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2)])
def test_an_inventory_goes_in_pieces_and_the_last_one_says_so(names: int, pieces: int) -> None:
    found = Inventory([f"/f{n}" for n in range(names)], list(range(names)), 77)
    told = [message.inventory for message in wire.inventory(found)]
    assert len(told) == pieces
    assert [lfn for piece in told for lfn in piece.lfns] == found.lfns
    assert [piece.last for piece in told] == [False] * (pieces - 1) + [True]
    assert told[-1].change_number == 77


def test_changes_carry_their_numbers_and_reasons() -> None:
    entered = [
        Change(5, "/a", 10, dropped=False, recall_id="r1"),
        Change(6, "/b", 1, True, "purged"),
    ]
    one, two = wire.changes(entered).changes.changes
    assert (one.number, one.lfn, one.size_bytes, one.recall_id) == (5, "/a", 10, "r1")
    assert (two.number, two.dropped, two.reason) == (6, True, "purged")


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_of_failure_has_its_class_on_the_wire(kind: FailureKind) -> None:
    told = instructions.TellEnded(
        "r1", "/a", Failure(kind, "why"), None, None, events.Ran(1.0, 3, "tail"), 2.0, 70
    )
    ended = wire.recall_ended(told).recall_ended
    name = types_pb2.ErrorClass.Name(ended.failure.error_class)
    assert name == f"ERROR_CLASS_{kind.name}"
    assert (ended.failure.reason, ended.exit_code, ended.output_tail) == ("why", 3, "tail")
    assert (ended.size_bytes, ended.arrived_bytes) == (0, 70)


def test_an_end_without_failure_says_that_it_was_published() -> None:
    told = instructions.TellEnded(
        "r1", "/a", None, 10, Checksum("adler32", "00000001"), events.Ran(), 2.0
    )
    ended = wire.recall_ended(told).recall_ended
    assert not ended.HasField("failure")
    assert (ended.size_bytes, ended.checksum.value) == (10, "00000001")


def test_content_survives_being_kept() -> None:
    found = Content(Format.ROOT, (Table("Events", 10, (4, 10)),), "uuid", "")
    kept = types_pb2.Content.FromString(wire.content_bytes(found))
    assert kept.format == types_pb2.Content.FORMAT_ROOT
    assert (kept.tables[0].name, list(kept.tables[0].cluster_ends)) == ("Events", [4, 10])


# --- ends of recalls, which must not get lost ----------------------------------------


def end(recall_id: str) -> pb.NodeMessage:
    return pb.NodeMessage(recall_ended=pb.RecallEnded(recall_id=recall_id))


async def test_an_end_is_kept_until_a_heartbeat_after_it_is_seen() -> None:
    ends = Ends()
    for recall_id in "abc":
        ends.add(end(recall_id))
    assert ends.take(next_beat=5) == end("a")
    assert ends.take(next_beat=6) == end("b")
    ends.confirm(5)
    ends.begin_anew()
    told = [ends.take(7), ends.take(7), ends.take(7)]
    assert told == [end("b"), end("c"), None]
    assert ends.told.is_set()
    ends.confirm(7)
    ends.begin_anew()
    assert ends.take(8) is None


# --- the purge command ------------------------------------------------------------------


def test_verdicts_are_ranked_and_keeps_win() -> None:
    answer = b"""
    {"lfn": "/c", "verdict": "purge", "rank": 2}
    {"lfn": "/a", "verdict": "purge"}
    {"lfn": "/b", "verdict": "purge", "rank": -1.5}
    {"lfn": "/a2", "verdict": "purge"}
    {"lfn": "/k", "verdict": "purge"}
    {"lfn": "/k", "verdict": "keep"}
    """
    assert understand(answer) == Advice(("/b", "/a", "/a2", "/c"), frozenset({"/k"}))


def test_no_answer_is_no_opinion() -> None:
    assert understand(b"\n\n") == Advice()


@pytest.mark.parametrize(
    "line",
    [
        b"purge them all",
        b"[]",
        b'{"lfn": 3, "verdict": "keep"}',
        b'{"lfn": "/a"}',
        b'{"lfn": "/a", "verdict": "purge", "rank": "first"}',
        b'{"lfn": "/a", "verdict": "purge", "rank": NaN}',
        b'{"lfn": "/a", "verdict": "purge", "rank": true}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_verdict_is_named_by_its_line(line: bytes) -> None:
    with pytest.raises(UsageError, match="line 2 is no verdict"):
        understand(b'{"lfn": "/x", "verdict": "keep"}\n' + line)
