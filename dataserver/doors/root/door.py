"""A data server's root:// door: who comes in, and which part answers what.

What this pool does not have is the redirector's affair: the client is sent back to it, and
told that it was here. So a file that vanished between a redirect and an open is recalled
again, and its reader notices nothing but a moment's wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.address import split_address
from common.errors import NameRefused, NotFound, PackhorseError
from common.root_server import RootError
from common.root_server.hints import announced_bytes, sent_back
from dataserver.doors.root.changing import Changing
from dataserver.doors.root.handles import Handles, ReadFile
from dataserver.doors.root.looking import Looking
from dataserver.doors.root.reading import Reading
from dataserver.doors.root.streams import Nowhere
from dataserver.doors.root.writing import Writing, WrittenFile
from xroot import requests, responses
from xroot.protocol import READING_ATTRIBUTES, STAT_VFS, Code, OpenFlag, QueryType, ServerFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from common.names import NameMap
    from common.root_server import Connection
    from common.writable import Writable
    from dataserver.catalogue import Catalogue
    from dataserver.changing import Changing as Changes
    from dataserver.disk import PoolDisk
    from dataserver.doors.root.notes import Notes
    from dataserver.doors.root.streams import PageStream, Stream
    from dataserver.engine import Engine
    from dataserver.link import Link
    from dataserver.replicas import Replicas
    from dataserver.uploads import Uploads
    from xroot.decoder import Data, Item
    from xroot.requests import Message

#: What is about more than this pool.
_REDIRECTORS = (
    requests.Locate,
    requests.DirList,
    requests.Statx,
    requests.Prepare,
    requests.MkDir,
    requests.RmDir,
)

#: Whoever is sent back waits no longer for a disk that may be gone with the file.
SURE_LIMIT_S: Final = 5.0
#: Questions about one file, which may be elsewhere.
_ABOUT_FILES = (QueryType.CHECKSUM, QueryType.XATTR)


class RootDoor:
    """What all connections share."""

    flags = ServerFlag.IS_SERVER | ServerFlag.SUPPORTS_PAGES | ServerFlag.SUPPORTS_POSC

    def __init__(
        self,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        uploads: Uploads,
        changes: Changes,
        name_map: NameMap,
        writable: Writable,
        max_open_files: int,
        default_checksum: str,
        version: str,
        link: Link,
    ) -> None:
        """`default_checksum` and `version` are told to clients that ask for them."""
        self.max_open_files = max_open_files
        self.names = name_map
        self.reading = Reading(engine, disk, catalogue, replicas)
        self.writing = Writing(engine, uploads, changes)
        self.looking = Looking(engine, replicas, changes, default_checksum, version, writable)
        self.changing = Changing(changes)
        self._losses = replicas.losses
        self._link = link
        self.node = engine.name

    @property
    def redirector(self) -> str:
        """Where clients are sent for what is not here; "" if nowhere."""
        return self._link.root_address

    async def until_heard(self) -> None:
        """Waits until the redirector knows what is not here any more, if it is in touch."""
        await self._losses.until_sure(SURE_LIMIT_S)
        await self._link.until_heard()

    def welcome(self, connection: Connection) -> RootClient:
        """Whoever answers this connection's requests."""
        return RootClient(self, connection)

    async def stop(self) -> None:
        """Waits for what is being published or forgotten, once no client is left."""
        await self.writing.stop()


