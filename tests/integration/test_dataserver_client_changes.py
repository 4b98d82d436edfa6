"""Clients rename, remove and describe files on a data server, and start it anew behind them."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import (
    AlreadyExists,
    Damaged,
    NameRefused,
    NotFound,
    PackhorseError,
    QuotaExceeded,
    Refused,
    TooLarge,
    UsageError,
)
from dataserver import checksum as checksums
from dataserver.catalogue import Catalogue
from dataserver.disk import PoolDisk
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_process import DataProcess
from tests.support.data_site import DataSite, adler32
from tests.support.failing import failing
from tests.support.root_client import RootClient
from tests.support.waiting import becomes_true
from xroot import requests
from xroot.protocol import OpenFlag, Status

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

LFN = "/store/my/a.txt"
NEW = "/store/my/new/b.txt"
CONTENT = b"events " * 1000


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    return DataSite(tmp_path, redirector, node={"inspect": False})


async def put(service: DataServerService, lfn: str = LFN, content: bytes = CONTENT) -> None:
    upload = await service.uploads.begin(lfn, replaces=service.node.is_visible(lfn))
    await upload.write(content, 0)
    await upload.finish()


async def stage(site: DataSite, redirector: FakeRedirector, lfn: str) -> None:
    site.write(lfn, CONTENT)
    await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)


# --- removing -------------------------------------------------------------------


async def test_a_removed_file_is_gone_for_all_the_site(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        with site.replica(LFN).open("rb") as reader:
            await service.changing.remove("//store/my//a.txt")
            assert reader.read() == CONTENT
        node = redirector.nodes["disk1"]
        assert node.replicas == {}
        assert [one.reason for one in node.drops] == ["removed"]
        assert not site.replica("/store").exists()
        with pytest.raises(NotFound, match=f"{LFN} is not on this node"):
            await service.changing.remove(LFN)
        await put(service)


async def test_nobody_need_be_there_to_hear_that_a_change_failed(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asyncio has to say about an error that nobody took would be an error here."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    at_it, may_go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        at_it.set()
        may_go_on.wait(30)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with site.running() as service:
        await put(service)
        monkeypatch.setattr(PoolDisk, "rename", wait)
        renaming = asyncio.create_task(service.changing.rename(LFN, NEW))
        await becomes_true(at_it.is_set)
        renaming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await renaming
        may_go_on.set()
        await becomes_true(lambda: not service.node.claims())
    gc.collect()
    assert complaints == []


async def test_what_is_in_the_archive_is_not_changed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await stage(site, redirector, LFN)
        change = service.changing
        for attempt in (
            change.remove(LFN),
            change.rename(LFN, NEW),
            change.set_mode(LFN, 0o600),
            change.set_attribute(LFN, "colour", b"blue"),
            change.remove_attribute(LFN, "colour"),
        ):
            with pytest.raises(Refused, match=f"^{LFN} is in the archive: its copy here cannot"):
                await attempt
        assert site.replica(LFN).read_bytes() == CONTENT
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}


async def test_nothing_is_changed_where_clients_may_not_write(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        change = service.changing
        for attempt in (
            change.remove("/store/a"),
            change.rename("/store/a", NEW),
            change.rename(LFN, "/store/a"),
            change.set_mode("/store/a", 0o600),
            change.set_attribute("/store/a", "colour", b"blue"),
            change.remove_attribute("/store/a", "colour"),
        ):
            with pytest.raises(Refused, match=r"^/store/a is not in a directory where clients may"):
                await attempt
        with pytest.raises(NameRefused):
            await change.remove("/store/my/../../etc/passwd")
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}


async def test_what_is_being_written_is_neither_removed_nor_renamed(site: DataSite) -> None:
    async with site.running() as service:
        await put(service)
        upload = await service.uploads.begin(LFN, replaces=True)
        for attempt in (service.changing.remove(LFN), service.changing.rename(LFN, NEW)):
            with pytest.raises(Refused, match="is being written by a client"):
                await attempt
        await upload.finish()
        await service.changing.remove(LFN)


async def test_what_the_disk_does_not_remove_is_there_again(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service)
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "unlink", failing(errno.EIO))
            with pytest.raises(Refused, match=f"{LFN} could not be removed: Input/output error"):
                await service.changing.remove(LFN)
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        await service.changing.remove(LFN)


# --- renaming ---------------------------------------------------------------------


async def test_a_renamed_file_has_one_name_and_all_that_belongs_to_it(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        await service.changing.set_attribute(LFN, "colour", b"blue")
        with site.replica(LFN).open("rb") as reader:
            await service.changing.rename(LFN, NEW)
            assert reader.read() == CONTENT
        node = redirector.nodes["disk1"]
        assert node.replicas == {NEW: len(CONTENT)}
        assert [(one.lfn, one.reason) for one in node.drops] == [(LFN, "renamed")]
        assert (redirector.claims_asked[-1].lfn, redirector.claims_asked[-1].replaces) == (
            NEW,
            False,
        )
        assert node.claims_ended[-1] == (NEW, len(CONTENT))
        assert not site.replica(LFN).exists()
        assert site.replica(NEW).read_bytes() == CONTENT
        assert await service.changing.attributes(NEW) == {"colour": b"blue"}
        with pytest.raises(NotFound):
            await service.changing.attributes(LFN)
    async with site.running() as service:
        assert redirector.nodes["disk1"].replicas == {NEW: len(CONTENT)}
        assert await service.changing.attributes(NEW) == {"colour": b"blue"}
        veto = service.node.pool.veto(NEW, 0.0)
        assert veto == "not in the archive: this may be the only copy"


async def test_a_new_name_must_be_free_everywhere(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        rename = service.changing.rename
        await put(service)
        await put(service, "/store/my/other/f")
        with pytest.raises(AlreadyExists, match="/store/my/other/f exists already"):
            await rename(LFN, "/store/my/other/f")
        with pytest.raises(Refused, match="/store/my/other is a directory on this node"):
            await rename(LFN, "/store/my/other")
        with pytest.raises(Refused, match="Not a directory"):
            await rename(LFN, "/store/my/other/f/below")
        await rename(LFN, f"/{LFN}")
        for new_lfn in (NEW, "/store/my/none"):
            with pytest.raises(NotFound):
                await rename("/store/my/none", new_lfn)
        site.replica("/store/my/stray").write_bytes(b"stray")
        with pytest.raises(AlreadyExists, match="that is no replica"):
            await rename(LFN, "/store/my/stray")
        redirector.claims_refused[NEW] = AlreadyExists(f"{NEW} is online on disk2")
        with pytest.raises(AlreadyExists, match=f"^{NEW} is online on disk2$"):
            await rename(LFN, NEW)
        assert service.node.unchangeable(LFN) is None
        assert service.node.is_idle


@pytest.mark.parametrize("where", ["disk", "catalogue"])
async def test_a_rename_that_fails_leaves_the_file_where_it_was(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def full(*_: object) -> None:
        raise PackhorseError("catalogue.sqlite: no space left to keep state")

    async with site.running() as service:
        await put(service)
        with monkeypatch.context() as patch:
            if where == "disk":
                patch.setattr(PoolDisk, "_move", failing(errno.EIO))
            else:
                patch.setattr(Catalogue, "copy", full)
            with pytest.raises(PackhorseError, match=r"Input/output error|no space left"):
                await service.changing.rename(LFN, NEW)
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        assert site.replica(LFN).exists()
    async with site.running() as service:
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        await service.changing.rename(LFN, NEW)


async def test_a_rename_that_may_not_last_is_made_and_its_client_warned(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service)
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "_sync", failing(errno.EIO))
            with pytest.raises(Damaged, match="does not say that it will stay"):
                await service.changing.rename(LFN, NEW)
        assert redirector.nodes["disk1"].replicas == {NEW: len(CONTENT)}
    # Should a crash bring back the old name, its row is there.
    site.replica(LFN).parent.mkdir(parents=True, exist_ok=True)
    site.replica(NEW).rename(site.replica(LFN))
    async with site.running() as service:
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        assert service.node.pool.veto(LFN, 0.0) is not None


async def test_who_opens_a_file_while_it_is_moved_waits_and_finds_what_is_there_then(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        loop = asyncio.get_running_loop()
        may_go_on = threading.Event()
        moved = asyncio.Event()
        publish = PoolDisk.publish

        def slowly(*args: Any) -> Any:
            errors = publish(*args)
            loop.call_soon_threadsafe(moved.set)
            may_go_on.wait(30)
            return errors

        monkeypatch.setattr(PoolDisk, "publish", slowly)
        writing = asyncio.create_task(put(service))
        await moved.wait()
        # The new file lies at its place, and the books have the old one still.
        opening = asyncio.create_task(service.uploads._replicas.open(LFN))
        summing = asyncio.create_task(service.changing.checksum(LFN, "adler32"))
        await asyncio.sleep(0)
        assert service.node.is_moving(LFN)
        assert not opening.done()
        may_go_on.set()
        await writing
        replica, fd = await opening
        assert (replica.size_bytes, os.fstat(fd).st_size) == (len(CONTENT), len(CONTENT))
        assert (await summing).value == adler32(CONTENT)
        os.close(fd)
        service.uploads._replicas.give_back(replica)
        assert service.node.pool.open_files == 0


async def test_who_opened_the_wrong_file_in_that_very_moment_tries_again(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        loop = asyncio.get_running_loop()
        may_open = threading.Event()
        at_it = asyncio.Event()
        open_replica = PoolDisk.open_replica

        def slowly(*args: Any) -> int:
            if not may_open.is_set():
                loop.call_soon_threadsafe(at_it.set)
                may_open.wait(30)
            return open_replica(*args)

        monkeypatch.setattr(PoolDisk, "open_replica", slowly)
        opening = asyncio.create_task(service.uploads._replicas.open(LFN))
        await at_it.wait()
        await put(service)
        may_open.set()
        replica, fd = await opening
        assert replica is service.node.pool.get(LFN)
        assert os.fstat(fd).st_size == len(CONTENT)
        os.close(fd)
        service.uploads._replicas.give_back(replica)
        opening = asyncio.create_task(service.uploads._replicas.open(LFN))
        may_open.clear()
        at_it.clear()
        await at_it.wait()
        await service.changing.remove(LFN)
        may_open.set()
        with pytest.raises(NotFound, match=r"is not on this node$"):
            await opening
        service.node.check()


# --- permissions, attributes, checksums -----------------------------------------------


async def test_the_owner_may_always_read_and_write_a_file(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN, mode=0o040)
        await upload.finish()
        assert site.replica(LFN).stat().st_mode & 0o777 == 0o640
        before_ns = site.replica(LFN).stat().st_mtime_ns
        await service.changing.set_mode(LFN, 0o7004)
        found = site.replica(LFN).stat()
        assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o604, before_ns)
        with pytest.raises(NotFound):
            await service.changing.set_mode("/store/my/none", 0o600)


async def test_attributes_are_kept_over_restarts_and_go_with_their_file(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        change = service.changing
        await put(service)
        assert await change.attributes(LFN) == {}
        await change.set_attribute(LFN, "colour", b"blue", new_only=True)
        await change.set_attribute(LFN, "gr\u00f6\u00dfe", bytes(64 << 10))
        with pytest.raises(AlreadyExists):
            await change.set_attribute(LFN, "colour", b"red", new_only=True)
        await change.remove_attribute(LFN, "gr\u00f6\u00dfe")
        with pytest.raises(NotFound):
            await change.remove_attribute(LFN, "gr\u00f6\u00dfe")
    async with site.running() as service:
        change = service.changing
        assert await change.attributes(LFN) == {"colour": b"blue"}
        await put(service, content=b"new")
        assert await change.attributes(LFN) == {"colour": b"blue"}
        await change.remove(LFN)
        with pytest.raises(NotFound):
            await change.attributes(LFN)
        await put(service)
        assert await change.attributes(LFN) == {}
        await stage(site, redirector, "/store/x")
        assert await change.attributes("/store/x") == {}


async def test_attributes_have_limits(site: DataSite) -> None:
    async with site.running() as service:
        change = service.changing
        await put(service)
        for name in ("", "x" * 249, "\u00e4" * 125, "a\0b", "\udcff"):
            with pytest.raises(UsageError):
                await change.set_attribute(LFN, name, b"")
            with pytest.raises(UsageError):
                await change.remove_attribute(LFN, name)
        with pytest.raises(TooLarge, match="has 65537 of 65536 bytes"):
            await change.set_attribute(LFN, "x", bytes((64 << 10) + 1))
        for number in range(256):
            await change.set_attribute(LFN, f"{number}", b"")
        with pytest.raises(QuotaExceeded, match="has 256 attributes"):
            await change.set_attribute(LFN, "one more", b"")
        await change.set_attribute(LFN, "7", b"changed")


async def test_a_checksum_is_computed_once(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service)
        await stage(site, redirector, "/store/x")
        computed: list[str] = []
        of_fd = checksums.of_fd

        def note(fd: int, algorithm: str, keep_on: Any = None) -> Any:
            computed.append(algorithm)
            return of_fd(fd, algorithm, keep_on)

        monkeypatch.setattr(checksums, "of_fd", note)
        checksum = service.changing.checksum
        for lfn in (LFN, "/store/x"):
            for algorithm in checksums.ALGORITHMS:
                found = await asyncio.gather(*(checksum(lfn, algorithm) for _ in range(5)))
                assert set(found) == {checksums.of_bytes(CONTENT, algorithm)}
        assert sorted(computed) == ["crc32c", "crc32c", "md5", "md5"]
        assert service.node.pool.open_files == 0
        with pytest.raises(UsageError, match="'sha1' is not known"):
            await checksum(LFN, "sha1")
        with pytest.raises(NotFound):
            await checksum("/store/none", "md5")
    computed.clear()
    async with site.running() as service:
        assert (await service.changing.checksum(LFN, "md5")).algorithm == "md5"
        assert computed == []


async def test_a_checksum_finds_out_that_a_file_is_gone_or_damaged(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        for number in range(3):
            await stage(site, redirector, f"/store/f{number}")
        site.replica("/store/f0").unlink()
        os.truncate(site.replica("/store/f1"), 10)
        for lfn in ("/store/f0", "/store/f1"):
            with pytest.raises(NotFound, match="not on this node any more"):
                await service.changing.checksum(lfn, "md5")
        with monkeypatch.context() as patch:
            patch.setattr(checksums, "of_fd", failing(errno.EIO))
            with pytest.raises(NotFound, match="Input/output error"):
                await service.changing.checksum("/store/f2", "md5")
        await redirector.until(lambda: redirector.nodes["disk1"].replicas == {})


async def test_what_is_inside_a_file_is_found_out_anew_when_it_is_replaced(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["inspect"] = True
    async with site.running() as service:
        for content in (CONTENT, b"short"):
            await put(service, content=content)
            query = pb.DescribeFiles(lfns=[LFN], wait_for_content=True)
            first, *_ = await redirector.ask("disk1", "describe", query)
            (table,) = first.files[0].content.tables
            assert table.entries == len(content)


# --- starting anew ----------------------------------------------------------------------


async def test_what_was_written_here_stays_over_a_restart_though_the_archive_has_it_not(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        before_ns = site.replica(LFN).stat().st_mtime_ns
    async with site.running() as service:
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        query = pb.ExamineArchive(lfns=[LFN])
        await redirector.ask("disk1", "examine", query)
        assert service.node.unchangeable(LFN) is None
        assert site.replica(LFN).stat().st_mtime_ns == before_ns
        (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=[LFN]))
        assert "not in the archive" in answer.refused[0].reason


@pytest.mark.parametrize("how", ["copy", "longer", "older"])
async def test_a_file_of_the_same_name_in_the_archive_makes_it_safe_only_if_it_is_the_same(
    site: DataSite, redirector: FakeRedirector, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.running() as service:
        await put(service)
    path = site.write(LFN, CONTENT + b"!" if how == "longer" else CONTENT.swapcase())
    if how == "older":
        before_s = site.replica(LFN).stat().st_mtime - 60.0
        os.utime(path, (before_s, before_s))
    async with site.running() as service:
        pool = service.node.pool
        if how == "copy":
            await becomes_true(lambda: pool.veto(LFN, 0.0) is None)
        else:
            await becomes_true(lambda: "has another file of this name" in caplog.text)
            assert pool.veto(LFN, 0.0) is not None
            assert site.replica(LFN).read_bytes() == CONTENT


@pytest.mark.parametrize("has_statcmd", [True, False])
async def test_a_file_changed_by_a_crash_in_mid_replacement_stays_the_only_copy(
    site: DataSite, redirector: FakeRedirector, has_statcmd: bool
) -> None:
    if not has_statcmd:
        site.stagecmd = site.script('cp "$1" "$2"')
    async with site.running() as service:
        await put(service)
    # Its row says something else than its file, and the archive has something else again.
    site.write(LFN, b"another one")
    site.replica(LFN).write_bytes(b"written")
    async with site.running() as service:
        await redirector.until(lambda: redirector.nodes["disk1"].replicas == {LFN: 7})
        assert service.node.pool.veto(LFN, 0.0) is not None
        assert site.replica(LFN).read_bytes() == b"written"


async def test_a_kill_in_mid_upload_leaves_nothing_of_it_and_all_that_was_closed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    new = OpenFlag.NEW | OpenFlag.UPDATE
    async with DataProcess.running(site) as server:
        door = redirector.hellos[-1].address.root_address
        async with RootClient(door) as client:
            for lfn in (LFN, NEW):
                opened = await client.ask(requests.Open(lfn, "", new))
                assert opened.status == Status.OK
                handle = opened.body[:4]
                written = await client.ask(requests.Write(handle, 0, len(CONTENT)), CONTENT)
                assert written.status == Status.OK
                if lfn == LFN:
                    assert (await client.ask(requests.Close(handle))).status == Status.OK
            # And an update of the one that was closed.
            opened = await client.ask(requests.Open(LFN, "", OpenFlag.UPDATE))
            written = await client.ask(requests.Write(opened.body[:4], 0, 3), b"new")
            assert written.status == Status.OK
            assert len(site.incoming()) == 2
            await server.kill()
        assert len(site.incoming()) == 2
        await server.start()
        assert site.incoming() == []
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        assert not redirector.hellos[-1].claims
        assert site.replica(LFN).read_bytes() == CONTENT
        assert not site.replica(NEW).exists()
        (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=[LFN]))
        assert "not in the archive" in answer.refused[0].reason
        assert await server.stop() == 0
