"""The queue of one socket: order, parts of files in and out of the page cache, and whose fault
it is when something cannot be sent."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from common.root_server import from_cache, from_disk
from common.root_server.from_cache import SCRATCH_BYTES, SMALL_BYTES, new_scratch
from common.root_server.outbox import LARGE_BYTES, WAITING_BYTES, WAITING_ITEMS, Outbox, Outcome
from common.root_server.parts import CutShortError, FilePart, FileParts
from common.root_server.threads import be_patient
from tests.support.root_door import ServedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

SIZE_BYTES = 3 << 20


class Line:
    """An outbox, its socket, and the socket at the other end."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.ours = ours
        be_patient(ours)
        self.theirs.setblocking(False)
        self.outbox = Outbox(ours)
        self.scratch = new_scratch()

    def send(self) -> Outcome:
        """Sends as the loop does."""
        return from_cache.send(self.outbox, self.scratch)

    def taken(self) -> bytes:
        """What the other end can read now."""
        received = b""
        while True:
            try:
                received += self.theirs.recv(1 << 20)
            except BlockingIOError:
                return received

    def sent(self) -> bytes:
        """Sends all there is, as the loop and a thread would in turn; what has arrived."""
        received, outcome = b"", Outcome.FULL
        while outcome is not Outcome.EMPTY:
            outcome = self.send()
            if outcome is Outcome.UNCACHED:
                outcome = from_disk.send_in_thread(self.outbox)
                self.outbox.settle()
            received += self.taken()
        return received


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.fixture
def file(tmp_path: Path, line: Line) -> Iterator[ServedFile]:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(SIZE_BYTES))
    served = ServedFile(path)
    yield served
    line.outbox.clear()
    served.close()


def part(file: ServedFile, offset: int, length: int, header: bytes = b"head") -> FilePart:
    return FilePart(header, file, offset, length)


def refuses_to_wait(*_: object) -> int:
    """preadv, where nothing is in the page cache."""
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


# --- order ---------------------------------------------------------------------------------


def test_bytes_and_parts_large_and_small_come_in_the_order_they_were_put(
    line: Line, file: ServedFile
) -> None:
    content = file.path.read_bytes()
    expected = b""
    for number in range(60):
        said = bytes([number]) * (1 + 7919 * number % (3 * SMALL_BYTES))
        line.outbox.put(said)
        offset, length = 4099 * number, 1 + 104729 * number % (2 * SMALL_BYTES)
        line.outbox.put(part(file, offset, length))
        expected += said + b"head" + content[offset : offset + length]
    assert line.sent() == expected
    assert file.ever_kept == 60
    assert file.kept == 0
    assert line.outbox.bytes_waiting == 0


def test_many_answers_go_out_in_one_piece(line: Line) -> None:
    for number in range(500):
        line.outbox.put(b"%03d " % number)
    assert line.send() is Outcome.EMPTY
    assert line.theirs.recv(1 << 20) == b"".join(b"%03d " % number for number in range(500))


def test_small_parts_in_the_page_cache_need_no_thread(line: Line, file: ServedFile) -> None:
    content = file.path.read_bytes()
    for number in range(20):
        line.outbox.put(part(file, number * 5000, 4096))
    assert line.send() is Outcome.EMPTY
    assert line.taken() == b"".join(
        b"head" + content[number * 5000 : number * 5000 + 4096] for number in range(20)
    )


def test_a_small_part_not_in_the_page_cache_goes_by_a_thread(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_cache.os, "preadv", refuses_to_wait)
    line.outbox.put(b"before")
    line.outbox.put(part(file, 5000, 4096))
    line.outbox.put(b"behind")
    assert line.send() is Outcome.UNCACHED
    assert line.taken() == b"before"
    assert file.kept == 1
    assert from_disk.send_in_thread(line.outbox) is Outcome.EMPTY
    assert file.kept == 1, "the loop lets go of it, not the thread"
    line.outbox.settle()
    assert file.kept == 0
    assert line.taken() == b"head" + file.path.read_bytes()[5000:9096] + b"behind"


