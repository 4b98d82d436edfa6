"""What a start puts right: the disk and the catalogue are made to agree.

A file with a row that still describes it is a replica at once. Any other file was
moved into place just before a crash, was put there by hand, or has been changed: it
counts against the quota from the first moment, but it is not visible before it was
checked against its old row and against the archive, in the background. A file the
archive does not have is kept and never purged: it may be the only copy. So is one that
clients wrote here, until the archive has a file of its name that is no other one. A row
without a file is deleted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.errors import NameRefused, PackhorseError
from dataserver import checksum as checksums
from dataserver.archive import Presence
from dataserver.catalogue import Entry, Version
from dataserver.core.events import Checked, Lost
from dataserver.core.replica import Found
from dataserver.walking import Odd, Unseen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.names import NameMap
    from dataserver.archive import Archive, ArchiveFile
    from dataserver.catalogue import Catalogue, Row
    from dataserver.checksum import Checksum
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.walking import FileOnDisk

log = logging.getLogger(__name__)

#: Files checked together: one question to the archive, one commit.
CHECKED_AT_A_TIME = 500
#: An archive that could not be asked about a file is asked again after this.
ASK_AGAIN_S = 300.0
#: Copies may have their times of change cut to the seconds, or to two of them.
COPIED_TIMES_S = 2.0
#: Of what cannot be adopted, so many are named in the log.
NAMED_IN_LOG = 20


@dataclass(frozen=True, slots=True)
class Suspect:
    """A file to be checked, and the row it had, if any."""

    file: FileOnDisk
    row: Row | None


@dataclass(frozen=True, slots=True)
class Unarchived:
    """A replica that is not known to be in the archive."""

    file: Version
    checksum: Checksum | None


@dataclass(slots=True)
class Reconciled:
    """What a start has found in a pool."""

    found: list[Found] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    #: Rows whose files are gone.
    orphans: list[str] = field(default_factory=list)
    #: Of these, what the archive was not known to have.
    lost: list[str] = field(default_factory=list)
    #: Replicas that are not known to be in the archive.
    unarchived: list[Unarchived] = field(default_factory=list)
    #: What lies in the pool and cannot be a replica, a line each.
    odd: list[str] = field(default_factory=list)


def reconcile(disk: PoolDisk, rows: dict[str, Row], names: NameMap, now_s: float) -> Reconciled:
    """Compares every file with its row; blocks, about 10 µs a file. Empties `rows`."""
    result = Reconciled()
    unseen = Unseen()
    for file in disk.walk():
        if isinstance(file, Odd):
            result.odd.append(str(file))
            unseen.note(file)
            continue
        row = rows.pop(file.lfn, None)
        if row is None:
            try:
                if names.check(file.lfn) != file.lfn:
                    raise NameRefused(f"{file.lfn}: not the way this name is spelt")
            except NameRefused as error:
                result.odd.append(str(error))
                continue
        if row is not None and (row.size_bytes, row.mtime_ns) == (file.size_bytes, file.mtime_ns):
            # The clock may have been set back since.
            used_s = min(now_s, row.last_use_s)
            found = Found(file.lfn, row.size_bytes, used_s, archived=row.archived, mark=row.mark)
            if not row.archived:
                version = Version(file.lfn, row.size_bytes, row.mtime_ns)
                result.unarchived.append(Unarchived(version, row.checksum))
        else:
            # A file nobody knows was last used when its bytes came, or so it is assumed.
            used_s = min(now_s, row.last_use_s if row is not None else file.mtime_ns / 1e9)
            found = Found(file.lfn, file.size_bytes, used_s, checked=False, archived=False)
            result.suspects.append(Suspect(file, row))
        result.found.append(found)
    for lfn, row in rows.items():
        # What could not be looked at is not gone.
        if not unseen.covers(lfn):
            result.orphans.append(lfn)
            if not row.archived:
                result.lost.append(lfn)
    rows.clear()
    return result


def report(name: str, result: Reconciled) -> None:
    """Logs what a start has found."""
    log.info(
        "%s: %d files, of which %d are to be checked; %d rows without a file",
        name,
        len(result.found),
        len(result.suspects),
        len(result.orphans),
    )
    if result.lost:
        log.error(
            "%s: %d files are gone that the archive was not known to have:\n  %s",
            name,
            len(result.lost),
            "\n  ".join(result.lost[:NAMED_IN_LOG]),
        )
    if result.odd:
        shown = "\n  ".join(result.odd[:NAMED_IN_LOG])
        log.warning(
            "%s: %d things in the pool cannot be replicas and are left alone, though they"
            " take room:\n  %s",
            name,
            len(result.odd),
            shown,
        )


class Checker:
    """Checks what a start could not take on trust, and asks the archive about the rest."""

    def __init__(
        self, engine: Engine, archive: Archive, disk: PoolDisk, catalogue: Catalogue
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._disk = disk
        self._catalogue = catalogue

    async def check(self, suspects: Sequence[Suspect], unarchived: Sequence[Unarchived]) -> None:
        """Ends when every file is checked and its place in the archive is known."""
        waiting = list(unarchived)
        for start in range(0, len(suspects), CHECKED_AT_A_TIME):
            waiting += await self._check_some(suspects[start : start + CHECKED_AT_A_TIME])
        while waiting and self._archive.can_examine:
            waiting = await self._ask_again(waiting)
            if waiting:
                await asyncio.sleep(ASK_AGAIN_S)

    async def _check_some(self, suspects: Sequence[Suspect]) -> list[Unarchived]:
        """Checks a batch; the files whose place in the archive is still not known."""
        said = await self._ask([one.file.lfn for one in suspects])
        entries: list[Entry] = []
        unsure: list[Unarchived] = []
        lost: list[Lost] = []
        for suspect in suspects:
            lfn = suspect.file.lfn
            entry = await self._look(suspect, said.get(lfn))
            if isinstance(entry, str):
                lost.append(Lost(lfn, "damaged", entry))
                continue
            entries.append(entry)
            if not entry.archived and _is_unsure(said.get(lfn)):
                version = Version(lfn, entry.size_bytes, entry.mtime_ns)
                unsure.append(Unarchived(version, entry.checksum))
        try:
            await self._catalogue.add(entries)
        except PackhorseError as error:
            log.warning("adopted files cannot be remembered: %s", error)
        for event in lost:
            self._engine.post(event)
        for entry in entries:
            self._engine.post(Checked(entry.lfn, entry.archived))
        return unsure

    async def _ask_again(self, files: Sequence[Unarchived]) -> list[Unarchived]:
        """Asks where it is not known whether the archive has a file; those still unsure."""
        pool = self._engine.node.pool
        replicas = {one.file.lfn: pool.get(one.file.lfn) for one in files}
        said = await self._ask([one.file.lfn for one in files])
        there = [one.file for one in files if _is_same(one, said[one.file.lfn])]
        try:
            await self._catalogue.set_archived(there)
        except PackhorseError as error:
            log.warning("what the archive has cannot be remembered: %s", error)
        for file in there:
            # Another one may have taken its place meanwhile.
            if pool.get(file.lfn) is replicas[file.lfn]:
                self._engine.post(Checked(file.lfn, archived=True))
        return [one for one in files if said[one.file.lfn].presence is Presence.UNKNOWN]

    async def _ask(self, lfns: Sequence[str]) -> Mapping[str, ArchiveFile]:
        if not self._archive.can_examine:
            return {}
        return {one.lfn: one for one in await self._archive.examine(lfns)}

    async def _look(self, suspect: Suspect, said: ArchiveFile | None) -> Entry | str:
        """The row of a file that is good, or what is wrong with it.

        Without a way to ask the archive, a pool is taken to be what it should be: a
        cache of it, but for files known to be none.
        """
        file, row = suspect.file, suspect.row
        problem, checksum = await self._compare(file, *_expectation(row, said))
        if problem and (row is None or row.archived):
            return problem
        # What never was in the archive is no worse for being unlike what is there now.
        version = Version(file.lfn, file.size_bytes, file.mtime_ns)
        archived = _is_archived(row, said)
        if archived and said is not None and row is not None and not row.archived:
            archived = not problem and _is_same(Unarchived(version, checksum), said)
        return Entry(*version, checksum, file.mtime_ns / 1e9, archived)

    async def _compare(
        self, file: FileOnDisk, size_bytes: int | None, expected: Checksum | None
    ) -> tuple[str, Checksum | None]:
        """How a file differs from what was expected, if it does; and its checksum, if known."""
        if size_bytes is not None and size_bytes != file.size_bytes:
            return f"it has {file.size_bytes} bytes, {size_bytes} were expected", None
        if expected is None:
            return "", None
        try:
            computed = await self._disk.checkers.call(lambda: self._compute(file.lfn, expected))
        except OSError as error:
            return f"it cannot be read: {error.strerror}", None
        if computed != expected:
            return f"it has {computed}, {expected} was expected", computed
        return "", computed

    def _compute(self, lfn: str, like: Checksum) -> Checksum | None:
        fd = self._disk.open_replica(lfn)
        try:
            return checksums.of_fd(fd, like.algorithm)
        finally:
            os.close(fd)


def _is_unsure(said: ArchiveFile | None) -> bool:
    """Whether the archive was asked about a file, and did not know."""
    return said is not None and said.presence is Presence.UNKNOWN


def _is_archived(row: Row | None, said: ArchiveFile | None) -> bool:
    if said is None or _is_unsure(said):
        return row.archived if row is not None else said is None
    return said.presence is Presence.THERE


def _is_same(mine: Unarchived, said: ArchiveFile) -> bool:
    """Whether the archive has this very file, and not another one of its name.

    An older one cannot be a copy of it, and keeps it from being purged. Whoever's clock is
    wrong, no more can come of that than a file kept for nothing.
    """
    if said.presence is not Presence.THERE:
        return False
    lfn, size_bytes, mtime_ns = mine.file
    theirs, ours = said.checksum, mine.checksum
    is_same = (
        said.size_bytes in {None, size_bytes}
        and (said.mtime_s is None or said.mtime_s + COPIED_TIMES_S >= mtime_ns / 1e9)
        and (theirs is None or ours is None or theirs.algorithm != ours.algorithm or theirs == ours)
    )
    if not is_same:
        log.warning("%s: the archive has another file of this name; this one is kept", lfn)
    return is_same


def _expectation(row: Row | None, said: ArchiveFile | None) -> tuple[int | None, Checksum | None]:
    """The size and the checksum a file should have; the archive knows best.

    A file that was never in the archive is its owner's to change.
    """
    size_bytes, expected = None, None
    if row is not None and row.archived:
        size_bytes, expected = row.size_bytes, row.checksum
    if said is not None and said.size_bytes is not None:
        size_bytes = said.size_bytes
    if said is not None and said.checksum is not None:
        expected = said.checksum
    return size_bytes, expected
