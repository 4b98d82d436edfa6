"""stat, statx and locate: what a name is, and where."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from common.address import split_address
from common.errors import NotFound, UsageError
from common.root_server import own_names
from xroot import responses
from xroot.protocol import STAT_VFS, LocateFlag, StatFlag
from xroot.texts import Location, StatText, vfs

if TYPE_CHECKING:
    from common.root_server import Connection
    from redirector.core.model import NodeAddress
    from redirector.doors.root.archive import Archived, ArchiveView
    from redirector.doors.root.naming import Names
    from redirector.doors.root.opening import Opening
    from redirector.runner import Runner
    from xroot.requests import Locate, Stat, Statx

MB: Final = 1 << 20
#: Of a file that is in the archive and on no disk: gfal calls it NEARLINE.
OFFLINE: Final = StatFlag.READABLE | StatFlag.OFFLINE | StatFlag.BACKUP_EXISTS
MAX_STATX: Final = 100_000


class Looking:
    """Answers what a name is, without ever staging anything."""

    def __init__(
        self, runner: Runner, names: Names, opening: Opening, archive: ArchiveView
    ) -> None:
        self._runner = runner
        self._names = names
        self._opening = opening
        self._archive = archive
        self._started_s = int(time.time())
        self._owner = own_names()
        #: HOST:PORT of this door, for clients.
        self.address = ""

    def stat(self, connection: Connection, stream_id: bytes, asked: Stat) -> None:
        """A file on a disk is its holder's to tell about; all else is told here."""
        lfn = self._names.directory(asked.path)
        if asked.options & STAT_VFS:
            connection.send(responses.text(stream_id, self.space_below(lfn)))
            return
        node = self._opening.holder(connection, lfn, asked.cgi)
        if node is not None:
            connection.send(self._opening.redirect(stream_id, node))
        elif self.is_directory_here(lfn):
            connection.send(responses.text(stream_id, self.of_directory(lfn)))
        else:
            connection.spawn(stream_id, self._stat_archived(connection, stream_id, lfn))

    def statx(self, connection: Connection, stream_id: bytes, asked: Statx) -> None:
        """One byte of flags for each name."""
        if not 0 < len(asked.paths) <= MAX_STATX:
            raise UsageError(f"statx of {len(asked.paths)} names; 1 to {MAX_STATX} can be told")
        lfns = [self._names.directory(path.partition("?")[0]) for path in asked.paths]
        connection.spawn(stream_id, self._statx(connection, stream_id, lfns))

    def locate(self, connection: Connection, stream_id: bytes, asked: Locate) -> None:
        """Where a file can be read; or whom to ask for a listing: that is us."""
        path = asked.path.removeprefix("*")
        if asked.options & LocateFlag.FOR_DIRLIST:
            here = Location(_written(self.address), can_write=True)
            connection.send(responses.text(stream_id, here))
            return
        lfn = self._names.directory(path or "/")
        holders = self._runner.head.holders(lfn)
        if holders:
            self._tell(connection, stream_id, lfn, holders)
        elif asked.path.startswith("*") or self.is_directory_here(lfn):
            self._tell_all(connection, stream_id, lfn)
        else:
            connection.spawn(stream_id, self._locate_archived(connection, stream_id, lfn))

    # --- for the others -----------------------------------------------------------------

    def is_directory_here(self, lfn: str) -> bool:
        """Whether a name is a directory as far as is known here, without the archive."""
        return self._names.is_given(lfn) or self._runner.head.is_directory(lfn)

    def of_directory(self, lfn: str, mtime_s: int = 0) -> StatText:
        """What is told of a directory; those of the pools are as old as this server."""
        flags = StatFlag.DIRECTORY | StatFlag.READABLE | StatFlag.EXECUTABLE
        if self._names.is_writable(lfn):
            flags |= StatFlag.WRITABLE
        return self._text(0, flags, mtime_s or self._started_s)

    def attributes_of_directory(self, lfn: str) -> str:
        """What XRootD tells of every directory besides."""
        times = f"oss.mt={self._started_s}&oss.ct={self._started_s}&oss.at={self._started_s}"
        access = "w" if self._names.is_writable(lfn) else "r"
        return f"oss.cgroup=public&oss.type=d&oss.used=0&{times}&oss.u=*&oss.g=*&oss.fs={access}"

    def of_file(self, size_bytes: int, flags: int, mtime_s: int) -> StatText:
        """What is told of a file, on disk or in the archive."""
        return self._text(size_bytes, flags, mtime_s)

    def _text(self, size_bytes: int, flags: int, mtime_s: int) -> StatText:
        """All times are that of the last change, and everything is the servers' own."""
        mode = 0o111 if flags & StatFlag.EXECUTABLE else 0
        mode |= 0o644 if flags & StatFlag.WRITABLE else 0o444
        times = (mtime_s, mtime_s)
        return StatText(size_bytes, flags, mtime_s, 0, *times, mode, *self._owner)

    def space_below(self, directory: str) -> str:
        """How many pools there are for staging and for writing here, and the room of the best."""
        status = self._runner.head.status(self._runner.now_s())
        nodes = sum(1 for node in self._runner.head.nodes(self._runner.now_s()) if node.quota_bytes)
        used = 100
        if status.quota_bytes:
            used = 100 - round(100 * status.available_bytes / status.quota_bytes)
        return vfs(
            nodes=nodes if self._names.is_writable(directory) else 0,
            free_mb=status.largest_room_bytes // MB,
            used_percent=used,
            stagers=nodes,
        )

    # --- inside -------------------------------------------------------------------------

    async def _stat_archived(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        found = await self._archive.look_up(lfn)
        if found.is_directory:
            text = self.of_directory(lfn, found.mtime_s)
        elif found.is_there:
            text = self.of_file(found.size_bytes, OFFLINE, found.mtime_s)
        else:
            raise _not_found(lfn, found)
        connection.send(responses.text(stream_id, text))

    async def _statx(self, connection: Connection, stream_id: bytes, lfns: list[str]) -> None:
        head = self._runner.head
        flags: dict[str, int] = {}
        for lfn in lfns:
            if head.is_online(lfn):
                flags[lfn] = 0
            elif self.is_directory_here(lfn):
                flags[lfn] = StatFlag.DIRECTORY
        unknown = [lfn for lfn in dict.fromkeys(lfns) if lfn not in flags]
        if unknown:
            for lfn, found in (await self._archive.look_up_all(unknown)).items():
                if found.is_directory:
                    flags[lfn] = StatFlag.DIRECTORY
                elif found.is_there:
                    flags[lfn] = StatFlag.OFFLINE
                else:
                    raise _not_found(lfn, found)
        connection.send(responses.ok(stream_id, bytes(flags[lfn] for lfn in lfns)))

    async def _locate_archived(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        """A file on its way is pending at its node; one in the archive can be had from us."""
        node = self._runner.head.staging_node(lfn)
        if node is not None and node.root_address:
            where = Location(_written(node.root_address), is_pending=True)
            connection.send(responses.text(stream_id, where))
            return
        found = await self._archive.look_up(lfn)
        if found.is_directory:
            self._tell_all(connection, stream_id, lfn)
        elif found.is_there:
            raise NotFound(
                f"{lfn} is in the archive only: open it, or prepare -s, and it is staged"
            )
        else:
            raise _not_found(lfn, found)

    def _tell_all(self, connection: Connection, stream_id: bytes, directory: str) -> None:
        nodes = self._runner.head.nodes(self._runner.now_s())
        in_touch = [figures.address for figures in nodes if figures.connection is not None]
        self._tell(connection, stream_id, directory, in_touch)

    def _tell(
        self, connection: Connection, stream_id: bytes, lfn: str, nodes: list[NodeAddress]
    ) -> None:
        can_write = self._names.is_writable(lfn)
        locations = [
            str(Location(_written(node.root_address), can_write=can_write))
            for node in nodes
            if node.root_address
        ]
        if not locations:
            raise NotFound("no data server is in touch that serves root://")
        connection.send(responses.text(stream_id, " ".join(locations)))


def _written(address: str) -> str:
    """An address as XRootD writes it: an IPv4 one as IPv6."""
    host, port = split_address(address)
    is_ipv4 = host.replace(".", "").isdigit() and host.count(".") == 3
    return f"[::{host}]:{port}" if is_ipv4 else address


def _not_found(lfn: str, found: Archived) -> NotFound:
    if found.reason:
        return NotFound(f"{lfn} is on no disk, and the archive could not be asked: {found.reason}")
    return NotFound(f"{lfn} does not exist")
