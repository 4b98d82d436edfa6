"""The redirector's root:// door over a real socket: names are looked at, listed and changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redirector.questions import Questions
from tests.support.fake_node import joined
from tests.support.head_site import HeadSite
from tests.support.root_client import RootClient
from tests.support.root_head import DOOR, node_of
from xroot import requests
from xroot.protocol import (
    STAT_VFS,
    Code,
    DirListFlag,
    LocateFlag,
    QueryType,
    StatFlag,
    Status,
)
from xroot.texts import read_listing, read_locations, read_stat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protos.packhorse.v1 import redirector_pb2 as pb

A, B, C = (f"/store/{name}.root" for name in "abc")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[HeadSite]:
    async with HeadSite(tmp_path, more=DOOR) as site:
        yield site


# --- looking --------------------------------------------------------------------------


async def test_stat_never_stages(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={A: 7})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(B, 10)
        await site.until_online(B)
        assert (await client.sent_to(requests.Stat(B))).address == node.root_address
        found = read_stat(await client.said(requests.Stat(A)))
        assert found.size_bytes == 7
        assert found.flags == StatFlag.OFFLINE | StatFlag.BACKUP_EXISTS | StatFlag.READABLE
        assert found.mtime_s == int(node.mtime_s)
        for directory in ("/", "/store", "/store/", "/store/user"):
            assert read_stat(await client.said(requests.Stat(directory))).is_directory
        assert (await client.refused(requests.Stat(C)))[0] == Code.NOT_FOUND
        assert (await client.refused(requests.Stat("/other")))[0] == Code.NOT_AUTHORIZED
        flags = await client.ask(requests.Statx((A, B, "/store")))
        assert flags.body == bytes([StatFlag.OFFLINE, 0, StatFlag.DIRECTORY])
        assert not node.recalls


async def test_space_is_told_as_of_a_file_system(site: HeadSite) -> None:
    node = node_of(site, "disk1", quota_bytes=5_000_000_000)
    async with joined(node), RootClient(site.root_address) as client:
        await site.until(lambda status: status.available_bytes > 0)
        for directory, writers in (("/store", 0), ("/store/user", 1)):
            vfs = await client.said(requests.Stat(directory, options=STAT_VFS))
            assert vfs == f"{writers} 4768 0 1 4768 0"
        space = await client.said(requests.Query(QueryType.SPACE, "/store"))
        assert "oss.space=5000000000&oss.free=5000000000" in space


async def test_locations(site: HeadSite) -> None:
    one, two = node_of(site, "disk1", 2001), node_of(site, "disk2", 2002, archive={C: 1})
    one.archive = two.archive
    async with joined(one, two), RootClient(site.root_address) as client:
        for node in (one, two):
            node.publish(A, 10)
        await site.until_online(A, copies=2)
        found = read_locations(await client.said(requests.Locate(A)))
        assert {place.address for place in found} == {"[::127.0.0.1]:2001", "[::127.0.0.1]:2002"}
        by_name = requests.Locate("*", options=LocateFlag.PREFER_NAME)
        found = read_locations(await client.said(by_name))
        assert {place.address for place in found} == {"[::127.0.0.1]:2001", "[::127.0.0.1]:2002"}
        listing = requests.Locate("*/store", options=LocateFlag.FOR_DIRLIST)
        (here,) = read_locations(await client.said(listing))
        assert here.address.endswith(site.root_address.rpartition(":")[2])
        code, text = await client.refused(requests.Locate(C))
        assert (code, "in the archive only" in text) == (Code.NOT_FOUND, True)


async def test_a_directory_joins_the_pools_and_the_archive(site: HeadSite) -> None:
    archive = {"/store/run/a": 1, "/store/run/b": 2, "/store/run/sub/c": 3}
    node = node_of(site, "disk1", archive=archive)
    async with joined(node), RootClient(site.root_address) as client:
        node.publish("/store/run/b", 2)
        node.publish("/store/run/only-here", 4)
        await site.until_online("/store/run/only-here")
        names = await client.said(requests.DirList("/store/run"))
        assert names.split("\n") == ["a", "b", "only-here", "sub"]
        with_stat = requests.DirList("/store/run", options=DirListFlag.STAT)
        told = dict(read_listing(await client.said(with_stat)))
        flags = {name: about.flags for name, about in told.items() if about is not None}
        on_tape = StatFlag.READABLE | StatFlag.BACKUP_EXISTS
        assert flags["a"] == on_tape | StatFlag.OFFLINE
        assert flags["b"] == on_tape
        assert flags["only-here"] == StatFlag.READABLE
        assert flags["sub"] & StatFlag.DIRECTORY
        about = told["b"]
        assert about is not None
        assert about.mtime_s == int(node.mtime_s)
        assert "user" in (await client.said(requests.DirList("/store"))).split("\n")
        assert (await client.refused(requests.DirList("/store/none")))[0] == Code.NOT_FOUND


async def test_only_what_is_on_disk_is_listed_if_a_client_wants_no_more(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={"/store/run/a": 1, "/store/tape/b": 2})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish("/store/run/c", 2)
        await site.until_online("/store/run/c")

        def online(directory: str) -> requests.DirList:
            return requests.DirList(directory, options=DirListFlag.ONLINE)

        assert await client.said(online("/store/run")) == "c"
        assert await client.said(online("/store/tape")) == ""
        assert (await client.refused(online("/store/none")))[0] == Code.NOT_FOUND


async def test_checksums_are_listed_as_far_as_they_are_known(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={"/store/run/tape": 1})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish("/store/run/none", 2)
        node.publish("/store/run/summed", 2)
        await site.until_online("/store/run/summed")
        node.sums["/store/run/summed"] = "crc32c:0badcafe"

        async def sums(directory: str) -> list[str]:
            asked = requests.DirList(directory, options=DirListFlag.CHECKSUM)
            lines = (await client.said(asked)).split("\n")[3::2]
            return [line.partition(" [ ")[2].removesuffix(" ]") for line in lines]

        assert await sums("/store/run") == ["adler32:none", "crc32c:0badcafe", "adler32:none"]
        odd = requests.DirList("/store/run", "cks.type=sha1", DirListFlag.CHECKSUM)
        assert (await client.refused(odd))[0] == Code.SERVER_ERROR


async def whole_listing(client: RootClient, asked: requests.DirList) -> tuple[list[str], int]:
    """The lines of a listing, and in how many pieces they came."""
    stream_id = client.send(asked)
    text, pieces = b"", 1
    while (piece := await client.next_of(stream_id)).status == Status.OKSOFAR:
        assert piece.body.endswith(b"\n")
        text += piece.body
        pieces += 1
    assert piece.status == Status.OK
    return (text + piece.body).rstrip(b"\0").decode().split("\n"), pieces


async def test_a_huge_directory_comes_in_pieces(
    site: HeadSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.doors.root.entries.NAMES_AT_A_TIME", 10)
    monkeypatch.setattr("redirector.doors.root.entries.PIECES_AT_A_TIME", 1)
    names = [f"f{number:03}" for number in range(600)]
    # Every third is on disk only, and every third in both.
    archive = {f"/store/d/{name}": 1 for number, name in enumerate(names) if number % 3}
    node = node_of(site, "disk1", archive=archive)
    async with joined(node), RootClient(site.root_address) as client:
        for number, name in enumerate(names):
            if number % 3 != 1:
                node.publish(f"/store/d/{name}", 2)
        # Some go and come again, so that they stand in the list twice.
        for name in names[::30]:
            node.drop(f"/store/d/{name}")
            node.publish(f"/store/d/{name}", 3)
        await site.until_online(f"/store/d/{names[570]}")
        told, pieces = await whole_listing(client, requests.DirList("/store/d"))
        assert (told, pieces) == (names, 60)
        with_stat = requests.DirList("/store/d", options=DirListFlag.STAT)
        lines, pieces = await whole_listing(client, with_stat)
        assert (lines[2::2], pieces) == (names, 60)
        about = {name: read_stat(line) for name, line in zip(lines[2::2], lines[3::2], strict=True)}
        assert [about[name].size_bytes for name in names[:4]] == [3, 1, 2, 2]


async def test_others_are_served_while_a_huge_directory_is_listed(
    site: HeadSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.doors.root.entries.NAMES_AT_A_TIME", 10)
    node = node_of(site, "disk1")
    async with (
        joined(node),
        RootClient(site.root_address) as client,
        RootClient(site.root_address) as other,
    ):
        for number in range(5000):
            node.publish(f"/store/d/{number}")
        await site.until_online("/store/d/4999")
        listing = client.send(requests.DirList("/store/d"))
        await client.next_of(listing)
        asked = other.send(requests.Ping())
        # The answer to the one overtakes the rest of the other.
        await other.next_of(asked)
        left = 1
        while (await client.next_of(listing)).status == Status.OKSOFAR:
            left += 1
        assert left > 1


async def test_what_goes_while_a_directory_is_listed_is_not_told(
    site: HeadSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.doors.root.entries.NAMES_AT_A_TIME", 2)
    node = node_of(site, "disk1")
    async with joined(node), RootClient(site.root_address) as client:
        for name in "abcdef":
            node.publish(f"/store/d/{name}")
        await site.until_online("/store/d/f")
        stats = Questions.stats

        async def drop_and_ask(*asked: Any) -> Any:
            if "/store/d/d" in node.replicas:
                for name in "cdf":
                    node.drop(f"/store/d/{name}")
                await site.until(lambda status: status.replicas == 3)
            return await stats(*asked)

        monkeypatch.setattr(Questions, "stats", drop_and_ask)
        with_stat = requests.DirList("/store/d", options=DirListFlag.STAT)
        lines, _ = await whole_listing(client, with_stat)
        assert lines[2::2] == ["a", "b", "e"]


# --- directories ----------------------------------------------------------------------


async def test_directories_are_made_and_removed(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={"/store/user/old/x": 1, "/store/user/empty/": 0})
    async with joined(node), RootClient(site.root_address) as client:
        made = requests.MkDir("/store/user/me")
        await client.said(made)
        assert (await client.refused(made))[0] == Code.ITEM_EXISTS
        await client.said(made._replace(options=1))
        deep = requests.MkDir("/store/user/a/b")
        assert (await client.refused(deep))[0] == Code.NOT_FOUND
        await client.said(deep._replace(options=1))
        names = (await client.said(requests.DirList("/store/user"))).split("\n")
        assert names == ["a", "empty", "me", "old"]
        assert (await client.refused(requests.RmDir("/store/user/a")))[0] == Code.FS_ERROR
        assert (await client.refused(requests.RmDir("/store/user/old")))[0] == Code.FS_ERROR
        await client.said(requests.RmDir("/store/user/me"))
        assert (await client.refused(requests.RmDir("/store/user/me")))[0] == Code.NOT_FOUND
        for given in ("/store/user", "/store"):
            code, text = await client.refused(requests.RmDir(given))
            assert (code, "configuration" in text) == (Code.NOT_AUTHORIZED, True)
        assert (await client.refused(requests.MkDir("/store")))[0] == Code.ITEM_EXISTS
        await client.said(requests.MkDir("/store/user", options=1))
        code, text = await client.refused(requests.RmDir("/store/user/empty"))
        assert (code, "in the archive" in text) == (Code.NOT_AUTHORIZED, True)
        assert (await client.refused(requests.MkDir("/store/x")))[0] == Code.NOT_AUTHORIZED


async def test_changes_go_to_the_holder(site: HeadSite) -> None:
    mine = "/store/user/mine"
    node = node_of(site, "disk1", archive={"/store/user/tape": 1})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(mine, 10)
        await site.until_online(mine)
        for asked in (
            requests.Rm(mine),
            requests.Mv(mine, mine + "2"),
            requests.Chmod(mine, 0o600),
            requests.Truncate(bytes(4), 5, mine),
            requests.FAttr(3, mine, "", (b"x",), (b"1",)),
        ):
            assert (await client.sent_to(asked)).address == node.root_address
        for asked in (requests.Rm("/store/user/tape"), requests.Mv(mine, "/store/user/tape")):
            code, text = await client.refused(asked)
            assert (code, "in the archive" in text) == (Code.NOT_AUTHORIZED, True)
        assert (await client.refused(requests.Mv(mine, "/store/x")))[0] == Code.NOT_AUTHORIZED
        assert (await client.refused(requests.Rm("/store/user/none")))[0] == Code.NOT_FOUND
        assert (await client.refused(requests.Rm("/store/elsewhere")))[0] == Code.NOT_AUTHORIZED


# --- the rest -------------------------------------------------------------------------


async def test_questions(site: HeadSite) -> None:
    async with RootClient(site.root_address) as client:
        config = await client.said(requests.Query(QueryType.CONFIG, "readv_iov_max role odd"))
        assert config == "1024\nmanager\nodd\n"
        assert "<statistics" in await client.said(requests.Query(QueryType.STATS, "a"))
        code, _ = await client.refused(requests.Query(QueryType.OPAQUE, "x"))
        assert code == Code.UNSUPPORTED
        code, _ = await client.refused(requests.Read(b"\0\0\0\1", 0, 10))
        assert code == Code.FILE_NOT_OPEN
        await client.said(requests.Ping())
        await client.said(requests.EndSession(bytes(16)))


async def test_a_checksum_of_a_file_in_the_archive_is_the_archives(site: HeadSite) -> None:
    node = node_of(site, "disk1", archive={A: 1})
    async with joined(node), RootClient(site.root_address) as client:
        node.publish(B, 1)
        await site.until_online(B)
        asked = requests.Query(QueryType.CHECKSUM, f"{B}?cks.type=adler32")
        assert (await client.sent_to(asked)).address == node.root_address
        code, _ = await client.refused(requests.Query(QueryType.CHECKSUM, C))
        assert code == Code.NOT_FOUND
        code, text = await client.refused(requests.Query(QueryType.CHECKSUM, A))
        assert (code, "in the archive only" in text) == (Code.SERVER_ERROR, True)
        assert not node.recalls


async def test_nodes_hear_where_the_redirectors_door_is(site: HeadSite) -> None:
    welcomes: list[pb.Welcome] = []
    node = node_of(site, "disk1")
    obey = node._obey

    def note(command: pb.NodeCommand) -> None:
        if command.HasField("welcome"):
            welcomes.append(command.welcome)
        obey(command)

    node._obey = note  # type: ignore[method-assign]
    async with joined(node):
        assert [welcome.root_address for welcome in welcomes] == [site.root_address]
