"""Reading: open, read, readv and pgread.

What is read goes from the disk to the client as a part of a file (`common.root_server`),
so a read costs a header and an entry in a queue here, however large it is. Pages are the
exception: their checksums have to be computed, which a thread does.
"""

from __future__ import annotations

import asyncio
import os
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from common.errors import TooLarge, UsageError
from common.root_server import FilePart, FileParts, RootError
from dataserver.doors.root.handles import ReadFile
from xroot import pages, responses
from xroot.protocol import MAX_CHUNK_BYTES, Code, Request
from xroot.requests import Read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.root_server import Connection, OnePart
    from dataserver.catalogue import Catalogue
    from dataserver.core.replica import Replica
    from dataserver.disk import PoolDisk
    from dataserver.doors.root.handles import Handles
    from dataserver.engine import Engine
    from dataserver.replicas import Replicas
    from xroot.decoder import Item
    from xroot.requests import PgRead, ReadV

#: One answer holds no more than this (its length is a signed number of 32 bits).
MAX_ANSWER_BYTES: Final = (1 << 31) - 1 - (1 << 20)
#: Pages are read and summed up so many bytes at a time.
PAGES_BYTES: Final = 2 << 20
#: So many reads that came together are answered in one go, if each is no larger than this.
AT_A_TIME: Final = 256
SMALL_BYTES: Final = 128 << 10


class Reading:
    """Opens replicas, and answers what is read of them."""

    def __init__(
        self, engine: Engine, disk: PoolDisk, catalogue: Catalogue, replicas: Replicas
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._replicas = replicas

    async def open(self, lfn: str) -> ReadFile:
        """A replica, open: no purge takes it. Raises NotFound, Damaged."""
        replica, fd = await self._replicas.open(lfn)
        return ReadFile(
            fd,
            replica,
            lambda file: self._give_back(file.replica),
            self._replicas.losses.cut_short,
        )

    def read(self, connection: Connection, handles: Handles, stream_id: bytes, asked: Read) -> None:
        """Sends a range, which ends where the file does. Raises PackhorseError."""
        file = handles.to_read(asked.handle)
        if file is None:
            written = handles.to_write(asked.handle)
            connection.spawn(stream_id, written.read(connection, stream_id, asked))
            return
        length = min(asked.length, file.size_bytes - asked.offset)
        path = connection.path(asked.path_id) if asked.path_id else connection
        if length <= 0:
            path.send(responses.ok(stream_id))
        elif length > MAX_ANSWER_BYTES:
            raise TooLarge(f"{length} bytes are more than can be read at once")
        else:
            header = responses.header(stream_id, length)
            path.send_part(FilePart(header, file, asked.offset, length))

    def reads(
        self, connection: Connection, handles: Handles, items: Sequence[Item], start: int
    ) -> int:
        """Sends the ranges of reads of one file that came together; how many those are.

        What is not as usual, an error above all, is left to `read`.
        """
        first = items[start][1]
        if not isinstance(first, Read) or (file := handles.to_read(first.handle)) is None:
            return 0
        usual, size_bytes = first.handle, file.size_bytes
        parts: list[OnePart] = []
        for stream_id, asked in islice(items, start, start + AT_A_TIME):
            if type(asked) is not Read:
                break
            handle, offset, length, path_id = asked
            if offset + length > size_bytes:
                length = size_bytes - offset
            if handle != usual or path_id or not 0 < length <= SMALL_BYTES:
                break
            parts.append((stream_id, length, offset))
        if parts:
            connection.send_parts(FileParts(file, parts, responses.WELL, tells_offset=False))
        return len(parts)

    def readv(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: ReadV
    ) -> None:
        """Sends many ranges in one answer; each must lie within its file. Raises PackhorseError."""
        first = handles.get(asked.chunks[0].handle)
        if not isinstance(first, ReadFile):
            connection.spawn(stream_id, first.readv(connection, stream_id, asked))
            return
        file, last, size_bytes = first, asked.chunks[0].handle, first.size_bytes
        is_all_of_one = True
        total = responses.CHUNK.size * len(asked.chunks)
        for handle, length, offset in asked.chunks:
            if handle != last:
                file = self._to_read(handles, handle)
                last, size_bytes, is_all_of_one = handle, file.size_bytes, False
            if length > MAX_CHUNK_BYTES:
                raise TooLarge(f"a chunk of {length} bytes; {MAX_CHUNK_BYTES} can be read at most")
            if offset + length > size_bytes:
                raise RootError(Code.FS_ERROR, f"{file.lfn}: a chunk ends past the end of the file")
            total += length
        if total > MAX_ANSWER_BYTES:
            raise TooLarge(f"{total} bytes are more than can be read at once")
        path = connection.path(asked.path_id)
        path.send(responses.header(stream_id, total))
        # A chunk is asked for in the words of its header in the answer.
        if is_all_of_one:
            path.send_parts(FileParts(file, asked.chunks, responses.CHUNK, tells_offset=True))
            return
        for handle, chunks in groupby(asked.chunks, itemgetter(0)):
            file = self._to_read(handles, handle)
            path.send_parts(FileParts(file, tuple(chunks), responses.CHUNK, tells_offset=True))

    def pgread(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: PgRead
    ) -> None:
        """Sends a range in pages with their checksums. Raises PackhorseError."""
        file = handles.get(asked.handle)
        if not isinstance(file, ReadFile):
            connection.spawn(stream_id, file.pgread(connection, stream_id, asked))
            return
        file.keep()
        connection.spawn(stream_id, self._send_pages(connection, stream_id, asked, file))

    # --- inside -------------------------------------------------------------------------

    def _to_read(self, handles: Handles, handle: bytes) -> ReadFile:
        file = handles.get(handle)
        if not isinstance(file, ReadFile):
            raise UsageError("files that are being written are read one at a time")
        return file

    async def _send_pages(
        self, connection: Connection, stream_id: bytes, asked: PgRead, file: ReadFile
    ) -> None:
        """Piece by piece, no faster than the client takes them."""
        path = connection.path(asked.path_id)
        end = max(asked.offset, min(asked.offset + asked.length, file.size_bytes))
        offset = asked.offset
        try:
            while True:
                # Pieces end where pages do, so that only the first and the last may be short.
                stop = min(end, (offset // PAGES_BYTES + 1) * PAGES_BYTES)
                async with path.room_for(stop - offset):
                    data = await self._pages(file, offset, stop - offset)
                    about = responses.pages(
                        stream_id, Request.PGREAD, offset, len(data), final=stop == end
                    )
                    path.send(about)
                    path.send(data)
                if stop == end:
                    return
                offset = stop
        finally:
            file.let_go()

    async def _pages(self, file: ReadFile, offset: int, length: int) -> bytes:
        if not length:
            return b""

        def read() -> bytes:
            data = os.pread(file.fd, length, offset)
            return pages.with_checksums(data, offset) if len(data) == length else b""

        # A thread reads from the descriptor, which must not be closed under it.
        file.keep()
        reading = self._disk.readers.call(read)
        reading.add_done_callback(lambda _: file.let_go())
        try:
            data = await asyncio.shield(reading)
        except OSError as error:
            raise self._replicas.losses.unreadable(file.replica, error) from error
        if not data:
            raise self._replicas.losses.cut_short(file.replica, offset)
        return data

    def _give_back(self, replica: Replica) -> None:
        self._replicas.give_back(replica)
        self._catalogue.note_use(replica.lfn, self._engine.now_s())
