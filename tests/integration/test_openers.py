"""What other programs have open is seen, and not removed under their hands."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import grpc
import pytest

from common.grpc_client import open_channel
from dataserver import openers
from dataserver.disk import PoolDisk
from dataserver.openers import Look, OpenElsewhereError, Openers
from protos.packhorse.v1 import dataserver_pb2 as ds
from protos.packhorse.v1 import dataserver_pb2_grpc as ds_grpc
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite
from tests.support.other_reader import OtherReader
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

LFN = "/store/a"
SIZE = 4_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PoolDisk]:
    """A pool with two files, on a file system that grants leases."""
    (tmp_path / "pool" / "store").mkdir(parents=True)
    disk = PoolDisk(tmp_path / "pool")
    if not Openers(disk.private).knows_leases:
        pytest.skip(f"the file system of {tmp_path} grants no leases")
    for name in ("a", "b"):
        disk.path(f"/store/{name}").write_bytes(b"content")
    yield disk
    disk.close()


# --- one file ---------------------------------------------------------------------


@pytest.mark.parametrize("with_leases", [True, False])
def test_what_nobody_has_open_goes(disk: PoolDisk, with_leases: bool) -> None:
    look = Look(with_leases=with_leases)
    with OtherReader(disk.path("/store/b")):
        disk.unlink(LFN, look.alone)
    assert not disk.path(LFN).exists()
    # That it is gone already is fine, as it is without a look.
    disk.unlink(LFN, look.alone)
    disk.unlink("/no/directory", look.alone)


@pytest.mark.parametrize("with_leases", [True, False])
def test_what_another_program_has_open_stays(disk: PoolDisk, with_leases: bool) -> None:
    with OtherReader(disk.path(LFN)):
        with pytest.raises(OpenElsewhereError) as raised:
            disk.unlink(LFN, Look(with_leases=with_leases).alone)
        assert raised.value.strerror == "open by another program"
        assert disk.path(LFN).exists()
    disk.unlink(LFN, Look(with_leases=with_leases).alone)
    assert not disk.path(LFN).exists()


def test_what_is_mapped_counts_as_open(disk: PoolDisk) -> None:
    with OtherReader(disk.path(LFN), maps=True), pytest.raises(OpenElsewhereError):
        disk.unlink(LFN, Look(with_leases=True).alone)


def test_a_file_of_the_same_name_elsewhere_is_another_one(disk: PoolDisk, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with OtherReader(tmp_path / "a"):
        disk.unlink(LFN, Look(with_leases=False).alone)
    assert not disk.path(LFN).exists()


async def test_whoever_comes_meanwhile_waits_and_harms_nobody(disk: PoolDisk) -> None:
    fd = disk.open_replica(LFN)
    try:
        with Look(with_leases=True).alone(fd):
            reader = OtherReader(disk.path(LFN))
            # The kernel tells us, by a signal that must not end this process.
            await becomes_true(lambda: fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK)
        assert reader.has_opened
        reader.close()
    finally:
        os.close(fd)


@pytest.mark.parametrize("error_number", [errno.EINVAL, errno.EACCES])
def test_where_no_lease_can_be_had_the_processes_are_looked_through(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch, error_number: int
) -> None:
    def refuse(fd: int, command: int, argument: int) -> int:
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr(openers.fcntl, "fcntl", refuse)
    assert not Openers(disk.private).knows_leases
    with OtherReader(disk.path(LFN)), pytest.raises(OpenElsewhereError):
        disk.unlink(LFN, Look(with_leases=True).alone)


def test_a_file_system_that_always_says_open_is_not_believed(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, command: int, argument: int) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(openers.fcntl, "fcntl", refuse)
    found = Openers(disk.private)
    assert not found.knows_leases
    disk.unlink(LFN, found.look().alone)
    assert not disk.path(LFN).exists()


def test_a_probe_leaves_nothing(disk: PoolDisk) -> None:
    assert not list(disk.private.iterdir())


def test_what_cannot_be_found_out_is_not_removed(
    disk: PoolDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openers, "_PROC", tmp_path / "no proc")
    with pytest.raises(OSError, match="cannot be found out"):
        disk.unlink(LFN, Look(with_leases=False).alone)
    assert disk.path(LFN).exists()


def test_what_is_no_file_goes_without_a_look(disk: PoolDisk) -> None:
    for name in ("link", "pipe"):
        path = disk.path(f"/store/{name}")
        if name == "link":
            path.symlink_to("a")
        else:
            os.mkfifo(path)
        disk.unlink(f"/store/{name}", Look(with_leases=True).alone)
        assert not path.is_symlink()
        assert not path.exists()
    assert disk.path(LFN).exists()


# --- a pool that a stock server serves ------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    """A pool for three files, which another program serves."""
    made = DataSite(tmp_path, redirector)
    made.node |= {"quota": "13MB", "serve": "root://disk1.example.org:1094", "inspect": False}
    for number in range(5):
        made.write(name(number), bytes(SIZE))
    return made


def name(number: int) -> str:
    return f"/store/f{number}"


async def stage(redirector: FakeRedirector, *numbers: int) -> None:
    """Stages files one after the other, so that their order of use is known."""
    for number in numbers:
        recall_id = redirector.start("disk1", name(number), size_bytes=SIZE)
        await redirector.staged("disk1", recall_id, name(number))


async def test_a_purge_spares_what_the_other_program_has_open(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await stage(redirector, 0, 1, 2)
        with OtherReader(site.replica(name(0))):
            await stage(redirector, 3)
            assert not site.replica(name(1)).exists()
            assert site.replica(name(0)).exists()
            node = redirector.nodes["disk1"]
            await redirector.until(lambda: set(node.replicas) == {name(0), name(2), name(3)})
            service.node.check()
        # It was in use a moment ago, so it is not the next to go.
        await stage(redirector, 4)
        assert not site.replica(name(2)).exists()
        assert site.replica(name(0)).exists()


async def test_an_eviction_of_what_is_open_is_refused(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, 0, 1)
        query = pb.EvictFiles(lfns=[name(0), name(1)])
        with OtherReader(site.replica(name(0))):
            (answer,) = await redirector.ask("disk1", "evict", query)
        assert list(answer.evicted) == [name(1)]
        (refused,) = answer.refused
        assert refused.lfn == name(0)
        assert refused.reason == "could not be removed: open by another program"
        (answer,) = await redirector.ask("disk1", "evict", query)
        assert list(answer.evicted) == [name(0)]


async def test_what_is_damaged_goes_although_it_is_open(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await stage(redirector, 0)
        path = site.replica(name(0))
        with OtherReader(path):
            os.truncate(path, 10)
            async with open_channel(service.address) as channel:
                opening = ds_grpc.DataServerStub(channel).Open(ds.OpenRequest(lfn=name(0)))
                with pytest.raises(grpc.RpcError):
                    await opening.read()
            await becomes_true(lambda: not path.exists())


async def test_a_pool_whose_readers_cannot_be_seen_is_told(
    site: DataSite,
    redirector: FakeRedirector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(openers, "_leases_are_granted", lambda probe: False)
    async with site.running():
        assert "grants no leases" in caplog.text


async def test_a_pool_of_packhorses_own_takes_no_look(
    site: DataSite, redirector: FakeRedirector
) -> None:
    del site.node["serve"]
    async with site.running():
        await stage(redirector, 0)
        with OtherReader(site.replica(name(0))):
            query = pb.EvictFiles(lfns=[name(0)])
            (answer,) = await redirector.ask("disk1", "evict", query)
            assert list(answer.evicted) == [name(0)]
