"""Clients of root:// that are broken, lost or bad, against the processes of a site.

Whatever one of them does, its own connection bears the consequences: the next client is
served, and the server has neither more descriptors nor much more memory than before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import struct
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Cluster, Node, free_port, running, until_joined
from tests.support.root_messages import ENCODED, PLAIN, WRITES
from tests.support.root_peer import STREAM_ID, HungUp, Peer, said
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import (
    MAX_PATHS,
    SESSION_ID_BYTES,
    Code,
    DirListFlag,
    OpenFlag,
    QueryType,
    Request,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

LFN = "/store/held.root"
CONTENT = os.urandom(3 << 20)
MAX_OPEN_FILES = 200
#: What a client may cost while it is there: four megabytes each for what waits for it and for
#: the disk, twice as much where that is put together, and as much again for chance.
MORE_BYTES = 32 << 20
GB = 1 << 30
READING = OpenFlag.READ
WRITING = OpenFlag.NEW | OpenFlag.UPDATE | OpenFlag.MKPATH


@dataclass
class Server:
    """One process with a root:// door."""

    kind: str
    address: str
    pid: int
    cluster: Cluster
    usual_descriptors: int = 0

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def forget_peak(self) -> int:
        """What it uses now, in bytes, and from now on the peak is measured."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most it has used since."""
        return self._memory("VmHWM")

    def _memory(self, which: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(which))

    async def serves_others(self) -> None:
        """A client that behaves is answered as always."""
        async with await Peer.logged_in(self.address) as peer:
            opened = await peer.ask(requests.Open(LFN, options=READING))
            if self.kind == "redirector":
                assert opened.status == Status.REDIRECT
                return
            assert opened.status == Status.OK
            handle = opened.body[:4]
            read = await peer.ask(requests.Read(handle, 1000, 2 << 20))
            assert read.body == CONTENT[1000 : 1000 + (2 << 20)]
            assert (await peer.ask(requests.Close(handle))).status == Status.OK


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    ports = {"redirector": free_port(), "disk1": free_port()}
    cluster = Cluster(
        tmp_path_factory.mktemp("site"),
        [Node("disk1", "1GB", {"root_listen": f"127.0.0.1:{ports['disk1']}"})],
        redirector={"root_listen": f"127.0.0.1:{ports['redirector']}"},
        root={"writable": ["/store/user"], "max_open_files": MAX_OPEN_FILES},
        packetizer=None,
    )
    cluster.write(LFN, CONTENT)
    with running(cluster), cluster.connect() as site:
        until_joined(site, 1)
        site.stage(LFN).wait(30)
        made = {
            role: Server(role, f"127.0.0.1:{port}", cluster.processes[role].pid, cluster)
            for role, port in ports.items()
        }
        for server in made.values():
            server.usual_descriptors = server.descriptors
        yield made


@pytest.fixture(params=["redirector", "disk1"])
async def server(
    request: pytest.FixtureRequest, servers: dict[str, Server]
) -> AsyncIterator[Server]:
    """Either server. After the test it is as it was before."""
    server = servers[request.param]
    async with unharmed(server):
        yield server


@pytest.fixture
async def disk(servers: dict[str, Server]) -> AsyncIterator[Server]:
    """The data server, likewise."""
    async with unharmed(servers["disk1"]):
        yield servers["disk1"]


@contextlib.asynccontextmanager
async def unharmed(server: Server) -> AsyncIterator[None]:
    await server.serves_others()
    used_bytes = server.forget_peak()
    yield
    await server.serves_others()
    await becomes_true(lambda: server.descriptors <= server.usual_descriptors)
    assert server.peak_bytes - used_bytes < MORE_BYTES
    assert "Traceback" not in server.cluster.log(server.kind)


def head(request: int, length: int, body: bytes = bytes(16)) -> bytes:
    """A request's header that may say anything."""
    return STREAM_ID + struct.pack(">H", request) + body + struct.pack(">i", length)


