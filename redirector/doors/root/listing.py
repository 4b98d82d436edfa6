"""Directories as clients see them: what all pools hold, and what the archive has."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from common.errors import NotFound
from common.root_server import CHECKSUMS, RootError
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.doors.root.entries import Entries
from xroot import responses
from xroot.protocol import Code, DirListFlag
from xroot.texts import STAT_LISTING, cgi_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from common.root_server import Connection
    from redirector.doors.root.looking import Looking
    from redirector.doors.root.naming import Names
    from redirector.questions import ArchiveListing, Questions
    from redirector.runner import Runner
    from xroot.requests import DirList


class Listing:
    """Answers dirlist. A directory exists if anybody has anything in it, or made it."""

    def __init__(
        self, runner: Runner, names: Names, looking: Looking, questions: Questions
    ) -> None:
        self._runner = runner
        self._names = names
        self._looking = looking
        self._questions = questions

    def dirlist(self, connection: Connection, stream_id: bytes, asked: DirList) -> None:
        """Lists one directory. Raises NameRefused, RootError."""
        directory = self._names.directory(asked.path)
        wanted = cgi_values(asked.cgi).get("cks.type", "").lower()
        if wanted and wanted not in CHECKSUMS:
            raise RootError(Code.SERVER_ERROR, f"{wanted} checksums are not supported")
        work = self._list(connection, stream_id, directory, asked.options, wanted)
        connection.spawn(stream_id, work)

    async def is_empty(self, directory: str) -> bool:
        """Whether neither a pool nor the archive has anything in a directory."""
        if self._runner.head.has_entries(directory):
            return False
        return not (await self._questions.list_archive(directory)).entries

    async def exists(self, directory: str) -> bool:
        """Whether there is such a directory, in the pools or the archive."""
        if self._looking.is_directory_here(directory):
            return True
        archived = await self._questions.list_archive(directory)
        return archived.presence == pb.ArchiveFile.PRESENCE_THERE

    async def _list(
        self, connection: Connection, stream_id: bytes, directory: str, options: int, wanted: str
    ) -> None:
        # With ONLINE, only what is on disk is wanted: the archive is asked only whether there
        # is such a directory, and only if nothing of it is here.
        only_online = bool(options & DirListFlag.ONLINE)
        archived = None
        if not (only_online and self._looking.is_directory_here(directory)):
            archived = await self._questions.list_archive(directory)
        self._check_exists(directory, archived)
        with_sums = bool(options & DirListFlag.CHECKSUM)
        with_stat = with_sums or bool(options & DirListFlag.STAT)
        entries = Entries(self._runner, self._names, self._looking, self._questions, directory)
        told = entries.told(
            () if archived is None or only_online else archived.entries,
            with_stat=with_stat,
            algorithm=wanted if with_sums else None,
        )
        async with aclosing(told) as parts:
            await _send_all(connection, stream_id, [STAT_LISTING] if with_stat else [], parts)

    def _check_exists(self, directory: str, archived: ArchiveListing | None) -> None:
        if self._looking.is_directory_here(directory):
            return
        if archived is not None and archived.presence == pb.ArchiveFile.PRESENCE_THERE:
            return
        if self._runner.head.is_online(directory):
            raise NotFound(f"{directory} is a file, not a directory")
        reason = f": {archived.reason}" if archived is not None and archived.reason else ""
        raise NotFound(f"there is no directory {directory}{reason}")


async def _send_all(
    connection: Connection, stream_id: bytes, lines: list[str], parts: AsyncIterator[list[str]]
) -> None:
    """A listing of any length, which begins with `lines`; no faster than its client takes it."""
    is_begun = False
    async for part in parts:
        if is_begun:
            # Only now is it known that these were not the last ones.
            text = _encoded("\n".join(lines) + "\n")
            async with connection.room_for(len(text)):
                connection.send(responses.partial(stream_id, text))
            lines = []
        lines += part
        is_begun = True
    connection.send(responses.ok(stream_id, _encoded("\n".join(lines) + "\0" if lines else "")))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
