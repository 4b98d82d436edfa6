"""Checks of `storecmd` and `removecmd`: a small file goes to the archive and comes back.

They write to the archive, beside the file that is named, so they are made only when asked for.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from common.command import ErrorClass
from dataserver import checksum as checksums
from dataserver.archive import Presence
from dataserver.archive.model import ToStore
from dataserver.selftest.finding import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

CONTENT: Final = b"Packhorse tries whether files can be stored here. This one may be removed.\n"


async def check_keeping(bench: Bench, lfn: str) -> AsyncIterator[Finding]:
    """Stores a file of ours, asks for it, brings it back, and removes it where that can be done."""
    if not bench.archive.can_store:
        yield Subject("store", lfn).skipped("stores a file", "there is no storecmd")
        return
    name = bench.missing(lfn)
    subject = Subject("store", name)
    path = bench.target(name)
    path.write_bytes(CONTENT)
    mtime_ns = (await asyncio.to_thread(path.stat)).st_mtime_ns
    checksum = checksums.of_bytes(CONTENT, "adler32")
    file = ToStore(name, path, len(CONTENT), mtime_ns, checksum)
    stored = await bench.archive.store(file)
    if stored.failure is not None:
        yield subject.failure("stores a file", stored.failure, "run it by hand, as this user")
        return
    yield subject.ok("stores a file", f"{len(CONTENT)} bytes")
    if path.read_bytes() == CONTENT:
        yield subject.ok("leaves the pool's file alone", "it is as it was")
    else:
        advice = "the pool's file is what people read: copy it, and change nothing of it"
        yield subject.failed("leaves the pool's file alone", "it has changed", advice)
    if bench.archive.can_examine:
        yield await _is_known(bench, subject)
    if not bench.config.submitcmd:
        yield await _comes_back(bench, subject)
    async for finding in _check_remove(bench, name):
        yield finding


async def _is_known(bench: Bench, subject: Subject) -> Finding:
    check = "is known to the archive then"
    (found,) = await bench.archive.examine([subject.lfn])
    if found.presence is not Presence.THERE:
        advice = "a file counts as archived when storecmd ends well: wait until it is"
        return subject.failed(check, found.reason or found.presence.value, advice)
    if found.size_bytes not in {None, len(CONTENT)}:
        said = f"with {found.size_bytes} bytes instead of {len(CONTENT)}"
        return subject.failed(check, said, "end well only when the whole file is safe")
    return subject.ok(check, "with its size" if found.size_bytes is not None else "without a size")


async def _comes_back(bench: Bench, subject: Subject) -> Finding:
    check = "comes back as it was"
    target = bench.target(subject.lfn)
    fetched = await bench.archive.fetch(subject.lfn, target)
    if fetched.failure is not None:
        return subject.failure(check, fetched.failure, "store and stage must mean the same name")
    if await asyncio.to_thread(target.read_bytes) != CONTENT:
        return subject.failed(check, "with other content", "is it stored as it is?")
    return subject.ok(check, os.fspath(subject.lfn))


async def _check_remove(bench: Bench, name: str) -> AsyncIterator[Finding]:
    subject = Subject("remove", name)
    if not bench.archive.can_remove:
        said = f"there is no removecmd: {bench.names.archive_name(name)} stays in the archive"
        yield subject.skipped("removes a file", said, "remove it by hand")
        return
    failure = await bench.archive.remove(name)
    if failure is not None:
        yield subject.failure("removes a file", failure, "run it by hand, as this user")
        return
    yield subject.ok("removes a file", name)
    if bench.archive.can_examine:
        yield await _is_gone(bench, subject)
    again = await bench.archive.remove(name)
    check = "does not mind that there is no such file"
    if again is None or again.error_class is ErrorClass.NOT_FOUND:
        yield subject.ok(check, "it ended well" if again is None else again.reason)
    else:
        yield subject.warning(check, again.reason, "exit with 0, or with 66")


async def _is_gone(bench: Bench, subject: Subject) -> Finding:
    check = "is gone from the archive then"
    (found,) = await bench.archive.examine([subject.lfn])
    if found.presence is Presence.NOT_THERE:
        return subject.ok(check, found.reason)
    said = found.reason or f"the archive says that it is {found.presence.value}"
    advice = "end well only when the archive has no such file any more"
    return subject.failed(check, said, advice)
