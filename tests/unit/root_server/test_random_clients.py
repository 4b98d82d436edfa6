"""Clients that do anything in any order: the invariants hold after each step, and at the end
nothing of any of them is left. A failure names its seed."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from common.root_server import connection as module
from common.root_server.connection import DATA_BYTES, HELD_BYTES, REQUESTS_BYTES
from common.root_server.outbox import WAITING_BYTES, WAITING_ITEMS
from tests.support.root_door import FakeClient, Site, serving
from tests.support.root_peer import STREAM_ID, Peer
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import QueryType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL, LARGE = bytes(4), b"\0\0\0\1"
STEPS = 150
MAX_REQUESTS = 8
ANSWER_BYTES = 3 << 20


class Crowd:
    """Some clients, each of which does what chance tells it."""

    def __init__(self, site: Site, random_: random.Random) -> None:
        self._site = site
        self._random = random_
        self._peers: list[Peer] = []
        self._unsaid: dict[Peer, bytes] = {}

    async def step(self) -> None:
        """One of them does something."""
        if not self._peers or self._random.random() < 0.08:
            await self._come()
            return
        peer = self._random.choice(self._peers)
        act: Callable[[Peer], None] = self._random.choices(
            [self._ask, self._nonsense, self._take, self._go, self._door],
            [30, 1, 20, 2, 5],
        )[0]
        act(peer)

    def leave(self) -> None:
        """All go."""
        for peer in self._peers:
            peer.close()

    async def _come(self) -> None:
        peer = await Peer.connect(self._site.address, receives_bytes=self._random.choice([0, 4096]))
        self._peers.append(peer)
        self._unsaid[peer] = requests.handshake()
        sessions = [
            client.connection.session.session_id
            for client in self._site.door.clients
            if not client.times_gone
        ]
        if sessions and self._random.random() < 0.3:
            self._say(peer, requests.Bind(self._random.choice(sessions)))
        else:
            self._say(peer, requests.Login(1, "chance", capability=0x85))

    def _ask(self, peer: Peer) -> None:
        path_id = self._random.choice([0, 0, 1, 2])
        message = self._random.choice(
            [
                requests.Stat("/store/a"),
                requests.Open("/store/slow"),
                requests.Chmod("/store/a", 0),
                requests.Query(QueryType.CONFIG, str(self._random.choice([10, ANSWER_BYTES]))),
                requests.Read(SMALL, 10, 500, path_id),
                requests.Read(LARGE, 10, 5 << 20, path_id),
                requests.ReadV((requests.Chunk(LARGE, 5000, 7),) * 600, path_id),
                requests.Write(SMALL, 0, 3 << 20),
            ]
        )
        for _ in range(self._random.choice([1, 1, 30])):
            self._say(peer, message)
            if isinstance(message, requests.Write):
                self._unsaid[peer] += bytes(message.length)
                break

    def _nonsense(self, peer: Peer) -> None:
        self._say(peer, self._random.choice([requests.Rm("/store/a"), requests.Truncate(SMALL, 1)]))
        self._unsaid[peer] += b"\xff" * 100

    def _say(self, peer: Peer, message: requests.Message) -> None:
        self._unsaid[peer] += message.encode(STREAM_ID)  # type: ignore[union-attr]
        self._go_on_saying(peer)

    def _go_on_saying(self, peer: Peer) -> None:
        try:
            sent = peer.say_at_once(self._unsaid[peer])
        except OSError:
            self._drop(peer)
            return
        self._unsaid[peer] = self._unsaid[peer][sent:]

    def _take(self, peer: Peer) -> None:
        self._go_on_saying(peer)
        try:
            received = peer.socket.recv(self._random.choice([1, 1000, 1 << 20, 8 << 20]))
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._drop(peer)

    def _go(self, peer: Peer) -> None:
        way = self._random.choice([Peer.close, Peer.vanish])
        self._drop(peer, way)

    def _drop(self, peer: Peer, way: Callable[[Peer], None] = Peer.close) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            way(peer)

    def _door(self, _peer: Peer) -> None:
        client = self._random.choice(self._site.door.clients)
        match self._random.randrange(4):
            case 0:
                self._site.door.gate.set()
                self._site.door.gate.clear()
            case 1:
                client.holds_data = not client.holds_data
                if not client.times_gone:
                    client.let_on()
            case 2:
                self._site.listener.look(0.0)
            case 3:
                client.connection.close()


def check(client: FakeClient) -> None:
    """What must be true of every connection at any time."""
    connection = client.connection
    connection.check()
    outbox = connection._sender.outbox
    assert outbox.bytes_waiting <= WAITING_BYTES + 2 * ANSWER_BYTES
    assert len(outbox) <= WAITING_ITEMS + 2 * 1024
    assert client.held_bytes <= HELD_BYTES + DATA_BYTES
    assert len(connection._unheard) <= REQUESTS_BYTES // 24
    assert client.times_gone <= connection.is_closed


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_clients_do_the_invariants_hold(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.05)
    if seed % 2:
        # As if nothing were in the page cache: by threads.
        monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(os.urandom(1000))
    large.write_bytes(os.urandom(6 << 20))
    async with serving(max_requests=MAX_REQUESTS, max_connections=20) as site:
        site.door.serve(small)
        site.door.serve(large)
        crowd = Crowd(site, random.Random(seed))
        for _ in range(STEPS):
            await crowd.step()
            for _ in range(3):
                # The server's turn.
                await asyncio.sleep(0)
                for client in site.door.clients:
                    check(client)
        crowd.leave()
        # Behind much that was not listened to, nobody hears that a client has hung up: until
        # what it has asked for before is done.
        site.door.gate.set()
        for client in site.door.clients:
            client.holds_data = False
            client.let_on()

        def all_gone() -> bool:
            site.listener.look(0.0)
            return not site.listener.connections

        await becomes_true(all_gone)
        for client in site.door.clients:
            check(client)
            assert client.cancelled <= client.begun