async def refused_and_hung_up(peer: Peer) -> tuple[int, str]:
    """The one error a client is told before it is hung up on."""
    error = said(await peer.hear())
    with pytest.raises(HungUp):
        await peer.hear()
    return error


# --- before login --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /store/held.root HTTP/1.1\r\nHost: head\r\n\r\n",
        # A TLS client's first words.
        bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
        b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
        struct.pack(">5i", 0, 0, 0, 4, 2011),
        requests.Login(1, "early").encode(STREAM_ID),
        random.Random(1).randbytes(1 << 20),
    ],
    ids=["http", "tls", "ssh", "almost", "no handshake", "noise"],
)
async def test_what_is_not_root_is_told_so(server: Server, garbage: bytes) -> None:
    async with await Peer.connect(server.address) as peer:
        await peer.say(garbage)
        error = await refused_and_hung_up(peer)
        assert error == (Code.INVALID_REQUEST, "this is not root://")


async def test_nothing_is_answered_before_login(server: Server) -> None:
    allowed = (requests.Protocol, requests.Login, requests.Auth, requests.EndSession, requests.Bind)
    async with await Peer.connect(server.address) as peer:
        await peer.shake()
        for message in PLAIN:
            if not isinstance(message, allowed):
                error = said(await peer.ask(message))
                assert error == (Code.INVALID_REQUEST, "log in first"), message
        for write, data in WRITES:
            await peer.say(write, data)
            assert said(await peer.hear()) == (Code.INVALID_REQUEST, "log in first"), write
        await peer.say(requests.Login(1, "late"))
        assert (await peer.hear()).status == Status.OK


async def test_a_second_login_is_refused_and_the_first_one_holds(server: Server) -> None:
    async with await Peer.logged_in(server.address) as peer:
        code, text = said(await peer.ask(requests.Login(2, "another")))
        assert (code, text) == (Code.INVALID_REQUEST, "this connection has a session already")
        code, _ = said(await peer.ask(requests.Bind(peer.session_id)))
        assert code == Code.INVALID_REQUEST
        assert (await peer.ask(requests.Ping())).status == Status.OK


async def test_sockets_that_say_nothing_or_half_of_something(server: Server) -> None:
    beginnings = [b"", requests.handshake()[:7], requests.handshake()]
    ways = [Peer.close, Peer.vanish, Peer.hang_up_half]
    async with AsyncExitStack() as stack:
        for number, (beginning, way) in enumerate(
            itertools.islice(itertools.cycle(itertools.product(beginnings, ways)), 200)
        ):
            peer = await stack.enter_async_context(await Peer.connect(server.address))
            await peer.say(beginning)
            if number % 2:
                way(peer)
        await server.serves_others()


# --- nonsense ------------------------------------------------------------------------------------


async def test_requests_that_nobody_knows_are_unsupported(server: Server) -> None:
    known = set(map(int, Request)) - {Request.GPFILE, Request.SIGVER, Request.CLONE}
    unknown = [code for code in (0, 1, *range(2990, 3050), 65535) if code not in known]
    async with await Peer.logged_in(server.address) as peer:
        for code in unknown:
            error = said(await peer.ask(head(code, 5) + b"hello"))
            assert error == (Code.UNSUPPORTED, f"request {code} is not supported")
        assert (await peer.ask(requests.Ping())).status == Status.OK


@pytest.mark.parametrize(
    "kind", [Request.PREPARE, Request.OPEN, Request.QUERY, Request.READV, 4444]
)
async def test_a_gigabyte_that_is_claimed_is_not_waited_for(server: Server, kind: int) -> None:
    async with await Peer.logged_in(server.address) as peer:
        saying = asyncio.create_task(peer.say(head(kind, GB), bytes(4 << 20)))
        code, text = await refused_and_hung_up(peer)
        assert (code, text) == (
            Code.ARG_TOO_LONG,
            f"a payload of {GB} bytes is too long for request {kind}",
        )
        await asyncio.wait([saying])
        saying.exception()


