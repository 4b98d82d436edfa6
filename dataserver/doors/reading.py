"""The gRPC door for reading replicas.

An Open call is an open file, for as long as the call lasts; so is a Read. Both count
as a use, and no purge takes the file meanwhile. A file that is not on the disk any more,
or not of the size it was published with, is dropped, and its reader is sent away with
NOT_FOUND: the redirector will find it another copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from common.errors import NotFound, UsageError
from common.names import normalise
from dataserver import wire
from dataserver.open_file import OpenFile
from protos.packhorse.v1 import dataserver_pb2 as pb
from protos.packhorse.v1 import dataserver_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from dataserver.catalogue import Catalogue
    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.replicas import Replicas

CHUNK_BYTES: Final = 1 << 20
#: Linux takes no longer paths, its final NUL included.
PATH_MAX_BYTES: Final = 4096


class ReadingDoor(dataserver_pb2_grpc.DataServerServicer):
    """The DataServer service of one pool. `host` is the pool's host label."""

    def __init__(
        self,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        host: str,
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._replicas = replicas
        self._host = host
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends all Open calls."""
        self._closing.set()

    async def Open(  # noqa: N802 - the contract's name
        self,
        request: pb.OpenRequest,
        _context: grpc.aio.ServicerContext[pb.OpenRequest, pb.OpenReply],
    ) -> AsyncIterator[pb.OpenReply]:
        """One reply, then silence until the client or the server goes."""
        lfn = normalise(request.lfn)
        async with self._opened(lfn) as (_, file):
            file.close()
            known = await self._catalogue.known([lfn])
            if not known:
                raise NotFound(f"{lfn} is not on this node any more")
            reply = pb.OpenReply(info=wire.file_info(known[0]))
            if request.host and request.host == self._host:
                reply.local_path = self._local_path(lfn)
            yield reply
            await self._closing.wait()

    async def Read(  # noqa: N802 - the contract's name
        self,
        request: pb.ReadRequest,
        _context: grpc.aio.ServicerContext[pb.ReadRequest, pb.ReadReply],
    ) -> AsyncIterator[pb.ReadReply]:
        """The bytes of one range, which ends where the file does."""
        lfn = normalise(request.lfn)
        async with self._opened(lfn) as (replica, file):
            if request.offset > replica.size_bytes:
                raise UsageError(
                    f"{lfn} has {replica.size_bytes} bytes; none can be read at {request.offset}"
                )
            end = replica.size_bytes
            if request.length:
                end = min(end, request.offset + request.length)
            for offset in range(request.offset, end, CHUNK_BYTES):
                data = await self._read(replica, file, min(CHUNK_BYTES, end - offset), offset)
                yield pb.ReadReply(data=data)

    def _local_path(self, lfn: str) -> str:
        """Where the file lies; empty if that is too long for anyone to open it by path."""
        path = str(self._disk.path(lfn))
        return path if len(os.fsencode(path)) < PATH_MAX_BYTES else ""

    @contextlib.asynccontextmanager
    async def _opened(self, lfn: str) -> AsyncIterator[tuple[Replica, OpenFile]]:
        """A replica and its file; counts a reader, and a use at both ends.

        Raises NotFound if it is not here, or not what it should be; Damaged if it cannot be
        read.
        """
        replica, fd = await self._replicas.open(lfn)
        file = OpenFile(fd)
        try:
            yield replica, file
        finally:
            file.close()
            self._replicas.give_back(replica)
            self._catalogue.note_use(lfn, self._engine.now_s())

    async def _read(self, replica: Replica, file: OpenFile, length: int, offset: int) -> bytes:
        try:
            data = await file.use(self._disk.readers, lambda fd: os.pread(fd, length, offset))
        except OSError as error:
            raise self._replicas.losses.unreadable(replica, error) from error
        if len(data) != length:
            raise self._replicas.losses.cut_short(replica, offset + len(data))
        return data
