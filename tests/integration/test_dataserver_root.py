"""A data server's root:// door over a real socket: files are read and looked at."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from typing import TYPE_CHECKING

import google_crc32c
import pytest

from tests.support.data_door import (
    CONTENT,
    LFN,
    MINE,
    STAT_AT,
    opened,
    paged,
    serving,
    until,
    whole,
)
from tests.support.data_site import DataSite, adler32
from tests.support.root_client import RootClient, open_to_read
from xroot import requests
from xroot.protocol import (
    STAT_VFS,
    AttributeAction,
    Code,
    QueryType,
    StatFlag,
    Status,
)
from xroot.requests import Chunk
from xroot.responses import number_of
from xroot.texts import read_stat

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    made.write(LFN, CONTENT)
    return made


# --- reading --------------------------------------------------------------------------


async def test_what_is_read_is_what_was_staged(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, open_to_read(LFN))
        size = len(CONTENT)
        for offset, length in [
            (0, 10), (4095, 2), (0, size), (size - 1, 10), (size, 10), (size + 5, 1),
            (1_000_000, 200_000), (7, 128 << 10), (3, 0),
        ]:  # fmt: skip
            asked = requests.Read(handle, offset, length)
            assert await whole(client, asked) == CONTENT[offset : offset + length]
            answer = await paged(client, requests.PgRead(handle, offset, length))
            assert answer == CONTENT[offset : offset + length]


async def test_answers_keep_their_order_and_never_mix(site: DataSite) -> None:
    rng = random.Random(2)
    async with serving(site) as (_, client):
        handle = await opened(client, open_to_read(LFN))
        ranges = [
            (rng.randrange(len(CONTENT)), rng.choice([1, 50, 5000, 300_000])) for _ in range(200)
        ]
        waiting = [
            (client.send(requests.Read(handle, offset, length)), offset, length)
            for offset, length in ranges
        ]
        for stream_id, offset, length in waiting:
            answer = await client.next_of(stream_id)
            assert answer.body == CONTENT[offset : offset + length]


async def test_reads_that_come_together_are_answered_each_as_it_would_be_alone(
    site: DataSite,
) -> None:
    size = len(CONTENT)
    async with serving(site) as (_, client):
        handle = await opened(client, open_to_read(LFN))
        other = await opened(client, open_to_read(LFN))
        together = [
            requests.Read(handle, 0, 4096),
            requests.Read(handle, size - 10, 4096),
            requests.Read(handle, size, 4096),
            requests.Read(other, 5, 10),
            requests.Read(b"none", 0, 10),
            requests.Ping(),
            requests.Read(handle, 1, 0),
            requests.Read(handle, 2, 1 << 20),
            *(requests.Read(handle, 4099 * number, 50) for number in range(600)),
            requests.Close(handle),
            requests.Read(handle, 0, 10),
        ]
        stream_ids = [client.send(one) for one in together]
        for one, stream_id in zip(together, stream_ids, strict=True):
            answer = await client.next_of(stream_id)
            if not isinstance(one, requests.Read):
                assert answer.status == Status.OK
            elif one.handle == b"none" or one is together[-1]:
                assert answer.status == Status.ERROR
                assert number_of(answer.body) == Code.FILE_NOT_OPEN
            else:
                assert answer.body == CONTENT[one.offset : one.offset + one.length]


@pytest.mark.parametrize("in_threads", [False, True])
async def test_many_chunks_in_one_answer(
    site: DataSite, monkeypatch: pytest.MonkeyPatch, in_threads: bool
) -> None:
    if in_threads:
        # As if nothing were in the page cache.
        monkeypatch.setattr("common.root_server.from_cache._NOWAIT", None)
    rng = random.Random(3)
    async with serving(site) as (_, client):
        handle = await opened(client, open_to_read(LFN))
        chunks = tuple(
            Chunk(
                handle,
                rng.choice([0, 1, 4096, 10_000, 400_000]),
                rng.randrange(len(CONTENT) - 400_000),
            )
            for _ in range(200)
        )
        said = await whole(client, requests.ReadV(chunks))
        for chunk in chunks:
            assert struct.unpack_from(">4siq", said) == tuple(chunk)
            assert said[16 : 16 + chunk.length] == CONTENT[chunk.offset :][: chunk.length]
            said = said[16 + chunk.length :]
        assert not said
        beyond = requests.ReadV((Chunk(handle, 10, len(CONTENT) - 5),))
        assert (await client.refused(beyond))[0] == Code.FS_ERROR
        huge = requests.ReadV((Chunk(handle, 1 << 30, 0),))
        assert (await client.refused(huge))[0] == Code.ARG_TOO_LONG


async def test_data_goes_by_the_connection_the_client_wants(site: DataSite) -> None:
    async with serving(site) as (service, client):
        handle = await opened(client, open_to_read(LFN))
        async with RootClient(service.root_address, logs_in=False) as second:
            second.writer.write(requests.handshake())
            await second.next_of(b"\0\0")
            bound = await second.ask(requests.Bind(client.session_id))
            assert bound.body == b"\1"
            stream_id = client.send(requests.Read(handle, 5, 100_000, path_id=1))
            assert (await second.next_of(stream_id)).body == CONTENT[5:100_005]
            # What that connection asks by itself is refused: it is no session of its own.
            assert (await second.refused(requests.Ping()))[0] == Code.INVALID_REQUEST


async def test_an_open_file_is_never_purged_and_reading_is_a_use(site: DataSite) -> None:
    async with serving(site) as (service, client):
        handle = await opened(client, open_to_read(LFN))
        (veto,) = [service.node.pool.veto(LFN, 0.0)]
        assert veto == "open"
        replica = service.node.pool.get(LFN)
        assert replica is not None
        before_s = replica.last_use_s
        assert (await client.ask(requests.Close(handle))).status == Status.OK
        # It may be being looked into just now.
        await until(lambda: service.node.pool.veto(LFN, 0.0) is None)
        assert replica.last_use_s > before_s
        assert (await client.refused(requests.Close(handle)))[0] == Code.FILE_NOT_OPEN
        await opened(client, open_to_read(LFN))
        assert service.node.pool.open_files == 1
        await client.leave()
        await until(lambda: service.node.pool.open_files == 0)


async def test_a_client_of_a_missing_file_is_sent_back(site: DataSite) -> None:
    site.redirector.root_address = "127.0.0.1:4094"
    async with serving(site) as (_, client):
        there = await client.sent_to(open_to_read("/store/run7/other", "ph.via=disk0,disk1"))
        assert there.address == "127.0.0.1:4094"
        assert there.cgi == "ph.gone=disk1&ph.via=disk0,disk1"
        site.replica(LFN).unlink()
        assert (await client.sent_to(requests.Stat(LFN))).cgi == "ph.gone=disk1&ph.via=disk1"
        assert (await client.sent_to(open_to_read(LFN))).cgi == "ph.gone=disk1&ph.via=disk1"
        await site.redirector.until(lambda: not site.redirector.nodes["disk1"].replicas)
        for elsewhere in (requests.DirList("/store"), requests.MkDir("/store/my/d")):
            assert (await client.sent_to(elsewhere)).address == "127.0.0.1:4094"


async def test_whatever_is_asked_of_a_missing_file_is_the_redirectors_affair(
    site: DataSite,
) -> None:
    site.redirector.root_address = "127.0.0.1:4094"
    async with serving(site) as (_, client):
        for asked in (
            requests.Rm(MINE, "ph.via=disk1"),
            requests.Mv(MINE, MINE + "2", "ph.via=disk1"),
            requests.Chmod(MINE, 0o600, "ph.via=disk1"),
            requests.Truncate(bytes(4), 5, MINE, "ph.via=disk1"),
            requests.FAttr(AttributeAction.LIST, MINE, "ph.via=disk1"),
            requests.FAttr(AttributeAction.SET, MINE, "", (b"a",), (b"1",)),
            requests.Query(QueryType.CHECKSUM, f"{MINE}?cks.type=md5&ph.via=disk1"),
            requests.Query(QueryType.XATTR, MINE),
            requests.Query(QueryType.XATTR, "/store/my"),
        ):
            there = await client.sent_to(asked)
            assert there.address == "127.0.0.1:4094"
            assert "ph.gone=disk1&ph.via=disk1" in there.cgi


async def test_a_file_found_missing_is_known_to_be_so_when_its_client_comes_back(
    site: DataSite,
) -> None:
    """A query bears no word of where its client has been."""
    site.redirector.root_address = "127.0.0.1:4094"
    async with serving(site) as (_, client):
        site.replica(LFN).unlink()
        await client.sent_to(requests.Query(QueryType.XATTR, LFN))
        assert LFN not in site.redirector.nodes["disk1"].replicas


async def test_a_file_that_is_cut_short_while_it_is_sent_ends_the_connection(
    site: DataSite,
) -> None:
    async with serving(site) as (service, client):
        handle = await opened(client, open_to_read(LFN))
        os.truncate(site.replica(LFN), 1_000_000)
        client.send(requests.Read(handle, 0, len(CONTENT)))
        await asyncio.wait_for(client.closed.wait(), 20)
        await site.redirector.until(lambda: not site.redirector.nodes["disk1"].replicas)
        assert service.node.pool.open_files == 0


async def test_files_of_one_connection_are_limited(site: DataSite) -> None:
    site.root["max_open_files"] = 3
    async with serving(site) as (_, client):
        for _ in range(3):
            handle = await opened(client, open_to_read(LFN))
        code, text = await client.refused(open_to_read(LFN))
        assert (code, "max_open_files" in text) == (Code.NOT_AUTHORIZED, True)
        await client.ask(requests.Close(handle))
        await opened(client, open_to_read(LFN))


# --- looking --------------------------------------------------------------------------


async def test_what_is_told_of_a_file(site: DataSite) -> None:
    async with serving(site) as (_, client):
        found = read_stat(await client.said(requests.Stat(LFN)))
        assert found.size_bytes == len(CONTENT)
        assert found.flags == StatFlag.READABLE | StatFlag.BACKUP_EXISTS
        assert found.mtime_s == int(site.replica(LFN).stat().st_mtime)
        answer = await client.ask(open_to_read(LFN))
        assert read_stat(answer.body[STAT_AT:].decode()) == found._replace(
            atime_s=read_stat(answer.body[STAT_AT:].decode()).atime_s
        )
        by_handle = requests.Stat("", handle=answer.body[:4])
        assert read_stat(await client.said(by_handle)).size_bytes == len(CONTENT)
        assert await client.said(requests.Stat("/", options=STAT_VFS)) == "1 92 3 1 92 3"
        asked = requests.Query(QueryType.CHECKSUM, LFN)
        assert await client.said(asked) == f"adler32 {adler32(CONTENT)}"
        crc32c = f"crc32c {google_crc32c.value(CONTENT):08x}"
        for _ in range(2):
            asked = requests.Query(QueryType.CHECKSUM, f"{LFN}?cks.type=crc32c")
            assert await client.said(asked) == crc32c
        asked = requests.Query(QueryType.CHECKSUM, f"{LFN}?cks.type=sha3")
        assert (await client.refused(asked))[0] == Code.ARG_INVALID
        assert "server" in await client.said(requests.Query(QueryType.CONFIG, "role"))
