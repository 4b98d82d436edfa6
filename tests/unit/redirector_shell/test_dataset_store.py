"""Datasets on disk: whole or not at all, counted, and quick at 100,000 files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from common.errors import AlreadyExists, NotFound, QuotaExceeded, UsageError
from common.sqlite import Database
from redirector.core.datasets import DatasetFile, DatasetHeader, Mode
from redirector.core.model import Checksum
from redirector.core.states import FileState
from redirector.store import datasets
from redirector.store.datasets import DatasetStore, Quotas
from redirector.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = DatasetHeader("zmm", tree="Events", group="higgs", owner="ada", title="Z to muons")
QUOTAS = Quotas({"higgs": 1000}, assumed_bytes=100)
A = DatasetFile("/store/a", size_bytes=10, checksum=Checksum("md5", "ff"), entries=5)
B = DatasetFile("/store/b", tree="Runs")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DatasetStore]:
    with Database(tmp_path / "state.sqlite", MIGRATIONS) as database:
        yield DatasetStore(database)


async def test_a_dataset_comes_back_as_it_was_registered(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [B, A], QUOTAS, 50.0)
    dataset = await store.find("zmm")
    assert dataset.header == HEADER
    assert (dataset.created_unix_s, dataset.verified_unix_s) == (50.0, None)
    assert (dataset.tally.files, dataset.tally.bytes_known) == (2, 10)
    assert (dataset.tally.entries_known, dataset.tally.files_of_unknown_entries) == (5, 1)
    assert await store.all_files(dataset.number) == [A, B]


async def test_files_come_in_pieces(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "PIECE_FILES", 2)
    files = [DatasetFile(f"/store/{i}") for i in range(4)]
    await store.register(HEADER, Mode.NEW, files, QUOTAS, 0.0)
    number = (await store.find("zmm")).number
    assert [len(piece) async for piece in store.pieces(number)] == [2, 2]
    assert await store.all_files(number) == files


async def test_a_refused_registration_changes_nothing(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A], QUOTAS, 0.0)
    with pytest.raises(AlreadyExists):
        await store.register(HEADER, Mode.NEW, [B], QUOTAS, 0.0)
    with pytest.raises(UsageError):
        await store.register(HEADER, Mode.REPLACE, [], QUOTAS, 0.0)
    big = DatasetFile("/store/c", size_bytes=1001)
    with pytest.raises(QuotaExceeded):
        await store.register(HEADER, Mode.UPDATE, [big], QUOTAS, 0.0)
    assert await store.all_files((await store.find("zmm")).number) == [A]


async def test_of_two_registrations_at_once_one_makes_the_dataset(store: DatasetStore) -> None:
    outcomes = await asyncio.gather(
        *(store.register(HEADER, Mode.NEW, [file], QUOTAS, 0.0) for file in (A, B)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(AlreadyExists) == 1
    assert (await store.find("zmm")).tally.files == 1


async def test_update_keeps_labels_it_does_not_name(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A], QUOTAS, 0.0)
    await store.register(DatasetHeader("zmm", title="new"), Mode.UPDATE, [B], QUOTAS, 9.0)
    dataset = await store.find("zmm")
    assert dataset.header == DatasetHeader("zmm", "Events", "higgs", "ada", "new")
    assert dataset.created_unix_s == 0.0
    assert dataset.tally.files == 2


async def test_an_update_counts_against_the_group_the_dataset_is_of(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A], QUOTAS, 0.0)
    big = DatasetFile("/store/c", size_bytes=991)
    with pytest.raises(QuotaExceeded, match="higgs"):
        await store.register(DatasetHeader("zmm"), Mode.UPDATE, [big], QUOTAS, 0.0)


async def test_a_group_is_all_its_datasets(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [DatasetFile("/a", size_bytes=800)], QUOTAS, 0.0)
    other = DatasetHeader("other", group="higgs")
    unknown = [DatasetFile(f"/b{i}") for i in range(3)]
    with pytest.raises(QuotaExceeded, match="use 800 B"):
        await store.register(other, Mode.NEW, unknown, QUOTAS, 0.0)
    await store.register(other, Mode.NEW, unknown[:2], QUOTAS, 0.0)
    # A dataset's own earlier files do not count against what replaces them.
    await store.register(HEADER, Mode.REPLACE, [DatasetFile("/c", size_bytes=700)], QUOTAS, 0.0)


async def test_verdicts_are_kept_and_counted(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A, B], QUOTAS, 0.0)
    number = (await store.find("zmm")).number
    good = A._replace(state=FileState.ONLINE)
    bad = B._replace(state=FileState.CORRUPT, reason="text")
    await store.save_verdicts(number, [good, bad])
    dataset = await store.mark_verified(number, 70.0)
    assert dataset is not None
    assert dataset.verified_unix_s == 70.0
    assert (dataset.tally.online, dataset.tally.corrupt) == (1, 1)
    assert await store.all_files(number) == [good, bad]


async def test_verdicts_on_a_replaced_dataset_go_nowhere(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A], QUOTAS, 0.0)
    old = (await store.find("zmm")).number
    await store.register(HEADER, Mode.REPLACE, [A], QUOTAS, 0.0)
    await store.save_verdicts(old, [A._replace(state=FileState.CORRUPT)])
    assert await store.mark_verified(old, 1.0) is None
    new = await store.find("zmm")
    assert new.tally.corrupt == 0
    assert await store.all_files(new.number) == [A]


async def test_datasets_are_listed_by_shell_pattern_and_group(store: DatasetStore) -> None:
    for name, group in (("/Z/1", "higgs"), ("/Z/2", ""), ("/W/1", "higgs")):
        await store.register(DatasetHeader(name, group=group), Mode.NEW, [A], QUOTAS, 0.0)
    assert [dataset.header.name for dataset in await store.list()] == ["/W/1", "/Z/1", "/Z/2"]
    assert [dataset.header.name for dataset in await store.list("/Z/*")] == ["/Z/1", "/Z/2"]
    assert [dataset.header.name for dataset in await store.list("*1", "higgs")] == ["/W/1", "/Z/1"]


async def test_a_removed_dataset_is_gone(store: DatasetStore) -> None:
    await store.register(HEADER, Mode.NEW, [A, B], QUOTAS, 0.0)
    number = (await store.find("zmm")).number
    assert await store.remove("zmm") == 2
    assert await store.all_files(number) == []
    with pytest.raises(NotFound, match="no dataset 'zmm'"):
        await store.find("zmm")
    with pytest.raises(NotFound):
        await store.remove("zmm")


async def test_a_dataset_of_100_000_files_is_normal(store: DatasetStore) -> None:
    files = [DatasetFile(f"/store/run7/file{i:06}.root", size_bytes=1) for i in range(100_000)]
    header = DatasetHeader("big")
    async with asyncio.timeout(30):
        await store.register(header, Mode.NEW, files, QUOTAS, 0.0)
        await store.register(header, Mode.UPDATE, [A], QUOTAS, 0.0)
        dataset = await store.find("big")
        assert dataset.tally.files == 100_001
        kept = await store.all_files(dataset.number)
        assert len(kept) == 100_001
        await store.save_verdicts(
            dataset.number, [file._replace(state=FileState.ONLINE) for file in kept]
        )
        verified = await store.mark_verified(dataset.number, 1.0)
    assert verified is not None
    assert verified.tally.online == 100_001
