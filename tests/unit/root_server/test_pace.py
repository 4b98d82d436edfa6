"""Clients that ask for more than they take, or faster than they are served: none of them can
have much waiting in memory, and each goes on when it has caught up."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from common.root_server.connection import REQUESTS_BYTES
from common.root_server.outbox import WAITING_BYTES, WAITING_ITEMS
from tests.support.root_door import Site, serving
from tests.support.root_peer import STREAM_ID, Peer
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import QueryType

if TYPE_CHECKING:
    from pathlib import Path

HANDLE = bytes(4)
FEW_BYTES = 4096


def waiting(site: Site) -> tuple[int, int]:
    """How many things and bytes wait to be sent to the client that came last."""
    outbox = site.client().connection._sender.outbox
    return len(outbox), outbox.bytes_waiting


async def until_not_read_from(site: Site, peer: Peer, said: bytes) -> int:
    """Says something again and again until the server listens no more; how often it was said.

    Not always whole: what the kernel does not take is said by the next one to ask.
    """
    client, sent = site.client(), 0
    everything = said * (1 + (1 << 20) // len(said))
    while not client.connection.is_deaf:
        start = sent % len(said)
        sent += peer.say_at_once(everything[start:])
        # The server is in the same loop, and has its turn.
        await asyncio.sleep(0)
    rest = -sent % len(said)
    peer.unsaid = said[len(said) - rest :] if rest else b""
    return (sent + rest) // len(said)


async def test_a_client_has_no_more_than_so_many_requests_worked_on() -> None:
    async with serving(max_requests=16) as site, await Peer.logged_in(site.address) as peer:
        await peer.say(*[requests.Open("/store/slow")] * 100)
        await becomes_true(lambda: site.client().begun)
        await becomes_true(lambda: site.client().connection.is_deaf)
        # They all came in one piece.
        assert site.client().heard == 16
        site.door.gate.set()
        for _ in range(100):
            assert (await peer.hear()).body == b"/store/slow"
        assert site.client().heard == 100
        assert not site.client().connection.is_deaf


async def test_a_door_that_says_stop_hears_nothing_more() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        connection = site.client().connection
        connection.hold()
        connection.hold()
        await peer.say(*[requests.Stat("/store/a")] * 10)
        connection.release()
        assert connection.is_deaf
        assert site.client().heard == 0
        connection.release()
        for _ in range(10):
            await peer.hear()
        assert site.client().heard == 10


async def test_to_go_on_without_having_stopped_is_a_bug() -> None:
    async with serving() as site, await Peer.logged_in(site.address):
        with pytest.raises(AssertionError, match="without a hold"):
            site.client().connection.release()
        with pytest.raises(AssertionError, match="more was released"):
            site.client().connection.release_bytes(1)
        site.client().connection.hold_bytes(1)


async def test_what_is_heard_after_a_stop_keeps_its_order() -> None:
    async with serving(max_requests=1) as site, await Peer.logged_in(site.address) as peer:
        site.door.gate.set()
        said, paths = b"", []
        for number in range(300):
            path = f"/store/{number}"
            paths.append(path)
            kind = requests.Stat(path) if number % 3 else requests.Open(path)
            said += kind.encode(number.to_bytes(2, "big"))
        await peer.say(said)
        heard = {answer.stream_id: answer.body for answer in [await peer.hear() for _ in paths]}
        assert [heard[number.to_bytes(2, "big")].decode() for number in range(300)] == paths


async def test_a_client_that_takes_no_answers_has_few_waiting() -> None:
    path = "/store/" + "x" * 3000
    said = requests.Stat(path).encode(STREAM_ID)
    async with (
        serving() as site,
        await Peer.logged_in(site.address, receives_bytes=FEW_BYTES) as peer,
    ):
        asked = await until_not_read_from(site, peer, said)
        assert waiting(site)[1] <= WAITING_BYTES + REQUESTS_BYTES
        assert site.client().heard < asked
        saying = asyncio.create_task(peer.say(peer.unsaid))
        for _ in range(asked):
            assert (await peer.hear()).body == path.encode()
        await saying
        assert waiting(site) == (0, 0)


async def test_a_client_that_takes_no_parts_of_files_has_few_waiting(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(1 << 20))
    said = requests.Read(HANDLE, 0, 1 << 20).encode(STREAM_ID)
    async with (
        serving() as site,
        await Peer.logged_in(site.address, receives_bytes=FEW_BYTES) as peer,
    ):
        file = site.door.serve(path)
        await until_not_read_from(site, peer, said)
        things, _ = waiting(site)
        assert things <= WAITING_ITEMS + 1
        # And those that a thread has just sent.
        assert file.kept <= 2 * WAITING_ITEMS


async def test_parts_that_go_by_another_connection_of_the_session_are_bounded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(1 << 20))
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as peer,
        await Peer.connect(site.address, receives_bytes=FEW_BYTES) as other,
    ):
        file = site.door.serve(path)
        await other.shake()
        path_id = (await other.ask(requests.Bind(peer.session_id))).body[0]
        main, side = site.client(0).connection, site.client(1).connection
        said = requests.Read(HANDLE, 0, 1 << 20, path_id).encode(STREAM_ID)
        said_often = said * 100
        sent = 0
        while not main.is_deaf:
            sent += peer.say_at_once(said_often[sent % len(said) :])
            await asyncio.sleep(0)
        assert file.kept <= 2 * WAITING_ITEMS
        assert len(side._sender.outbox) <= WAITING_ITEMS + 1
        # When they are taken there, it is listened to again here.
        taking = asyncio.create_task(take_all(other))
        await becomes_true(lambda: not main.is_deaf)
        taking.cancel()
        await asyncio.wait([taking])


async def take_all(peer: Peer) -> None:
    while True:
        await peer.receive()


async def test_large_answers_are_made_only_as_they_are_taken() -> None:
    size_bytes = 1 << 20
    async with (
        serving(max_requests=100) as site,
        await Peer.logged_in(site.address, receives_bytes=16 * FEW_BYTES) as peer,
    ):
        await peer.say(*[requests.Query(QueryType.CONFIG, str(size_bytes))] * 100)
        await becomes_true(lambda: site.client().heard == 100)
        await becomes_true(lambda: waiting(site)[1] >= WAITING_BYTES - 2 * size_bytes)
        for _ in range(100):
            assert len((await peer.hear()).body) == size_bytes
            assert waiting(site)[1] <= WAITING_BYTES + size_bytes + 8


async def test_one_more_thing_is_made_when_there_is_room_for_it() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        connection = site.client().connection
        async with connection.room_for(0):
            connection.send(bytes(2 * WAITING_BYTES))

        async def enter() -> None:
            async with connection.room_for(1):
                return

        waits = asyncio.create_task(enter())
        await asyncio.sleep(0)
        assert not waits.done()
        while not waits.done():
            await peer.receive()
        await waits
