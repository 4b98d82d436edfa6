"""Writing: a file is written apart, and is there, whole and verified, once it is closed.

A client that goes away before leaves nothing behind, whatever it asked for: what `posc`
promises is true of every file here. Several writes may be under way at a time, in any order.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from common.errors import AlreadyExists, NotFound, TooLarge, UsageError
from common.root_server import RootError
from dataserver.doors.root.notes import NotesOfUpload
from dataserver.doors.root.streams import PageStream, Place, Stream
from dataserver.doors.root.turns import Turns, in_turn
from xroot import pages, responses
from xroot.protocol import MAX_CHUNK_BYTES, Code, OpenFlag, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from typing import Any

    from common.root_server import Connection
    from dataserver.changing import Changing as Changes
    from dataserver.doors.root.handles import Handles
    from dataserver.doors.root.turns import Turn
    from dataserver.engine import Engine
    from dataserver.uploads import Upload, Uploads
    from xroot.requests import Chunk, PgRead, PgWrite, Read, ReadV, Sync, Truncate, Write, WriteV

#: What a client reads of what it is writing goes out in pieces of this size.
PIECE_BYTES: Final = 2 << 20
USUAL_MODE: Final = 0o644


class WrittenFile:
    """A file that is open for writing."""

    def __init__(
        self, lfn: str, upload: Upload, announced_bytes: int, notes: NotesOfUpload
    ) -> None:
        """`announced_bytes` is the size it will have; 0: the client has not said."""
        self.lfn = lfn
        self.upload = upload
        self.announced_bytes = announced_bytes
        self.notes = notes
        self.turns = Turns()
        #: Pages that came with a wrong checksum, and have not come again.
        self.bad_pages: set[int] = set()

    @property
    def size_bytes(self) -> int:
        """How large it is now."""
        return self.upload.size_bytes

    async def read(self, connection: Connection, stream_id: bytes, asked: Read) -> None:
        """Tells a client what it has written, no faster than it takes it."""
        path = connection.path(asked.path_id)
        for offset, length, is_last in self._pieces(asked):
            async with path.room_for(length):
                data = await self._read(offset, length)
                answer = responses.ok if is_last else responses.partial
                path.send(answer(stream_id, data))

    async def pgread(self, connection: Connection, stream_id: bytes, asked: PgRead) -> None:
        """The same in pages."""
        path = connection.path(asked.path_id)
        for offset, length, is_last in self._pieces(asked):
            async with path.room_for(length):
                summed = pages.with_checksums(await self._read(offset, length), offset)
                header = responses.pages(
                    stream_id, Request.PGREAD, offset, len(summed), final=is_last
                )
                path.send(header + summed)

    async def readv(self, connection: Connection, stream_id: bytes, asked: ReadV) -> None:
        """The same for many ranges, each of which must lie within what there is."""
        self._check(asked.chunks)
        path = connection.path(asked.path_id)
        for number, chunk in enumerate(asked.chunks, 1):
            async with path.room_for(chunk.length):
                data = await self._read(chunk.offset, chunk.length)
                answer = responses.ok if number == len(asked.chunks) else responses.partial
                path.send(answer(stream_id, responses.chunk(chunk) + data))

    def _check(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            if chunk.handle != chunks[0].handle:
                raise UsageError("files that are being written are read one at a time")
            if chunk.length > MAX_CHUNK_BYTES:
                reason = f"a chunk of {chunk.length} bytes; {MAX_CHUNK_BYTES} can be read at most"
                raise TooLarge(reason)
            if chunk.offset + chunk.length > self.size_bytes:
                raise RootError(Code.FS_ERROR, f"{self.lfn}: a chunk ends past the end of the file")

    def _pieces(self, asked: Read | PgRead) -> Iterator[tuple[int, int, bool]]:
        """What is there of a range, piece by piece: offset, length, and whether it is the last.

        They end where pages do, so that only the first and the last page may be short.
        """
        offset = asked.offset
        end = max(offset, min(offset + asked.length, self.size_bytes))
        while True:
            stop = min(end, (offset // PIECE_BYTES + 1) * PIECE_BYTES)
            yield offset, stop - offset, stop == end
            if stop == end:
                return
            offset = stop

    async def _read(self, offset: int, length: int) -> bytes:
        return await self.upload.read(length, offset) if length else b""


class Writing:
    """Answers what changes a file that is open."""

    def __init__(self, engine: Engine, uploads: Uploads, changes: Changes) -> None:
        self._engine = engine
        self._uploads = uploads
        self._changes = changes
        self._ending: set[asyncio.Task[None]] = set()

    async def open(
        self, lfn: str, options: int, announced_bytes: int, owner: str, mode: int = 0
    ) -> WrittenFile:
        """A file to write, with the permissions `mode` (0: the usual). Raises PackhorseError."""
        exists = self._engine.node.is_visible(lfn)
        if exists and options & OpenFlag.NEW:
            raise AlreadyExists(f"{lfn} exists already")
        if not exists and not options & (OpenFlag.NEW | OpenFlag.DELETE):
            raise NotFound(f"{lfn} is not on this node")
        upload = await self._uploads.begin(
            lfn,
            size_bytes=announced_bytes,
            replaces=exists,
            copy_old=exists and not options & OpenFlag.DELETE,
            owner=owner,
            mode=mode & 0o775 or USUAL_MODE,
        )
        return WrittenFile(lfn, upload, announced_bytes, NotesOfUpload(self._changes, lfn))

    def write(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: Write
    ) -> Stream:
        """What takes the data that follows. Raises PackhorseError, RootError."""
        file = handles.to_write(asked.handle)
        return Stream(connection, stream_id, [Place(file, asked.offset, asked.length)])

    def writev(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: WriteV
    ) -> Stream:
        """The same for many ranges."""
        places = [
            Place(handles.to_write(chunk.handle), chunk.offset, chunk.length)
            for chunk in asked.chunks
        ]
        return Stream(connection, stream_id, places)

    def pgwrite(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: PgWrite
    ) -> PageStream:
        """The same for pages."""
        file = handles.to_write(asked.handle)
        return PageStream(connection, stream_id, file, asked)

    def sync(self, connection: Connection, handles: Handles, stream_id: bytes, asked: Sync) -> None:
        """What was written is on disk when this is answered."""
        file = handles.get(asked.handle)
        if isinstance(file, WrittenFile):
            work = _then_ok(connection, stream_id, file.turns.behind(), file.upload.sync)
            connection.spawn(stream_id, work)
        else:
            connection.send(responses.ok(stream_id))

    def truncate(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: Truncate
    ) -> None:
        """Gives an open file another size."""
        file = handles.to_write(asked.handle)
        truncate = partial(file.upload.truncate, asked.size)
        work = _then_ok(connection, stream_id, file.turns.alone(), truncate)
        connection.spawn(stream_id, work)

    async def truncate_by_name(self, lfn: str, size_bytes: int, owner: str) -> None:
        """Gives a file another size. Raises PackhorseError."""
        file = await self.open(lfn, OpenFlag.UPDATE, 0, owner)
        try:
            await file.upload.truncate(size_bytes)
        except BaseException:
            self.abandon(file)
            raise
        await self.finish(file)

    async def close(self, connection: Connection, stream_id: bytes, file: WrittenFile) -> None:
        """Publishes a file; its client hears whether it is there."""
        await self.finish(file)
        connection.send(responses.ok(stream_id))

    async def finish(self, file: WrittenFile) -> None:
        """Publishes a file, to its end, even if the client goes away meanwhile."""
        await asyncio.shield(self._keep(_publish(file, file.turns.alone())))

    def abandon(self, file: WrittenFile) -> None:
        """Forgets a file that was not closed."""
        self._keep(file.upload.abandon())

    async def stop(self) -> None:
        """Waits for what is being published or forgotten."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="end of an upload")
        self._ending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            # Whoever still waits is told; nobody may be there any more.
            task.exception()


async def _publish(file: WrittenFile, turn: Turn) -> None:
    # A client may close a file before it has heard of its last writes.
    async with in_turn(turn):
        if file.bad_pages:
            await file.upload.abandon()
            reason = f"{file.lfn}: {len(file.bad_pages)} pages came with wrong checksums"
            raise RootError(Code.CHECKSUM_ERROR, reason)
        await file.upload.finish()
    await file.notes.keep()


async def _then_ok(
    connection: Connection, stream_id: bytes, turn: Turn, work: Callable[[], Awaitable[None]]
) -> None:
    async with in_turn(turn):
        await work()
    connection.send(responses.ok(stream_id))
