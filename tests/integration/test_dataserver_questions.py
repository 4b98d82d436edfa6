"""A data server answers the redirector about the archive and about its replicas."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

THERE = pb.ArchiveFile.PRESENCE_THERE
NOT_THERE = pb.ArchiveFile.PRESENCE_NOT_THERE
UNKNOWN = pb.ArchiveFile.PRESENCE_UNKNOWN
MTIME_S = 1_790_000_000.5


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    os.utime(made.write("/store/run7/a", b"seven b"), (0, MTIME_S))
    made.write("/store/b", b"b")
    return made


async def listed(redirector: FakeRedirector, directory: str) -> pb.Listed:
    """A listing, its pieces put together."""
    pieces = await redirector.ask("disk1", "list_archive", pb.ListArchive(directory=directory))
    whole = pb.Listed()
    for piece in pieces:
        assert len(piece.entries) <= 1_000
        whole.MergeFrom(piece)
    return whole


async def stage(redirector: FakeRedirector, *lfns: str) -> None:
    """Stages files one after the other, so that their order of use is known."""
    for lfn in lfns:
        await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)


# --- the archive ------------------------------------------------------------------


async def test_files_of_the_archive_have_times_and_directories_are_told(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        query = pb.ExamineArchive(lfns=["/store/run7/a", "/store/run7", "/store/none"])
        pieces = await redirector.ask("disk1", "examine", query)
        file, directory, none = (one for piece in pieces for one in piece.files)
        assert (file.presence, file.size_bytes, file.mtime_unix_s) == (THERE, 7, MTIME_S)
        assert not file.is_directory
        assert (directory.presence, directory.is_directory) == (NOT_THERE, True)
        assert directory.reason.endswith("is a directory")
        assert (none.presence, none.is_directory, none.mtime_unix_s) == (NOT_THERE, False, 0)


async def test_a_directory_is_no_file_to_stage(site: DataSite, redirector: FakeRedirector) -> None:
    async with site.running():
        ended = await redirector.has_ended(redirector.start("disk1", "/store/run7"))
        assert ended.failure.reason.endswith("is a directory")


async def test_a_directory_of_the_archive_is_listed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        found = await listed(redirector, "/store")
        assert (found.presence, found.reason) == (THERE, "")
        assert {one.name: one.is_directory for one in found.entries} == {"run7": True, "b": False}
        (file,) = (await listed(redirector, "/store/run7")).entries
        assert (file.size_bytes, file.mtime_unix_s) == (7, MTIME_S)
        assert [one.name for one in (await listed(redirector, "/")).entries] == ["store"]


async def test_a_large_directory_comes_in_pieces(
    site: DataSite, redirector: FakeRedirector
) -> None:
    directory = site.archive / "store" / "many"
    directory.mkdir()
    for number in range(2_000):
        (directory / f"f{number}").touch()
    async with site.running():
        found = await listed(redirector, "/store/many")
        assert {one.name for one in found.entries} == {f"f{number}" for number in range(2_000)}
        assert found.presence == THERE


async def test_a_directory_that_is_not_there_is_told_so(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        for directory, said in (
            ("/store/none", "No such file or directory"),
            ("/elsewhere", "not under what this site exports"),
            ("/store/../etc", "'..'"),
            ("", "must start with '/'"),
        ):
            found = await listed(redirector, directory)
            assert (found.presence, len(found.entries)) == (NOT_THERE, 0)
            assert said in found.reason


async def test_a_site_without_listcmd_says_that_it_cannot_tell(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = ["cp", "{source}", "{target}"]
    async with site.running():
        found = await listed(redirector, "/store")
        assert found.presence == UNKNOWN
        assert "no listcmd" in found.reason


async def test_the_sites_listcmd_is_asked(site: DataSite, redirector: FakeRedirector) -> None:
    site.mss["listcmd"] = ["printf", '{{"name": "from tape"}}\\n%.0s', "{source}"]
    async with site.running():
        found = await listed(redirector, "/store")
        assert [one.name for one in found.entries] == ["from tape"]


# --- replicas ---------------------------------------------------------------------


async def test_times_of_change_are_told_of_what_is_held(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await stage(redirector, "/store/run7/a", "/store/b")
        query = pb.StatReplicas(lfns=["/store/b", "/store/none", "/store/run7/a", "/store/b"])
        pieces = await redirector.ask("disk1", "stat_replicas", query)
        told = [
            pair for piece in pieces for pair in zip(piece.lfns, piece.mtime_unix_s, strict=True)
        ]
        assert len(told) == 2
        assert dict(told) == {
            lfn: site.replica(lfn).stat().st_mtime_ns / 1e9 for lfn in ("/store/run7/a", "/store/b")
        }
        assert not any(piece.checksums for piece in pieces)


async def test_checksums_are_told_as_far_as_they_are_known(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        await stage(redirector, "/store/run7/a", "/store/b")
        known = await service.changing.checksum("/store/b", "md5")

        async def told(algorithm: str) -> dict[str, str]:
            query = pb.StatReplicas(
                lfns=["/store/run7/a", "/store/b"], with_checksums=True, algorithm=algorithm
            )
            pieces = await redirector.ask("disk1", "stat_replicas", query)
            return {
                lfn: checksum
                for piece in pieces
                for lfn, checksum in zip(piece.lfns, piece.checksums, strict=True)
            }

        assert await told("md5") == {"/store/run7/a": "", "/store/b": str(known)}
        came_with = await service.changing.checksum("/store/b", "adler32")
        assert (await told(""))["/store/b"] == (await told("adler32"))["/store/b"] == str(came_with)


async def test_a_file_that_somebody_was_sent_to_was_used(
    site: DataSite, redirector: FakeRedirector
) -> None:
    # A file that is being looked into would be spared.
    site.node |= {"quota": "10MB", "inspect": False}
    for number in range(4):
        site.write(f"/store/f{number}", bytes(4_000_000))
    async with site.running() as service:
        await stage(redirector, "/store/f0", "/store/f1")
        uses = pb.NoteUses(lfns=["/store/f0", "/store/none"])
        redirector.send("disk1", pb.NodeCommand(note_uses=uses))
        await stage(redirector, "/store/f2")
        assert set(redirector.nodes["disk1"].replicas) == {"/store/f0", "/store/f2"}
        service.node.check()


async def test_a_use_that_was_told_is_remembered_over_a_restart(
    site: DataSite, redirector: FakeRedirector
) -> None:
    # A file that is being looked into would be spared.
    site.node |= {"quota": "10MB", "inspect": False}
    for number in range(4):
        site.write(f"/store/f{number}", bytes(4_000_000))
    async with site.running():
        await stage(redirector, "/store/f0", "/store/f1")
        uses = pb.NodeCommand(note_uses=pb.NoteUses(lfns=["/store/f0"]))
        redirector.send("disk1", uses)
        # The answer to a later question says that the note was taken.
        await listed(redirector, "/")
    async with site.running():
        await stage(redirector, "/store/f2")
        assert set(redirector.nodes["disk1"].replicas) == {"/store/f0", "/store/f2"}


# --- who it is ----------------------------------------------------------------------


async def test_a_pool_that_a_stock_server_serves_says_where(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["serve"] = "root://disk1.example.org:1094"
    async with site.running():
        (hello,) = redirector.hellos
        assert hello.address.root_address == "disk1.example.org:1094"
        assert hello.served_by_others


async def test_a_pool_that_packhorse_serves_says_so(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        (hello,) = redirector.hellos
        assert not hello.served_by_others
