"""Changing names: directories are made here; files are changed where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from common.errors import AlreadyExists, NotFound, Refused
from common.root_server import RootError
from redirector.core.events import MakeDirectoryAsked, RemoveDirectoryAsked
from redirector.doors.root.naming import is_directory
from xroot import responses
from xroot.protocol import READING_ATTRIBUTES, Code
from xroot.requests import FAttr, Mv, Rm

if TYPE_CHECKING:
    from common.root_server import Connection
    from redirector.core.model import NodeAddress
    from redirector.doors.root.archive import ArchiveView
    from redirector.doors.root.listing import Listing
    from redirector.doors.root.naming import Names
    from redirector.doors.root.opening import Opening
    from redirector.runner import Runner
    from xroot.requests import Chmod, MkDir, RmDir, Truncate


class Changing:
    """Answers what changes the name space, where the site lets clients do so."""

    def __init__(
        self,
        runner: Runner,
        names: Names,
        opening: Opening,
        archive: ArchiveView,
        listing: Listing,
        *,
        removes: bool,
    ) -> None:
        """`removes`: data servers remove what is in the archive, if clients want it."""
        self._runner = runner
        self._names = names
        self._opening = opening
        self._archive = archive
        self._listing = listing
        self._removes = removes

    def mkdir(self, connection: Connection, stream_id: bytes, asked: MkDir) -> None:
        """Makes a directory; it lasts, empty or not."""
        directory = self._names.directory(asked.path)
        if not self._names.is_given(directory):
            self._names.check_writable(directory)
        with_parents = bool(asked.options & 1)
        work = self._mkdir(connection, stream_id, directory, with_parents=with_parents)
        connection.spawn(stream_id, work)

    def rmdir(self, connection: Connection, stream_id: bytes, asked: RmDir) -> None:
        """Removes an empty directory."""
        directory = self._names.directory(asked.path)
        if self._names.is_given(directory):
            raise Refused(f"{directory} is there by the site's configuration, and stays")
        self._names.check_writable(directory)
        connection.spawn(stream_id, self._rmdir(connection, stream_id, directory))

    def change_file(
        self, connection: Connection, stream_id: bytes, asked: Rm | Mv | Chmod | Truncate | FAttr
    ) -> None:
        """Sends the client to the file's holder, who does it."""
        lfn = self._names.file(asked.source if isinstance(asked, Mv) else asked.path)
        if not (isinstance(asked, FAttr) and asked.action in READING_ATTRIBUTES):
            self._names.check_writable(lfn)
        node = self._opening.holder(connection, lfn, asked.cgi)
        if node is None and self._removes and isinstance(asked, Rm):
            connection.spawn(stream_id, self._send_to_remove(connection, stream_id, lfn))
        elif node is None:
            connection.spawn(stream_id, self._explain_absence(lfn))
        elif isinstance(asked, Mv):
            target = self._names.file(asked.target)
            self._names.check_writable(target)
            connection.spawn(stream_id, self._send_to_rename(connection, stream_id, node, target))
        else:
            connection.send(self._opening.redirect(stream_id, node))

    async def _send_to_rename(
        self, connection: Connection, stream_id: bytes, node: NodeAddress, target: str
    ) -> None:
        """Data servers know of names that are taken in the pools, but not in the archive."""
        await self._archive.check_free(target)
        self._runner.head.found_vacant(target, self._runner.now_s())
        connection.send(self._opening.redirect(stream_id, node))

    async def _send_to_remove(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        """What is in the archive only can be removed by any data server."""
        if self._runner.head.is_online(lfn) or not (await self._archive.look_up(lfn)).is_there:
            await self._explain_absence(lfn)
        node = self._runner.head.choose_writer(lfn, 1, "", (), self._runner.now_s())
        connection.send(self._opening.redirect(stream_id, node))

    async def _mkdir(
        self, connection: Connection, stream_id: bytes, directory: str, *, with_parents: bool
    ) -> None:
        found = await self._archive.look_up(directory)
        if found.is_there or self._runner.head.is_online(directory):
            raise AlreadyExists(f"{directory} is a file")
        if found.is_directory or self._is_known(directory):
            if with_parents:
                connection.send(responses.ok(stream_id))
                return
            raise AlreadyExists(f"{directory} exists already")
        parent = directory.rpartition("/")[0] or "/"
        # What the head does not know of may be in the archive.
        parents = with_parents or self._names.is_given(parent) or await self._listing.exists(parent)
        await self._runner.ask(MakeDirectoryAsked(directory, parents=parents))
        connection.send(responses.ok(stream_id))

    async def _rmdir(self, connection: Connection, stream_id: bytes, directory: str) -> None:
        if self._runner.head.is_online(directory):
            raise RootError(Code.FS_ERROR, f"{directory} is a file, not a directory")
        if not await self._listing.exists(directory):
            raise NotFound(f"there is no directory {directory}")
        if not await self._listing.is_empty(directory):
            raise RootError(Code.FS_ERROR, f"{directory} is not empty")
        if not self._runner.head.is_directory(directory):
            raise Refused(f"{directory} is in the archive, where clients change nothing")
        await self._runner.ask(RemoveDirectoryAsked(directory))
        connection.send(responses.ok(stream_id))

    async def _explain_absence(self, lfn: str) -> NoReturn:
        """Raises why a file cannot be changed that is on no disk in touch."""
        if self._runner.head.is_online(lfn):
            raise Refused(f"{lfn} is on a data server that is out of touch; try again later")
        if self._is_known(lfn):
            raise is_directory(lfn)
        found = await self._archive.look_up(lfn)
        if found.is_directory:
            raise is_directory(lfn)
        if found.is_there:
            raise Refused(f"{lfn} is in the archive, where clients change nothing")
        raise NotFound(f"{lfn} does not exist" + (f": {found.reason}" if found.reason else ""))

    def _is_known(self, lfn: str) -> bool:
        return self._names.is_given(lfn) or self._runner.head.is_directory(lfn)
