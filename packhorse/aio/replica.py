"""One open replica: its bytes, from a local path or over gRPC.

A replica is open for as long as its `Open` call lasts, and an open replica is
never purged. It is read where it lies if its data server says that client and
data share a host and the path can indeed be opened here, else over gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from common.errors import Damaged
from common.grpc_client import answers_from
from packhorse.aio.streams import replies
from packhorse.values import FileInfo
from protos.packhorse.v1.dataserver_pb2 import OpenRequest, ReadRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from grpc import aio

    from packhorse.aio.connection import Connection
    from packhorse.values import NodeAddress
    from protos.packhorse.v1.dataserver_pb2 import OpenReply

CHUNK_BYTES = 1 << 20


class AsyncReplica:
    """An open replica; close it, or use it in `async with`."""

    def __init__(
        self,
        connection: Connection,
        node: NodeAddress,
        info: FileInfo,
        held_open: aio.UnaryStreamCall[OpenRequest, OpenReply],
        fd: int | None,
        path: Path | None,
    ) -> None:
        self.node = node
        self.info = info
        self.local_path = path
        self._fd = fd
        self._held_open = held_open
        self._stub, self._peer = connection.dataserver(node)

    @classmethod
    async def open(
        cls, connection: Connection, node: NodeAddress, lfn: str, host: str
    ) -> AsyncReplica:
        """Opens the replica at a node; `host` is this client's host label.

        Raises NotFound if the node does not hold it, Unreachable if it does not answer.
        """
        stub, peer = connection.dataserver(node)
        held_open = stub.Open(OpenRequest(lfn=lfn, host=host))
        try:
            reply = await first_reply(held_open, peer)
            fd, path = open_local(reply.local_path)
            return cls(connection, node, FileInfo.of(reply.info), held_open, fd, path)
        except BaseException:
            held_open.cancel()
            raise

    async def chunks(self, offset: int = 0, length: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a range in order, in chunks; `length` 0 means to the end."""
        if self._fd is not None:
            async for chunk in self._local_chunks(self._fd, offset, length):
                yield chunk
            return
        request = ReadRequest(lfn=self.info.lfn, offset=offset, length=length)
        stream = replies(self._stub.Read(request), self._peer)
        async with contextlib.aclosing(stream):
            async for reply in stream:
                yield reply.data

    async def read(self, offset: int = 0, length: int = 0) -> bytes:
        """The bytes of a range; `length` 0 means to the end."""
        async with contextlib.aclosing(self.chunks(offset, length)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def close(self) -> None:
        """Lets go of the replica: it may be purged from now on."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._held_open.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _local_chunks(self, fd: int, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        end = offset + length if length else self.info.size_bytes
        while offset < end:
            chunk = await asyncio.to_thread(os.pread, fd, min(CHUNK_BYTES, end - offset), offset)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk


async def first_reply(call: aio.UnaryStreamCall[OpenRequest, OpenReply], peer: str) -> OpenReply:
    """What a data server answers to an Open that it keeps open."""
    with answers_from(peer):
        async for reply in call:
            return reply
    raise Damaged(f"{peer} ended an open file at once")


def open_local(local_path: str) -> tuple[int | None, Path | None]:
    """A descriptor of a local replica and its path; none if it cannot be opened here."""
    if local_path:
        with contextlib.suppress(OSError):
            return os.open(local_path, os.O_RDONLY | os.O_CLOEXEC), Path(local_path)
    return None, None
