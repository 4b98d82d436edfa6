"""Checks of a `stagecmd` of the batch contract."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common import wording
from common.command import ErrorClass, OpenInput, fill_words, json_object, run_command
from dataserver.archive.batch_lines import Said, file_line, understand
from dataserver.archive.batch_roll import FileState, Roll
from dataserver.archive.commanded import look_at
from dataserver.selftest.bench import looks_right, took
from dataserver.selftest.finding import Subject
from dataserver.selftest.staging import BRINGS, MISSING, tells_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from common.command import CommandResult, CommandSpec
    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

#: A line that comes so long after its file was written was held back.
HELD_BACK_S = 2.0
#: How many complaints are shown of the same kind.
COMPLAINTS_SHOWN = 3


@dataclass
class Heard:
    """What the command said, in the order it said it; its thread enters it."""

    roll: Roll
    ends: dict[str, tuple[Said, float]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def hear(self, line: bytes) -> bool:
        """Takes a line; whether it was one of the contract's."""
        said = understand(line)
        if said is None:
            if (fields := json_object(line)) is not None and "id" in fields:
                self.complaints.append(f"not understood: {line.decode(errors='replace')[:100]}")
            return False
        complaint = self.roll.hear(said.key, said.state)
        if complaint:
            self.complaints.append(complaint)
        elif said.state in {"done", "failed"}:
            self.ends[said.key] = (said, time.time())
        else:
            self.begun.add(said.key)
        return True


async def check_batch(bench: Bench, lfns: Sequence[str]) -> AsyncIterator[Finding]:
    """Gives one run all files and one that is missing, and stops another run."""
    whole = Subject("stage", "")
    missing = bench.missing(lfns[0])
    names = {str(number): lfn for number, lfn in enumerate([*lfns, missing], start=1)}
    targets = {key: bench.target(lfn) for key, lfn in names.items()}
    lines = b"".join([await _line(bench, key, lfn, targets[key]) for key, lfn in names.items()])
    heard = Heard(Roll(names))
    result = await _run(bench, lines, heard)
    for key, lfn in list(names.items())[:-1]:
        async for finding in _check_file(bench, Subject("stage", lfn), targets[key], heard, key):
            yield finding
    yield _check_missing(whole, heard, str(len(names)), targets[str(len(names))])
    yield _check_words(whole, heard)
    yield _check_begun(whole, heard)
    yield _check_end(whole, result)
    yield await bench.stops(whole, _spec(bench, lines), result.duration_s)


async def _line(bench: Bench, key: str, lfn: str, target: Path) -> bytes:
    found = await bench.examined(lfn)
    size_bytes = None if found is None else found.size_bytes
    return file_line(key, bench.names.archive_name(lfn), os.fspath(target), lfn, size_bytes)


def _spec(bench: Bench, lines: bytes = b"", stdin_fd: int | None = None) -> CommandSpec:
    assert isinstance(bench.config.stagecmd, list)
    return bench.commands.spec(
        fill_words(bench.config.stagecmd, {}),
        bench.config.deadline,
        cwd=Path(tempfile.mkdtemp(dir=bench.directory)),
        stdin=lines,
        stdin_fd=stdin_fd,
    )


async def _run(bench: Bench, lines: bytes, heard: Heard) -> CommandResult:
    """The whole run; one that hears of cancellations has its input open to the end."""
    if not bench.config.batch_cancel:
        return await run_command(_spec(bench, lines), on_line=heard.hear)
    opened = await OpenInput.open()
    loop = asyncio.get_running_loop()

    def hear(line: bytes) -> bool:
        counts = heard.hear(line)
        if heard.roll.is_over:
            loop.call_soon_threadsafe(opened.end)
        return counts

    try:
        opened.write(lines)
        spec = _spec(bench, stdin_fd=opened.fd)
        return await run_command(spec, on_start=lambda *_: opened.hand_over(), on_line=hear)
    finally:
        opened.close()


async def _check_file(
    bench: Bench, subject: Subject, target: Path, heard: Heard, key: str
) -> AsyncIterator[Finding]:
    said, heard_s = heard.ends.get(key, (None, 0.0))
    if said is None:
        advice = 'say {"id": "…", "state": "done"} or "failed" of every file, in a line of its own'
        yield subject.failed(BRINGS, "it did not say how the file fared", advice)
        return
    if said.failure is not None:
        advice = "run it by hand, as this user, with the line that docs/stage-command.md shows"
        yield subject.failure(BRINGS, said.failure, advice)
        return
    size_bytes, trouble = await asyncio.to_thread(look_at, target)
    if trouble is not None:
        yield subject.failure(BRINGS, trouble, 'say "done" only when the file is there')
        return
    yield subject.ok(BRINGS, wording.size(size_bytes))
    expected = await bench.examined(subject.lfn)
    for finding in await asyncio.to_thread(looks_right, subject, target, expected):
        yield finding
    late_s = heard_s - (await asyncio.to_thread(target.stat)).st_mtime
    if late_s > HELD_BACK_S:
        said_late = f"the file was written {took(late_s)} before that was heard"
        advice = "flush the output after each line, or files are published late"
        yield subject.warning("says so at once", said_late, advice)


def _check_missing(subject: Subject, heard: Heard, key: str, target: Path) -> Finding:
    said, _ = heard.ends.get(key, (None, 0.0))
    if said is None:
        advice = 'say {"id": "…", "state": "failed", "error": "not found"}'
        return subject.failed(MISSING, "it did not say how that fared", advice)
    if said.failure is None:
        there = "and left a file" if target.exists() else "and left no file"
        return subject.failed(MISSING, f'it said "done" {there}', 'say "failed" of it')
    if said.failure.error_class is ErrorClass.NOT_FOUND:
        return subject.ok(MISSING, said.failure.reason)
    finding = tells_missing(subject, said.failure)
    return subject.warning(MISSING, finding.said, 'give it "error": "not found" or "exit_code": 66')


def _check_words(subject: Subject, heard: Heard) -> Finding:
    check = "keeps to the words of the contract"
    if heard.complaints:
        shown = "; ".join(heard.complaints[:COMPLAINTS_SHOWN])
        more = len(heard.complaints) - COMPLAINTS_SHOWN
        said = shown if more <= 0 else f"{shown}; and {more} more"
        return subject.failed(check, said, "say done or failed once, of ids that it was given")
    states = [heard.roll[key] for key in heard.ends]
    done = sum(state is FileState.DONE for state in states)
    return subject.ok(check, f"{done} done, {len(states) - done} failed")


def _check_begun(subject: Subject, heard: Heard) -> Finding:
    check = "says when it begins with a file"
    silent = [key for key, (said, _) in heard.ends.items() if said.failure is None]
    silent = [key for key in silent if key not in heard.begun]
    if not silent:
        return subject.ok(check, f"of {len(heard.begun)} files")
    advice = 'say "started" before each: else a failure of the command is blamed on other files'
    return subject.warning(check, f"not of {len(silent)} of {len(heard.ends)}", advice)


def _check_end(subject: Subject, result: CommandResult) -> Finding:
    check = "ends well when all files are over"
    if result.failure is None:
        return subject.ok(check, f"after {took(result.duration_s)}")
    advice = "exit with 0 when every file was spoken of, whether it came or not"
    return subject.warning(check, result.failure.reason, advice)
