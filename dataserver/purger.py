"""Carrying out purges: unlinking victims, and asking the site's purge command.

The purge command reads one JSON line for each candidate, in the order they would go without it:

    {"lfn": "/store/a.root", "path": "/data/disk1/store/a.root", "size_bytes": 1000,
     "last_use_unix_s": 1790000000.0, "unused_s": 86400.0}

and answers with lines of its own, for as many files as it likes, candidates or not:

    {"lfn": "/store/a.root", "verdict": "keep"}
    {"lfn": "/store/b.root", "verdict": "purge", "rank": 1}

A command that fails, hangs or says something else is reported, and the purge policy
decides as if there were none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from common.command import PASSED_BY_DEFAULT, CommandSpec, run_command
from common.errors import PackhorseError, UsageError
from common.text import one_line
from dataserver.core import events, instructions
from dataserver.core.candidates import Advice
from dataserver.openers import OpenElsewhereError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dataserver.catalogue import Catalogue
    from dataserver.core.purge_plan import Plan
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.openers import Openers

log = logging.getLogger(__name__)

#: Recalls wait for the purge command, so it is not waited for longer than this.
COMMAND_LIMIT_S: Final = 60.0
#: The most a purge command may answer: some 200 bytes for each of 100,000 files.
ANSWER_LIMIT_BYTES: Final = 32 << 20


class Purger:
    """Removes what the node sends off; asks `command`, if there is one, whom it should.

    `openers` is asked about every file if other programs read the pool, else it is None.
    `passes` are the variables of ours that the command gets.
    """

    def __init__(
        self,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        command: Sequence[str] | None,
        owner: str,
        openers: Openers | None = None,
        passes: Sequence[str] = PASSED_BY_DEFAULT,
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._command = command
        self._owner = owner
        self._openers = openers
        self._passes = passes
        self._tasks: set[asyncio.Task[None]] = set()
        engine.carry_with(
            {
                instructions.RemoveFiles: lambda order: self._start(self._remove(order)),
                instructions.SetApart: lambda order: self._start(self._set_apart(order)),
                instructions.AskPurgeCommand: lambda order: self._start(self._ask(order)),
            }
        )

    async def stop(self) -> None:
        """Finishes removals under way, and ends a purge command."""
        for task in self._tasks:
            if task.get_name() == "purge command":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def plan(self, target_bytes: int, limit: int) -> Plan:
        """A dry run: what a purge would do now, the purge command's opinion included."""
        node = self._engine.node
        problem = ""
        advice = Advice()
        question = node.purging.plan_question(target_bytes, self._engine.now_s())
        if self._command is not None and question.lfns:
            advice, problem = await self._advice(question)
        found = node.purging.plan(target_bytes, limit, advice, self._engine.now_s())
        return replace(found, summary=f"{found.summary} ({problem})") if problem else found

    # --- carrying out ---------------------------------------------------------

    def _start(self, work: Any) -> None:
        name = "purge command" if work.__name__ == "_ask" else "removal"
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _remove(self, order: instructions.RemoveFiles) -> None:
        failed = await self._disk.threads.call(lambda: self._unlink(order))
        gone = tuple(lfn for lfn in order.lfns if lfn not in failed)
        try:
            await self._catalogue.remove(gone)
        except PackhorseError as error:
            # The next start finds rows without files, and deletes them.
            log.warning("rows of removed files stay for now: %s", error)
        reasons = tuple((lfn, error.strerror or str(error)) for lfn, error in failed.items())
        self._engine.post(events.Removed(gone, reasons))
        self._note_uses(
            lfn for lfn, error in failed.items() if isinstance(error, OpenElsewhereError)
        )

    async def _set_apart(self, order: instructions.SetApart) -> None:
        lfn = order.lfn
        try:
            path = await self._disk.threads.call(lambda: self._disk.set_apart(lfn))
        except OSError as error:
            self._engine.post(events.Removed((), ((lfn, error.strerror or str(error)),)))
            return
        log.warning("%s: what was %s is kept in %s", self._engine.name, lfn, path)
        try:
            await self._catalogue.remove([lfn])
        except PackhorseError as error:
            log.warning("the row of %s stays for now: %s", lfn, error)
        self._engine.post(events.Removed((lfn,)))

    def _unlink(self, order: instructions.RemoveFiles) -> dict[str, OSError]:
        failed = {}
        alone = None
        if self._openers is not None and not order.by_force:
            alone = self._openers.look().alone
        for lfn in order.lfns:
            try:
                self._disk.unlink(lfn, alone)
            except OSError as error:
                failed[lfn] = error
        return failed

    def _note_uses(self, lfns: Iterable[str]) -> None:
        """What others have open is in use, and not the next to be tried again."""
        now_s = self._engine.now_s()
        for lfn in lfns:
            self._engine.node.pool.touch(lfn, now_s)
            self._catalogue.note_use(lfn, now_s)

    async def _ask(self, order: instructions.AskPurgeCommand) -> None:
        advice, problem = await self._advice(order)
        self._engine.post(events.Advised(advice, problem))

    async def _advice(self, order: instructions.AskPurgeCommand) -> tuple[Advice, str]:
        """What the command says, and what is wrong with it if it says nothing useful."""
        assert self._command is not None
        spec = CommandSpec(
            passes=self._passes,
            argv=list(self._command),
            deadline_s=COMMAND_LIMIT_S,
            stdin=self._candidates(order.lfns),
            env={
                "PACKHORSE_POOL": str(self._disk.root),
                "PACKHORSE_FREE_BYTES": str(order.free_bytes),
                "PACKHORSE_FREE_FILES": str(order.free_files),
            },
            output_limit_bytes=ANSWER_LIMIT_BYTES,
            owner=self._owner,
        )
        result = await run_command(spec)
        if result.failure is not None:
            return Advice(), f"the purge command failed: {result.failure.reason}"
        if not result.stdout_complete:
            return Advice(), f"the purge command said more than {ANSWER_LIMIT_BYTES} bytes"
        try:
            return understand(result.stdout), ""
        except UsageError as error:
            return Advice(), str(error)

    def _candidates(self, lfns: Sequence[str]) -> bytes:
        now_s = self._engine.now_s()
        lines = []
        for lfn in lfns:
            replica = self._engine.node.pool.get(lfn)
            if replica is None:
                continue
            line = {
                "lfn": lfn,
                "path": str(self._disk.path(lfn)),
                "size_bytes": replica.size_bytes,
                "last_use_unix_s": replica.last_use_s,
                "unused_s": max(0.0, now_s - replica.last_use_s),
            }
            lines.append(json.dumps(line))
        return "\n".join([*lines, ""]).encode()


def understand(answer: bytes) -> Advice:
    """The advice in a purge command's answer; raises UsageError with the line that is none."""
    purge: list[tuple[float, int, str]] = []
    keep = set()
    for number, line in enumerate(answer.decode(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        lfn, verdict, rank = _verdict(number, line)
        if verdict == "keep":
            keep.add(lfn)
        else:
            purge.append((rank, number, lfn))
    first = tuple(lfn for _, _, lfn in sorted(purge) if lfn not in keep)
    return Advice(first, frozenset(keep))


def _verdict(number: int, line: str) -> tuple[str, str, float]:
    complaint = f"the purge command's line {number} is no verdict: {one_line(line)[:100]}"
    try:
        said = json.loads(line)
    except ValueError:
        raise UsageError(complaint) from None
    if not isinstance(said, dict):
        raise UsageError(complaint)
    lfn, verdict, rank = said.get("lfn"), said.get("verdict"), said.get("rank", 0)
    if not isinstance(lfn, str) or verdict not in {"purge", "keep"}:
        raise UsageError(complaint)
    if isinstance(rank, bool) or not isinstance(rank, int | float) or math.isnan(rank):
        raise UsageError(complaint)
    return lfn, verdict, float(rank)
