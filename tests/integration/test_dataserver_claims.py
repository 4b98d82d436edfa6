"""A name that a client writes under on a data server: one writer, and nothing that the archive has."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from common.errors import (
    AlreadyExists,
    BeingWritten,
    PackhorseError,
    Refused,
    Unreachable,
)
from tests.support.data_site import DataSite
from tests.support.uploading import CONTENT, LFN, nothing_is_left, put
from tests.support.waiting import becomes_true, text_appears

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    return DataSite(tmp_path, redirector, node={"inspect": False})


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
        with pytest.raises(BeingWritten, match="is being written by a client on this node"):
            await service.uploads.begin(LFN)
        redirector.answers_claims.set()
        upload = await first
        with pytest.raises(BeingWritten, match="is being written by a client on this node"):
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


# --- what the archive has -------------------------------------------------------------


def asking(site: DataSite, script: str) -> Path:
    """Has the archive asked by a script, for clients that came by themselves; where that
    notes which names it was asked about."""
    asked, program = site.folder / "asked", site.folder / "stat.sh"
    program.write_text(f'echo "$1" >> {asked}\n{script}\n')
    site.redirector.archive_was_asked = False
    site.mss["statcmd"] = ["/bin/sh", str(program), "{lfn}"]
    return asked


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("""echo '{"size": 5}'""", Refused, "is in the archive, where clients change nothing"),
        ("""echo '{"type": "dir"}'""", AlreadyExists, "is a directory of the archive"),
        ("echo robot on strike >&2; exit 75", Unreachable, "cannot be asked: .*: robot on strike"),
    ],
)
async def test_nothing_is_written_or_renamed_to_what_the_archive_has_or_may_have(
    site: DataSite, redirector: FakeRedirector, script: str, kind: type[PackhorseError], words: str
) -> None:
    asking(site, f'case "$1" in *other) exit 66;; *) {script};; esac')
    async with site.running() as service:
        with pytest.raises(kind, match=words):
            await service.uploads.begin(LFN)
        await put(service, "/store/my/other")
        with pytest.raises(kind, match=words):
            await service.changing.rename("/store/my/other", LFN)
        assert list(redirector.nodes["disk1"].replicas) == ["/store/my/other"]
        await becomes_true(lambda: nothing_is_left(site, service))


async def test_the_archive_is_asked_once_about_each_new_name(
    site: DataSite, redirector: FakeRedirector
) -> None:
    asked = asking(site, "exit 66")
    async with site.running() as service:
        await put(service)
        await put(service, replaces=True)
        redirector.archive_was_asked = True
        await put(service, "/store/my/found-free-already")
        assert asked.read_text().split() == [LFN]


async def test_a_site_that_cannot_ask_its_archive_trusts_its_clients(
    site: DataSite, redirector: FakeRedirector
) -> None:
    redirector.archive_was_asked = False
    site.stagecmd = site.script("exit 1")
    async with site.running() as service:
        await put(service)
        assert site.replica(LFN).read_bytes() == CONTENT


async def test_a_client_that_goes_while_the_archive_is_asked_leaves_nothing(
    site: DataSite, redirector: FakeRedirector
) -> None:
    asked = asking(site, "sleep 1000")
    async with site.running() as service:
        begun = asyncio.create_task(service.uploads.begin(LFN))
        await text_appears(asked)
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.claims_ended == [(LFN, None)])
        await becomes_true(lambda: nothing_is_left(site, service))


async def test_a_stop_waits_for_no_archive(site: DataSite) -> None:
    asked = asking(site, "sleep 1000")
    async with site.running() as service:
        begun = asyncio.create_task(service.uploads.begin(LFN))
        await text_appears(asked)
    with pytest.raises(Refused, match="this data server is being stopped"):
        await begun
    assert site.incoming() == []
    assert not site.replica(LFN).exists()
