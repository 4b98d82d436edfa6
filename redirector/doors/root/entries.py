"""What lies in one directory, in order and a few names at a time.

A directory may have a million files, and others are served meanwhile: the names are put in
order in pieces, which are merged while they are told, and what is told of a name is looked
up just before. What has gone by then is not told.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeVar

from common.root_server import CHECKSUMS
from xroot.protocol import StatFlag

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from protos.packhorse.v1 import redirector_pb2 as pb
    from redirector.core.directories import DirectoryListing
    from redirector.doors.root.looking import Looking
    from redirector.doors.root.naming import Names
    from redirector.questions import Questions
    from redirector.questions.replicas import ReplicaStat
    from redirector.runner import Runner
    from xroot.texts import StatText

T = TypeVar("T")

#: Told in one go, which takes some milliseconds.
NAMES_AT_A_TIME: Final = 1_000
#: Put in order in one go; pieces of the head's listing, of some hundred names each.
PIECES_AT_A_TIME: Final = 64
#: Where nobody has told when a file was last changed.
UNKNOWN: Final = 0


class Entries:
    """The entries of one directory: files on a disk as they are there, and what else there is."""

    def __init__(
        self, runner: Runner, names: Names, looking: Looking, questions: Questions, directory: str
    ) -> None:
        self._runner = runner
        self._names = names
        self._looking = looking
        self._questions = questions
        self._above = directory.removesuffix("/") + "/"
        self._directory = directory

    async def told(
        self, archived: Sequence[pb.ArchiveEntry], *, with_stat: bool, algorithm: str | None
    ) -> AsyncGenerator[list[str], None]:
        """The lines of a listing, some at a time; `archived` is what the archive has there.

        With `algorithm` not None, checksums are told as far as they are known: of this kind,
        or if it is "" whichever was computed when a file came.
        """
        above = self._above
        in_archive: dict[str, pb.ArchiveEntry] = {}
        for some in _in_parts(archived, NAMES_AT_A_TIME):
            in_archive.update((above + entry.name, entry) for entry in some)
            await asyncio.sleep(0)
        here = self._runner.head.list_directory(self._directory)
        given = self._names.given_in(self._directory)
        directories = {above + name for name in (*here.directories, *given)}
        in_order = await _in_order(here, in_archive, directories)
        for lfns in _in_parts(in_order, NAMES_AT_A_TIME):
            sizes = dict(self._runner.head.sizes_of(lfns))
            there = [lfn for lfn in lfns if lfn in sizes or lfn in in_archive or lfn in directories]
            if not there:
                continue
            if not with_stat:
                yield [lfn.removeprefix(above) for lfn in there]
                await asyncio.sleep(0)
                continue
            stats = await self._questions.stats(list(sizes), algorithm)
            lines = []
            for lfn in there:
                about = self._about(lfn, sizes.get(lfn), in_archive.get(lfn), stats.get(lfn))
                sums = _sums(stats.get(lfn), algorithm) if algorithm is not None else ""
                lines.append(f"{lfn.removeprefix(above)}\n{about}{sums}")
            yield lines

    def _about(
        self,
        lfn: str,
        size_bytes: int | None,
        archived: pb.ArchiveEntry | None,
        stat: ReplicaStat | None,
    ) -> StatText:
        """What is told of one entry; `size_bytes` is that of a replica, if there is one."""
        if size_bytes is not None:
            flags = StatFlag.READABLE
            if archived is not None and not archived.is_directory:
                flags |= StatFlag.BACKUP_EXISTS
            elif self._names.is_writable(lfn):
                flags |= StatFlag.WRITABLE
            mtime_s = int(stat.mtime_s) if stat is not None else UNKNOWN
            return self._looking.of_file(size_bytes, flags, mtime_s)
        if archived is None:
            return self._looking.of_directory(lfn)
        mtime_s = int(archived.mtime_unix_s)
        if archived.is_directory:
            return self._looking.of_directory(lfn, mtime_s)
        flags = StatFlag.READABLE | StatFlag.OFFLINE | StatFlag.BACKUP_EXISTS
        return self._looking.of_file(archived.size_bytes, flags, mtime_s)


def _sums(stat: ReplicaStat | None, algorithm: str) -> str:
    """The checksum of an entry as XRootD writes it, also of one that has none."""
    if stat is not None and stat.checksum:
        return f" [ {stat.checksum} ]"
    return f" [ {algorithm or CHECKSUMS[0]}:none ]"


async def _in_order(
    here: DirectoryListing, in_archive: Iterable[str], directories: Iterable[str]
) -> Iterator[str]:
    """All names, each once. They are put in order piece by piece, and merged when they are
    taken: sorted in one go, a million of them would keep everybody waiting."""
    runs = []
    for pieces in _in_parts(here.pieces, PIECES_AT_A_TIME):
        runs.append(sorted(chain.from_iterable(pieces)))
        await asyncio.sleep(0)
    for others in (in_archive, directories):
        for lfns in _in_parts(others, NAMES_AT_A_TIME * 10):
            runs.append(sorted(lfns))
            await asyncio.sleep(0)
    return _each_once(heapq.merge(*runs))


def _each_once(in_order: Iterable[str]) -> Iterator[str]:
    last = ""
    for lfn in in_order:
        if lfn != last:
            yield lfn
        last = lfn


def _in_parts(many: Iterable[T], length: int) -> Iterator[list[T]]:
    """Lists of so many at most."""
    rest = iter(many)
    while part := list(islice(rest, length)):
        yield part
