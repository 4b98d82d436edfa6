"""stat, locate and questions about the files of this pool."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from common.errors import UsageError
from common.root_server import configuration, group_name, statistics, user_name
from dataserver.checksum import algorithm_of
from dataserver.doors.root.handles import ReadFile
from xroot import responses
from xroot.protocol import Code, QueryType, StatFlag
from xroot.texts import Location, StatText, cgi_values, space, vfs

if TYPE_CHECKING:
    from common.root_server import Connection
    from common.writable import Writable
    from dataserver.changing import Changing as Changes
    from dataserver.core.replica import Replica
    from dataserver.doors.root.handles import Handles
    from dataserver.doors.root.writing import WrittenFile
    from dataserver.engine import Engine
    from dataserver.replicas import Replicas
    from xroot.requests import Query, Stat

MB: Final = 1 << 20
_FOR_WRITING: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_FOR_EXECUTING: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class Looking:
    """Answers what the files of this pool are."""

    def __init__(
        self,
        engine: Engine,
        replicas: Replicas,
        changes: Changes,
        default_checksum: str,
        version: str,
        writable: Writable,
    ) -> None:
        """`default_checksum` is told of files whose stored one has no other algorithm."""
        self._engine = engine
        self._replicas = replicas
        self._changes = changes
        self._default_checksum = default_checksum
        self._version = version
        self._writable = writable
        #: HOST:PORT of this door, for clients.
        self.address = ""

    async def stat(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        """What is known of a file. Raises NotFound."""
        replica, found = await self._look(lfn)
        connection.send(responses.text(stream_id, self._text(replica, found)))

    def stat_open(
        self, connection: Connection, handles: Handles, stream_id: bytes, asked: Stat
    ) -> None:
        """What is known of an open file. Raises RootError."""
        text = self.text_of(handles.get(asked.handle))
        connection.send(responses.text(stream_id, text))

    def text_of(self, file: ReadFile | WrittenFile) -> str:
        """What is told of an open file."""
        if isinstance(file, ReadFile):
            return str(self._text(file.replica, os.fstat(file.fd)))
        flags = StatFlag.READABLE | StatFlag.WRITABLE | StatFlag.POSC_PENDING
        return str(StatText(file.size_bytes, flags, int(self._engine.now_s())))

    def stat_space(self, connection: Connection, stream_id: bytes) -> None:
        """The pool's room, in the terms of a file system's."""
        quota_bytes, free_bytes = self._room()
        used = 100 - round(100 * free_bytes / quota_bytes) if quota_bytes else 100
        said = vfs(nodes=1, free_mb=free_bytes // MB, used_percent=used, stagers=1)
        connection.send(responses.text(stream_id, said))

    def locate(self, connection: Connection, stream_id: bytes) -> None:
        """It is here."""
        where = Location(self.address, can_write=True)
        connection.send(responses.text(stream_id, where))

    def query(self, connection: Connection, stream_id: bytes, asked: Query) -> None:
        """Answers one question about this server."""
        match asked.kind:
            case QueryType.CONFIG:
                said = configuration(asked.text, role="server", version=self._version)
                # Alone among the answers it ends without a NUL; clients count on that.
                connection.send(responses.ok(stream_id, said.encode()))
            case QueryType.SPACE:
                connection.send(responses.text(stream_id, self._space()))
            case QueryType.STATS:
                connection.send(responses.text(stream_id, self._stats()))
            case QueryType.CHECKSUM_CANCEL:
                connection.send(responses.text(stream_id, ""))
            case _:
                reason = f"queries of kind {asked.kind} are not supported"
                connection.fail(stream_id, Code.UNSUPPORTED, reason)

    async def checksum(
        self, connection: Connection, stream_id: bytes, lfn: str, cgi: str = ""
    ) -> None:
        """A file's sum, of the kind that is asked for behind its name. Raises PackhorseError."""
        wanted = cgi_values(cgi).get("cks.type", "") or self._default_checksum
        algorithm = algorithm_of(wanted)
        if algorithm is None:
            raise UsageError(f"checksum {wanted!r} is not known here")
        found = await self._changes.checksum(lfn, algorithm)
        connection.send(responses.text(stream_id, f"{found.algorithm} {found.value}"))

    async def xattr(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        """The fixed attributes that XRootD tells of every file. Raises NotFound, Damaged."""
        replica, found = await self._look(lfn)
        said = (
            f"oss.cgroup=public&oss.type=f&oss.used={replica.size_bytes}"
            f"&oss.mt={int(found.st_mtime)}&oss.ct={int(found.st_ctime)}"
            f"&oss.at={int(replica.last_use_s)}&oss.u=*&oss.g=*"
            f"&oss.fs={'w' if self._can_change(replica) else 'r'}"
        )
        connection.send(responses.text(stream_id, said))

    # --- inside -------------------------------------------------------------------------

    async def _look(self, lfn: str) -> tuple[Replica, os.stat_result]:
        """A replica, and its file. Raises NotFound, Damaged."""
        replica, fd = await self._replicas.open(lfn, is_use=False)
        try:
            return replica, os.fstat(fd)
        finally:
            os.close(fd)
            self._replicas.give_back(replica, is_use=False)

    def _text(self, replica: Replica, found: os.stat_result) -> StatText:
        flags = StatFlag.READABLE
        mode = stat.S_IMODE(found.st_mode)
        if replica.archived:
            flags |= StatFlag.BACKUP_EXISTS
        if self._can_change(replica):
            flags |= StatFlag.WRITABLE
        else:
            mode &= ~_FOR_WRITING
        if mode & _FOR_EXECUTING:
            flags |= StatFlag.EXECUTABLE
        times = (int(found.st_ctime), int(replica.last_use_s))
        names = (user_name(found.st_uid), group_name(found.st_gid))
        return StatText(
            replica.size_bytes, flags, int(found.st_mtime), found.st_ino, *times, mode, *names
        )

    def _can_change(self, replica: Replica) -> bool:
        return self._engine.node.can_replace(replica) and self._writable.is_writable(replica.lfn)

    def _space(self) -> str:
        quota_bytes, free_bytes = self._room()
        return space(
            total_bytes=quota_bytes,
            free_bytes=free_bytes,
            largest_bytes=free_bytes,
            used_bytes=quota_bytes - free_bytes,
        )

    def _room(self) -> tuple[int, int]:
        """The quota, and what of it new files can have: what may be purged counts as free."""
        load = self._engine.node.load(self._engine.now_s())
        free_bytes = load.quota_bytes - load.protected_bytes - load.reserved_bytes
        return load.quota_bytes, max(0, free_bytes)

    def _stats(self) -> str:
        load = self._engine.node.load(self._engine.now_s())
        figures = {
            "files": load.files,
            "used": load.used_bytes,
            "quota": load.quota_bytes,
            "open": load.open_files,
            "recalls": load.recalls_running,
            "purged": load.files_purged,
        }
        return statistics("pool", figures, now_s=self._engine.now_s(), version=self._version)
