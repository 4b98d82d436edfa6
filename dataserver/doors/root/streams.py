"""The data behind one write, taken as it arrives.

It is written piece by piece while the rest is on its way, and answered when all is written.
A client that sends faster than the disk takes it is not read from meanwhile, however many
writes it has under way, so a few pieces of each connection are in memory at most. A file that
is closed meanwhile waits for them. Data for which nothing can be done any more is taken all
the same, for the next request stands behind it.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from common.errors import PackhorseError
from common.root_server import RootError
from dataserver.doors.root.turns import in_turn
from xroot import responses
from xroot.errors import ProtocolError
from xroot.pages import PageReader, bad_pages
from xroot.protocol import MAX_BAD_PAGES, PAGE_BYTES, Code, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from common.root_server import Connection
    from dataserver.doors.root.writing import WrittenFile
    from dataserver.uploads import Upload
    from xroot.decoder import Data
    from xroot.requests import PgWrite

#: Handed to the disk in one go.
PIECE_BYTES: Final = 1 << 20


class _Pieces:
    """What has arrived and is not written yet, between the socket and the disk."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._data: list[memoryview | bytes] = []
        self._bytes = 0
        self._taken_bytes = 0
        self._is_last = False
        self._is_over = False
        self._arrived = asyncio.Event()

    def put(self, data: memoryview | bytes, *, is_last: bool) -> None:
        """Some more has arrived."""
        if self._is_over:
            return
        self._connection.hold_bytes(len(data))
        self._data.append(data)
        self._bytes += len(data)
        self._is_last = is_last
        if is_last or self._bytes >= PIECE_BYTES:
            self._arrived.set()

    async def write(self, write: Callable[[list[memoryview | bytes]], Awaitable[None]]) -> None:
        """Has all that arrives written, piece by piece.

        What `write` raises as an error of ours is raised when the rest has arrived, which is
        thrown away.
        """
        error: PackhorseError | RootError | None = None
        is_last = False
        while not is_last:
            data, is_last = await self._take()
            if error is None:
                try:
                    await write(data)
                except (PackhorseError, RootError) as refusal:
                    error = refusal
        if error is not None:
            raise error

    async def _take(self) -> tuple[list[memoryview | bytes], bool]:
        """The next piece, and whether it is the last. What was taken before has been written."""
        self._release()
        await self._arrived.wait()
        self._arrived.clear()
        data, self._data = self._data, []
        self._taken_bytes, self._bytes = self._bytes, 0
        return data, self._is_last

    def end(self) -> None:
        """Nobody takes any more."""
        self._is_over = True
        self._taken_bytes += self._bytes
        self._bytes = 0
        self._data.clear()
        self._release()

    def _release(self) -> None:
        released, self._taken_bytes = self._taken_bytes, 0
        if released:
            self._connection.release_bytes(released)


class Place(NamedTuple):
    """Where a part of a write's data belongs."""

    file: WrittenFile
    offset: int
    length: int


class Stream:
    """Takes the data of one write or writev."""

    def __init__(self, connection: Connection, stream_id: bytes, places: Sequence[Place]) -> None:
        self._connection = connection
        self._stream_id = stream_id
        self._places = [(file.upload, offset, length) for file, offset, length in reversed(places)]
        self._uploads = {upload for upload, _, _ in self._places}
        self._turns = [file.turns.together() for file in {place.file for place in places}]
        self._pieces = _Pieces(connection)
        connection.spawn(stream_id, self._write_all())

    def feed(self, piece: Data) -> None:
        """Takes the next data."""
        self._pieces.put(piece.data, is_last=piece.last)

    async def _write_all(self) -> None:
        with ExitStack() as streams:
            streams.callback(self._pieces.end)
            for upload in self._uploads:
                streams.enter_context(upload.streaming())
            async with in_turn(*self._turns):
                await self._pieces.write(self._write)
        self._connection.send(responses.ok(self._stream_id))

    async def _write(self, data: list[memoryview | bytes]) -> None:
        for upload, offset, parts in self._placed(data):
            await upload.write(parts, offset)

    def _placed(
        self, data: list[memoryview | bytes]
    ) -> list[tuple[Upload, int, list[memoryview | bytes]]]:
        """The data, cut at the ends of the places it is for."""
        placed: list[tuple[Upload, int, list[memoryview | bytes]]] = []
        for whole in data:
            rest = whole
            while rest:
                upload, offset, length = self._places.pop()
                part, rest = rest[:length], rest[length:]
                if placed and placed[-1][0] is upload and _end_of(placed[-1]) == offset:
                    placed[-1][2].append(part)
                else:
                    placed.append((upload, offset, [part]))
                if len(part) < length:
                    self._places.append((upload, offset + len(part), length - len(part)))
        return placed


class PageStream:
    """Takes the data of one pgwrite. Pages that arrive damaged are named, to be sent again."""

    def __init__(
        self, connection: Connection, stream_id: bytes, file: WrittenFile, asked: PgWrite
    ) -> None:
        self._connection = connection
        self._stream_id = stream_id
        self._file = file
        self._asked = asked
        self._reader = PageReader(asked.offset, asked.length)
        self._pieces = _Pieces(connection)
        self._bad: list[tuple[int, int]] = []  # offset, length
        self._turn = file.turns.together()
        connection.spawn(stream_id, self._write_all())

    def feed(self, piece: Data) -> None:
        """Takes the next data."""
        self._pieces.put(piece.data, is_last=piece.last)

    async def _write_all(self) -> None:
        try:
            with self._file.upload.streaming():
                async with in_turn(self._turn):
                    await self._pieces.write(self._write)
        finally:
            self._pieces.end()
        said = self._about_bad_pages()
        header = responses.pages(self._stream_id, Request.PGWRITE, self._asked.offset, len(said))
        self._connection.send(header + said)

    async def _write(self, data: list[memoryview | bytes]) -> None:
        try:
            runs = self._good_runs(data)
        except ProtocolError as error:
            raise RootError(error.code, error.message) from error  # type: ignore[arg-type]
        for offset, parts in runs:
            await self._file.upload.write(parts, offset)

    def _good_runs(
        self, data: list[memoryview | bytes]
    ) -> list[tuple[int, list[memoryview | bytes]]]:
        """The good pages, those that follow one another together; notes the others."""
        runs: list[tuple[int, list[memoryview | bytes]]] = []
        end = -1
        for whole in data:
            for page in self._reader.feed(whole):
                number = page.offset // PAGE_BYTES
                if not page.is_good:
                    self._bad.append((page.offset, len(page.data)))
                    self._file.bad_pages.add(number)
                    continue
                self._file.bad_pages.discard(number)
                if page.offset == end:
                    runs[-1][1].append(page.data)
                else:
                    runs.append((page.offset, [page.data]))
                end = page.offset + len(page.data)
        return runs

    def _about_bad_pages(self) -> bytes:
        """Which pages are to be sent again. Raises RootError if there are too many."""
        if len(self._bad) > MAX_BAD_PAGES:
            reason = f"{self._file.lfn}: {len(self._bad)} pages came with wrong checksums"
            raise RootError(Code.TOO_MANY_ERRORS, reason)
        return bad_pages(self._bad) if self._bad else b""


class Nowhere:
    """Takes data that nobody wants: its request has been answered with an error already."""

    def feed(self, piece: Data) -> None:
        """Forgets it."""


def _end_of(placed: tuple[Upload, int, list[memoryview | bytes]]) -> int:
    return placed[1] + sum(map(len, placed[2]))
