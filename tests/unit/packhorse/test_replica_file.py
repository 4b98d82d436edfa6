"""A file made of ranges behaves as a file, and fetches little."""

from __future__ import annotations

import io
import random

import pytest

from packhorse.replica_file import BLOCK_BYTES, ReplicaFile


class Store:
    """Bytes that answer ranges, and remember which were asked for."""

    def __init__(self, size_bytes: int) -> None:
        self.content = random.Random(1).randbytes(size_bytes)
        self.ranges: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return self.content[offset : offset + length]

    def file(self, *, is_local: bool = False) -> ReplicaFile:
        return ReplicaFile(self.read, len(self.content), name="/f", is_local=is_local)


@pytest.mark.parametrize("is_local", [True, False])
def test_any_sequence_of_seeks_and_reads_gives_what_a_file_gives(is_local: bool) -> None:
    store = Store(3 * BLOCK_BYTES + 12345)
    ours, real = store.file(is_local=is_local), io.BytesIO(store.content)
    rng = random.Random(2)
    for _ in range(500):
        if rng.random() < 0.5:
            offset = rng.randrange(len(store.content) + 1000)
            assert ours.seek(offset) == real.seek(offset)
        else:
            offset = -rng.randrange(len(store.content))
            assert ours.seek(offset, io.SEEK_END) == real.seek(offset, io.SEEK_END)
        size = rng.choice([0, 1, 100, BLOCK_BYTES, 5 * BLOCK_BYTES, -1])
        assert ours.read(size) == real.read(size)
        assert ours.tell() == real.tell()


def test_small_reads_close_together_are_fetched_once() -> None:
    store = Store(BLOCK_BYTES)
    file = store.file()
    for offset in (0, 100, 50_000, 200):
        file.seek(offset)
        file.read(100)
    assert store.ranges == [(0, BLOCK_BYTES)]
    assert file.bytes_read == BLOCK_BYTES


def test_reading_in_order_fetches_ahead_in_growing_pieces() -> None:
    store = Store(64 * BLOCK_BYTES)
    file = store.file()
    while file.read(10_000):
        pass
    assert len(store.ranges) < 12
    assert file.bytes_read == len(store.content)


def test_hopping_about_fetches_no_more_than_the_blocks_touched() -> None:
    store = Store(64 * BLOCK_BYTES)
    file = store.file()
    for number in (40, 10, 30, 5, 60):
        file.seek(number * BLOCK_BYTES)
        file.read(10)
    assert file.bytes_read == 5 * BLOCK_BYTES


def test_a_large_read_is_one_range_and_is_not_kept() -> None:
    store = Store(64 * BLOCK_BYTES)
    file = store.file()
    assert file.read() == store.content
    assert store.ranges == [(0, len(store.content))]


def test_a_local_file_is_read_as_asked() -> None:
    store = Store(BLOCK_BYTES)
    file = store.file(is_local=True)
    file.seek(7)
    file.read(3)
    assert store.ranges == [(7, 3)]


def test_a_buffered_reader_works_on_top() -> None:
    store = Store(BLOCK_BYTES + 10)
    with io.BufferedReader(store.file()) as file:
        file.seek(5)
        assert file.read(7) == store.content[5:12]
        assert file.read() == store.content[12:]


def test_there_is_nothing_before_the_beginning() -> None:
    with pytest.raises(ValueError, match="before the beginning"):
        Store(10).file().seek(-1)


def test_closing_closes_what_belongs_to_it_once() -> None:
    closed: list[int] = []
    store = Store(10)
    file = ReplicaFile(store.read, 10, name="/f", is_local=False, on_close=lambda: closed.append(1))
    file.close()
    file.close()
    assert closed == [1]
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
