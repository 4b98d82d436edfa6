"""The client of the benchmarks counts every answer once, however it arrives."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.root.raw_client import RECEIVED_BYTES, Lane, Refused, Work
from xroot import responses
from xroot.protocol import Code, Request, Status
from xroot.requests import Read

REQUEST_BYTES = 24
BODIES = st.binary(max_size=40)


def plain(parts: list[bytes]) -> bytes:
    *first, last = parts
    return b"".join(responses.partial(b"\0\1", part) for part in first) + responses.ok(
        b"\0\1", last
    )


def in_pages(parts: list[bytes]) -> bytes:
    said = bytearray()
    for number, part in enumerate(parts, 1):
        final = number == len(parts)
        said += responses.pages(b"\0\1", Request.PGREAD, 0, len(part), final=final) + part
    return bytes(said)


def lane_of(requests: int, wanted: int) -> tuple[Lane, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    work = Work.of(Read(bytes(4), 0, 1) for _ in range(requests))
    return Lane(SimpleNamespace(socket=ours, address="server"), work, wanted), theirs


def requests_in(theirs: socket.socket) -> int:
    try:
        return len(theirs.recv(1 << 20)) // REQUEST_BYTES
    except BlockingIOError:
        return 0


@given(
    answers=st.lists(st.lists(BODIES, min_size=1, max_size=3), min_size=1, max_size=6),
    pieces=st.lists(st.integers(1, 60), min_size=1),
    window=st.integers(1, 4),
    pages=st.booleans(),
)
def test_as_many_requests_follow_as_were_answered(
    answers: list[list[bytes]], pieces: list[int], window: int, pages: bool
) -> None:
    wanted = Status.STATUS if pages else Status.OK
    encoded = [in_pages(parts) if pages else plain(parts) for parts in answers]
    lane, theirs = lane_of(len(answers), wanted)
    buffer = bytearray(RECEIVED_BYTES)
    view = memoryview(buffer)
    with lane.socket, theirs:
        lane.send(window)
        asked = requests_in(theirs)
        assert asked == min(window, len(answers))
        stream, position, turn = b"".join(encoded), 0, 0
        ends = [sum(map(len, encoded[: number + 1])) for number in range(len(encoded))]
        while position < len(stream):
            size = pieces[turn % len(pieces)]
            theirs.send(stream[position : position + size])
            lane.receive(buffer, view)
            position, turn = min(position + size, len(stream)), turn + 1
            answered = sum(end <= position for end in ends)
            assert lane.left == len(answers) - answered
            asked += requests_in(theirs)
            assert asked == min(window + answered, len(answers))
        assert lane.received_bytes == len(stream)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (responses.error(b"\0\1", Code.NOT_FOUND, "no such file"), "error 3011, no such file"),
        (responses.wait(b"\0\1", 5), "status 4005"),
        (responses.redirect(b"\0\1", "elsewhere", 1094), "status 4004"),
    ],
)
def test_what_was_not_measured_is_refused(answer: bytes, said: str) -> None:
    lane, theirs = lane_of(1, Status.OK)
    buffer = bytearray(RECEIVED_BYTES)
    with lane.socket, theirs:
        lane.send(1)
        theirs.send(answer)
        with pytest.raises(Refused, match=said):
            lane.receive(buffer, memoryview(buffer))


def test_a_server_that_hangs_up_is_noticed() -> None:
    lane, theirs = lane_of(1, Status.OK)
    buffer = bytearray(RECEIVED_BYTES)
    with lane.socket:
        theirs.close()
        with pytest.raises(Refused, match="hung up"):
            lane.receive(buffer, memoryview(buffer))
