"""Directories as clients see them: what all pools hold, and what the archive has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import NotFound
from protos.packhorse.v1 import redirector_pb2 as pb
from xroot import responses
from xroot.protocol import DirListFlag, StatFlag
from xroot.texts import STAT_LISTING

if TYPE_CHECKING:
    from common.root_server import Connection
    from redirector.core.directories import DirectoryListing
    from redirector.doors.root.looking import Looking
    from redirector.doors.root.naming import Names
    from redirector.questions import ArchiveListing, Questions
    from redirector.runner import Runner
    from xroot.requests import DirList
    from xroot.texts import StatText

#: A listing goes out in pieces of about this size.
PIECE_BYTES: Final = 1 << 20
#: Where the archive has not told a file's time of change.
UNKNOWN_S: Final = 0
#: How XRootD writes behind an entry that it does not know its checksum.
NO_CHECKSUM: Final = " [ adler32:none ]"


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
        """Lists one directory. Raises NameRefused."""
        directory = self._names.directory(asked.path)
        connection.spawn(stream_id, self._list(connection, stream_id, directory, asked.options))

    async def is_empty(self, directory: str) -> bool:
        """Whether neither a pool nor the archive has anything in a directory."""
        here = self._runner.head.list_directory(directory)
        if here.files or here.directories:
            return False
        return not (await self._questions.list_archive(directory)).entries

    async def exists(self, directory: str) -> bool:
        """Whether there is such a directory, in the pools or the archive."""
        if self._looking.is_directory_here(directory):
            return True
        archived = await self._questions.list_archive(directory)
        return archived.presence == pb.ArchiveFile.PRESENCE_THERE

    async def _list(
        self, connection: Connection, stream_id: bytes, directory: str, options: int
    ) -> None:
        # With ONLINE, only what is on disk is wanted: the archive is asked only whether there
        # is such a directory, and only if nothing of it is here.
        archived = None
        if not (options & DirListFlag.ONLINE and self._looking.is_directory_here(directory)):
            archived = await self._questions.list_archive(directory)
        here = self._runner.head.list_directory(directory)
        self._check_exists(directory, here, archived)
        if options & DirListFlag.ONLINE:
            archived = None
        with_stat = bool(options & (DirListFlag.STAT | DirListFlag.CHECKSUM))
        entries = await self._entries(directory, here, archived, with_stat=with_stat)
        # Sums are the data servers' to tell, each when it is asked for one.
        sums = NO_CHECKSUM if options & DirListFlag.CHECKSUM else ""
        lines = [
            f"{name}\n{about}{sums}" if with_stat else name
            for name, about in sorted(entries.items())
        ]
        if with_stat:
            lines.insert(0, STAT_LISTING)
        _send_in_pieces(connection, stream_id, lines)

    def _check_exists(
        self, directory: str, here: DirectoryListing, archived: ArchiveListing | None
    ) -> None:
        if here.files or here.directories or self._looking.is_directory_here(directory):
            return
        if archived is None or archived.presence == pb.ArchiveFile.PRESENCE_THERE:
            return
        if self._runner.head.is_online(directory):
            raise NotFound(f"{directory} is a file, not a directory")
        reason = f": {archived.reason}" if archived.reason else ""
        raise NotFound(f"there is no directory {directory}{reason}")

    async def _entries(
        self,
        directory: str,
        here: DirectoryListing,
        archived: ArchiveListing | None,
        *,
        with_stat: bool,
    ) -> dict[str, StatText]:
        """What is in a directory, by name; files on a disk as they are there."""
        above = directory.removesuffix("/")
        entries: dict[str, StatText] = {}
        backed_up = set()
        for entry in archived.entries if archived is not None else ():
            mtime_s = int(entry.mtime_unix_s)
            if entry.is_directory:
                entries[entry.name] = self._looking.of_directory(f"{above}/{entry.name}", mtime_s)
            else:
                flags = StatFlag.READABLE | StatFlag.OFFLINE | StatFlag.BACKUP_EXISTS
                entries[entry.name] = self._looking.of_file(entry.size_bytes, flags, mtime_s)
                backed_up.add(entry.name)
        for name in (*here.directories, *self._names.given_in(directory)):
            entries.setdefault(name, self._looking.of_directory(f"{above}/{name}"))
        times = {}
        if with_stat:
            times = await self._questions.modified([f"{above}/{name}" for name, _ in here.files])
        for name, size_bytes in here.files:
            lfn = f"{above}/{name}"
            flags = StatFlag.READABLE
            if name in backed_up:
                flags |= StatFlag.BACKUP_EXISTS
            elif self._names.is_writable(lfn):
                flags |= StatFlag.WRITABLE
            mtime_s = int(times.get(lfn, UNKNOWN_S))
            entries[name] = self._looking.of_file(size_bytes, flags, mtime_s)
        return entries


def _send_in_pieces(connection: Connection, stream_id: bytes, lines: list[str]) -> None:
    """A listing of any length: all pieces but the last end with a newline."""
    piece: list[str] = []
    size = 0
    for line in lines:
        if size > PIECE_BYTES:
            text = "\n".join(piece) + "\n"
            connection.send(responses.partial(stream_id, text.encode("utf-8", "surrogateescape")))
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    text = "\n".join(piece) + "\0" if piece else ""
    connection.send(responses.ok(stream_id, text.encode("utf-8", "surrogateescape")))
