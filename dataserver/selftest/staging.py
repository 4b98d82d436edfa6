"""Checks of a `stagecmd` that brings one file a run, or of the built-in copier."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

from common import wording
from common.command import ErrorClass, kill_leftovers, progress_in, run_command
from dataserver.archive.commanded import StageCommand, look_at
from dataserver.archive.model import FetchOrder
from dataserver.selftest.bench import looks_right, took
from dataserver.selftest.finding import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from common.command import CommandResult, Failure
    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

BRINGS = "brings the file"
MISSING = "says when there is no such file"


async def check_stage(bench: Bench, lfn: str) -> AsyncIterator[Finding]:
    """Brings a file and one that is missing, and is stopped on the way."""
    subject = Subject("stage", lfn)
    expected = await bench.examined(lfn)
    if isinstance(bench.config.stagecmd, str):
        async for finding in _check_builtin(bench, subject):
            yield finding
        return
    command = StageCommand(
        bench.config.stagecmd, bench.commands, bench.config.deadline, bench.config.stall
    )
    size_bytes = None if expected is None else expected.size_bytes
    order = FetchOrder(lfn=lfn, target=bench.target(lfn), size_bytes=size_bytes, limit_bytes=None)
    before = bench.others()
    notes: list[str] = []

    def hear(line: bytes) -> bool:
        note = progress_in(line)
        notes.extend([] if note is None else [note])
        return note is not None

    result = await run_command(command.spec(order), on_line=hear)
    left_running = await asyncio.to_thread(kill_leftovers, bench.commands.owner)
    found_bytes, trouble = await asyncio.to_thread(look_at, order.target)
    failure = result.failure or trouble
    if failure is not None:
        yield subject.failure(BRINGS, failure, _advice(failure, result))
    else:
        yield subject.ok(BRINGS, f"{wording.size(found_bytes)} in {took(result.duration_s)}")
        for finding in await asyncio.to_thread(looks_right, subject, order.target, expected):
            yield finding
    yield _keeps_to_itself(bench, subject, order, before)
    if left_running:
        said = f"{len(left_running)} processes went on when it had ended"
        advice = "do not leave copies running in the background"
        yield subject.warning("leaves no process", said, advice)
    else:
        yield subject.ok("leaves no process", "none")
    if notes:
        yield subject.ok("tells its progress", f"{len(notes)} times, at last: {notes[-1]}")
    await asyncio.to_thread(shutil.rmtree, order.target.parent)
    async for finding in _fails_well(bench, subject, command):
        yield finding
    if failure is None:
        again = FetchOrder(lfn=lfn, target=bench.target(lfn), size_bytes=size_bytes)
        yield await bench.stops(subject, command.spec(again), result.duration_s)


def _advice(failure: Failure, result: CommandResult) -> str:
    if result.exit_code is None:
        return "the program must be there and executable for this user"
    if result.failure is None:
        return "write the whole file to {target}, and exit with 0 only if that worked"
    if failure.error_class is ErrorClass.NOT_FOUND:
        return (
            "is it in the archive under this name? `packhorse names LFN` shows what it is asked for"
        )
    return "run it by hand, as this user; what it needs besides its environment it sets itself"


def _keeps_to_itself(
    bench: Bench, subject: Subject, order: FetchOrder, before: set[str]
) -> Finding:
    """Whether it has written only where it was told to."""
    check = "writes only to its target"
    strays = sorted(bench.others() - before)
    if strays:
        said = f"it made {', '.join(strays)} in the directory above its target's"
        return subject.failed(check, said, "write to {target}, or beside it")
    beside = sorted({path.name for path in order.target.parent.iterdir()} - {order.target.name})
    if beside:
        said = f"it left {', '.join(beside)} beside it"
        return subject.warning(check, said, "this is deleted each time; clean up if it is large")
    return subject.ok(check, "nothing else was made")


async def _fails_well(
    bench: Bench, subject: Subject, command: StageCommand
) -> AsyncIterator[Finding]:
    missing = bench.missing(subject.lfn)
    order = FetchOrder(lfn=missing, target=bench.target(missing))
    result = await run_command(command.spec(order))
    failure = result.failure
    if failure is None:
        _, trouble = await asyncio.to_thread(look_at, order.target)
        said = "it ended well, and " + ("left no file" if trouble else "left a file")
        yield subject.failed(MISSING, said, "exit with 66 when the archive has no such file")
        return
    yield tells_missing(subject, failure)
    check = "says what went wrong"
    if result.output_tail:
        yield subject.ok(check, result.output_tail.splitlines()[-1])
    else:
        advice = "people read the last lines of its standard error: say why there"
        yield subject.warning(check, "it said nothing", advice)


def tells_missing(subject: Subject, failure: Failure) -> Finding:
    """What to say of how the lack of a file was told."""
    if failure.error_class is ErrorClass.NOT_FOUND:
        return subject.ok(MISSING, failure.reason)
    said = f"{failure.reason} ({failure.error_class.value})"
    if failure.error_class is ErrorClass.PERMANENT:
        advice = "exit with 66: then people are told that it does not exist"
    else:
        advice = "exit with 66: else it is tried again and again before people are told"
    return subject.warning(MISSING, said, advice)


async def _check_builtin(bench: Bench, subject: Subject) -> AsyncIterator[Finding]:
    target, begun_s = bench.target(subject.lfn), time.monotonic()
    fetched = await bench.archive.fetch(subject.lfn, target)
    if fetched.failure is not None:
        advice = (
            "is the archive mounted, and is the file there under the name `packhorse names` shows?"
        )
        yield subject.failure(BRINGS, fetched.failure, advice)
    else:
        took_s = time.monotonic() - begun_s
        yield subject.ok(BRINGS, f"{wording.size(fetched.size_bytes)} in {took(took_s)}")
        expected = await bench.examined(subject.lfn)
        for finding in await asyncio.to_thread(looks_right, subject, target, expected):
            yield finding
    missing = bench.missing(subject.lfn)
    fetched = await bench.archive.fetch(missing, bench.target(missing))
    assert fetched.failure is not None
    yield tells_missing(subject, fetched.failure)
