"""A door's clients all together: how many, from where, for how long, and which belong together."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError
from common.root_server import listener as module
from common.root_server.listener import LOGIN_LIMIT_S, STRANGER_S
from tests.support.root_door import Site, serving
from tests.support.root_peer import STREAM_ID, HungUp, Peer, said
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import MAX_PATHS, Code, QueryType, Status

if TYPE_CHECKING:
    from pathlib import Path

HANDLE = bytes(4)
IDLE_S = 100.0


async def echoes(peer: Peer) -> bool:
    """Whether a client is served."""
    return (await peer.ask(requests.Stat("/store/a"))).body == b"/store/a"


# --- where it listens ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0", "localhost:0"]
)
async def test_it_listens_at_addresses_and_names(address: str) -> None:
    async with serving(address=address) as site:
        host, _, port = site.address.rpartition(":")
        assert host == address.removesuffix(":0")
        assert int(port) > 0
        loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        async with await Peer.logged_in(f"{loopback}:{port}") as peer:
            assert await echoes(peer)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_clients_of_both_kinds_reach_the_address_that_stands_for_all(host: str) -> None:
    async with serving(address="[::]:0") as site:
        port = site.address.rpartition(":")[2]
        async with await Peer.logged_in(f"{host}:{port}") as peer:
            assert await echoes(peer)
            assert site.client().connection.peer == host.strip("[]")


async def test_all_addresses_of_a_name_are_listened_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        stream = socket.SOCK_STREAM
        return [
            # Twice the same, and one that this machine does not have.
            (socket.AF_INET6, stream, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET6, stream, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, stream, 6, "", ("192.0.2.1", port)),
            (socket.AF_INET, stream, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(module.socket, "getaddrinfo", two)
    async with serving(address="head:0") as site:
        host, _, port = site.address.rpartition(":")
        assert host == "head"
        for address in ("[::1]", "127.0.0.1"):
            async with await Peer.logged_in(f"{address}:{port}") as peer:
                assert await echoes(peer)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.0.2.1:0", "Cannot assign requested address"),
        ("no-such-host.invalid:0", "cannot listen at"),
        ("a..b:0", "cannot listen at"),
        ("localhost", "HOST:PORT is needed"),
    ],
)
async def test_where_it_cannot_listen_it_says_so(address: str, why: str) -> None:
    async with serving() as site:
        with pytest.raises(ConfigError, match=why):
            site.listener.open(address)


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serving() as site:
        with pytest.raises(ConfigError, match="Address already in use"):
            site.listener.open(site.address)


# --- how many --------------------------------------------------------------------------------------


async def test_one_connection_too_many_is_hung_up_on(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(max_connections=3) as site, AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(await Peer.logged_in(site.address)) for _ in range(3)
        ]
        for _ in range(5):
            with pytest.raises(HungUp):
                await Peer.logged_in(site.address)
        assert site.listener.connections == 3
        assert [await echoes(peer) for peer in peers] == [True] * 3
        assert len(caplog.messages) == 3, "the first, the second and the fourth are told of"
        assert "max_connections" in caplog.messages[0]
        peers[0].close()
        await becomes_true(lambda: site.listener.connections == 2)
        async with await Peer.logged_in(site.address) as peer:
            assert await echoes(peer)


async def test_those_that_do_not_log_in_make_way_for_those_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(max_connections=3) as site, AsyncExitStack() as stack:
        friend = await stack.enter_async_context(await Peer.logged_in(site.address))
        strangers = [
            await stack.enter_async_context(await Peer.connect(site.address)) for _ in range(2)
        ]
        await becomes_true(lambda: site.listener.connections == 3)
        with pytest.raises(HungUp):
            await Peer.logged_in(site.address)
        site.client(1).connection.began_s -= STRANGER_S
        async with await Peer.logged_in(site.address) as peer:
            assert await echoes(peer)
            assert await echoes(friend)
            assert await strangers[0].until_hung_up() == b""
            await strangers[1].log_in()


async def test_without_descriptors_it_rests_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REST_S", 0.01)
    async with serving() as site:
        (listening,) = site.listener._sockets
        broken = _Broken(listening, [errno.EMFILE, errno.ECONNABORTED, errno.ENETUNREACH])
        asyncio.get_running_loop().remove_reader(listening)
        site.listener._sockets[:] = [broken]  # type: ignore[list-item]
        site.listener._listen_on(broken)  # type: ignore[arg-type]
        async with await Peer.logged_in(site.address) as peer:
            assert await echoes(peer)
        assert broken.errors == []
        assert caplog.messages == [
            "1 times so far no connection could be taken: Too many open files"
        ]


class _Broken:
    """A listening socket that cannot take a connection, a few times."""

    def __init__(self, listening: socket.socket, errors: list[int]) -> None:
        self.errors = errors
        self._listening = listening

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self._listening.accept()

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()


async def test_a_client_that_is_gone_before_it_is_taken_in_is_no_trouble() -> None:
    async with serving() as site:
        for _ in range(20):
            (await Peer.connect(site.address)).vanish()
        async with await Peer.logged_in(site.address) as peer:
            assert await echoes(peer)
            await becomes_true(lambda: site.listener.connections == 1)


# --- for how long ------------------------------------------------------------------------------------


def sleeps(site: Site, seconds: float) -> bool:
    """Has so much time pass; whether the client that came last is still there."""
    site.listener.look(time.monotonic() + seconds)
    return not site.client().connection.is_closed


async def test_who_does_not_log_in_is_hung_up_on_however_busy() -> None:
    async with serving() as site, await Peer.connect(site.address) as peer:
        await becomes_true(lambda: site.listener.connections)
        await peer.shake()
        for byte in requests.Login(1, "slow").encode(STREAM_ID)[:10]:
            await peer.say(bytes([byte]))
        assert sleeps(site, LOGIN_LIMIT_S - 10)
        assert not sleeps(site, LOGIN_LIMIT_S + 1)
        assert await peer.until_hung_up() == b""


async def test_who_says_nothing_for_long_is_hung_up_on() -> None:
    async with serving(idle_timeout_s=IDLE_S) as site, await Peer.logged_in(site.address) as peer:
        assert sleeps(site, IDLE_S - 10)
        assert not sleeps(site, IDLE_S + 1)
        assert await peer.until_hung_up() == b""


async def test_who_is_waiting_for_an_answer_is_not_idle() -> None:
    async with serving(idle_timeout_s=IDLE_S) as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Open("/store/slow"))
        await becomes_true(lambda: site.client().begun)
        assert sleeps(site, 1000 * IDLE_S)
        site.door.gate.set()
        assert (await peer.hear()).body == b"/store/slow"
        assert not sleeps(site, IDLE_S + 1)


async def test_who_does_not_take_its_answers_is_hung_up_on_though_more_is_worked_on() -> None:
    async with serving(idle_timeout_s=IDLE_S) as site, await Peer.logged_in(site.address) as peer:
        await peer.say(*[requests.Query(QueryType.CONFIG, str(2 << 20))] * 10)
        await peer.say(requests.Open("/store/slow"))
        await becomes_true(lambda: site.client().connection._sender.awaits_client)
        await becomes_true(lambda: not site.client().connection.is_idle)
        assert sleeps(site, IDLE_S - 10)
        assert not sleeps(site, IDLE_S + 1)


async def test_who_stops_in_the_middle_of_a_write_is_hung_up_on() -> None:
    async with serving(idle_timeout_s=IDLE_S) as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Open("/store/slow"), requests.Write(HANDLE, 0, 1000), b"some")
        await becomes_true(lambda: site.client().heard == 2)
        assert not site.client().connection.is_idle
        assert sleeps(site, IDLE_S - 10)
        assert not sleeps(site, IDLE_S + 1)


async def test_who_waits_until_its_data_is_written_is_not_idle() -> None:
    async with serving(idle_timeout_s=IDLE_S) as site, await Peer.logged_in(site.address) as peer:
        site.client().holds_data = True
        size_bytes = 6 << 20
        saying = asyncio.create_task(
            peer.say(requests.Write(HANDLE, 0, size_bytes), bytes(size_bytes))
        )
        await becomes_true(lambda: site.client().connection.is_deaf)
        assert sleeps(site, 1000 * IDLE_S)
        site.client().holds_data = False
        site.client().let_on()
        await saying
        assert (await peer.hear()).status == Status.OK


async def test_those_that_sleep_are_looked_for_by_itself() -> None:
    async with serving(idle_timeout_s=0.1) as site, await Peer.logged_in(site.address) as peer:
        watching = asyncio.create_task(site.listener.watch())
        assert await peer.until_hung_up() == b""
        watching.cancel()
        await asyncio.wait([watching])


# --- which belong together -----------------------------------------------------------------------------


async def test_data_goes_by_the_connection_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(100_000))
    async with serving() as site, AsyncExitStack() as stack:
        site.door.serve(path)
        main = await stack.enter_async_context(await Peer.logged_in(site.address))
        paths = {}
        for _ in range(3):
            other = await stack.enter_async_context(await Peer.connect(site.address))
            await other.shake()
            paths[(await other.ask(requests.Bind(main.session_id))).body[0]] = other
        assert sorted(paths) == [1, 2, 3]
        for path_id, other in paths.items():
            length = 1000 * path_id
            await main.say(requests.Read(HANDLE, path_id, length, path_id))
            assert (await other.hear()).body == path.read_bytes()[path_id : path_id + length]
        chunks = (requests.Chunk(HANDLE, 5, 0), requests.Chunk(HANDLE, 90_000, 10))
        await main.say(requests.ReadV(chunks, 2))
        assert len((await paths[2].hear()).body) == 90_005 + 2 * 16
        # A path that nobody has: by the one it was asked by.
        assert (await main.ask(requests.Read(HANDLE, 0, 10, 9))).body == path.read_bytes()[:10]


async def test_requests_go_by_the_first_connection_only() -> None:
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as other,
    ):
        await other.shake()
        await other.ask(requests.Bind(main.session_id))
        code, text = said(await other.ask(requests.Stat("/store/a")))
        assert (code, text) == (
            Code.INVALID_REQUEST,
            "requests go by the session's first connection",
        )
        assert await echoes(main)


@pytest.mark.parametrize("whose", ["nobody's", "its own", "a path's"])
async def test_there_is_nothing_to_bind_to_but_sessions(whose: str) -> None:
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as path,
        await Peer.connect(site.address) as other,
    ):
        await path.shake()
        await path.ask(requests.Bind(main.session_id))
        await other.shake()
        ids = {
            "nobody's": bytes(16),
            "its own": site.client().connection.session.session_id,
            "a path's": site.client(1).connection.session.session_id,
        }
        refused = said(await other.ask(requests.Bind(ids[whose])))
        assert refused == (Code.NOT_FOUND, "there is no such session")


async def test_a_session_has_so_many_connections_and_no_more() -> None:
    async with serving() as site, AsyncExitStack() as stack:
        main = await stack.enter_async_context(await Peer.logged_in(site.address))
        paths = []
        for _ in range(MAX_PATHS + 1):
            paths.append(await stack.enter_async_context(await Peer.connect(site.address)))
            await paths[-1].shake()
        answers = [await path.ask(requests.Bind(main.session_id)) for path in paths]
        assert [answer.body for answer in answers[:-1]] == [
            bytes([number]) for number in range(1, MAX_PATHS + 1)
        ]
        assert said(answers[-1]) == (Code.OVERLOADED, "this session has too many connections")
        # One that ends while nothing goes by it leaves its place, and that is all.
        paths[4].close()
        await becomes_true(lambda: site.listener.connections == MAX_PATHS + 1)
        assert (await paths[-1].ask(requests.Bind(main.session_id))).body == bytes([5])
        assert await echoes(main)


async def test_with_its_first_connection_a_session_ends() -> None:
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as other,
    ):
        await other.shake()
        await other.ask(requests.Bind(main.session_id))
        main.close()
        assert await other.until_hung_up() == b""
        await becomes_true(lambda: site.listener.connections == 0)


async def test_a_session_ends_with_a_path_by_which_something_was_to_come(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as other,
    ):
        served = site.door.serve(path)
        await other.shake()
        path_id = (await other.ask(requests.Bind(main.session_id))).body[0]
        await main.say(requests.Read(HANDLE, 0, 32 << 20, path_id))
        await becomes_true(lambda: served.kept)
        other.vanish()
        # Or its client would wait for that for ever.
        assert await main.until_hung_up() == b""
        await becomes_true(lambda: site.listener.connections == 0)
        assert served.kept == 0


@pytest.mark.parametrize("is_busy", [False, True])
async def test_nonsense_on_a_path_ends_it_and_a_session_that_is_busy(is_busy: bool) -> None:
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as other,
    ):
        await other.shake()
        await other.ask(requests.Bind(main.session_id))
        if is_busy:
            await main.say(requests.Open("/store/slow"))
            await becomes_true(lambda: site.client(0).begun)
        # A length that nothing has.
        await other.say(STREAM_ID + bytes(18) + b"\xff" * 4)
        assert said(await other.hear())[0] == Code.ARG_INVALID
        assert await other.until_hung_up() == b""
        other.close()
        if is_busy:
            assert await main.until_hung_up() == b""
            await becomes_true(lambda: site.listener.connections == 0)
        else:
            assert await echoes(main)
            await becomes_true(lambda: site.listener.connections == 1)


async def test_a_path_does_not_sleep_while_its_session_is_awake() -> None:
    async with (
        serving(idle_timeout_s=IDLE_S) as site,
        await Peer.logged_in(site.address) as main,
        await Peer.connect(site.address) as other,
    ):
        await other.shake()
        await other.ask(requests.Bind(main.session_id))
        site.client(0).connection._heard_s += 10 * IDLE_S
        assert sleeps(site, 5 * IDLE_S)
        assert not sleeps(site, 20 * IDLE_S)


async def test_a_client_takes_leave_of_a_session_it_lost() -> None:
    async with (
        serving() as site,
        await Peer.logged_in(site.address) as lost,
        await Peer.connect(site.address) as back,
    ):
        await back.shake()
        assert (await back.ask(requests.EndSession(lost.session_id))).status == Status.OK
        assert await lost.until_hung_up() == b""
        assert site.client(0).times_gone == 1
        # There is none of that name any more; nor need there be.
        assert (await back.ask(requests.EndSession(lost.session_id))).status == Status.OK
        session_id = (await back.ask(requests.Login(1, "test"))).body
        assert (await back.ask(requests.EndSession(session_id))).status == Status.OK
        assert await echoes(back)
