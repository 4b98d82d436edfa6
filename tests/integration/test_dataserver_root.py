"""A data server's root:// door over a real socket, with a redirector made of a few lines."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import struct
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import google_crc32c
import pytest

from dataserver.attributes import ATTRIBUTES_OF_A_FILE
from tests.support.data_site import DataSite, adler32
from tests.support.root_client import RootClient, open_to_read
from xroot import pages, requests
from xroot.protocol import (
    ATTRIBUTE_NEW,
    STAT_VFS,
    AttributeAction,
    Code,
    OpenFlag,
    QueryType,
    Request,
    StatFlag,
    Status,
)
from xroot.requests import Chunk
from xroot.responses import STATUS_BODY_BYTES, number_of
from xroot.texts import read_stat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector
    from xroot.responses import Response

LFN = "/store/run7/a.bin"
MINE = "/store/my/new.bin"
#: Not a whole number of pages, and more than is sent by the event loop in one part.
CONTENT = random.Random(1).randbytes(3_000_001)
NEW = OpenFlag.NEW | OpenFlag.UPDATE | OpenFlag.RETSTAT
#: Behind the handle, and a compression that nobody uses.
STAT_AT = 12
PAGES_AT = STATUS_BODY_BYTES + 8 + 4


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    made.write(LFN, CONTENT)
    return made


@asynccontextmanager
async def serving(site: DataSite) -> AsyncIterator[tuple[DataServerService, RootClient]]:
    """The data server with one replica, and a client of it."""
    async with site.running() as service:
        await site.redirector.staged("disk1", site.redirector.start("disk1", LFN), LFN)
        async with RootClient(service.root_address) as client:
            yield service, client


async def opened(client: RootClient, asked: requests.Open) -> bytes:
    """The handle of a file."""
    answer = await client.ask(asked)
    assert answer.status == Status.OK, answer
    return answer.body[:4]


async def whole(client: RootClient, message: requests.Read | requests.ReadV) -> bytes:
    """The bytes of an answer, whatever its pieces."""
    answer = await client.ask(message)
    assert answer.status == Status.OK, answer
    return answer.body


async def paged(client: RootClient, message: requests.PgRead) -> bytes:
    """The bytes of pages, each of which must have its checksum."""
    stream_id = client.send(message)
    content = b""
    offset = message.offset
    while True:
        answer = await client.next_of(stream_id)
        assert answer.status == Status.STATUS, answer
        kind, is_partial = answer.body[6], answer.body[7]
        assert kind == Request.PGREAD - Request.AUTH
        (told_offset,) = struct.unpack_from(">q", answer.body, 16)
        assert told_offset == offset
        reader = pages.PageReader(offset, len(answer.body) - 24)
        for page in reader.feed(answer.body[24:]):
            assert page.is_good
            content += page.data
        offset = message.offset + len(content)
        if not is_partial:
            return content


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
        assert service.node.pool.veto(LFN, 0.0) is None
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


# --- writing --------------------------------------------------------------------------


async def write(client: RootClient, handle: bytes, offset: int, data: bytes) -> Response:
    return await client.ask(requests.Write(handle, offset, len(data)), data)


async def test_a_file_is_there_when_it_is_closed(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, f"oss.asize={len(CONTENT)}", NEW))
        half = len(CONTENT) // 2
        waiting = [
            client.send(requests.Write(handle, half, len(CONTENT) - half), CONTENT[half:]),
            client.send(requests.Write(handle, 0, half), CONTENT[:half]),
        ]
        for stream_id in waiting:
            assert (await client.next_of(stream_id)).status == Status.OK
        assert (await client.ask(requests.Sync(handle))).status == Status.OK
        assert await whole(client, requests.Read(handle, half - 5, 10)) == CONTENT[half - 5 :][:10]
        assert not site.replica(MINE).exists()
        assert (await client.ask(requests.Close(handle))).status == Status.OK
        # The redirector has heard of it by now: whoever asks there next finds it.
        assert site.redirector.nodes["disk1"].replicas[MINE] == len(CONTENT)
        assert site.replica(MINE).read_bytes() == CONTENT
        found = read_stat(await client.said(requests.Stat(MINE)))
        assert found.flags == StatFlag.READABLE | StatFlag.WRITABLE
        asked = requests.Query(QueryType.CHECKSUM, MINE)
        assert await client.said(asked) == f"adler32 {zlib.adler32(CONTENT):08x}"
        assert site.incoming() == []


async def test_a_file_closed_too_early_has_all_that_was_sent_before(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        # Three pieces and a bit, none of which is on the disk when the close is heard.
        writing = client.send(requests.Write(handle, 0, len(CONTENT)), CONTENT)
        paging = client.send(
            requests.PgWrite(
                handle, len(CONTENT), len(pages.with_checksums(CONTENT, len(CONTENT)))
            ),
            pages.with_checksums(CONTENT, len(CONTENT)),
        )
        closing = client.send(requests.Close(handle))
        assert (await client.next_of(writing)).status == Status.OK
        assert (await client.next_of(paging)).status == Status.STATUS
        assert (await client.next_of(closing)).status == Status.OK
        assert site.replica(MINE).read_bytes() == 2 * CONTENT


async def test_sync_and_truncate_keep_their_places_among_unanswered_writes(
    site: DataSite,
) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        before, behind = CONTENT, CONTENT[:1_000_000]
        waiting = [
            client.send(requests.Write(handle, 0, len(before)), before),
            client.send(requests.Sync(handle)),
            client.send(requests.Truncate(handle, 10)),
            client.send(requests.Write(handle, 20, len(behind)), behind),
            client.send(requests.Close(handle)),
        ]
        for stream_id in waiting:
            assert (await client.next_of(stream_id)).status == Status.OK
        assert site.replica(MINE).read_bytes() == before[:10] + bytes(10) + behind


async def test_a_file_closed_before_its_last_page_was_bad_is_not_there(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        sent = bytearray(pages.with_checksums(CONTENT, 0))
        sent[-1] ^= 1
        client.send(requests.PgWrite(handle, 0, len(sent)), bytes(sent))
        assert (await client.refused(requests.Close(handle)))[0] == Code.CHECKSUM_ERROR
        assert not site.replica(MINE).exists()
        assert site.incoming() == []


async def test_a_client_that_goes_away_leaves_nothing(site: DataSite) -> None:
    async with serving(site) as (service, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await write(client, handle, 0, CONTENT)
        client.send(requests.Write(handle, len(CONTENT), 1000), b"not all of it")
        await client.leave()
        await until(lambda: not site.incoming() and not service.node.pool.reserved_bytes)
        assert not site.replica(MINE).exists()
        async with RootClient(service.root_address) as again:
            handle = await opened(again, requests.Open(MINE, "", NEW))
            assert (await again.ask(requests.Close(handle))).status == Status.OK
        assert site.replica(MINE).read_bytes() == b""


async def test_what_exists_is_replaced_only_if_the_client_says_so(site: DataSite) -> None:
    async with serving(site) as (_, client):
        for content, options in ((b"one", NEW | OpenFlag.DELETE), (b"twotwo", OpenFlag.DELETE)):
            handle = await opened(client, requests.Open(MINE, "", options))
            await write(client, handle, 0, content)
            assert (await client.ask(requests.Close(handle))).status == Status.OK
            assert site.replica(MINE).read_bytes() == content
        for options in (NEW, NEW | OpenFlag.DELETE):
            refused = await client.refused(requests.Open(MINE, "", options))
            assert refused[0] == Code.ITEM_EXISTS
        update = requests.Open(MINE, "", OpenFlag.UPDATE)
        handle = await opened(client, update)
        await write(client, handle, 3, b"!")
        # Until it is closed, others read what was there before.
        async with RootClient(client._address) as other:
            seen = await opened(other, open_to_read(MINE))
            assert await whole(other, requests.Read(seen, 0, 10)) == b"twotwo"
            assert (await client.ask(requests.Truncate(handle, 5))).status == Status.OK
            assert (await client.ask(requests.Close(handle))).status == Status.OK
            assert await whole(other, requests.Read(seen, 0, 10)) == b"twotwo"
        assert site.replica(MINE).read_bytes() == b"two!w"
        assert (await client.ask(requests.Truncate(bytes(4), 2, MINE))).status == Status.OK
        assert site.replica(MINE).read_bytes() == b"tw"


async def test_what_is_in_the_archive_is_not_changed(site: DataSite) -> None:
    archived = "/store/my/archived"
    site.write(archived, b"precious")
    async with serving(site) as (_, client):
        await site.redirector.staged("disk1", site.redirector.start("disk1", archived), archived)
        for asked in (
            requests.Open(archived, "", OpenFlag.DELETE),
            requests.Rm(archived),
            requests.Mv(archived, MINE),
            requests.Truncate(bytes(4), 0, archived),
        ):
            code, text = await client.refused(asked)
            assert (code, "in the archive" in text) == (Code.NOT_AUTHORIZED, True)
        code, text = await client.refused(requests.Open("/store/run7/new", "", NEW))
        assert (code, "clients may write" in text) == (Code.NOT_AUTHORIZED, True)


async def test_pages_that_arrive_damaged_are_asked_for_again(site: DataSite) -> None:
    content = CONTENT[: 3 * 4096 + 100]
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        sent = bytearray(pages.with_checksums(content, 0))
        sent[4100 + 4 + 7] ^= 1  # within the second page
        answer = await client.ask(requests.PgWrite(handle, 0, len(sent)), bytes(sent))
        assert answer.status == Status.STATUS
        said = answer.body[24:]
        assert struct.unpack_from(">I", said)[0] == google_crc32c.value(said[4:])
        assert struct.unpack_from(">hhq", said, 4) == (4096, 4096, 4096)
        again = pages.with_checksums(content[4096:8192], 4096)
        answer = await client.ask(requests.PgWrite(handle, 4096, len(again), flags=1), again)
        assert len(answer.body) == 24
        assert (await client.ask(requests.Close(handle))).status == Status.OK
        assert site.replica(MINE).read_bytes() == content


async def test_a_file_whose_pages_stay_damaged_is_not_published(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        sent = bytearray(pages.with_checksums(b"x" * 100, 50))
        sent[10] ^= 1
        await client.ask(requests.PgWrite(handle, 50, len(sent)), bytes(sent))
        code, text = await client.refused(requests.Close(handle))
        assert (code, "wrong checksums" in text) == (Code.CHECKSUM_ERROR, True)
        await until(lambda: not site.incoming())
        assert not site.replica(MINE).exists()


async def test_many_chunks_are_written_at_once(site: DataSite) -> None:
    rng = random.Random(4)
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        cuts = sorted({0, *(rng.randrange(500_000) for _ in range(300)), 500_000})
        parts = list(itertools.pairwise(cuts))
        rng.shuffle(parts)
        chunks = tuple(Chunk(handle, end - start, start) for start, end in parts)
        data = b"".join(CONTENT[start:end] for start, end in parts)
        assert (await client.ask(requests.WriteV(chunks), data)).status == Status.OK
        assert (await client.ask(requests.Close(handle))).status == Status.OK
        assert site.replica(MINE).read_bytes() == CONTENT[:500_000]


async def test_data_that_belongs_nowhere_is_taken_and_forgotten(site: DataSite) -> None:
    async with serving(site) as (_, client):
        asked = requests.Write(b"\0\0\0\7", 0, len(CONTENT))
        assert (await client.refused(asked, CONTENT))[0] == Code.FILE_NOT_OPEN
        handle = await opened(client, open_to_read(LFN))
        asked = requests.Write(handle, 0, 5)
        assert (await client.refused(asked, b"12345"))[0] == Code.FILE_NOT_OPEN
        await client.said(requests.Ping())


async def test_what_is_being_written_is_read_back_in_all_ways(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await write(client, handle, 0, CONTENT)
        size = len(CONTENT)
        assert await in_parts(client, requests.Read(handle, 0, size + 10)) == CONTENT
        assert await in_parts(client, requests.Read(handle, 5, 10)) == CONTENT[5:15]
        assert await in_parts(client, requests.Read(handle, size, 10)) == b""
        assert await paged(client, requests.PgRead(handle, 5000, size)) == CONTENT[5000:]
        places = [(0, 10), (2_999_990, 11), (1_000_000, 2_000_000), (7, 0)]
        chunks = tuple(Chunk(handle, length, offset) for offset, length in places)
        told = b"".join(
            struct.pack(">4siq", *chunk) + CONTENT[chunk.offset : chunk.offset + chunk.length]
            for chunk in chunks
        )
        assert await in_parts(client, requests.ReadV(chunks)) == told
        past_the_end = requests.ReadV((Chunk(handle, 10, size - 9),))
        assert (await client.refused(past_the_end))[0] == Code.FS_ERROR
        other = await opened(client, open_to_read(LFN))
        for first, second in ((handle, other), (other, handle)):
            mixed = requests.ReadV((Chunk(first, 1, 0), Chunk(second, 1, 0)))
            assert (await client.refused(mixed))[0] == Code.ARG_INVALID


async def in_parts(client: RootClient, message: requests.Read | requests.ReadV) -> bytes:
    """The bytes of an answer that may come in many parts."""
    stream_id = client.send(message)
    content = b""
    while (answer := await client.next_of(stream_id)).status == Status.OKSOFAR:
        content += answer.body
    assert answer.status == Status.OK, answer
    return content + answer.body


async def test_a_pool_that_runs_full_ends_the_upload_and_nothing_else(site: DataSite) -> None:
    site.node["quota"] = "4MB"
    async with serving(site) as (service, client):
        pinned = await opened(client, open_to_read(LFN))
        handle = await opened(client, requests.Open(MINE, "", NEW))
        answer = await write(client, handle, 0, CONTENT)
        assert (answer.status, number_of(answer.body)) == (Status.ERROR, Code.NO_SPACE)
        assert await whole(client, requests.Read(pinned, 0, 5)) == CONTENT[:5]
        assert (await client.refused(requests.Close(handle)))[0] == Code.NO_SPACE
        await until(lambda: not site.incoming() and not service.node.pool.reserved_bytes)
        await client.ask(requests.Close(pinned))
        # Now the other file may be purged for it.
        handle = await opened(client, requests.Open(MINE, f"oss.asize={len(CONTENT)}", NEW))
        assert (await write(client, handle, 0, CONTENT)).status == Status.OK
        assert (await client.ask(requests.Close(handle))).status == Status.OK


# --- names ----------------------------------------------------------------------------


async def test_files_are_renamed_described_and_removed(site: DataSite) -> None:
    other = "/store/my/dir/other.bin"
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await write(client, handle, 0, b"12345")
        await client.ask(requests.Close(handle))
        names = (b"color", b"\xc3\xa9")
        asked = requests.FAttr(AttributeAction.SET, MINE, "", names, (b"blue", bytes(range(256))))
        done = b"\0\2\0\0color\0\0\0\xc3\xa9\0"
        assert (await client.ask(asked)).body == done
        only_new = asked._replace(options=ATTRIBUTE_NEW)
        assert (await client.ask(only_new)).body[0] == 2
        assert (await client.ask(requests.Mv(MINE, other))).status == Status.OK
        assert site.redirector.nodes["disk1"].replicas == {LFN: len(CONTENT), other: 5}
        got = await client.ask(requests.FAttr(AttributeAction.GET, other, "", (*names, b"none")))
        assert got.body.endswith(b"\0\0\0\4blue\0\0\1\0" + bytes(range(256)) + b"\0\0\0\0")
        assert (await client.ask(requests.Chmod(other, 0o600))).status == Status.OK
        assert site.replica(other).stat().st_mode & 0o777 == 0o600
        odd = requests.FAttr(AttributeAction.SET, other, "", (b"\xff",), (b"1",))
        assert (await client.refused(odd))[0] == Code.ARG_INVALID
        gone = requests.FAttr(AttributeAction.DELETE, other, "", names)
        assert (await client.ask(gone)).body == done
        assert (await client.ask(gone)).body[0] == 2
        assert (await client.ask(requests.Rm(other))).status == Status.OK
        assert not site.replica(other).exists()
        assert site.redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}
        assert (await client.refused(requests.Mv(LFN, MINE)))[0] == Code.NOT_AUTHORIZED


async def test_who_has_a_file_open_for_reading_only_looks_at_its_attributes(
    site: DataSite,
) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await client.ask(noting(handle, b"a"))
        await client.ask(requests.Close(handle))
        handle = await opened(client, open_to_read(MINE))
        assert await noted(client, "", handle) == [b"a"]
        forgetting = requests.FAttr(AttributeAction.DELETE, "", names=(b"a",), handle=handle)
        for change in (noting(handle, b"b"), forgetting):
            assert (await client.refused(change))[0] == Code.INVALID_REQUEST
        assert await noted(client, MINE) == [b"a"]


def noting(handle: bytes, *names: bytes, options: int = 0) -> requests.FAttr:
    """Notes something about an open file; each attribute's value is its name."""
    return requests.FAttr(AttributeAction.SET, "", "", names, names, options, handle)