@pytest.mark.parametrize("kind", [*map(int, Request), 4444])
async def test_a_negative_length_makes_no_sense(server: Server, kind: int) -> None:
    async with await Peer.logged_in(server.address) as peer:
        await peer.say(head(kind, -1))
        assert await refused_and_hung_up(peer) == (Code.ARG_INVALID, "a negative length")


async def test_noise_in_every_request(server: Server) -> None:
    random_ = random.Random(2)
    for number in range(150):
        async with await Peer.logged_in(server.address) as peer:
            kind = random_.choice([*Request])
            length = random_.choice([0, 1, 8, 24, 300])
            payload = random_.randbytes(length)
            with contextlib.suppress(HungUp):
                await peer.say(head(kind, length, random_.randbytes(16)), payload)
                await peer.say(ENCODED[number % len(ENCODED)])
                await peer.hear()


@pytest.mark.parametrize(
    "path", ["/store/../../etc/passwd", "/etc/passwd", "", "relative", "/store/" + "x" * 30000]
)
async def test_names_that_are_none_are_refused_in_one_line(server: Server, path: str) -> None:
    async with await Peer.logged_in(server.address) as peer:
        for message in (
            requests.Open(path, options=READING),
            requests.Open(path, options=WRITING),
            requests.MkDir(path),
            requests.Rm(path),
            requests.Mv(path, "/store/user/b") if path else requests.Rm(path),
            requests.Query(QueryType.CHECKSUM, path),
        ):
            answer = await peer.ask(message)
            assert answer.status in (Status.ERROR, Status.REDIRECT), message
            if answer.status == Status.ERROR:
                assert "\n" not in said(answer)[1]


async def test_names_of_bytes_that_are_no_text(server: Server) -> None:
    async with await Peer.logged_in(server.address) as peer:
        for name in (b"/store/\xff\xfe", b"/store/a\0b", b"/store/\xed\xa0\x80", b"\n"):
            for kind in (Request.OPEN, Request.STAT, Request.DIRLIST, Request.LOCATE, Request.RM):
                await peer.say(head(kind, len(name)), name)
                assert (await peer.answer()).status in (Status.ERROR, Status.REDIRECT)


async def test_a_login_under_odd_names(server: Server) -> None:
    for user in (b"\0" * 8, b"\xff" * 8, b"a\nb\rc\x1b["):
        async with await Peer.connect(server.address) as peer:
            await peer.shake()
            body = struct.pack(">i8sBBBB", -1, user, 255, 255, 255, 255)
            await peer.say(head(Request.LOGIN, 4, body), b"\xff\0&=")
            assert (await peer.hear()).status == Status.OK
            await peer.ask(requests.Open(LFN, options=READING))


# --- sessions ------------------------------------------------------------------------------------


async def test_sessions_that_are_not_there_or_somebody_elses(server: Server) -> None:
    async with (
        await Peer.logged_in(server.address) as victim,
        await Peer.connect(server.address) as peer,
    ):
        await peer.shake()
        for session_id in (bytes(16), os.urandom(16), victim.session_id[::-1]):
            error = said(await peer.ask(requests.Bind(session_id)))
            assert error == (Code.NOT_FOUND, "there is no such session")
            assert (await peer.ask(requests.EndSession(session_id))).status == Status.OK
        assert len(victim.session_id) == SESSION_ID_BYTES
        assert (await victim.ask(requests.Ping())).status == Status.OK


async def test_connections_of_one_session_are_bounded(server: Server) -> None:
    async with await Peer.logged_in(server.address) as main, AsyncExitStack() as stack:
        codes = []
        for _ in range(MAX_PATHS + 5):
            peer = await stack.enter_async_context(await Peer.connect(server.address))
            await peer.shake()
            answer = await peer.ask(requests.Bind(main.session_id))
            codes.append(0 if answer.status == Status.OK else said(answer)[0])
            if answer.status == Status.OK:
                assert said(await peer.ask(requests.Ping()))[0] == Code.INVALID_REQUEST
        assert codes == [0] * MAX_PATHS + [Code.OVERLOADED] * 5


