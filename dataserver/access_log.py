"""The access log of a pool: lines of text beside the catalogue, in files that are rotated.

One line for each thing that happened to a file, its columns separated by tabs, for no name
has one in it:

    1790000000.123  used  123456789  /store/run7/a.root

that is, when (Unix seconds), what (a value of `core.access.AccessKind`), the size in bytes,
the logical name and, of what has gone, why. The log is for people and for `packhorse purge
replay`, so it may lose its last half minute, and a disk that is full costs lines and nothing
else.
"""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final

from dataserver.core.access import Access, AccessKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

#: The current file; older ones have `.1` (the latest) and so on behind that.
NAME: Final = "access.log"
#: Files there are at most, so that the oldest eighth is what rotating forgets.
FILES: Final = 8
_LARGEST_SIZE_DIGITS: Final = 19


class AccessLog:
    """Writes the log of one pool; `write` blocks."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """All its files together stay below `limit_bytes`, but for the one batch being written."""
        self._handler = _Handler(
            folder / NAME,
            maxBytes=max(1, limit_bytes // FILES),
            backupCount=FILES - 1,
            delay=True,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def write(self, accesses: Iterable[Access]) -> None:
        """Appends lines."""
        text = "\n".join(map(_line, accesses))
        if text:
            self._handler.emit(logging.makeLogRecord({"msg": text}))

    def close(self) -> None:
        """Lets go of the file."""
        self._handler.close()


class _Handler(RotatingFileHandler):
    """Says once that lines are lost, instead of printing a traceback for each."""

    _is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        failed_before, self._is_failing = self._is_failing, False
        super().emit(record)
        if self._is_failing and not failed_before:
            log.warning("%s cannot be written; what happens now is not in it", self.baseFilename)

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        self._is_failing = True


def files_of(folder: Path) -> list[Path]:
    """The files of the log in a folder, the oldest first."""
    found = [folder / f"{NAME}.{number}" for number in range(FILES - 1, 0, -1)]
    return [path for path in (*found, folder / NAME) if path.exists()]


def read(paths: Iterable[Path]) -> Iterator[Access]:
    """What was logged, in order; lines that a crash has cut off are passed over.

    Raises OSError.
    """
    for path in paths:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in file:
                access = _parsed(line)
                if access is not None:
                    yield access


def _line(access: Access) -> str:
    columns = (f"{access.unix_s:.3f}", access.kind.value, str(access.size_bytes), access.lfn)
    return "\t".join((*columns, access.note) if access.note else columns)


def _parsed(line: str) -> Access | None:
    """None for a line that is none, or not whole."""
    columns = line.removesuffix("\n").split("\t")
    if not line.endswith("\n") or not 4 <= len(columns) <= 5:
        return None
    when, kind, size, lfn, *note = columns
    if not size.isascii() or not size.isdigit() or len(size) > _LARGEST_SIZE_DIGITS:
        return None
    try:
        return Access(float(when), AccessKind(kind), int(size), lfn, *note)
    except ValueError:
        return None