async def noted(client: RootClient, path: str, handle: bytes = bytes(4)) -> list[bytes]:
    """The names of a file's attributes."""
    asked = requests.FAttr(AttributeAction.LIST, path, handle=handle)
    return (await client.ask(asked)).body.split(b"\0")[:-1]


async def test_what_is_noted_about_a_file_being_written_is_kept_with_it(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        assert (await client.ask(noting(handle, b"a", b"b"))).body[0] == 0
        assert (await client.ask(noting(handle, b"a", options=ATTRIBUTE_NEW))).body[0] == 1
        assert await noted(client, "", handle) == [b"a", b"b"]
        assert (await client.refused(requests.FAttr(AttributeAction.LIST, MINE)))[
            0
        ] == Code.NOT_FOUND
        await client.ask(requests.Close(handle))
        assert await noted(client, MINE) == [b"a", b"b"]


async def test_what_is_noted_about_a_file_being_changed_shows_once_it_is(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await client.ask(noting(handle, b"a", b"b"))
        await client.ask(requests.Close(handle))
        handle = await opened(client, requests.Open(MINE, "", OpenFlag.UPDATE))
        await client.ask(noting(handle, b"c"))
        forgotten = requests.FAttr(AttributeAction.DELETE, "", names=(b"a",), handle=handle)
        assert (await client.ask(forgotten)).body[0] == 0
        assert (await client.ask(forgotten)).body[0] == 1
        assert await noted(client, "", handle) == [b"b", b"c"]
        assert await noted(client, MINE) == [b"a", b"b"]
        await client.ask(requests.Close(handle))
        assert await noted(client, MINE) == [b"b", b"c"]


async def test_what_is_noted_about_a_file_given_up_is_forgotten(site: DataSite) -> None:
    async with serving(site) as (service, client):
        async with RootClient(service.root_address) as other:
            handle = await opened(other, requests.Open(MINE, "", NEW))
            assert (await other.ask(noting(handle, b"a"))).body[0] == 0
        await until(lambda: not site.incoming())
        handle = await opened(client, requests.Open(MINE, "", NEW))
        await client.ask(requests.Close(handle))
        assert await noted(client, MINE) == []


async def test_a_file_being_written_has_no_more_attributes_than_others(site: DataSite) -> None:
    async with serving(site) as (_, client):
        handle = await opened(client, requests.Open(MINE, "", NEW))
        names = [b"%d" % number for number in range(ATTRIBUTES_OF_A_FILE)]
        for start in range(0, ATTRIBUTES_OF_A_FILE, 16):
            assert (await client.ask(noting(handle, *names[start : start + 16]))).body[0] == 0
        assert (await client.ask(noting(handle, *names[:16]))).body[0] == 0
        assert (await client.refused(noting(handle, b"more")))[0] == Code.NO_SPACE
        assert (await client.ask(requests.Close(handle))).status == Status.OK
        assert len(await noted(client, MINE)) == ATTRIBUTES_OF_A_FILE


async def until(so: object) -> None:
    """Waits until something is so."""
    assert callable(so)
    async with asyncio.timeout(20):
        while True:
            if so():
                return
            await asyncio.sleep(0.005)
