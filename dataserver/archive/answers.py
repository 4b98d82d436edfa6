"""What the site's `statcmd` and `listcmd` print: JSON, written by scripts of every quality.

A field that is wrong makes nothing of the same answer believed: a script that errs about
a size may err about everything. Fields nobody knows are passed over.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from common.errors import UsageError
from common.text import one_line
from dataserver import checksum
from dataserver.archive.model import ArchiveEntry, ArchiveFile, Presence
from dataserver.checksum import ALGORITHMS, Checksum

_MAX_SIZE_DIGITS: Final = 18
#: The end of the year 9999: later than that, somebody has counted in milliseconds.
_MAX_MTIME_S: Final = 253_402_300_799.0
_SHOWN_CHARACTERS: Final = 100


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
    except UsageError as error:
        return ArchiveFile(lfn, Presence.THERE, reason=f"statcmd: {error}")
    return ArchiveFile(lfn, Presence.THERE, size_bytes, found, mtime_s=mtime_s)


def understand_listing(output: bytes) -> list[ArchiveEntry]:
    """The entries that a listcmd printed, one JSON object a line, empty lines aside.

    Each has a `name`, and like a statcmd's answer `size`, `mtime` and `type`. `.` and `..`
    are passed over. Raises UsageError, which names the first line that is no entry.
    """
    entries = []
    for number, written in enumerate(output.split(b"\n"), start=1):
        # A name that is not UTF-8 is no reason to believe nothing of the others.
        line = written.decode(errors="surrogateescape")
        if not line.strip():
            continue
        try:
            entry = _entry(line)
        except UsageError as error:
            shown = one_line(written.decode(errors="replace"))[:_SHOWN_CHARACTERS]
            raise UsageError(f"listcmd: line {number}: {error}: {shown}") from None
        if entry.name not in {".", ".."}:
            entries.append(entry)
    return entries


def _entry(line: str) -> ArchiveEntry:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("this is not JSON") from None
    if not isinstance(fields, dict):
        raise UsageError('this is no JSON object, as in {"name": "a.root", "size": 123}')
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