class RootClient:
    """One client, and what it has open."""

    def __init__(self, door: RootDoor, connection: Connection) -> None:
        self._door = door
        self._connection = connection
        self._handles = Handles(door.max_open_files)
        self._stream: Stream | PageStream | Nowhere = Nowhere()
        self._is_gone = False
        reading, writing = door.reading, door.writing
        shared: dict[type, Callable[[Connection, Handles, bytes, Any], None]] = {
            requests.ReadV: reading.readv,
            requests.PgRead: reading.pgread,
            requests.Sync: writing.sync,
        }
        self._shared = shared
        self._answers: dict[type, Callable[[bytes, Any], None]] = {
            requests.Open: self._open,
            requests.Close: self._close,
            requests.Write: self._write(writing.write),
            requests.WriteV: self._write(writing.writev),
            requests.PgWrite: self._write(writing.pgwrite),
            requests.Truncate: self._truncate,
            requests.Stat: self._stat,
            requests.Rm: self._rm,
            requests.Mv: self._mv,
            requests.Chmod: self._chmod,
            requests.FAttr: self._fattr,
            requests.Query: self._query,
        }

    def request(self, stream_id: bytes, message: Message) -> None:
        """Answers a request. Raises PackhorseError, RootError."""
        if isinstance(message, requests.Read):
            self._door.reading.read(self._connection, self._handles, stream_id, message)
        elif (shared := self._shared.get(type(message))) is not None:
            shared(self._connection, self._handles, stream_id, message)
        elif (answer := self._answers.get(type(message))) is not None:
            answer(stream_id, message)
        else:
            self._elsewhere(stream_id, message)

    def reads(self, items: Sequence[Item], start: int, /) -> int:
        """Answers usual reads that came together; how many."""
        return self._door.reading.reads(self._connection, self._handles, items, start)

    def data(self, piece: Data) -> None:
        """Takes some of the data behind the last write."""
        self._stream.feed(piece)

    def gone(self) -> None:
        """Closes what was open: a file that is not written to its end leaves nothing."""
        self._is_gone = True
        for file in self._handles.take_all():
            self._let_go(file)

    # --- files --------------------------------------------------------------------------

    def _open(self, stream_id: bytes, asked: requests.Open) -> None:
        lfn = self._file(asked.path)
        self._connection.spawn(stream_id, self._open_and_tell(stream_id, lfn, asked))

    async def _open_and_tell(self, stream_id: bytes, lfn: str, asked: requests.Open) -> None:
        with self._handles.room_for_one():
            try:
                file = await self._opened(lfn, asked)
            except NotFound as error:
                self._send_back(stream_id, asked.cgi, error)
                return
            if self._is_gone:
                self._let_go(file)
                return
            about = self._door.looking.text_of(file) if asked.options & OpenFlag.RETSTAT else ""
            self._tell_handle(stream_id, self._handles.add(file), about)

    async def _opened(self, lfn: str, asked: requests.Open) -> ReadFile | WrittenFile:
        if not asked.options & OpenFlag.WRITING:
            return await self._door.reading.open(lfn)
        size_bytes = announced_bytes(asked.cgi)
        owner = self._connection.owner
        return await self._door.writing.open(lfn, asked.options, size_bytes, owner, asked.mode)

    def _let_go(self, file: ReadFile | WrittenFile) -> None:
        if isinstance(file, ReadFile):
            file.close()
        else:
            self._door.writing.abandon(file)

    def _tell_handle(self, stream_id: bytes, handle: bytes, about: str) -> None:
        # Between the two stand the size and kind of a compression that nobody uses.
        body = handle + (bytes(8) + about.encode() + b"\0" if about else b"")
        self._connection.send(responses.ok(stream_id, body))

    def _close(self, stream_id: bytes, asked: requests.Close) -> None:
        file = self._handles.take(asked.handle)
        if isinstance(file, ReadFile):
            file.close()
            self._connection.send(responses.ok(stream_id))
        else:
            work = self._door.writing.close(self._connection, stream_id, file)
            self._connection.spawn(stream_id, work)

    def _write(self, take_data: Callable[..., Stream | PageStream]) -> Callable[[bytes, Any], None]:
        """Has the data that follows go where it belongs, or nowhere if it belongs nowhere."""

        def begin(stream_id: bytes, asked: Any) -> None:
            self._stream = Nowhere()
            self._stream = take_data(self._connection, self._handles, stream_id, asked)

        return begin

    def _truncate(self, stream_id: bytes, asked: requests.Truncate) -> None:
        if not asked.path:
            self._door.writing.truncate(self._connection, self._handles, stream_id, asked)
            return
        work = self._truncate_by_name(stream_id, self._file(asked.path), asked)
        self._connection.spawn(stream_id, self._or_send_back(stream_id, asked.cgi, work))

    async def _truncate_by_name(self, stream_id: bytes, lfn: str, asked: requests.Truncate) -> None:
        await self._door.writing.truncate_by_name(lfn, asked.size, self._connection.owner)
        self._connection.send(responses.ok(stream_id))

    # --- names --------------------------------------------------------------------------

    def _stat(self, stream_id: bytes, asked: requests.Stat) -> None:
        looking = self._door.looking
        if asked.options & STAT_VFS:
            looking.stat_space(self._connection, stream_id)
        elif not asked.path:
            looking.stat_open(self._connection, self._handles, stream_id, asked)
        else:
            work = looking.stat(self._connection, stream_id, self._name(asked.path))
            self._connection.spawn(stream_id, self._or_send_back(stream_id, asked.cgi, work))

    def _rm(self, stream_id: bytes, asked: requests.Rm) -> None:
        work = self._door.changing.rm(self._connection, stream_id, self._file(asked.path))
        self._connection.spawn(stream_id, self._or_send_back(stream_id, asked.cgi, work))

    def _mv(self, stream_id: bytes, asked: requests.Mv) -> None:
        source, target = self._file(asked.source), self._file(asked.target)
        work = self._door.changing.mv(self._connection, stream_id, source, target)
        self._connection.spawn(stream_id, self._or_send_back(stream_id, asked.cgi, work))

    def _chmod(self, stream_id: bytes, asked: requests.Chmod) -> None:
        lfn = self._file(asked.path)
        work = self._door.changing.chmod(self._connection, stream_id, lfn, asked.mode)
        self._connection.spawn(stream_id, self._or_send_back(stream_id, asked.cgi, work))

    def _fattr(self, stream_id: bytes, asked: requests.FAttr) -> None:
        notes = self._notes(asked)
        work = self._door.changing.fattr(self._connection, stream_id, notes, asked)
        if asked.path:
            work = self._or_send_back(stream_id, asked.cgi, work)
        self._connection.spawn(stream_id, work)

    def _notes(self, asked: requests.FAttr) -> Notes:
        if asked.path:
            return self._door.changing.notes(self._file(asked.path))
        file = self._handles.get(asked.handle)
        if isinstance(file, WrittenFile):
            return file.notes
        if asked.action not in READING_ATTRIBUTES:
            reason = f"{file.lfn} is open for reading only: its attributes are not changed"
            raise RootError(Code.INVALID_REQUEST, reason)
        return self._door.changing.notes(file.lfn)

    def _query(self, stream_id: bytes, asked: requests.Query) -> None:
        connection, looking = self._connection, self._door.looking
        if asked.kind not in _ABOUT_FILES:
            looking.query(connection, stream_id, asked)
        elif asked.kind == QueryType.CHECKSUM and not asked.text:
            lfn = self._handles.get(asked.handle).lfn
            connection.spawn(stream_id, looking.checksum(connection, stream_id, lfn))
        else:
            path, _, cgi = asked.text.partition("?")
            lfn = self._name(path)
            if asked.kind == QueryType.CHECKSUM:
                work = looking.checksum(connection, stream_id, lfn, cgi)
            else:
                work = looking.xattr(connection, stream_id, lfn)
            connection.spawn(stream_id, self._or_send_back(stream_id, cgi, work))

    # --- elsewhere ----------------------------------------------------------------------

    async def _or_send_back(
        self, stream_id: bytes, cgi: str, work: Coroutine[Any, Any, None]
    ) -> None:
        """Answers a request, or sends its client to the redirector for what is not here."""
        try:
            await work
        except NotFound as error:
            # Not every request says where its client has been, and it must not be sent here
            # again for what has just been found missing.
            await self._door.until_heard()
            self._send_back(stream_id, cgi, error)

    def _send_back(self, stream_id: bytes, cgi: str, error: PackhorseError) -> None:
        """Sends a client to the redirector for what is not here, if that may have it."""
        if not self._door.redirector:
            raise error
        host, port = split_address(self._door.redirector)
        hints = sent_back(cgi, self._door.node)
        self._connection.send(responses.redirect(stream_id, host, port, hints))

    def _elsewhere(self, stream_id: bytes, message: Message) -> None:
        """What is about more than one file is the redirector's to answer."""
        if isinstance(message, requests.Locate) and not self._door.redirector:
            self._door.looking.locate(self._connection, stream_id)
        elif isinstance(message, _REDIRECTORS) and self._door.redirector:
            host, port = split_address(self._door.redirector)
            self._connection.send(responses.redirect(stream_id, host, port))
        else:
            raise RootError(
                Code.UNSUPPORTED, f"{type(message).__name__.lower()} is not supported here"
            )

    def _file(self, path: str) -> str:
        return self._door.names.check_written(path)

    def _name(self, path: str) -> str:
        """A file's or a directory's name."""
        try:
            return self._door.names.check_written(path)
        except NameRefused:
            return self._door.names.check_directory(path)
