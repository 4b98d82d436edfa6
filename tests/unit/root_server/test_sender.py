"""Who sends to a client: the loop, or a thread for much of a file and a quick client."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from common.root_server import sender as module
from common.root_server.from_cache import new_scratch
from common.root_server.outbox import Outcome
from common.root_server.parts import FilePart
from common.root_server.sender import Sender
from common.root_server.threads import SendingThreads, be_patient
from tests.support.root_door import ServedFile
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE_BYTES = 16 << 20


class CountedThreads(SendingThreads):
    """Counts what they are asked for."""

    def __init__(self) -> None:
        super().__init__(lambda send: asyncio.get_running_loop().run_in_executor(None, send))
        self.from_disks = 0
        self.from_caches = 0

    def from_disk(self, send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
        self.from_disks += 1
        return super().from_disk(send)

    def from_cache(self, send: Callable[[], Outcome]) -> asyncio.Future[Outcome]:
        self.from_caches += 1
        return super().from_cache(send)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[ServedFile]:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(SIZE_BYTES))
    served = ServedFile(path)
    yield served
    served.close()


async def sent(file: ServedFile, threads: CountedThreads, length: int) -> bytes:
    """What a client gets that takes all it can at once."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        be_patient(ours)
        theirs.setblocking(False)
        lost = asyncio.Event()
        sender = Sender(ours, new_scratch(), threads, lambda: None, lost.set)
        sender.outbox.put(FilePart(b"head", file, 0, length))
        sender.outbox.put(b"behind")
        sender.send()
        received = bytearray()
        while len(received) < length + len(b"headbehind"):
            received += await loop.sock_recv(theirs, 1 << 20)
        await becomes_true(lambda: sender.is_done)
        assert not lost.is_set()
        sender.end()
    threads.close()
    return bytes(received)


@pytest.mark.parametrize(
    ("quick_s", "length", "by_threads"),
    [
        pytest.param(float("inf"), SIZE_BYTES, True, id="much to a quick client"),
        pytest.param(0.0, SIZE_BYTES, False, id="much to a slow client"),
        pytest.param(float("inf"), 400_000, False, id="little to a quick client"),
    ],
)
async def test_a_thread_sends_much_of_a_file_to_a_quick_client(
    file: ServedFile,
    monkeypatch: pytest.MonkeyPatch,
    quick_s: float,
    length: int,
    by_threads: bool,
) -> None:
    monkeypatch.setattr(module, "QUICK_S", quick_s)
    threads = CountedThreads()
    assert (
        await sent(file, threads, length) == b"head" + file.path.read_bytes()[:length] + b"behind"
    )
    assert bool(threads.from_caches) == by_threads
    assert not threads.from_disks
    assert file.kept == 0


async def test_what_drops_out_of_the_cache_meanwhile_is_read_from_the_disk(
    file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK_S", float("inf"))
    monkeypatch.setattr(module.from_cache, "send_in_thread", lambda _: Outcome.UNCACHED)
    threads = CountedThreads()
    assert await sent(file, threads, SIZE_BYTES) == b"head" + file.path.read_bytes() + b"behind"
    assert threads.from_caches
    assert threads.from_disks
    assert file.kept == 0
