"""A data server on a real file system that runs full, and is unmounted under its hands."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from common.grpc_client import open_channel
from protos.packhorse.v1 import dataserver_pb2 as pb
from protos.packhorse.v1 import dataserver_pb2_grpc as pb_grpc
from protos.packhorse.v1 import redirector_pb2, types_pb2
from tests.support.data_site import DataSite
from tests.support.mounted_pool import mounted_pool
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

CONTENT = bytes(range(256)) * 1000
LFNS = tuple(f"/store/f{number}" for number in range(12))


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    for lfn in LFNS:
        made.write(lfn, CONTENT)
    return made


async def _stage(redirector: FakeRedirector, lfn: str) -> types_pb2.Failure | None:
    """Stages one file; why not, if it failed."""
    ended = await redirector.has_ended(redirector.start("disk1", lfn))
    return ended.failure if ended.HasField("failure") else None


async def _read(redirector: FakeRedirector, lfn: str) -> bytes:
    """What a client reads of a replica."""
    async with open_channel(redirector.nodes["disk1"].hello.address.address) as channel:
        call = pb_grpc.DataServerStub(channel).Read(pb.ReadRequest(lfn=lfn))
        return b"".join([piece.data async for piece in call])


def _take_inodes(folder: Path, leave: int) -> None:
    """Makes files until there can be no more, and removes some of them."""
    folder.mkdir()
    made: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            path = folder / str(len(made))
            path.touch()
            made.append(path)
    for path in made[-leave:]:
        path.unlink()


async def test_a_disk_that_runs_full_fails_recalls_and_nothing_else(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with mounted_pool(site, "size=1500k") as pool:
        failures = [await _stage(redirector, lfn) for lfn in LFNS]
        full = [failure for failure in failures if failure is not None]
        assert full, "twelve files do not fit"
        assert {failure.error_class for failure in full} == {types_pb2.ERROR_CLASS_NO_SPACE}
        online = [lfn for lfn, failure in zip(LFNS, failures, strict=True) if failure is None]
        assert online
        assert redirector.nodes["disk1"].replicas.keys() == set(online)
        assert [await _read(redirector, lfn) for lfn in online] == [CONTENT] * len(online)
        assert list((pool.path / ".incoming").iterdir()) == []
        evict = redirector_pb2.EvictFiles(lfns=online[:2])
        (answer,) = await redirector.ask("disk1", "evict", evict)
        assert list(answer.evicted) == online[:2]
        assert await _stage(redirector, LFNS[-1]) is None


async def test_a_disk_without_inodes_fails_recalls_and_nothing_else(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with mounted_pool(site, "size=20m,nr_inodes=200") as pool:
        _take_inodes(pool.path / "others", leave=5)
        failures = [await _stage(redirector, lfn) for lfn in LFNS]
        full = [failure for failure in failures if failure is not None]
        assert {failure.error_class for failure in full} == {types_pb2.ERROR_CLASS_NO_SPACE}
        (first, *_) = redirector.nodes["disk1"].replicas
        assert await _read(redirector, first) == CONTENT


async def test_a_disk_that_is_unmounted_and_replaced_is_served_anew(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with mounted_pool(site, "size=20m") as pool:
        assert await _stage(redirector, LFNS[0]) is None
        first = redirector.nodes["disk1"].hello
        pool.unmount()
        assert list(pool.path.iterdir()) == []
        pool.mount_another()
        (pool.path / ".packhorse").mkdir()
        (pool.path / ".packhorse/pool_id").write_text("0123456789abcdef" * 2 + "\n")
        await redirector.until(lambda: redirector.hellos[-1].pool_id == "0123456789abcdef" * 2)
        await redirector.joined("disk1")
        assert redirector.hellos[-1].boot_epoch != first.boot_epoch
        assert await _stage(redirector, LFNS[0]) is None
        assert await _read(redirector, LFNS[0]) == CONTENT
        await becomes_true(lambda: "starting anew" in pool.process.log())
