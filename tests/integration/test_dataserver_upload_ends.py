"""Uploads that come to nothing: clients that go away, disks that fail. Nothing is left of them."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import (
    Damaged,
    PackhorseError,
    QuotaExceeded,
    Refused,
)
from dataserver import upload_file
from dataserver.catalogue import Catalogue
from dataserver.disk import PoolDisk
from tests.support.data_site import DataSite, adler32
from tests.support.failing import failing
from tests.support.uploading import CONTENT, LFN, nothing_is_left, put
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

#: More than is reserved at first for an upload of unknown size.
LARGE = os.urandom(5_000_000)


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    return DataSite(tmp_path, redirector, node={"inspect": False})


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
