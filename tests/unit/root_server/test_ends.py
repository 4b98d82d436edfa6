"""How connections end: in every state, by either side, and nothing of them stays."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from common.root_server import FilePart, RootError
from common.root_server import connection as module
from tests.support.root_door import Site, serving
from tests.support.root_peer import STREAM_ID, HungUp, Peer, said
from tests.support.waiting import becomes_true
from xroot import requests, responses
from xroot.protocol import Code, QueryType, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

HANDLE = bytes(4)
LARGE_BYTES = 32 << 20


def large_file(folder: Path) -> Path:
    """A file that no socket takes at once."""
    path = folder / "data"
    with path.open("wb") as file:
        file.truncate(LARGE_BYTES)
    return path


# --- the client goes ---------------------------------------------------------------------------


async def nothing(_site: Site, _peer: Peer) -> None:
    """It has just connected."""


async def half_a_handshake(_site: Site, peer: Peer) -> None:
    await peer.say(requests.handshake()[:7])


async def no_login(_site: Site, peer: Peer) -> None:
    await peer.shake()


async def logged_in(_site: Site, peer: Peer) -> None:
    await peer.log_in()


async def half_a_request(_site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(requests.Stat("/store/a").encode(STREAM_ID)[:-3])


async def half_the_data(site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(requests.Write(HANDLE, 0, 1000), b"some")
    await becomes_true(lambda: site.client().heard)


async def much_data_held(site: Site, peer: Peer) -> None:
    await peer.log_in()
    site.client().holds_data = True
    size_bytes = 5 << 20
    await peer.say(requests.Write(HANDLE, 0, size_bytes), bytes(size_bytes))
    await becomes_true(lambda: site.client().connection.is_deaf)


async def work_under_way(site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(*[requests.Open("/store/slow")] * 3)
    await becomes_true(lambda: site.client().begun == 3)


async def too_much_work_under_way(site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(*[requests.Open("/store/slow")] * 100)
    await becomes_true(lambda: site.client().connection.is_deaf)


async def answers_not_taken(site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(*[requests.Query(QueryType.CONFIG, str(2 << 20))] * 10)
    await becomes_true(lambda: site.client().connection._sender.awaits_client)


async def a_file_not_taken(site: Site, peer: Peer) -> None:
    await peer.log_in()
    await peer.say(*[requests.Read(HANDLE, 0, LARGE_BYTES)] * 3)
    await becomes_true(lambda: site.client().connection._sender.awaits_client)


async def a_thread_at_work(site: Site, peer: Peer) -> None:
    """As if nothing were in the page cache."""
    await peer.log_in()
    await peer.say(*[requests.Read(HANDLE, 0, LARGE_BYTES)] * 3)
    await becomes_true(lambda: site.client().connection._sender.is_in_thread)


STATES = [
    nothing,
    half_a_handshake,
    no_login,
    logged_in,
    half_a_request,
    half_the_data,
    much_data_held,
    work_under_way,
    too_much_work_under_way,
    answers_not_taken,
    a_file_not_taken,
    a_thread_at_work,
]
WAYS = [Peer.close, Peer.vanish, Peer.hang_up_half]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_a_client_that_goes_leaves_nothing_behind(
    state: Callable[[Site, Peer], Awaitable[None]],
    way: Callable[[Peer], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if state is a_thread_at_work:
        monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    async with serving() as site, await Peer.connect(site.address) as peer:
        file = site.door.serve(large_file(tmp_path))
        await state(site, peer)
        way(peer)

        def is_gone() -> bool:
            # A client that is not listened to is looked after now and then.
            site.listener.look(0.0)
            return site.listener.connections == 0

        await becomes_true(is_gone)
        client = site.client()
        assert client.times_gone == 1
        assert client.cancelled == client.begun
        assert file.kept == 0


# --- the server ends it --------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_a_door_that_closes_ends_clients_in_any_state(
    state: Callable[[Site, Peer], Awaitable[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if state is a_thread_at_work:
        monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    async with serving() as site, await Peer.connect(site.address) as peer:
        file = site.door.serve(large_file(tmp_path))
        await state(site, peer)
        await becomes_true(lambda: site.listener.connections)
        await site.listener.stop(30.0)
        assert site.listener.connections == 0
        assert site.client().times_gone == 1
        assert site.client().cancelled == site.client().begun
        assert file.kept == 0
        await peer.until_hung_up()
        with pytest.raises(ConnectionRefusedError):
            await Peer.connect(site.address)


async def test_closing_sends_what_waits_and_answers_nothing_more() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        waiting = fill(site)
        await peer.say(requests.Rm("/store/a"), requests.Stat("/store/b"))
        await becomes_true(lambda: site.client().connection._closing)
        assert site.client().times_gone == 0
        said = await peer.until_hung_up()
        assert said == waiting + responses.ok(STREAM_ID, b"farewell")
        assert site.client().times_gone == 1


async def test_last_words_arrive_though_more_was_said_than_is_listened_to() -> None:
    # To hang up on what was not read would reset the connection, and lose the error.
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        prepare = STREAM_ID + int(Request.PREPARE).to_bytes(2, "big") + bytes(16)
        saying = asyncio.create_task(peer.say(prepare + b"\x40\0\0\0", bytes(8 << 20)))
        code, text = said(await peer.hear())
        assert code == Code.ARG_TOO_LONG
        assert text == "a payload of 1073741824 bytes is too long for request 3021"
        await saying
        assert await peer.until_hung_up() == b""
        assert site.client().times_gone == 1
        assert site.listener.connections == 1, "its socket is kept until it hangs up, too"
        peer.close()
        await becomes_true(lambda: site.listener.connections == 0)


async def test_a_client_that_does_not_hang_up_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.05)
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        assert (await peer.ask(requests.Rm("/store/a"))).body == b"farewell"
        await becomes_true(lambda: site.listener.connections == 0)


async def test_a_client_that_does_not_take_its_last_words_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.05)
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        fill(site)
        await peer.say(requests.Rm("/store/a"))
        await becomes_true(lambda: site.listener.connections == 0)


def fill(site: Site) -> bytes:
    """Has answers wait for the client, but not so many that it is not listened to; all of them."""
    connection, said = site.client().connection, b""
    while not connection._sender.awaits_client:
        connection.send(responses.ok(STREAM_ID, bytes(1 << 20)))
        said += responses.ok(STREAM_ID, bytes(1 << 20))
    assert not connection.is_deaf
    return said


async def test_ending_in_the_middle_of_a_request_is_no_trouble() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Truncate(HANDLE, 1), requests.Stat("/store/never"))
        with pytest.raises(HungUp):
            await peer.hear()
        client = site.client()
        await becomes_true(lambda: site.listener.connections == 0)
        assert client.heard == 1
        # The work that was begun too late was begun all the same, so that it could tidy up.
        assert (client.begun, client.cancelled) == (1, 1)


async def test_ending_an_ended_connection_is_no_trouble(tmp_path: Path) -> None:
    async with serving() as site, await Peer.logged_in(site.address):
        file = site.door.serve(large_file(tmp_path))
        connection = site.client().connection
        for _ in range(2):
            connection.abort()
            connection.close()
            connection.send(b"nothing")
            connection.send_part(FilePart(b"head", file, 0, 10))
            with pytest.raises(RootError, match="the connection has ended"):
                await connection.room_for(1).__aenter__()
        assert file.kept == 0
        assert site.client().times_gone == 1


async def test_what_a_door_does_wrong_at_the_end_is_told_and_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        client = site.client()
        gone = client.gone

        def fails() -> None:
            gone()
            raise RuntimeError("a bug at the end")

        client.gone = fails  # type: ignore[method-assign]
        peer.close()
        await becomes_true(lambda: site.listener.connections == 0)
        assert "a bug at the end" in caplog.text


# --- files -----------------------------------------------------------------------------------------


async def test_a_file_that_is_cut_while_it_is_sent_ends_the_connection_and_is_told(
    tmp_path: Path,
) -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        path = large_file(tmp_path)
        file = site.door.serve(path)
        await peer.say(requests.Read(HANDLE, 0, LARGE_BYTES), requests.Stat("/store/never"))
        await becomes_true(lambda: site.client().connection._sender.awaits_client)
        os.truncate(path, LARGE_BYTES // 2)
        received = await peer.until_hung_up()
        assert len(received) <= 8 + LARGE_BYTES // 2
        assert file.cut_at == [LARGE_BYTES // 2]
        await becomes_true(lambda: site.listener.connections == 0)
        assert file.kept == 0


async def test_without_threads_a_connection_with_files_cannot_go_on(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        file = site.door.serve(large_file(tmp_path))
        site.door.close_threads()
        await peer.say(requests.Read(HANDLE, 0, LARGE_BYTES))
        await peer.until_hung_up()
        await becomes_true(lambda: site.listener.connections == 0)
        assert file.kept == 0
        assert "internal error" in caplog.text
