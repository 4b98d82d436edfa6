"""A data server lets clients write: one writer, whole files, and nothing left otherwise."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import (
    AlreadyExists,
    Damaged,
    NotFound,
    PackhorseError,
    QuotaExceeded,
    Refused,
    Unreachable,
    UsageError,
)
from dataserver import checksum as checksums
from dataserver import upload_file
from dataserver.catalogue import Catalogue
from dataserver.checksum import Checksum
from dataserver.disk import PoolDisk
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite, adler32
from tests.support.failing import failing
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

LFN = "/store/my/a.txt"
CONTENT = b"events " * 1000
#: More than is reserved at first for an upload of unknown size.
LARGE = os.urandom(5_000_000)


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    return DataSite(tmp_path, redirector, node={"inspect": False})


async def put(
    service: DataServerService, lfn: str = LFN, content: bytes = CONTENT, **how: Any
) -> None:
    """Writes a file as most clients do."""
    upload = await service.uploads.begin(lfn, size_bytes=len(content), **how)
    await upload.write(content, 0)
    await upload.finish()


def nothing_is_left(site: DataSite, service: DataServerService) -> bool:
    """Whether neither the disk nor the books know of any upload."""
    node = service.node
    node.check()
    return (
        site.incoming() == []
        and node.is_idle
        and not node.pool.reserved_bytes
        and not node.claims()
    )


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


# --- names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lfn", "words"),
    [
        ("/store/a", "/store/a is not in a directory where clients may write"),
        ("/store/mycat/a", "not in a directory where clients may write"),
        ("/other/a", "it is not under what this site exports"),
        ("/store/my/../b", "holds a '..' component"),
        ("/.packhorse/x", "data servers' own"),
        ("/store/my/", "not in a directory where clients may write"),
    ],
)
async def test_clients_write_where_the_site_says(
    site: DataSite, redirector: FakeRedirector, lfn: str, words: str
) -> None:
    async with site.running() as service:
        with pytest.raises(PackhorseError, match=re.escape(words)):
            await service.uploads.begin(lfn)
        assert redirector.claims_asked == []


async def test_one_file_has_one_name(site: DataSite) -> None:
    async with site.running() as service:
        await put(service, "//store/./my//a.txt")
        assert site.replica(LFN).exists()
        with pytest.raises(AlreadyExists, match=f"{LFN} exists already"):
            await service.uploads.begin("/store/my//a.txt")


async def test_what_the_redirector_says_against_a_name_is_what_the_client_is_told(
    site: DataSite, redirector: FakeRedirector
) -> None:
    redirector.claims_refused[LFN] = AlreadyExists(f"{LFN} is online on disk2")
    async with site.running() as service:
        with pytest.raises(AlreadyExists, match=f"^{LFN} is online on disk2$"):
            await service.uploads.begin(LFN)
        assert nothing_is_left(site, service)


async def test_out_of_touch_with_the_redirector_nobody_begins_to_write(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await redirector.go_away()
        with pytest.raises(Unreachable):
            await service.uploads.begin(LFN)
        assert nothing_is_left(site, service)
        await redirector.come_back()
        await redirector.joined("disk1")
        await put(service)


async def test_one_name_has_one_writer(site: DataSite, redirector: FakeRedirector) -> None:
    redirector.answers_claims.clear()
    async with site.running() as service:
        first = asyncio.create_task(service.uploads.begin(LFN))
        await redirector.until(lambda: redirector.claims_asked)
        with pytest.raises(Refused, match="is being written by a client on this node"):
            await service.uploads.begin(LFN)
        redirector.answers_claims.set()
        upload = await first
        with pytest.raises(Refused, match="is being written by a client on this node"):
            await service.uploads.begin(LFN)
        assert len(redirector.claims_asked) == 1
        recall = redirector.start("disk1", LFN)
        ended = await redirector.has_ended(recall)
        assert ended.failure.reason == f"{LFN} is being written by a client on this node"
        await upload.finish()


async def test_a_name_that_is_being_staged_is_not_written(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script("sleep 1000")
    async with site.running() as service:
        recall = redirector.start("disk1", LFN, size_bytes=10)
        await becomes_true(lambda: service.node.staging.get(recall))
        with pytest.raises(Refused, match=f"recall {recall} of {LFN} is under way"):
            await service.uploads.begin(LFN)


async def test_directories_and_what_is_no_replica_are_not_written_over(site: DataSite) -> None:
    async with site.running() as service:
        await put(service, "/store/my/dir/f")
        with pytest.raises(Refused, match="/store/my/dir is a directory on this node"):
            await service.uploads.begin("/store/my/dir")
        with pytest.raises(Refused, match="Not a directory"):
            await service.uploads.begin("/store/my/dir/f/below")
        site.replica("/store/my/link").symlink_to("/etc/passwd")
        site.replica("/store/my/stray").write_bytes(b"stray")
        for name in ("link", "stray"):
            with pytest.raises(AlreadyExists, match="that is no replica"):
                await service.uploads.begin(f"/store/my/{name}")
        assert site.replica("/store/my/stray").read_bytes() == b"stray"


async def test_claims_are_told_with_every_hello(site: DataSite, redirector: FakeRedirector) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await redirector.go_away()
        await upload.write(CONTENT, 0)
        await redirector.come_back()
        node = await redirector.joined("disk1")
        assert list(redirector.hellos[-1].claims) == [LFN]
        await upload.finish()
        assert node.replicas == {LFN: len(CONTENT)}
        assert node.claims == {}


async def test_a_file_is_finished_though_the_redirector_is_away(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(CONTENT, 0)
        await redirector.go_away()
        await upload.finish()
        assert service.node.is_visible(LFN)
        await redirector.come_back()
        node = await redirector.joined("disk1")
        assert node.replicas == {LFN: len(CONTENT)}
        assert not redirector.hellos[-1].claims


async def test_out_of_touch_for_too_long_a_node_ends_its_uploads(
    site: DataSite, redirector: FakeRedirector
) -> None:
    redirector.lease_s = 2.0
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await redirector.go_away()
        await becomes_true(lambda: nothing_is_left(site, service))
        with pytest.raises(Refused, match="out of touch with the redirector"):
            await upload.write(CONTENT, 0)
        with pytest.raises(Refused, match="out of touch with the redirector"):
            await upload.finish()
        await redirector.come_back()
        await redirector.joined("disk1")


async def test_who_waits_to_be_heard_waits_for_a_heartbeat_to_be_confirmed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        node, link = redirector.nodes["disk1"], service.uploads._link
        redirector.confirms = False
        await link.until_heard(0.01)
        heard = asyncio.create_task(link.until_heard(600.0))
        beats = node.beats
        await redirector.until(lambda: node.beats > beats + 3)
        assert not heard.done()
        redirector.confirms = True
        await heard


async def test_nobody_waits_for_a_redirector_that_goes_away(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        link = service.uploads._link
        redirector.confirms = False
        heard = asyncio.create_task(link.until_heard(600.0))
        await asyncio.sleep(0)
        await redirector.go_away()
        await heard
        await becomes_true(lambda: not link.is_joined)
        await link.until_heard(600.0)
        await redirector.come_back()
        await redirector.joined("disk1")


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


# --- a client that goes away ----------------------------------------------------------


async def test_an_upload_that_is_given_up_leaves_nothing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(CONTENT, 0)
        assert len(site.incoming()) == 1
        await upload.abandon()
        assert nothing_is_left(site, service)
        await upload.abandon()
        with pytest.raises(Refused, match="its client gave it up"):
            await upload.write(CONTENT, 0)
        await redirector.until(lambda: redirector.nodes["disk1"].claims_ended == [(LFN, None)])
        assert redirector.nodes["disk1"].replicas == {}


async def test_a_client_that_goes_while_its_name_is_claimed_leaves_nothing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    redirector.answers_claims.clear()
    async with site.running() as service:
        begun = asyncio.create_task(service.uploads.begin(LFN))
        await redirector.until(lambda: redirector.claims_asked)
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun
        # The claim may be granted yet, and is given back only after that.
        assert service.node.claims() == [LFN]
        node = redirector.nodes["disk1"]
        assert node.claims_ended == []
        redirector.answers_claims.set()
        await redirector.until(lambda: node.claims_ended == [(LFN, None)])
        assert node.claims == {}
        assert nothing_is_left(site, service)


@pytest.mark.parametrize("where", ["create_incoming", "publish"])
async def test_a_client_that_goes_while_the_disk_is_at_it_leaves_no_half_file(
    site: DataSite, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async with site.running() as service:
        loop = asyncio.get_running_loop()
        at_it, may_go_on = asyncio.Event(), loop.create_future()
        work = getattr(PoolDisk, where)

        def wait(*args: Any) -> Any:
            loop.call_soon_threadsafe(at_it.set)
            asyncio.run_coroutine_threadsafe(asyncio.wait([may_go_on]), loop).result(30)
            return work(*args)

        monkeypatch.setattr(PoolDisk, where, wait)
        writing = asyncio.create_task(put(service))
        await at_it.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        may_go_on.set_result(None)
        await becomes_true(lambda: nothing_is_left(site, service))
        # Once it is being published it is published.
        assert site.replica(LFN).exists() == (where == "publish")
        assert service.node.is_visible(LFN) == (where == "publish")


async def test_a_write_that_was_broken_off_spoils_the_file(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        loop = asyncio.get_running_loop()
        at_it, may_go_on = asyncio.Event(), loop.create_future()
        write_all = upload_file.write_all

        def wait(*args: Any) -> None:
            loop.call_soon_threadsafe(at_it.set)
            asyncio.run_coroutine_threadsafe(asyncio.wait([may_go_on]), loop).result(30)
            write_all(*args)

        monkeypatch.setattr("dataserver.upload.write_all", wait)
        writing = asyncio.create_task(upload.write(CONTENT, 0))
        await at_it.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        finishing = asyncio.create_task(upload.finish())
        may_go_on.set_result(None)
        with pytest.raises(Refused, match="a write was broken off"):
            await finishing
        assert nothing_is_left(site, service)


async def test_a_stop_ends_uploads_and_says_so(site: DataSite, redirector: FakeRedirector) -> None:
    async with site.running() as service:
        upload = await service.uploads.begin(LFN)
        await upload.write(CONTENT, 0)
        node = redirector.nodes["disk1"]
    with pytest.raises(Refused, match="this data server is being stopped"):
        await upload.finish()
    assert node.claims_ended == [(LFN, None)]
    assert site.incoming() == []


# --- disks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, QuotaExceeded),
        (errno.EDQUOT, QuotaExceeded),
        (errno.EIO, Damaged),
        (errno.EROFS, Refused),
        (errno.EBUSY, PackhorseError),
    ],
)
@pytest.mark.parametrize(
    "where", ["disk.create_incoming", "os.pwritev", "os.fsync", "disk.publish", "disk.stat"]
)
async def test_a_disk_that_fails_fails_the_upload_and_never_the_server(
    site: DataSite,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    number: int,
    kind: type[PackhorseError],
) -> None:
    async with site.running() as service:
        what, _, name = where.partition(".")
        with monkeypatch.context() as patch:
            patch.setattr({"disk": PoolDisk, "os": os}[what], name, failing(number))
            with pytest.raises(PackhorseError, match=re.escape(os.strerror(number))) as caught:
                await put(service)
            assert type(caught.value) is kind
            await give_up_rest(service)
        await becomes_true(lambda: nothing_is_left(site, service))
        assert not site.replica(LFN).exists()
        await put(service)
        assert site.replica(LFN).read_bytes() == CONTENT


async def give_up_rest(service: DataServerService) -> None:
    """What a door does about the uploads of a client that is gone."""
    for upload in list(service.uploads._live.values()):
        await upload.abandon()


async def test_a_file_that_cannot_be_remembered_is_not_published(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise PackhorseError("catalogue.sqlite: no space left to keep state")

    async with site.running() as service:
        await put(service, content=b"old")
        with monkeypatch.context() as patch:
            patch.setattr(Catalogue, "replace", fail)
            with pytest.raises(PackhorseError, match="no space left to keep state"):
                await put(service, replaces=True)
        assert nothing_is_left(site, service)
        assert site.replica(LFN).read_bytes() == b"old"
        assert redirector.nodes["disk1"].replicas == {LFN: 3}


async def test_a_file_that_does_not_get_to_its_place_leaves_the_old_ones_row(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        await service.changing.set_attribute(LFN, "colour", b"blue")
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "_move", failing(errno.EIO))
            with pytest.raises(Damaged, match="could not be published on this node's disk"):
                await put(service, replaces=True)
            with pytest.raises(Damaged, match="could not be published on this node's disk"):
                await put(service, "/store/my/new")
        assert nothing_is_left(site, service)
    async with site.running() as service:
        # No check was needed at the start: file and row agree.
        assert redirector.nodes["disk1"].replicas == {LFN: 3}
        assert (await service.changing.checksum(LFN, "adler32")).value == adler32(b"old")
        assert await service.changing.attributes(LFN) == {"colour": b"blue"}


async def test_a_file_that_may_not_stay_at_its_place_is_there_and_its_client_warned(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as service:
        await put(service, content=b"old")
        with monkeypatch.context() as patch:
            patch.setattr(PoolDisk, "_sync", failing(errno.EIO))
            with pytest.raises(Damaged, match="does not say that it will stay"):
                await put(service, replaces=True)
        assert nothing_is_left(site, service)
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        assert site.replica(LFN).read_bytes() == CONTENT


async def test_a_file_system_that_is_full_harms_nobody_else(
    site: DataSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwritev = os.pwritev

    def full_at_a_million(fd: int, pieces: list[memoryview], offset: int) -> int:
        if offset >= 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwritev(fd, [pieces[0][: 1_000_000 - offset]], offset)

    async with site.running() as service:
        monkeypatch.setattr(os, "pwritev", full_at_a_million)
        upload = await service.uploads.begin(LFN, size_bytes=len(LARGE))
        with pytest.raises(QuotaExceeded, match="No space left on device"):
            await upload.write(LARGE, 0)
        await put(service, "/store/my/small")
        with pytest.raises(QuotaExceeded, match="No space left on device"):
            await upload.finish()
        assert nothing_is_left(site, service)