# --- files ---------------------------------------------------------------------------------------


async def test_handles_that_nobody_gave(server: Server) -> None:
    async with (
        await Peer.logged_in(server.address) as owner,
        await Peer.logged_in(server.address) as thief,
    ):
        opened = await owner.ask(requests.Open(LFN, options=READING))
        handle = opened.body[:4] if opened.status == Status.OK else bytes(4)
        for one in (handle, b"\xff" * 4, bytes(4)):
            for message in (
                requests.Read(one, 0, 10),
                requests.ReadV((requests.Chunk(one, 10, 0),)),
                requests.PgRead(one, 0, 10),
                requests.Sync(one),
                requests.Truncate(one, 10),
                requests.Close(one),
            ):
                code, _ = said(await thief.ask(message))
                assert code == Code.FILE_NOT_OPEN, message
        if opened.status == Status.OK:
            assert (await owner.ask(requests.Read(handle, 0, 10))).body == CONTENT[:10]


async def test_data_for_files_that_nobody_opened(server: Server) -> None:
    async with await Peer.logged_in(server.address) as peer:
        handle, size_bytes = b"\0\0\0\x63", 8 << 20
        chunks = (requests.Chunk(handle, 1 << 20, 0), requests.Chunk(handle, 1 << 20, 5))
        for write, length in (
            (requests.Write(handle, 0, size_bytes), size_bytes),
            (requests.PgWrite(handle, 0, size_bytes), size_bytes),
            (requests.WriteV(chunks), 2 << 20),
        ):
            await peer.say(write, bytes(length))
            assert said(await peer.hear())[0] == Code.FILE_NOT_OPEN, write
        assert (await peer.ask(requests.Ping())).status == Status.OK


async def test_reads_beyond_the_end_and_before_the_beginning(disk: Server) -> None:
    size_bytes = len(CONTENT)
    async with await Peer.logged_in(disk.address) as peer:
        handle = (await peer.ask(requests.Open(LFN, options=READING))).body[:4]
        for offset in (size_bytes, size_bytes + 1, (1 << 63) - 1):
            assert (await peer.ask(requests.Read(handle, offset, 10))).body == b""
        end = await peer.ask(requests.Read(handle, size_bytes - 10, (1 << 31) - 1))
        assert end.body == CONTENT[-10:]
        for offset, length in ((-1, 10), (0, -1), (-(1 << 63), -(1 << 31))):
            body = struct.pack(">4sqi", handle, offset, length)
            for kind in (Request.READ, Request.PGREAD):
                assert said(await peer.ask(head(kind, 0, body)))[0] == Code.ARG_INVALID
            chunk = struct.pack(">4siq", handle, length, offset)
            assert said(await peer.ask(head(Request.READV, 16) + chunk))[0] == Code.ARG_INVALID
        for chunks in (((size_bytes, 1),), ((0, 10), (size_bytes - 5, 6))):
            many = tuple(requests.Chunk(handle, length, offset) for offset, length in chunks)
            assert said(await peer.ask(requests.ReadV(many)))[0] == Code.FS_ERROR
        assert (await peer.ask(requests.Read(handle, 0, 10))).body == CONTENT[:10]


async def test_opens_without_a_close(disk: Server) -> None:
    async with await Peer.logged_in(disk.address) as peer:
        count = 10 * MAX_OPEN_FILES
        saying = asyncio.create_task(peer.say(*[requests.Open(LFN, options=READING)] * count))
        answers = [await peer.answer() for _ in range(count)]
        await saying
        refused = [said(one) for one in answers if one.status == Status.ERROR]
        assert len(refused) == count - MAX_OPEN_FILES
        assert {code for code, _ in refused} == {Code.NOT_AUTHORIZED}
        assert "max_open_files" in refused[0][1]
        handles = [one.body for one in answers if one.status == Status.OK]
        assert len(set(handles)) == MAX_OPEN_FILES
        assert (await peer.ask(requests.Close(handles[0]))).status == Status.OK
        assert (await peer.ask(requests.Open(LFN, options=READING))).status == Status.OK


