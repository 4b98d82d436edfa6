"""Checking a pool that no data server has, and repairing it: what `packhorse fsck` does.

The catalogue's lock is held all the time, so no data server can start meanwhile, and none may
be running. Without a repair nothing in the pool is changed.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from common.errors import ConfigError, Damaged
from common.sqlite import take_lock
from dataserver import checksum as checksums
from dataserver.catalogue import Catalogue
from dataserver.core import findings
from dataserver.core.findings import Finding, Kind, Remedy, Remembered
from dataserver.disk import INCOMING, PRIVATE, PoolDisk
from dataserver.identity import has_pool
from dataserver.walking import FileOnDisk, Unseen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dataserver.catalogue import Row

#: The catalogue, and what SQLite keeps beside it.
_CATALOGUE_FILES: Final = tuple(f"catalogue.sqlite{end}" for end in ("", "-wal", "-shm"))
#: What is wrong with files that have a row, which goes with them.
_REMEMBERED: Final = frozenset({Kind.MISSING, Kind.SIZE, Kind.CHECKSUM, Kind.UNREADABLE})
#: Rows deleted with one commit.
_ROWS_AT_A_TIME: Final = 1000


@dataclass(frozen=True, slots=True)
class Settled:
    """A finding, and what became of it: `done` "" if nothing was to be done, or could be."""

    finding: Finding
    done: str = ""


@dataclass(slots=True)
class Report:
    """What was found in a pool; sizes in bytes."""

    pool: Path
    files: int = 0
    size_bytes: int = 0
    sums_compared: int = 0
    kept_apart: int = 0  # in the quarantine, after any repair
    settled: list[Settled] = field(default_factory=list)

    @property
    def unsettled(self) -> int:
        """How many things are wrong still."""
        return sum(1 for one in self.settled if not one.done)


async def check_pool(
    root: Path,
    *,
    sums: bool = False,
    repair: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Compares a pool's files with its catalogue, and with their checksums if `sums`.

    `on_progress` hears how many bytes of how many were read for that. Raises ConfigError if
    `root` is no pool, or a data server has it; DiskAway if it cannot be read.
    """
    if not await asyncio.to_thread(has_pool, root / PRIVATE):
        raise ConfigError(f"{root} is no pool: it has no {PRIVATE}/pool_id. Is its disk mounted?")
    disk = await asyncio.to_thread(PoolDisk, root)
    try:
        return await _Check(disk, sums=sums, repair=repair, on_progress=on_progress).run()
    finally:
        disk.close()