def test_the_kernel_tells_what_is_not_in_the_page_cache(line: Line, file: ServedFile) -> None:
    os.fsync(file.fd)
    for _ in range(20):
        # It is only asked to forget, and may read ahead again.
        os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        line.outbox.put(part(file, SIZE_BYTES // 2, 4096))
        if line.send() is Outcome.UNCACHED:
            break
        line.taken()
    else:
        pytest.skip("this file system keeps its pages in memory")
    assert line.taken() == b""
    start = SIZE_BYTES // 2
    assert line.sent() == b"head" + file.path.read_bytes()[start : start + 4096]


def test_empty_answers_and_parts_of_no_length_are_no_trouble(line: Line, file: ServedFile) -> None:
    line.outbox.put(b"")
    line.outbox.put(part(file, 0, 0, header=b""))
    assert len(line.outbox) == 0
    assert file.kept == 0
    line.outbox.put(part(file, 100, 0))
    assert line.send() is Outcome.EMPTY
    line.outbox.put(part(file, 100, 0))
    assert from_disk.send_in_thread(line.outbox) is Outcome.EMPTY
    line.outbox.settle()
    assert line.taken() == b"headhead"


# --- how much waits --------------------------------------------------------------------------


def test_what_waits_is_counted_in_bytes_and_in_things(line: Line, file: ServedFile) -> None:
    line.outbox.put(bytes(WAITING_BYTES - 1))
    assert not line.outbox.is_full
    line.outbox.put(b"x")
    assert line.outbox.is_full
    assert line.outbox.bytes_waiting == WAITING_BYTES
    line.outbox.clear()
    assert line.outbox.bytes_waiting == 0
    for _ in range(WAITING_ITEMS):
        assert not line.outbox.is_full
        line.outbox.put(part(file, 0, SIZE_BYTES))
    assert line.outbox.is_full
    assert line.outbox.bytes_waiting == 0, "parts of files wait on the disk"


def test_a_client_that_takes_nothing_costs_no_more_than_what_was_put(line: Line) -> None:
    put = 0
    for _ in range(40):
        line.outbox.put(bytes(60_000))
        put += 60_000
        assert line.send() in (Outcome.EMPTY, Outcome.FULL)
        assert line.outbox.bytes_waiting == put - line.outbox.bytes_sent
    assert line.outbox.bytes_waiting > SCRATCH_BYTES, "or nothing was tried here"
    assert len(line.sent()) == put


def test_the_loop_does_not_send_for_one_client_for_ever(line: Line, file: ServedFile) -> None:
    class Bottomless:
        """A client that takes whatever is sent."""

        def send(self, data: memoryview, flags: int) -> int:
            return len(data)

    outbox = Outbox(Bottomless())  # type: ignore[arg-type]
    for _ in range(100):
        outbox.put(part(file, 0, SMALL_BYTES))
    outcomes = []
    while not outcomes or outcomes[-1] is not Outcome.EMPTY:
        outcomes.append(from_cache.send(outbox, line.scratch))
    assert len(outcomes) > 2
    assert set(outcomes[:-1]) == {Outcome.MORE}
    assert file.kept == 0


def test_a_thread_is_given_back_when_its_client_takes_nothing(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_cache, "_NOWAIT", None)
    line.outbox.put(part(file, 0, SIZE_BYTES))
    assert line.send() is Outcome.UNCACHED
    assert from_disk.send_in_thread(line.outbox) is Outcome.FULL
    received = line.taken()
    assert received
    # Where it left off, it goes on.
    assert received + line.sent() == b"head" + file.path.read_bytes()


def test_a_thread_is_given_back_in_the_middle_of_much(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_disk, "_TURN_S", 0.0)
    line.outbox.put(part(file, 0, SIZE_BYTES))
    assert from_disk.send_in_thread(line.outbox) is Outcome.MORE
    assert len(line.outbox) == 1
    monkeypatch.undo()
    assert line.sent() == b"head" + file.path.read_bytes()


@pytest.mark.parametrize("whence", [from_cache, from_disk], ids=["cache", "disk"])
def test_a_client_that_takes_less_than_is_offered_keeps_no_thread(whence: ModuleType) -> None:
    offered = []

    class Trickle:
        """Takes a little in the nick of time, always."""

        def send(self, data: bytes | memoryview, flags: int = 0) -> int:
            offered.append(len(data))
            return 100

    outbox = Outbox(Trickle())  # type: ignore[arg-type]
    outbox.put(bytes(SIZE_BYTES))
    assert whence.send_in_thread(outbox) is Outcome.FULL
    assert offered == [SIZE_BYTES]
    assert outbox.bytes_waiting == SIZE_BYTES - 100


# --- much of one file ------------------------------------------------------------------------


def test_much_of_a_file_is_worth_a_thread_and_little_is_not(line: Line, file: ServedFile) -> None:
    assert not line.outbox.is_large
    line.outbox.put(part(file, 0, LARGE_BYTES - 5))
    assert not line.outbox.is_large
    line.outbox.clear()
    line.outbox.put(part(file, 0, SIZE_BYTES))
    assert line.outbox.is_large
    assert line.send() is Outcome.FULL
    assert line.outbox.is_large, "a rest in memory stands before what is left of it"


def test_a_thread_sends_from_the_cache_what_the_loop_has_begun(
    line: Line, file: ServedFile
) -> None:
    line.outbox.put(b"before")
    line.outbox.put(part(file, 0, SIZE_BYTES))
    line.outbox.put(b"behind")
    assert line.send() is Outcome.FULL
    received, outcome = line.taken(), Outcome.FULL
    while outcome is not Outcome.EMPTY:
        outcome = from_cache.send_in_thread(line.outbox)
        assert outcome in (Outcome.FULL, Outcome.MORE, Outcome.EMPTY)
        received += line.taken()
    assert received == b"before" + b"head" + file.path.read_bytes() + b"behind"
    assert file.kept == 1, "the loop lets go of it, not the thread"
    line.outbox.settle()
    assert file.kept == 0


def test_a_thread_that_sends_from_the_cache_does_not_wait_for_a_disk(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_cache.os, "preadv", refuses_to_wait)
    line.outbox.put(part(file, 0, SIZE_BYTES))
    assert from_cache.send_in_thread(line.outbox) is Outcome.UNCACHED
    assert line.taken() == b""


def test_a_thread_that_sends_from_the_cache_is_given_back_in_the_middle(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_cache, "_TURN_S", 0.0)
    line.outbox.put(part(file, 0, SIZE_BYTES))
    assert from_cache.send_in_thread(line.outbox) is Outcome.MORE
    assert line.sent() == b"head" + file.path.read_bytes()


# --- many parts ------------------------------------------------------------------------------


def many(file: ServedFile, parts: list[tuple[bytes, int, int]], *, offsets: bool) -> FileParts:
    layout = struct.Struct(">4siq" if offsets else ">4si")
    return FileParts(file, parts, layout, tells_offset=offsets)


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_many_parts_come_each_behind_its_header(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch, offsets: bool, cached: bool
) -> None:
    content = file.path.read_bytes()
    # Some do not fit beside others, and some fit nowhere.
    parts = [
        (b"%4d" % number, 1 + 48611 * number % (2 * SCRATCH_BYTES), 4099 * number)
        for number in range(100)
    ]
    asked = many(file, parts, offsets=offsets)
    pack = asked.layout.pack
    expected = b"".join(
        pack(*(one if offsets else one[:2])) + content[one[2] : one[2] + one[1]] for one in parts
    )
    if not cached:
        monkeypatch.setattr(from_cache, "_NOWAIT", None)
    line.outbox.put(b"before")
    line.outbox.put(asked)
    line.outbox.put(b"behind")
    assert line.outbox.parts_waiting == 100
    assert line.sent() == b"before" + expected + b"behind"
    assert file.ever_kept == 100
    assert file.kept == 0


def test_the_parts_that_are_left_are_let_go_of(line: Line, file: ServedFile) -> None:
    parts = [(b"%4d" % number, SMALL_BYTES, 0) for number in range(40)]
    line.outbox.put(many(file, parts, offsets=True))
    line.outbox.put(many(file, [], offsets=True))
    assert line.send() is Outcome.FULL
    assert 0 < file.kept < 40
    line.outbox.clear()
    assert file.kept == 0
    assert len(line.outbox) == 0


# --- whose fault it is -------------------------------------------------------------------------


def test_a_file_that_ends_too_early_is_named_with_its_end(line: Line, file: ServedFile) -> None:
    os.truncate(file.path, 5000)
    line.outbox.put(part(file, 4000, 4096))
    assert line.send() is Outcome.UNCACHED
    with pytest.raises(CutShortError) as caught:
        from_disk.send_in_thread(line.outbox)
    assert caught.value.file is file
    assert caught.value.offset == 5000
    assert line.taken() == b"head" + file.path.read_bytes()[4000:]


def test_a_file_that_cannot_be_read_is_named(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(from_disk.os, "sendfile", broken)
    monkeypatch.setattr(from_disk.os, "pread", broken)
    line.outbox.put(part(file, 4000, SIZE_BYTES // 2))
    with pytest.raises(CutShortError) as caught:
        from_disk.send_in_thread(line.outbox)
    assert caught.value.offset == 4000


def test_a_client_that_was_lost_on_its_way_is_not_the_files_fault(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed_out(*_: object) -> int:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(from_disk.os, "sendfile", timed_out)
    line.outbox.put(part(file, 0, SIZE_BYTES))
    with pytest.raises(TimeoutError):
        from_disk.send_in_thread(line.outbox)


def test_a_client_that_has_gone_is_an_error(line: Line, file: ServedFile) -> None:
    line.theirs.close()
    line.outbox.put(b"hello")
    with pytest.raises(ConnectionError):
        line.send()
    line.outbox.put(part(file, 0, SIZE_BYTES))
    with pytest.raises(ConnectionError):
        from_disk.send_in_thread(line.outbox)


def test_where_there_is_no_sendfile_parts_are_copied(
    line: Line, file: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(from_disk.os, "sendfile", unknown)
    line.outbox.put(part(file, 17, SIZE_BYTES - 20))
    assert line.sent() == b"head" + file.path.read_bytes()[17:-3]


def test_clearing_lets_go_of_all_files_once(line: Line, file: ServedFile) -> None:
    small, large = part(file, 0, 10), part(file, 0, SIZE_BYTES)
    line.outbox.put(large)
    line.outbox.put(small)
    line.outbox.put(b"hello")
    assert from_disk.send_in_thread(line.outbox) is Outcome.FULL
    line.outbox.clear()
    line.outbox.clear()
    assert file.kept == 0
    assert len(line.outbox) == 0
    assert line.send() is Outcome.EMPTY