@pytest.mark.parametrize("way", [Peer.close, Peer.vanish, Peer.hang_up_half])
async def test_whoever_goes_in_the_middle_of_writing_leaves_nothing(
    disk: Server, way: Callable[[Peer], None]
) -> None:
    for number in range(20):
        async with await Peer.logged_in(disk.address) as peer:
            path = f"/store/user/{way.__name__}{number}"
            await peer.say(requests.Open(path, options=WRITING))
            if number % 4:
                handle = (await peer.hear()).body[:4]
                await peer.say(requests.Write(handle, 0, 2 << 20), bytes(number << 15))
            way(peer)
    await becomes_true(lambda: disk.cluster.incoming() == [])
    async with await Peer.logged_in(disk.address) as peer:
        for number in range(20):
            path = f"/store/user/{way.__name__}{number}"
            assert (await peer.ask(requests.Stat(path))).status != Status.OK


# --- more than is taken --------------------------------------------------------------------------


async def flood(peer: Peer, said: bytes, count: int) -> None:
    """Says something so many times, as far as the server listens, and reads nothing."""
    with contextlib.suppress(TimeoutError, HungUp):
        async with asyncio.timeout(1.0):
            for _ in range(0, count, 100):
                await peer.say(said * 100)


@pytest.mark.parametrize(
    "message",
    [
        requests.Ping(),
        requests.Stat("/store"),
        requests.Stat("/store/" + "x" * 1000),
        requests.DirList("/store", options=DirListFlag.STAT),
        requests.Query(QueryType.STATS),
        requests.Query(QueryType.CONFIG, "bind_max version " * 100),
        requests.Open(LFN, options=READING),
        requests.Open("/store/missing", options=READING),
    ],
    ids=["ping", "stat", "long", "list", "stats", "config", "open", "missing"],
)
async def test_whoever_asks_for_much_and_takes_nothing(
    server: Server, message: requests.Message
) -> None:
    async with await Peer.logged_in(server.address, receives_bytes=4096) as peer:
        await flood(peer, message.encode(STREAM_ID), 50_000)
        await server.serves_others()


@pytest.mark.parametrize(
    "ask",
    [
        lambda handle: requests.Read(handle, 0, len(CONTENT)),
        lambda handle: requests.Read(handle, 0, 4096),
        lambda handle: requests.PgRead(handle, 0, len(CONTENT)),
        lambda handle: requests.ReadV((requests.Chunk(handle, 1000, 5),) * 1024),
    ],
    ids=["read", "small", "pages", "vector"],
)
async def test_whoever_reads_much_and_takes_nothing(
    disk: Server, ask: Callable[[bytes], requests.Message]
) -> None:
    async with await Peer.logged_in(disk.address, receives_bytes=4096) as peer:
        handle = (await peer.ask(requests.Open(LFN, options=READING))).body[:4]
        await flood(peer, ask(handle).encode(STREAM_ID), 5_000)
        await disk.serves_others()


async def test_many_that_read_much_and_take_nothing_keep_nobody_from_reading(disk: Server) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            peer = await stack.enter_async_context(
                await Peer.logged_in(disk.address, receives_bytes=4096)
            )
            handle = (await peer.ask(requests.Open(LFN, options=READING))).body[:4]
            await peer.say(*[requests.Read(handle, 0, len(CONTENT))] * 500)
        await disk.serves_others()


async def test_writes_that_come_faster_than_they_are_written(disk: Server) -> None:
    async with await Peer.logged_in(disk.address) as peer:
        opened = await peer.ask(requests.Open("/store/user/fast", options=WRITING))
        handle = opened.body[:4]
        piece = 900_000
        writes = b"".join(
            requests.Write(handle, number * piece, piece).encode(STREAM_ID) + bytes(piece)
            for number in range(20)
        )
        saying: Awaitable[None] = asyncio.create_task(peer.say(*[writes] * 10))
        for _ in range(200):
            assert (await peer.answer()).status == Status.OK
        await saying
