"""The stage commands that run on one machine: processes that know nothing of their server.

They write into the pool whether the server is there to see it or not: one that is killed
or stopped leaves them running, until its janitor or its next life ends them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.cluster.archive import Run
from tests.simulation.cluster.disk import DiskError, SimFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.archive import Archive
    from tests.simulation.cluster.disk import SimDisk
    from tests.simulation.cluster.world import Planned, World

#: How long ending a process group takes, and one that ignores SIGTERM.
END_S, END_DEAF_S = 0.1, 2.0
PIECES = 4


@dataclass(slots=True)
class Ended:
    """How a command ended: its exit code, and what it said."""

    failure: str = ""
    not_found: bool = False
    no_space: bool = False


@dataclass(slots=True)
class Command:
    """One run of the stage command for one file."""

    recall_id: str
    lfn: str
    run: Run
    ended: Callable[[Ended], None]
    planned: list[Planned] = field(default_factory=list)


class Commands:
    """The processes of one machine; `ended` is told of those that end by themselves."""

    def __init__(self, world: World, archive: Archive, disk: SimDisk) -> None:
        self._world = world
        self._archive = archive
        self._disk = disk
        self._live: dict[str, Command] = {}

    def running(self) -> dict[str, str]:
        """Recall id → LFN of every process there is."""
        return {one.recall_id: one.lfn for one in self._live.values()}

    def start(
        self,
        recall_id: str,
        lfn: str,
        limit_bytes: int | None,
        grew: Callable[[int], None],
        ended: Callable[[Ended], None],
    ) -> str:
        """Starts one; the kernel lets it write `limit_bytes`. What to say of it."""
        run, takes_s = self._archive.begin_run(lfn)
        command = Command(recall_id, lfn, run, ended)
        self._live[recall_id] = command

        def plan(after_s: float, action: Callable[[], None]) -> None:
            command.planned.append(self._world.after(after_s, action))

        def end(how: Ended) -> None:
            self._forget(command)
            ended(how)

        tape = self._archive.find(lfn)
        if tape is None:
            plan(takes_s, lambda: end(Ended("no such file on tape", not_found=True)))
        elif run in {Run.BROKEN, Run.SIGNAL}:
            plan(takes_s / 2, lambda: end(Ended(run.value)))
        elif run is Run.NOTHING:
            plan(takes_s, lambda: end(Ended("exited with 0, but wrote no file")))
        else:
            size_bytes = {Run.SHORT: tape.size_bytes // 2, Run.LONG: 3 * tape.size_bytes}.get(
                run, tape.size_bytes
            )
            content = tape.content if run in {Run.GOOD, Run.FLOOD} else f"{lfn}, {run.value}"
            for piece in range(1, PIECES + 1):
                if run in {Run.HANG, Run.DEAF} and piece == PIECES:
                    break
                written = SimFile(lfn, size_bytes * piece // PIECES, f"part of {lfn}")
                if piece == PIECES:
                    written = SimFile(lfn, size_bytes, content)
                plan(
                    takes_s * piece / PIECES,
                    lambda written=written: self._write(command, written, limit_bytes, grew, end),  # type: ignore[misc]
                )
                if piece == PIECES:
                    plan(takes_s, lambda: end(Ended()))
        return f"{run.value}, for {takes_s:.2f} s"

    def _write(
        self,
        command: Command,
        written: SimFile,
        limit_bytes: int | None,
        grew: Callable[[int], None],
        end: Callable[[Ended], None],
    ) -> None:
        if limit_bytes is not None and written.size_bytes > limit_bytes:
            end(Ended("wrote more than it may"))
            return
        try:
            self._disk.write(command.recall_id, written)
        except DiskError as error:
            end(Ended(str(error), no_space=error.is_no_space))
            return
        grew(written.size_bytes)

    def kill(self, recall_id: str, then: Callable[[], None]) -> None:
        """Ends a process group, and what it wrote stays; calls `then` when it is gone."""
        command = self._live.get(recall_id)
        if command is None:
            self._world.after(self._world.delay_s(END_S), then)
            return
        for planned in command.planned:
            planned.call_off()

        def gone() -> None:
            self._forget(command)
            then()

        mean_s = END_DEAF_S if command.run is Run.DEAF else END_S
        self._world.after(self._world.delay_s(mean_s), gone)

    def end_all(self) -> None:
        """Ends every process at once (SIGKILL); who waits for one is told."""
        for command in list(self._live.values()):
            self._forget(command)
            command.ended(Ended(Run.SIGNAL.value))

    def _forget(self, command: Command) -> None:
        for planned in command.planned:
            planned.call_off()
        if self._live.get(command.recall_id) is command:
            del self._live[command.recall_id]
