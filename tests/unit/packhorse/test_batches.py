"""Names are dealt out to calls by their number, and by what a message can hold."""

from __future__ import annotations

from common.grpc_options import DEFAULT_MAX_MESSAGE_BYTES
from common.names import MAX_NAME_BYTES
from packhorse.aio.streams import NAMES_PER_CALL, name_batches
from protos.packhorse.v1.redirector_pb2 import LocateRequest


def test_usual_names_go_by_their_number() -> None:
    names = [f"/store/run7/file{number}.root" for number in range(2 * NAMES_PER_CALL + 1)]
    pieces = list(name_batches(names))
    assert [len(piece) for piece in pieces] == [NAMES_PER_CALL, NAMES_PER_CALL, 1]
    assert [name for piece in pieces for name in piece] == names


def test_the_longest_names_there_are_fit_into_messages_all_the_same() -> None:
    for character in ("x", "🐎"):
        name = "/" + character * ((MAX_NAME_BYTES - 1) // len(character.encode()))
        names = [name] * (NAMES_PER_CALL + 1)
        pieces = list(name_batches(names))
        assert sum(map(len, pieces)) == len(names)
        assert LocateRequest(lfns=pieces[0]).ByteSize() < DEFAULT_MAX_MESSAGE_BYTES


def test_no_names_make_no_call() -> None:
    assert list(name_batches([])) == []
