"""What the site's `statcmd`, `listcmd` and `hintcmd` print: JSON, written by scripts of every quality.

A field that is wrong makes nothing of the same answer believed: a script that errs about
a size may err about everything. Fields nobody knows are passed over.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from common.errors import UsageError
from common.text import one_line
from dataserver import checksum
from dataserver.archive.model import ArchiveEntry, ArchiveFile, Presence
from dataserver.checksum import ALGORITHMS, Checksum

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_SIZE_DIGITS: Final = 18
#: The end of the year 9999: later than that, somebody has counted in milliseconds.
_MAX_MTIME_S: Final = 253_402_300_799.0
_SHOWN_CHARACTERS: Final = 100
_MAX_VOLUME_CHARACTERS: Final = 128
_MAX_POSITION: Final = (1 << 63) - 1


def understand_file(lfn: str, output: bytes) -> ArchiveFile:
    """What a statcmd that ended well said: one JSON object, all of whose fields are optional.

    `size` is in bytes, `mtime` Unix time in seconds, `type` "file" or "dir". The checksum
    is written {"adler32": "07a6c902"} or "adler32:07a6c902". Chatter before the JSON is
    passed over, if the JSON is one line.
    """
    fields = _json_object(output)
    if fields is None:
        reason = 'statcmd printed no JSON object, as in {"size": 123}'
        return ArchiveFile(lfn, Presence.UNKNOWN, reason=reason)
    try:
        is_directory = _is_directory(fields.get("type"))
        mtime_s = _mtime(fields.get("mtime"))
        if is_directory:
            reason = f"{lfn} is a directory in the archive"
            return ArchiveFile(
                lfn, Presence.NOT_THERE, reason=reason, mtime_s=mtime_s, is_directory=True
            )
        size_bytes = _size(fields.get("size"))
        found = _checksum(fields.get("checksum"))
        volume, position = _place(fields)
    except UsageError as error:
        return ArchiveFile(lfn, Presence.THERE, reason=f"statcmd: {error}")
    return ArchiveFile(
        lfn, Presence.THERE, size_bytes, found, mtime_s=mtime_s, volume=volume, position=position
    )


def understand_hints(lfns: Mapping[str, str], output: bytes) -> dict[str, ArchiveFile]:
    """What a hintcmd said of files, one JSON object a line, empty lines aside, by LFN.

    `lfns` are those that were asked about, by their names in the archive. Each line has an
    `lfn` or a `source`, and may have `volume`, `position` and `size`. Lines about anything
    else are passed over. Raises UsageError, which names the first line that is wrong.
    """
    asked = set(lfns.values())
    found = {}
    for number, fields in _lines("hintcmd", output, '{"lfn": "/store/a"}'):
        try:
            lfn = fields.get("lfn") or lfns.get(str(fields.get("source")))
            volume, position = _place(fields)
            size_bytes = _size(fields.get("size"))
        except UsageError as error:
            raise UsageError(f"hintcmd: line {number}: {error}") from None
        if lfn in asked:
            there = Presence.THERE
            found[lfn] = ArchiveFile(lfn, there, size_bytes, volume=volume, position=position)
    return found


def understand_listing(output: bytes) -> list[ArchiveEntry]:
    """The entries that a listcmd printed, one JSON object a line, empty lines aside.

    Each has a `name`, and like a statcmd's answer `size`, `mtime` and `type`. `.` and `..`
    are passed over. Raises UsageError, which names the first line that is no entry.
    """
    entries = []
    for number, fields in _lines("listcmd", output, '{"name": "a.root", "size": 123}'):
        try:
            entry = _entry(fields)
        except UsageError as error:
            raise UsageError(f"listcmd: line {number}: {error}") from None
        if entry.name not in {".", ".."}:
            entries.append(entry)
    return entries


def _lines(command: str, output: bytes, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines, with the numbers of their lines; raises UsageError."""
    for number, written in enumerate(output.split(b"\n"), start=1):
        if not written.strip():
            continue
        try:
            # A name that is not UTF-8 is no reason to believe nothing of the others.
            yield number, _object(written.decode(errors="surrogateescape"), example)
        except UsageError as error:
            shown = one_line(written.decode(errors="replace"))[:_SHOWN_CHARACTERS]
            raise UsageError(f"{command}: line {number}: {error}: {shown}") from None


def _object(line: str, example: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("this is not JSON") from None
    if not isinstance(fields, dict):
        raise UsageError(f"this is no JSON object, as in {example}")
    return fields


def _place(fields: Mapping[str, Any]) -> tuple[str, int]:
    """The tape that a file lies on, and where; ("", 0) if none is told."""
    volume = fields.get("volume")
    if volume is None or volume == "":
        return "", 0
    if not isinstance(volume, str) or len(volume) > _MAX_VOLUME_CHARACTERS:
        raise UsageError(f"volume {str(volume)[:40]!r} is not the name of a tape")
    position = fields.get("position", 0)
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        raise UsageError(f"position {str(position)[:40]!r} is not a whole number, 0 or more")
    return volume, min(position, _MAX_POSITION)


def _entry(fields: Mapping[str, Any]) -> ArchiveEntry:
    name = fields.get("name")
    if not isinstance(name, str) or not name or "/" in name:
        raise UsageError('"name" is not the name of an entry')
    mtime_s = _mtime(fields.get("mtime"))
    if _is_directory(fields.get("type")):
        return ArchiveEntry(name, is_directory=True, mtime_s=mtime_s)
    return ArchiveEntry(name, size_bytes=_size(fields.get("size")), mtime_s=mtime_s)


def _json_object(output: bytes) -> dict[str, Any] | None:
    text = output.decode("utf-8", "replace").strip()
    for candidate in (text, text.rpartition("\n")[2]):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _size(written: object) -> int | None:
    if written is None:
        return None
    digits = str(written)
    is_number = isinstance(written, int | str) and digits.isascii() and digits.isdigit()
    if is_number and len(digits) <= _MAX_SIZE_DIGITS:
        return int(digits)
    raise UsageError(f"size {digits[:40]!r} is not a number of bytes")


def _mtime(written: object) -> float | None:
    if written is None:
        return None
    mtime_s = math.nan
    if isinstance(written, int | float | str) and not isinstance(written, bool):
        try:
            mtime_s = float(written)
        except (ValueError, OverflowError):
            mtime_s = math.nan
    if 0 <= mtime_s <= _MAX_MTIME_S:
        return mtime_s
    raise UsageError(f"mtime {str(written)[:40]!r} is not a time in seconds since 1970")


def _is_directory(written: object) -> bool:
    if written is None or written == "file":
        return False
    if written == "dir":
        return True
    raise UsageError(f'type {str(written)[:40]!r} is neither "file" nor "dir"')


def _checksum(written: object) -> Checksum | None:
    """The first known one, the cheapest first; None if there is none of a known algorithm."""
    if written is None or written == "":
        return None
    if isinstance(written, str):
        return checksum.parse(written)
    if not isinstance(written, dict):
        raise UsageError(
            f"checksum {str(written)[:40]!r} is not written like {{'adler32': '07a6c902'}}"
        )
    spelt = {checksum.algorithm_of(name): value for name, value in written.items()}
    for algorithm in ALGORITHMS:
        if spelt.get(algorithm):
            return checksum.canonical(algorithm, str(spelt[algorithm]))
    return None
