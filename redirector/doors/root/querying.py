"""Questions: how this server is configured, how much room there is, what a file's sum is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NotFound
from common.root_server import CHECKSUMS, RootError, configuration, statistics
from redirector.doors.root.naming import is_directory
from xroot import responses
from xroot.protocol import Code, QueryType
from xroot.texts import cgi_values, space

if TYPE_CHECKING:
    from common.root_server import Connection
    from redirector.doors.root.archive import ArchiveView
    from redirector.doors.root.looking import Looking
    from redirector.doors.root.naming import Names
    from redirector.doors.root.opening import Opening
    from redirector.doors.root.preparing import Preparing
    from redirector.runner import Runner
    from xroot.requests import Query


class Querying:
    """Answers kXR_query."""

    def __init__(
        self,
        runner: Runner,
        names: Names,
        opening: Opening,
        looking: Looking,
        archive: ArchiveView,
        preparing: Preparing,
        version: str,
    ) -> None:
        self._runner = runner
        self._names = names
        self._opening = opening
        self._looking = looking
        self._archive = archive
        self._preparing = preparing
        self._version = version

    def query(self, connection: Connection, stream_id: bytes, asked: Query) -> None:
        """Answers one question, now or later. Raises PackhorseError."""
        match asked.kind:
            case QueryType.CONFIG:
                said = configuration(asked.text, role="manager", version=self._version)
                # Alone among the answers it ends without a NUL; clients count on that.
                connection.send(responses.ok(stream_id, said.encode()))
            case QueryType.SPACE:
                connection.send(responses.text(stream_id, self._space()))
            case QueryType.STATS:
                connection.send(responses.text(stream_id, self._stats()))
            case QueryType.XATTR:
                self._attributes(connection, stream_id, asked.text)
            case QueryType.CHECKSUM:
                self._checksum(connection, stream_id, asked.text)
            case QueryType.CHECKSUM_CANCEL:
                connection.send(responses.text(stream_id, ""))
            case QueryType.PREPARE:
                connection.spawn(stream_id, self._preparing.tell(connection, stream_id, asked.text))
            case _:
                reason = f"queries of kind {asked.kind} are not supported"
                connection.fail(stream_id, Code.UNSUPPORTED, reason)

    def _space(self) -> str:
        status = self._runner.head.status(self._runner.now_s())
        return space(
            total_bytes=status.quota_bytes,
            free_bytes=status.available_bytes,
            largest_bytes=status.largest_room_bytes,
            used_bytes=max(0, status.quota_bytes - status.available_bytes),
        )

    def _stats(self) -> str:
        head, now_s = self._runner.head, self._runner.now_s()
        status = head.status(now_s)
        figures = {
            "up": int(status.uptime_s),
            "nodes": len(head.nodes(now_s)),
            "files": status.replicas,
            "queued": status.recalls_queued,
            "running": status.recalls_running,
            "staged": status.recalls_done,
            "failed": status.recalls_failed,
        }
        return statistics("packhorse", figures, now_s=now_s, version=self._version)

    def _attributes(self, connection: Connection, stream_id: bytes, text: str) -> None:
        """The fixed attributes that XRootD tells of everything."""
        path, _, cgi = text.partition("?")
        lfn = self._names.directory(path)
        node = self._opening.holder(connection, lfn, cgi)
        if node is not None:
            connection.send(self._opening.redirect(stream_id, node))
        elif self._looking.is_directory_here(lfn):
            connection.send(responses.text(stream_id, self._looking.attributes_of_directory(lfn)))
        else:
            raise NotFound(f"{lfn} is on no disk now")

    def _checksum(self, connection: Connection, stream_id: bytes, text: str) -> None:
        path, _, cgi = text.partition("?")
        lfn = self._names.file(path)
        wanted = cgi_values(cgi).get("cks.type", "").lower()
        if wanted and wanted not in CHECKSUMS:
            raise RootError(Code.SERVER_ERROR, f"{wanted} checksums are not supported")
        node = self._opening.holder(connection, lfn, cgi)
        if node is not None:
            connection.send(self._opening.redirect(stream_id, node))
            return
        if self._looking.is_directory_here(lfn):
            raise is_directory(lfn)
        connection.spawn(stream_id, self._checksum_archived(connection, stream_id, lfn, wanted))

    async def _checksum_archived(
        self, connection: Connection, stream_id: bytes, lfn: str, wanted: str
    ) -> None:
        """The archive's own sum, if it tells one; no file is staged to be summed up."""
        found = await self._archive.look_up(lfn)
        if found.is_directory:
            raise is_directory(lfn)
        if not found.is_there:
            raise NotFound(
                f"{lfn} does not exist" if not found.reason else f"{lfn}: {found.reason}"
            )
        if found.checksum is None or (wanted and wanted != found.checksum[0]):
            reason = f"{lfn} is in the archive only, which tells no {wanted or 'checksum'} of it"
            raise RootError(Code.SERVER_ERROR, reason)
        connection.send(responses.text(stream_id, " ".join(found.checksum)))
