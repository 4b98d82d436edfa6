"""A data server's root:// door with one replica behind it, and a client of it."""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.root_client import RootClient
from xroot import pages, requests
from xroot.protocol import (
    OpenFlag,
    Request,
    Status,
)
from xroot.responses import STATUS_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataserver.service import DataServerService
    from tests.support.data_site import DataSite
    from xroot.responses import Response

LFN = "/store/run7/a.bin"
MINE = "/store/my/new.bin"
#: Not a whole number of pages, and more than is sent by the event loop in one part.
CONTENT = random.Random(1).randbytes(3_000_001)
NEW = OpenFlag.NEW | OpenFlag.UPDATE | OpenFlag.RETSTAT
#: Behind the handle, and a compression that nobody uses.
STAT_AT = 12
PAGES_AT = STATUS_BODY_BYTES + 8 + 4


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


async def write(client: RootClient, handle: bytes, offset: int, data: bytes) -> Response:
    return await client.ask(requests.Write(handle, offset, len(data)), data)


async def until(so: object) -> None:
    """Waits until something is so."""
    assert callable(so)
    async with asyncio.timeout(20):
        while True:
            if so():
                return
            await asyncio.sleep(0.005)


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
