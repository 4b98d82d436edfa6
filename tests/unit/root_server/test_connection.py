"""One connection, over a real socket: answers, their order, errors, and data that comes in."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.root_door import serving
from tests.support.root_peer import STREAM_ID, Peer, said
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import Code, QueryType, Status

if TYPE_CHECKING:
    from pathlib import Path

HANDLES = [number.to_bytes(4, "big") for number in range(3)]


def files_in(folder: Path) -> list[Path]:
    """A small, a middling and a large file."""
    paths = []
    for number, size_bytes in enumerate([1000, 200_000, 9_000_000]):
        paths.append(folder / f"file{number}")
        paths[-1].write_bytes(os.urandom(size_bytes))
    return paths


# --- answers ---------------------------------------------------------------------------------


async def test_requests_are_answered_in_the_order_they_came() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        paths = [f"/store/{number}" for number in range(1000)]
        await peer.say(*(requests.Stat(path) for path in paths))
        assert [(await peer.hear()).body.decode() for _ in paths] == paths


async def test_a_login_that_comes_byte_by_byte_is_a_login() -> None:
    async with serving() as site, await Peer.connect(site.address) as peer:
        everything = requests.handshake() + requests.Login(1, "me").encode(STREAM_ID)
        everything += requests.Stat("/store/a").encode(STREAM_ID)
        for byte in everything:
            await peer.say(bytes([byte]))
        assert [(await peer.hear()).status for _ in range(2)] == [Status.OK, Status.OK]
        assert (await peer.hear()).body == b"/store/a"


@pytest.mark.parametrize("in_threads", [False, True])
async def test_parts_of_files_and_other_answers_keep_their_order(
    in_threads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_threads:
        monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    random_ = random.Random(1)
    paths = files_in(tmp_path)
    contents = [path.read_bytes() for path in paths]
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        files = [site.door.serve(path) for path in paths]
        asked: list[bytes] = []
        expected: list[bytes] = []
        for number in range(200):
            content, handle = random_.choice(list(zip(contents, HANDLES, strict=True)))
            offset = random_.randrange(len(content))
            length = random_.randrange(len(content) - offset)
            stream_id = number.to_bytes(2, "big")
            if number % 3:
                asked.append(requests.Read(handle, offset, length).encode(stream_id))
                expected.append(content[offset : offset + length])
            else:
                asked.append(requests.Stat(f"/store/{number}").encode(stream_id))
                expected.append(f"/store/{number}".encode())
        saying = asyncio.create_task(peer.say(*asked))
        for number, body in enumerate(expected):
            answer = await peer.hear()
            assert answer.stream_id == number.to_bytes(2, "big")
            assert answer.body == body
        await saying
        assert site.door.in_threads > 0 or not in_threads
        await becomes_true(lambda: not any(file.kept for file in files))


async def test_vectors_of_a_thousand_parts_are_read_one_after_the_other(tmp_path: Path) -> None:
    paths = files_in(tmp_path)
    content = paths[2].read_bytes()
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        for path in paths:
            site.door.serve(path)
        chunks = [requests.Chunk(HANDLES[2], 100 + number, 8000 * number) for number in range(1024)]
        expected = b"".join(
            chunk.handle
            + chunk.length.to_bytes(4, "big")
            + chunk.offset.to_bytes(8, "big")
            + content[chunk.offset : chunk.offset + chunk.length]
            for chunk in chunks
        )
        saying = asyncio.create_task(peer.say(*[requests.ReadV(tuple(chunks))] * 10))
        for _ in range(10):
            assert (await peer.hear()).body == expected
        await saying


async def test_slow_work_holds_up_nothing_else() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Open("/store/slow").encode(b"\0\7"), requests.Stat("/store/quick"))
        quick = await peer.hear()
        assert quick.body == b"/store/quick"
        site.door.gate.set()
        slow = await peer.hear()
        assert (slow.stream_id, slow.body) == (b"\0\7", b"/store/slow")


# --- errors ----------------------------------------------------------------------------------


async def test_an_error_of_the_door_is_an_answer() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        refused = said(await peer.ask(requests.Chmod("/store/a", 0o644)))
        assert refused == (Code.NOT_FOUND, "/store/a does not exist")
        assert (await peer.ask(requests.Stat("/store/b"))).body == b"/store/b"


async def test_an_unknown_request_is_unsupported() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        unknown = STREAM_ID + (3999).to_bytes(2, "big") + bytes(20)
        code, text = said(await peer.ask(unknown))
        assert (code, text) == (Code.UNSUPPORTED, "request 3999 is not supported")


@pytest.mark.parametrize(
    "message", [requests.MkDir("/store/a"), requests.Query(QueryType.CONFIG, "not a number")]
)
async def test_a_bug_is_that_requests_answer_alone(
    message: requests.Message, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        code, text = said(await peer.ask(message))
        assert (code, text) == (Code.SERVER_ERROR, "internal error, see the server's log")
        assert "a request from 127.0.0.1 failed" in caplog.text
        assert (await peer.ask(requests.Stat("/store/b"))).body == b"/store/b"


async def test_a_bug_amid_data_ends_that_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as site, await Peer.logged_in(site.address) as other:
        async with await Peer.logged_in(site.address) as peer:
            site.client().fails_on_data = True
            await peer.say(requests.Write(HANDLES[0], 0, 10), b"some")
            assert await peer.until_hung_up() == b""
        assert "a bug in data" in caplog.text
        assert (await other.ask(requests.Stat("/store/b"))).body == b"/store/b"


async def test_a_request_whose_work_was_cancelled_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Stat("/store/a"))
        await peer.hear()

        async def waits_for_what_is_cancelled() -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            await future

        site.client().connection.spawn(STREAM_ID, waits_for_what_is_cancelled())
        assert said(await peer.answer()) == (Code.CANCELLED, "the request was cancelled")
    assert not caplog.records


# --- data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, 16384, 10_000_000])
async def test_data_of_a_write_comes_through(size_bytes: int) -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        await peer.say(requests.Write(HANDLES[0], 0, size_bytes), os.urandom(size_bytes))
        assert (await peer.hear()).status == Status.OK
        assert (await peer.ask(requests.Stat("/store/a"))).body == b"/store/a"
        assert site.client().connection.is_idle


async def test_data_behind_a_write_that_was_refused_goes_nowhere() -> None:
    async with serving() as site, await Peer.connect(site.address) as peer:
        await peer.shake()
        site.client().fails_on_data = True
        await peer.say(requests.Write(HANDLES[0], 0, 100_000), bytes(100_000))
        assert said(await peer.hear()) == (Code.INVALID_REQUEST, "log in first")
        await peer.ask(requests.Login(1, "late"))
        site.client().refuses_writes = True
        await peer.say(requests.Write(HANDLES[0], 0, 100_000), bytes(100_000))
        assert said(await peer.hear())[0] == Code.NOT_FOUND
        assert (await peer.ask(requests.Stat("/store/a"))).body == b"/store/a"


async def test_data_that_is_not_written_yet_is_bounded() -> None:
    async with serving() as site, await Peer.logged_in(site.address) as peer:
        site.client().holds_data = True
        size_bytes = 40_000_000
        said = requests.Write(HANDLES[0], 0, size_bytes).encode(STREAM_ID) + bytes(size_bytes)
        saying = asyncio.create_task(peer.say(said, requests.Stat("/store/a")))
        connection = site.client().connection
        largest = 0
        for _ in range(3):
            await becomes_true(lambda: connection.is_deaf)
            largest = max(largest, site.client().held_bytes)
            site.client().let_on()
        assert 4 << 20 <= largest <= (4 << 20) + (256 << 10)
        site.client().holds_data = False
        site.client().let_on()
        await saying
        assert [(await peer.hear()).body for _ in range(2)] == [b"", b"/store/a"]
