"""A data server's root:// door over a real socket: files are written, renamed and described."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from typing import TYPE_CHECKING

import google_crc32c
import pytest

from dataserver.attributes import ATTRIBUTES_OF_A_FILE
from tests.support.data_door import (
    CONTENT,
    LFN,
    MINE,
    NEW,
    opened,
    paged,
    serving,
    until,
    whole,
    write,
)
from tests.support.data_site import DataSite
from tests.support.root_client import RootClient, open_to_read
from xroot import pages, requests
from xroot.protocol import (
    ATTRIBUTE_NEW,
    AttributeAction,
    Code,
    OpenFlag,
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


# --- writing --------------------------------------------------------------------------


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
