"""Checks of `statcmd`, `listcmd` and `hintcmd`, or of a mounted file system in their place."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from common import wording
from dataserver.archive import Presence
from dataserver.selftest.finding import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

_SAY_66 = "exit with 66 when the archive has no such {}, and only then"


async def check_stat(bench: Bench, lfn: str) -> AsyncIterator[Finding]:
    """What is said of a file, of none, and of a directory."""
    subject = Subject("stat", lfn)
    missing, parent = bench.missing(lfn), str(PurePosixPath(lfn).parent)
    there, gone, directory = await bench.archive.examine([lfn, missing, parent])
    check = "knows the file"
    if there.presence is not Presence.THERE:
        advice = 'print a JSON object such as {"size": 123} and exit with 0'
        yield subject.failed(check, there.reason or there.presence.value, advice)
    elif there.reason:
        yield subject.failed(check, there.reason, "correct the field; nothing of it is believed")
    elif there.size_bytes is None:
        advice = "tell the size if you can: else room is reserved by a guess"
        yield subject.warning(check, "it tells no size", advice)
    else:
        yield subject.ok(check, wording.size(there.size_bytes))
    if there.presence is Presence.THERE and not there.reason:
        if there.checksum is None:
            advice = "tell adler32, crc32c or md5 if the archive has it: else a wrong copy of the right size is believed"
            yield subject.warning("knows its checksum", "it tells none", advice)
        else:
            yield subject.ok("knows its checksum", str(there.checksum))
    check = "says when there is no such file"
    if gone.presence is Presence.NOT_THERE:
        yield subject.ok(check, gone.reason)
    else:
        said = gone.reason or f"it says that {missing} is {gone.presence.value}"
        yield subject.failed(check, said, _SAY_66.format("file"))
    check = "takes no directory for a file"
    if directory.is_beyond_asking:
        yield subject.skipped(check, f"{parent} has no name in the archive")
    elif directory.presence is Presence.THERE:
        advice = 'print {"type": "dir"}, or exit with 66'
        yield subject.failed(check, f"it says that {parent} is a file", advice)
    else:
        yield subject.ok(check, directory.reason or directory.presence.value)


async def check_list(bench: Bench, lfn: str) -> AsyncIterator[Finding]:
    """What is listed in the file's directory, and in none."""
    subject = Subject("list", lfn)
    path = PurePosixPath(lfn)
    listing = await bench.archive.list_directory(str(path.parent))
    check = "lists the file's directory"
    if listing.presence is not Presence.THERE:
        advice = 'print a line of JSON such as {"name": "a.root"} for each entry, and exit with 0'
        yield subject.failed(check, listing.reason, advice)
    else:
        yield subject.ok(check, f"{len(listing.entries)} entries in {path.parent}")
        entry = next((one for one in listing.entries if one.name == path.name), None)
        check = "has the file in it"
        if entry is None or entry.is_directory:
            said = f"{path.name} is {'missing' if entry is None else 'a directory'}"
            yield subject.failed(check, said, "print every file, with its name in the directory")
        else:
            yield subject.ok(check, path.name)
            for finding in await _sizes_agree(bench, subject, entry.size_bytes):
                yield finding
    gone = await bench.archive.list_directory(bench.missing(lfn))
    check = "says when there is no such directory"
    if gone.presence is Presence.NOT_THERE:
        yield subject.ok(check, gone.reason)
    else:
        said = gone.reason or f"{len(gone.entries)} entries where there is no directory"
        yield subject.failed(check, said, _SAY_66.format("directory"))


async def check_hints(bench: Bench, lfns: Sequence[str]) -> AsyncIterator[Finding]:
    """Where files lie on tape; one that is missing is asked about with them."""
    check = "tells where the file lies"
    found = await bench.archive.hints([*lfns, bench.missing(lfns[0])])
    for lfn, one in zip(lfns, found, strict=False):
        subject = Subject("hint", lfn)
        if one.volume:
            yield subject.ok(check, f"on {one.volume}, at {one.position}")
        elif one.reason and not one.is_beyond_asking:
            advice = 'print a line such as {"lfn": "/store/a", "volume": "VOL1", "position": 7}'
            yield subject.failed(check, one.reason, advice)
        else:
            advice = (
                "without volume and position a file is recalled in its turn, in no order of tapes"
            )
            yield subject.warning(check, one.reason or "it tells no volume", advice)


async def _sizes_agree(bench: Bench, subject: Subject, size_bytes: int | None) -> list[Finding]:
    found = await bench.examined(subject.lfn)
    if size_bytes is None or found is None or found.size_bytes is None:
        return []
    check = "tells the size that statcmd tells"
    if found.size_bytes == size_bytes:
        return [subject.ok(check, f"{size_bytes} bytes")]
    said = f"{size_bytes} bytes, and statcmd says {found.size_bytes}"
    return [subject.failed(check, said, "tell the file's own size in both, in bytes")]
