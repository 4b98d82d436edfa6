"""Carrying out a recall's steps on a simulated disk, as `dataserver.recalls` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.checksum import Checksum
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.failure import Failure, FailureKind
from tests.simulation.cluster.commands import Ended
from tests.simulation.cluster.disk import DiskError, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.archive import Tape
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.world import Planned

STEP_S = 0.02
#: A command that has written nothing for so long is ended (the `stall` of a site's file).
STALL_S = 60.0


def checksum_of(content: str) -> Checksum:
    """The checksum of some bytes: contents stand for themselves."""
    return Checksum("content", content)


class RecallSteps:
    """The steps under way in one life of a data server, one for each recall."""

    def __init__(self, disk_node: DiskNode) -> None:
        self._node = disk_node
        self._planned: dict[str, Planned] = {}
        self._stalls: dict[str, Planned] = {}
        #: Recalls whose command somebody waits for.
        self._copying: set[str] = set()

    def carry_out(self, instruction: do.Instruction) -> bool:
        """Does what is asked of a recall; False if it is about something else."""
        match instruction:
            case do.Examine(recall_id=recall_id, lfn=lfn):
                self._step(recall_id, lambda: self._examine(recall_id, lfn))
            case do.Copy():
                self._copy(instruction)
            case do.Verify():
                self._step(instruction.recall_id, lambda: self._verify(instruction))
            case do.Publish():
                self._step(instruction.recall_id, lambda: self._publish(instruction))
            case do.StopStep(recall_id=recall_id):
                self._stop(recall_id)
            case _:
                return False
        return True

    def _step(self, recall_id: str, action: Callable[[], None]) -> None:
        def act() -> None:
            self._planned.pop(recall_id, None)
            try:
                action()
            except DiskError as error:
                self._disk_failed(recall_id, str(error), error.is_no_space)

        self._planned[recall_id] = self._node.later(self._node.delay_s(STEP_S), act)

    def _disk_failed(self, recall_id: str, reason: str, is_no_space: bool) -> None:
        kind = FailureKind.NO_SPACE if is_no_space else FailureKind.TRANSIENT
        self._fail(recall_id, Failure(kind, reason))

    def _fail(self, recall_id: str, failure: Failure) -> None:
        self._node.clean_up(recall_id)
        self._node.handle(ev.StepFailed(recall_id, failure))

    # --- the steps ----------------------------------------------------------

    def _examine(self, recall_id: str, lfn: str) -> None:
        tape = self._node.archive.find(lfn)
        if tape is None:
            self._fail(recall_id, Failure(FailureKind.NOT_FOUND, "no such file on tape"))
            return
        self._node.handle(
            ev.Examined(
                recall_id,
                tape.size_bytes if tape.tells_size else None,
                checksum_of(tape.content) if tape.tells_checksum else None,
            )
        )

    def _copy(self, order: do.Copy) -> None:
        node, recall_id = self._node, order.recall_id
        self._copying.add(recall_id)

        def ended(how: Ended) -> None:
            node.effect("the command has ended")
            node.later(0.0, lambda: self._copied(recall_id, how))

        limit_bytes = order.size_bytes
        if limit_bytes is None:
            limit_bytes = node.quota_bytes
        said = node.commands.start(
            recall_id,
            order.lfn,
            limit_bytes,
            node.of_this_life(lambda size_bytes: self._grew(recall_id, size_bytes)),
            node.of_this_life(ended),
        )
        self._await_bytes(recall_id)
        node.tell(f"copies {order.lfn} as {recall_id}: {said}")
        node.effect("the command was started")

    def _grew(self, recall_id: str, size_bytes: int) -> None:
        self._await_bytes(recall_id)
        self._node.effect("the command has written")
        self._node.later(0.0, lambda: self._node.handle(ev.Grew(recall_id, size_bytes)))

    def _await_bytes(self, recall_id: str) -> None:
        """Ends a command that writes nothing for long."""
        node = self._node
        if recall_id in self._stalls:
            self._stalls.pop(recall_id).call_off()

        def stalled() -> None:
            del self._stalls[recall_id]
            how = Ended("wrote nothing for long, and was ended")
            ended = node.of_this_life(lambda: node.later(0.0, lambda: self._copied(recall_id, how)))
            if recall_id in self._copying:
                node.commands.kill(recall_id, ended)

        self._stalls[recall_id] = node.later(STALL_S, stalled)

    def _copied(self, recall_id: str, how: Ended) -> None:
        if recall_id not in self._copying:
            return  # What a step says that is being stopped is not heard any more.
        self._copying.remove(recall_id)
        if how.no_space or how.failure:
            kind = FailureKind.NO_SPACE if how.no_space else FailureKind.TRANSIENT
            kind = FailureKind.NOT_FOUND if how.not_found else kind
            self._fail(recall_id, Failure(kind, how.failure))
            return
        size_bytes = self._node.disk.incoming[recall_id].size_bytes
        self._node.handle(ev.Copied(recall_id, size_bytes))

    def _verify(self, order: do.Verify) -> None:
        node = self._node
        file = node.disk.sync_incoming(order.recall_id)
        node.effect("the file was synced")
        found = checksum_of(file.content)
        if file.size_bytes != order.size_bytes or (order.checksum or found) != found:
            reason = f"the staged file is not what it should be: {file.content}"
            self._fail(order.recall_id, Failure(FailureKind.TRANSIENT, reason))
            return
        node.handle(ev.Verified(order.recall_id, file.size_bytes, found))

    def _publish(self, order: do.Publish) -> None:
        """The file first, its row next: a crash in between leaves a good file to be adopted."""
        node, disk, lfn = self._node, self._node.disk, order.lfn
        content = disk.incoming[order.recall_id].content
        disk.move_in(order.recall_id)
        node.effect("the file was moved to its place")
        disk.sync_name(lfn)
        node.effect("the directory was synced")
        try:
            disk.commit(lfn, Row(order.size_bytes, content, archived=True))
        except DiskError:
            node.unlink(lfn)
            raise
        node.effect("its row was committed")
        node.tell(f"holds {lfn}")
        node.handle(ev.Published(order.recall_id))

    def _stop(self, recall_id: str) -> None:
        node = self._node
        planned = self._planned.pop(recall_id, None)
        if planned is not None:
            planned.call_off()
        self._copying.discard(recall_id)

        def stopped() -> None:
            node.effect("the command was ended")
            node.later(0.0, gone)

        def gone() -> None:
            node.clean_up(recall_id)
            node.handle(ev.Stopped(recall_id))

        node.commands.kill(recall_id, node.of_this_life(stopped))


def expected_of(tape: Tape | None) -> tuple[int | None, str | None]:
    """The size and the content that the archive tells of a file; None for what it does not."""
    if tape is None:
        return None, None
    return (
        tape.size_bytes if tape.tells_size else None,
        tape.content if tape.tells_checksum else None,
    )