class _Check:
    def __init__(
        self,
        disk: PoolDisk,
        *,
        sums: bool,
        repair: bool,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._disk = disk
        self._sums = sums
        self._repair = repair
        self._on_progress = on_progress
        self._report = Report(disk.root)
        self._path = disk.private / _CATALOGUE_FILES[0]

    async def run(self) -> Report:
        damage = await asyncio.to_thread(self._damage_of_catalogue)
        if damage is not None:
            # No row of it can be relied upon, so the files are all that is compared.
            self._settle(damage, self._set_catalogue_apart)
            await self._compare({}, None)
        elif not self._path.exists():
            await self._compare({}, None)
        else:
            catalogue = await asyncio.to_thread(Catalogue, self._path)
            try:
                await self._compare(await catalogue.rows(), catalogue)
            finally:
                await asyncio.to_thread(catalogue.close)
        self._report.kept_apart = await asyncio.to_thread(self._disk.count_set_apart)
        return self._report

    # --- the catalogue --------------------------------------------------------

    def _damage_of_catalogue(self) -> Finding | None:
        if not self._path.exists():
            return None
        try:
            problem = Catalogue.problem(self._path)
        except Damaged as error:
            problem = str(error)
        if not problem:
            return None
        return Finding(Kind.CATALOGUE, f"/{PRIVATE}/{self._path.name}", problem)

    def _set_catalogue_apart(self) -> str:
        lock = take_lock(self._path)
        try:
            for name in _CATALOGUE_FILES:
                if (self._disk.private / name).exists():
                    path = self._disk.set_apart(f"/{PRIVATE}/{name}")
        finally:
            os.close(lock)
        return f"kept apart in {path.parent}; the next start makes a new one"

    # --- comparing ------------------------------------------------------------

    async def _compare(self, rows: dict[str, Row], catalogue: Catalogue | None) -> None:
        found, doubtful = await asyncio.to_thread(self._look, rows)
        if self._sums:
            found += await asyncio.to_thread(self._read_all, doubtful)
        forgotten: list[str] = []
        for one in sorted(found, key=lambda one: (one.kind, one.path)):
            await asyncio.to_thread(self._settle, one, lambda one=one: self._remedy(one))  # type: ignore[misc]
            if one.kind in _REMEMBERED and self._report.settled[-1].done:
                forgotten.append(one.path)
        if catalogue is not None:
            for start in range(0, len(forgotten), _ROWS_AT_A_TIME):
                await catalogue.remove(forgotten[start : start + _ROWS_AT_A_TIME])

    def _look(self, rows: dict[str, Row]) -> tuple[list[Finding], list[tuple[FileOnDisk, Row]]]:
        """What sizes and times tell, and the files of which checksums tell more. Empties `rows`."""
        found: list[Finding] = []
        doubtful: list[tuple[FileOnDisk, Row]] = []
        unseen = Unseen()
        for file in self._disk.walk():
            if not isinstance(file, FileOnDisk):
                unseen.note(file)
                kind = Kind.FOREIGN if file.is_there else Kind.UNREADABLE
                found.append(Finding(kind, file.path or "/", file.why))
                continue
            self._report.files += 1
            self._report.size_bytes += file.size_bytes
            row = rows.pop(file.lfn, None)
            finding = findings.compare(file.lfn, file.size_bytes, file.mtime_ns, _remembered(row))
            to_read = self._sums and findings.is_to_be_read(finding)
            if to_read and row is not None and row.checksum is not None:
                doubtful.append((file, row))
            elif finding is not None:
                found.append(finding)
        found += [
            findings.missing(lfn, _known(row))
            for lfn, row in rows.items()
            if not unseen.covers(lfn)
        ]
        found += [
            Finding(Kind.LEFTOVER, f"/{INCOMING}/{name}", "what is left of a recall or an upload")
            for name in self._disk.incoming_names()
        ]
        return found, doubtful

    def _read_all(self, doubtful: list[tuple[FileOnDisk, Row]]) -> list[Finding]:
        total_bytes = sum(file.size_bytes for file, _row in doubtful)
        done_bytes = 0
        found = []
        for file, row in doubtful:
            if (finding := self._read(file, row)) is not None:
                found.append(finding)
            done_bytes += file.size_bytes
            self._on_progress(done_bytes, total_bytes)
        return found

    def _read(self, file: FileOnDisk, row: Row) -> Finding | None:
        assert row.checksum is not None, file
        self._report.sums_compared += 1
        try:
            fd = self._disk.open_replica(file.lfn)
            try:
                computed = checksums.of_fd(fd, row.checksum.algorithm)
            finally:
                os.close(fd)
        except OSError as error:
            why = error.strerror or str(error)
            return Finding(Kind.UNREADABLE, file.lfn, why, file.size_bytes, row.archived)
        return findings.compare_sums(
            file.lfn, file.size_bytes, str(computed), str(row.checksum), archived=row.archived
        )

    # --- repairing ------------------------------------------------------------

    def _settle(self, finding: Finding, remedy: Callable[[], str]) -> None:
        done = ""
        if self._repair:
            try:
                done = remedy()
            except OSError as error:
                finding = Finding(
                    finding.kind,
                    finding.path,
                    f"{finding.why}; it could not be repaired: {error.strerror or error}",
                    finding.size_bytes,
                    finding.archived,
                )
        self._report.settled.append(Settled(finding, done))

    def _remedy(self, finding: Finding) -> str:
        """Does what is to be done about it; what that was. Raises OSError."""
        match finding.remedy:
            case Remedy.NONE:
                return ""
            case Remedy.APART:
                return f"kept apart: {self._disk.set_apart(finding.path)}"
            case Remedy.REMOVE if finding.kind is Kind.LEFTOVER:
                self._disk.remove_leftover(finding.path.rpartition("/")[2])
                return "removed"
            case Remedy.REMOVE:
                self._disk.unlink(finding.path)
                return "removed"
            case Remedy.FORGET:
                return "forgotten"
            case Remedy.START:
                return "left to the data server's next start"


def _known(row: Row) -> Remembered:
    return Remembered(row.size_bytes, row.mtime_ns, row.archived)


def _remembered(row: Row | None) -> Remembered | None:
    return None if row is None else _known(row)
