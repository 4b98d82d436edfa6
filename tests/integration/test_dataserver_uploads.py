"""A data server lets clients write whole files, new ones and in place of others."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import (
    Damaged,
    NotFound,
    QuotaExceeded,
    Refused,
    UsageError,
)
from dataserver import checksum as checksums
from dataserver import upload_file
from dataserver.checksum import Checksum
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite, adler32
from tests.support.failing import failing
from tests.support.uploading import CONTENT, LFN, nothing_is_left, put
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

#: More than is reserved at first for an upload of unknown size.
LARGE = os.urandom(5_000_000)


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    return DataSite(tmp_path, redirector, node={"inspect": False})


# --- writing --------------------------------------------------------------------


async def test_a_file_is_there_for_all_the_site_once_it_is_closed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        node = redirector.nodes["disk1"]
        upload = await service.uploads.begin(LFN, size_bytes=len(CONTENT), owner="ann")
        (asked,) = redirector.claims_asked
        assert (asked.node, asked.lfn, asked.replaces) == ("disk1", LFN, False)
        await upload.write(CONTENT, 0)
        assert upload.size_bytes == len(CONTENT)
        assert not site.replica(LFN).exists()
        assert not service.node.is_visible(LFN)
        await upload.finish()
        # No waiting: the redirector has heard of it, and then that the claim has ended.
        assert node.replicas == {LFN: len(CONTENT)}
        assert node.claims_ended == [(LFN, len(CONTENT))]
        assert site.replica(LFN).read_bytes() == CONTENT
        assert nothing_is_left(site, service)
        found = await service.changing.checksum(LFN, "adler32")
        assert found == Checksum("adler32", adler32(CONTENT))


async def test_an_uploaded_file_is_no_prey_of_purges_and_evictions(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=[LFN]))
        assert answer.refused[0].reason == "not in the archive: this may be the only copy"


async def test_an_empty_file_is_a_file(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.finish()
        assert site.replica(LFN).read_bytes() == b""


async def test_writes_at_different_places_go_on_side_by_side(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        size = 500_000
        parts = [(offset, LARGE[offset : offset + size]) for offset in range(0, len(LARGE), size)]
        await asyncio.gather(*(upload.write(part, offset) for offset, part in reversed(parts)))
        assert upload.size_bytes == len(LARGE)
        await upload.finish()
        assert site.replica(LFN).read_bytes() == LARGE
        assert nothing_is_left(site, service)


async def test_two_clients_write_two_files_at_a_time(site: DataSite) -> None:
    async with site.running() as service:
        names = [f"/store/my/deep/er/f{number}" for number in range(20)]
        await asyncio.gather(*(put(service, lfn, lfn.encode() * 1000) for lfn in names))
        assert [site.replica(lfn).read_bytes() for lfn in names] == [
            lfn.encode() * 1000 for lfn in names
        ]


async def test_a_write_may_come_in_many_pieces(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        pieces: list[bytes | memoryview] = [bytes([number % 256]) for number in range(3000)]
        pieces += [b"", memoryview(CONTENT)[7:]]
        await upload.write(pieces, 100)
        await upload.finish()
        written = site.replica(LFN).read_bytes()
        assert written == bytes(100) + b"".join(pieces)


def test_a_disk_that_takes_less_than_it_is_given_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwritev = os.pwritev

    def take_little(fd: int, pieces: list[memoryview], offset: int) -> int:
        first = pieces[0]
        if len(first) > 2:
            return pwritev(fd, [first[:2]], offset)
        return pwritev(fd, pieces[:2], offset)

    monkeypatch.setattr(os, "pwritev", take_little)
    with (tmp_path / "f").open("wb") as file:
        upload_file.write_all(file.fileno(), [b"abcde", b"", b"f", b"ghi"], 1)
    assert (tmp_path / "f").read_bytes() == b"\0abcdefghi"


async def test_a_client_may_read_what_it_has_written_and_cut_it_short(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(b"0123456789", 0)
        assert await upload.read(4, 3) == b"3456"
        assert await upload.read(100, 8) == b"89"
        await upload.truncate(5)
        assert upload.size_bytes == 5
        await upload.truncate(8)
        await upload.sync()
        with pytest.raises(UsageError, match="no file has -1 bytes"):
            await upload.truncate(-1)
        with pytest.raises(UsageError, match="nothing can be written at -1"):
            await upload.write(b"x", -1)
        with pytest.raises(UsageError, match="there are no -1 bytes"):
            await upload.read(-1, 0)
        await upload.finish()
        assert site.replica(LFN).read_bytes() == b"01234\0\0\0"
        for late in (upload.write(b"x", 0), upload.read(1, 0), upload.sync(), upload.finish()):
            with pytest.raises(UsageError):
                await late


async def test_writes_within_what_is_reserved_are_no_affair_of_the_core(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN, size_bytes=len(LARGE))
        handled: list[str] = []
        handle = service.node.handle

        def note(event: Any, now_s: float) -> Any:
            handled.append(type(event).__name__)
            return handle(event, now_s)

        monkeypatch.setattr(service.node, "handle", note)
        for offset in range(0, len(LARGE), 100_000):
            await upload.write(LARGE[offset : offset + 100_000], offset)
        assert "RoomWanted" not in handled
        await upload.finish()
        assert {"UploadWritten", "UploadPublished"} <= set(handled)


# --- what it should be --------------------------------------------------------------


async def test_a_file_is_what_its_client_says_it_is(site: DataSite) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(CONTENT, 0)
        md5 = checksums.of_bytes(CONTENT, "md5")
        await upload.finish(len(CONTENT), md5)
        assert await service.changing.checksum(LFN, "md5") == md5
        assert (await service.changing.checksum(LFN, "adler32")).value == adler32(CONTENT)


@pytest.mark.parametrize(
    ("size", "checksum", "words"),
    [
        (8000, None, "has 7000 bytes, 8000 expected"),
        (None, Checksum("adler32", "00000001"), "has adler32:[0-9a-f]+, adler32:00000001 was"),
        (None, Checksum("md5", "0" * 32), "has md5:[0-9a-f]+, md5:0+ was expected"),
    ],
)
async def test_a_file_that_is_not_what_its_client_says_is_not_there(
    site: DataSite,
    redirector: FakeRedirector,
    size: int | None,
    checksum: Checksum | None,
    words: str,
) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(CONTENT, 0)
        with pytest.raises(Damaged, match=words):
            await upload.finish(size, checksum)
        assert nothing_is_left(site, service)
        assert not site.replica(LFN).exists()
        await redirector.until(lambda: redirector.nodes["disk1"].claims_ended == [(LFN, None)])
        await put(service)


async def test_a_file_without_a_checksum_is_fine_where_none_is_computed(site: DataSite) -> None:
    site.node["checksum"] = "none"
    async with site.running() as service:
        await put(service)
        found = await service.changing.checksum(LFN, "crc32c")
        assert found == checksums.of_bytes(CONTENT, "crc32c")


# --- replacing ----------------------------------------------------------------------


async def test_the_old_file_is_read_until_the_new_one_is_there(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        upload = await service.uploads.begin(LFN, replaces=True)
        assert redirector.claims_asked[-1].replaces
        await upload.write(CONTENT, 0)
        assert site.replica(LFN).read_bytes() == b"old"
        assert service.node.is_visible(LFN)
        with site.replica(LFN).open("rb") as reader:
            await upload.finish()
            assert reader.read() == b"old"
        assert site.replica(LFN).read_bytes() == CONTENT
        node = redirector.nodes["disk1"]
        assert (node.replicas, node.drops) == ({LFN: len(CONTENT)}, [])
        assert service.node.pool.used_bytes == len(CONTENT)
        found = await service.changing.checksum(LFN, "adler32")
        assert found.value == adler32(CONTENT)


async def test_an_update_begins_with_what_there_is(site: DataSite) -> None:
    async with site.running() as service:
        await put(service, content=LARGE)
        upload = await service.uploads.begin(LFN, replaces=True, copy_old=True)
        assert upload.size_bytes == len(LARGE)
        assert service.node.pool.reserved_bytes == len(LARGE)
        await upload.write(b"new", 10)
        assert await upload.read(5, 9) == LARGE[9:10] + b"new" + LARGE[13:14]
        await upload.finish()
        assert site.replica(LFN).read_bytes() == LARGE[:10] + b"new" + LARGE[13:]


async def test_an_update_is_copied_where_the_kernel_cannot_do_it(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", failing(errno.EXDEV))
    async with site.running() as service:
        await put(service, content=LARGE)
        upload = await service.uploads.begin(LFN, replaces=True, copy_old=True)
        await upload.write(b"end", len(LARGE))
        await upload.finish()
        assert site.replica(LFN).read_bytes() == LARGE + b"end"


async def test_an_update_that_is_given_up_leaves_what_there_was(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        upload = await service.uploads.begin(LFN, replaces=True, copy_old=True)
        await upload.write(CONTENT, 0)
        await upload.abandon()
        assert nothing_is_left(site, service)
        assert site.replica(LFN).read_bytes() == b"old"
        assert redirector.nodes["disk1"].replicas == {LFN: 3}


async def test_what_is_in_the_archive_is_not_replaced(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.write(LFN, CONTENT)
    async with site.running() as service:
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        for copy_old in (False, True):
            with pytest.raises(Refused, match=f"{LFN} is in the archive: its copy here cannot be"):
                await service.uploads.begin(LFN, replaces=True, copy_old=copy_old)
        with pytest.raises(NotFound, match="/store/my/none is not on this node"):
            await service.uploads.begin("/store/my/none", replaces=True)


async def test_an_update_of_a_file_that_is_gone_finds_it_missing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await put(service)
        site.replica(LFN).unlink()
        with pytest.raises(NotFound, match="not on this node any more"):
            await service.uploads.begin(LFN, replaces=True, copy_old=True)
        await redirector.until(lambda: redirector.nodes["disk1"].replicas == {})
        await becomes_true(lambda: service.node.pool.get(LFN) is None)
        assert nothing_is_left(site, service)
        await put(service)


# --- room ---------------------------------------------------------------------------


async def test_an_upload_of_unknown_size_is_given_room_as_it_grows(site: DataSite) -> None:
    async with site.running() as service:
        pool = service.node.pool
        upload = await service.uploads.begin(LFN)
        first_bytes = pool.reserved_bytes
        assert 0 < first_bytes < len(LARGE)
        await upload.write(LARGE[:first_bytes], 0)
        assert pool.reserved_bytes == 2 * first_bytes
        await upload.write(LARGE[first_bytes:], first_bytes)
        assert pool.reserved_bytes >= len(LARGE)
        await upload.finish()
        assert (pool.used_bytes, pool.reserved_bytes) == (len(LARGE), 0)


async def test_room_is_made_by_purging(site: DataSite, redirector: FakeRedirector) -> None:
    site.node["quota"] = "10MB"
    for number in range(9):
        site.write(f"/store/f{number}", bytes(1_000_000))
    async with site.running() as service:
        for number in range(9):
            recall = redirector.start("disk1", f"/store/f{number}")
            await redirector.staged("disk1", recall, f"/store/f{number}")
        upload = await service.uploads.begin(LFN)
        await upload.write(LARGE, 0)
        await upload.finish()
        assert service.node.pool.used_bytes <= 10_000_000
        assert not service.node.is_visible("/store/f0")
        assert site.replica(LFN).read_bytes() == LARGE


async def test_an_upload_that_meets_the_quota_is_refused_and_leaves_nothing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["quota"] = "6MB"
    async with site.running() as service:
        await put(service, "/store/my/precious", bytes(2_000_000))
        upload = await service.uploads.begin(LFN)
        await upload.write(LARGE[:3_000_000], 0)
        with pytest.raises(QuotaExceeded, match=r"no room for .*: pool holds 2 MB of 6 MB"):
            await upload.write(LARGE[3_000_000:], 3_000_000)
        # Whatever the client does next, half a file is no file.
        with pytest.raises(QuotaExceeded):
            await upload.write(b"x", 0)
        with pytest.raises(QuotaExceeded):
            await upload.finish()
        assert nothing_is_left(site, service)
        assert redirector.nodes["disk1"].replicas.keys() == {"/store/my/precious"}
        assert service.node.pool.peak_bytes <= 6_000_000


async def test_what_can_never_fit_is_refused_before_anything_is_written(site: DataSite) -> None:
    async with site.running() as service:
        with pytest.raises(QuotaExceeded, match="more than this pool's quota of 100 MB"):
            await service.uploads.begin(LFN, size_bytes=200_000_000)
        upload = await service.uploads.begin(LFN)
        with pytest.raises(QuotaExceeded, match="more than this pool's quota"):
            await upload.write(b"x", 1 << 60)
        await upload.abandon()
        upload = await service.uploads.begin(LFN)
        with pytest.raises(QuotaExceeded, match="more than this pool's quota"):
            await upload.truncate(1 << 60)
        with pytest.raises(QuotaExceeded):
            await upload.finish()
        assert nothing_is_left(site, service)
