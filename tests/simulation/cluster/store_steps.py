"""Storing what clients wrote in the archive, as `dataserver.storing` does.

The command that does it has its bad days.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.events import Likeness
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.store_table import StoreFound
from dataserver.core.stores import StoreRules
from tests.simulation.cluster.disk import DiskError, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.disk import SimFile
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.world import Planned, World

STEP_S = 0.02
RUN_S = 0.8
SLOTS = 2


class StoreRun(Enum):
    """How one run of the site's store command behaves."""

    GOOD = "good"
    NOTHING = "fails, and leaves nothing"
    HALF = "fails, and leaves half"
    LATE = "fails, though all of it is there"
    LIE = "exits 0 with half of it"


def store_rules(can_look: bool) -> StoreRules:
    """Everything is stored, soon; the archive's word is asked for if it can be."""
    return StoreRules(
        slots=SLOTS,
        delay_s=1.0,
        backoff_s=1.0,
        backoff_max_s=8.0,
        can_look=can_look,
        covers=lambda _lfn: True,
    )


def stores_found(node: DiskNode) -> list[StoreFound]:
    """What the catalogue says of files that are not in the archive."""
    return [
        StoreFound(lfn, node.now_s(), row.sent, row.failure)
        for lfn, row in node.disk.rows.items()
        if not row.archived
    ]


class StoreSteps:
    """The steps under way in one life of a data server.

    Their commands are processes of the machine, which outlive the server by a moment.
    """

    def __init__(self, node: DiskNode, world: World, can_look: bool) -> None:
        self._node = node
        self._world = world
        self._runs = [one for one in StoreRun if can_look or one is not StoreRun.LIE]
        self._planned: dict[str, Planned] = {}
        self._commands: dict[str, Planned] = {}

    def carry_out(self, instruction: do.Instruction) -> bool:
        """Does what is asked of a storing; False if it is about something else."""
        match instruction:
            case do.CompareWithArchive(step_id=step_id, lfn=lfn):
                self._step(step_id, lambda: self._compare(step_id, lfn))
            case do.RunStore():
                self._step(instruction.step_id, lambda: self._run(instruction))
            case do.NoteArchived(step_id=step_id, lfn=lfn):
                self._step(step_id, lambda: self._note_archived(step_id, lfn))
            case do.NoteStore():
                self._node.later(STEP_S, lambda: self._note(instruction))
            case do.StopStore(step_id=step_id):
                self._stop(step_id)
            case _:
                return False
        return True

    def kill_all(self) -> None:
        """Ends every command at once."""
        for command in self._commands.values():
            command.call_off()
        self._commands.clear()

    def _step(self, step_id: str, action: Callable[[], None]) -> None:
        def act() -> None:
            self._planned.pop(step_id, None)
            try:
                action()
            except DiskError as error:
                self._fail(step_id, FailureKind.TRANSIENT, str(error))

        self._planned[step_id] = self._node.later(self._node.delay_s(STEP_S), act)

    def _fail(self, step_id: str, kind: FailureKind, reason: str) -> None:
        self._node.handle(ev.StoreStepFailed(step_id, Failure(kind, reason)))

    def _stop(self, step_id: str) -> None:
        for planned in (self._planned, self._commands):
            if step_id in planned:
                planned.pop(step_id).call_off()
        node = self._node
        node.later(node.delay_s(0.1), lambda: node.handle(ev.StoreStopped(step_id)))

    # --- the steps ----------------------------------------------------------

    def _compare(self, step_id: str, lfn: str) -> None:
        node, archive = self._node, self._node.archive
        row, tape = node.row_of(lfn), archive.find(lfn)
        if row is None:
            self._fail(step_id, FailureKind.TRANSIENT, f"nothing is remembered of {lfn}")
            return
        if archive.is_down:
            likeness, why = Likeness.UNKNOWN, "the archive does not answer"
        elif tape is None:
            likeness, why = Likeness.ABSENT, "no such file on tape"
        elif tape.tells_size and tape.size_bytes != row.size_bytes:
            likeness, why = Likeness.OTHER, "it has another size there"
        elif not tape.tells_checksum:
            likeness, why = Likeness.ALIKE, "it tells no checksum to compare with"
        elif tape.content != row.content:
            likeness, why = Likeness.OTHER, f"it is {tape.content} there"
        else:
            likeness, why = Likeness.SAME, ""
        node.handle(ev.Compared(step_id, likeness, why))

    def _run(self, order: do.RunStore) -> None:
        """First it is remembered that the archive may have the file; then the command runs."""
        node, lfn = self._node, order.lfn
        row, file = node.row_of(lfn), node.disk.read(lfn)
        if row is None:
            self._fail(order.step_id, FailureKind.TRANSIENT, f"nothing is remembered of {lfn}")
        elif file is None:
            node.spoilt.add(lfn)
            node.handle(ev.Lost(lfn, "vanished", "it was to be stored in the archive"))
            self._fail(order.step_id, FailureKind.TRANSIENT, f"{lfn} has vanished")
        elif file.content != row.content:
            self._fail(order.step_id, FailureKind.PERMANENT, f"{lfn} was changed on the disk")
        else:
            node.disk.commit(lfn, row._replace(sent=True))
            node.effect("it was noted that a file is sent")
            self._start(order, file)

    def _start(self, order: do.RunStore, file: SimFile) -> None:
        node, archive = self._node, self._node.archive
        run = self._world.rng.choice([StoreRun.GOOD, *self._runs])
        told = node.of_this_life(
            lambda failure: node.later(
                0.0, lambda: node.handle(ev.StoreRan(order.step_id, failure))
            )
        )

        def end() -> None:
            self._commands.pop(order.step_id, None)
            failure = Failure(FailureKind.TRANSIENT, run.value)
            if archive.is_down or run is StoreRun.NOTHING:
                told(failure)
                return
            tape = archive.find(order.lfn)
            if tape is not None and not order.again and tape.content != file.content:
                told(Failure(FailureKind.PERMANENT, "there is another file of this name"))
                return
            archive.store(file, whole=run in {StoreRun.GOOD, StoreRun.LATE})
            node.effect("the archive has got a file")
            told(None if run in {StoreRun.GOOD, StoreRun.LIE} else failure)

        node.tell(f"stores {order.lfn}: {run.value}")
        self._commands[order.step_id] = self._world.after(node.delay_s(RUN_S), end)
        node.effect("the store command was started")

    def _note_archived(self, step_id: str, lfn: str) -> None:
        node = self._node
        row = node.row_of(lfn)
        if row is not None:
            node.disk.commit(lfn, Row(row.size_bytes, row.content, archived=True))
            node.effect("it was noted that the archive has a file")
        node.tell(f"{lfn} is in the archive now")
        node.handle(ev.ArchivedNoted(step_id))

    def _note(self, order: do.NoteStore) -> None:
        node = self._node
        row = node.row_of(order.lfn)
        if row is None or row.archived:
            return
        try:
            node.disk.commit(order.lfn, row._replace(sent=order.sent, failure=order.failure))
        except DiskError as error:
            node.tell(f"how {order.lfn} is being stored cannot be remembered: {error}")
        node.effect("it was noted how a file is being stored")
