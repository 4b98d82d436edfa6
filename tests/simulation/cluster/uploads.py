"""What clients write on a data server: the shell's part of an upload, on a simulated disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.errors import PackhorseError, TimedOut, Unreachable
from common.errors import Refused as RefusedError
from dataserver.core import events as ev
from dataserver.core import instructions as do
from redirector.core import events as head_ev
from tests.simulation.cluster.disk import DiskError, Row, SimFile

if TYPE_CHECKING:
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.world import Planned

#: A claim that is not answered by then is taken to be lost.
ANSWER_LIMIT_S = 5.0
WRITE_S = 2.0

Answered = Callable[[], object]
Refused = Callable[[PackhorseError], object]
#: Asks the head something by a call of its own; what the network loses, nobody answers.
AskHead = Callable[[head_ev.Event, Answered, Refused], None]
#: Tells a client whether what it wrote is there.
Told = Callable[[bool], None]


class Uploads:
    """The uploads of one life of a data server."""

    def __init__(self, node: DiskNode, boot_epoch: str, ask_head: AskHead) -> None:
        self._node = node
        self._boot_epoch = boot_epoch
        self._ask_head = ask_head
        self._count = 0
        self._sizes: dict[str, int] = {}  # upload id → bytes
        self._names: dict[str, str] = {}
        self._told: dict[str, Told] = {}
        self._asking: dict[str, Planned] = {}
        self._writing: dict[str, Planned] = {}
        self._ending: set[str] = set()
        #: Upload id → LFN: what clients have been allowed to write, and have not ended.
        self.written: dict[str, str] = {}

    def begin(self, lfn: str, size_bytes: int, told: Told) -> None:
        """A client opens a file to write it, in place of the one there is."""
        self._count += 1
        upload_id = f"upload.{self._count}"
        self._sizes[upload_id], self._names[upload_id] = size_bytes, lfn
        self._told[upload_id] = told
        replaces = self._node.node.is_visible(lfn)
        self._node.handle(ev.UploadBegun(upload_id, lfn, size_bytes, replaces))

    def content_of(self, upload_id: str) -> str:
        """Stands for what a client writes: no two write the same."""
        return f"{self._names[upload_id]} by {self._boot_epoch}/{upload_id}"

    def carry_out(self, instruction: do.Instruction) -> bool:
        """Does what the core wants about uploads; False if it is about something else."""
        match instruction:
            case do.ClaimName():
                self._claim(instruction)
            case do.GrantRoom(upload_id=upload_id):
                self.written[upload_id] = self._names[upload_id]
                self._step(upload_id, WRITE_S, lambda: self._write(upload_id))
            case do.PublishUpload(upload_id=upload_id):
                self._step(upload_id, 0.02, lambda: self._publish(upload_id))
            case do.EndUpload(upload_id=upload_id):
                self._end(upload_id)
            case do.RefuseUpload(upload_id=upload_id):
                self._told.pop(upload_id)(False)
                self._node.tell(str(instruction.error))
            case do.RefuseRoom():
                raise AssertionError("its client said how much it would write")
            case _:
                return False
        return True

    def _claim(self, order: do.ClaimName) -> None:
        node, upload_id = self._node, order.claimant_id

        def answer(event: ev.Event) -> None:
            if upload_id in self._asking:
                self._asking.pop(upload_id).call_off()
                if upload_id in self._ending:
                    self._remove(upload_id)
                node.handle(event)

        def refuse(error: PackhorseError) -> None:
            answer(ev.ClaimRefused(upload_id, error))

        lost = TimedOut("the redirector did not answer")
        self._asking[upload_id] = node.later(ANSWER_LIMIT_S, lambda: refuse(lost))
        if not node.link.is_joined:
            node.later(0.0, lambda: refuse(Unreachable("out of touch")))
            return
        asked = head_ev.ClaimAsked(
            node.name, self._boot_epoch, order.lfn, upload_id, order.replaces
        )
        self._ask_head(
            asked,
            lambda: node.later(0.0, lambda: answer(ev.Claimed(upload_id))),
            lambda error: node.later(0.0, lambda: refuse(error)),
        )

    def _step(self, upload_id: str, mean_s: float, action: Callable[[], None]) -> None:
        node = self._node

        def act() -> None:
            try:
                action()
            except DiskError as error:
                node.handle(ev.UploadFailed(upload_id, RefusedError(str(error))))

        self._writing[upload_id] = node.later(node.delay_s(mean_s), act)

    def _write(self, upload_id: str) -> None:
        """The client has written all of it, and it is synced."""
        node, lfn = self._node, self._names[upload_id]
        file = SimFile(lfn, self._sizes[upload_id], self.content_of(upload_id))
        node.disk.write(upload_id, file)
        node.effect("a client has written")
        node.disk.sync_incoming(upload_id)
        node.effect("what a client wrote was synced")
        node.handle(ev.UploadWritten(upload_id, file.size_bytes))

    def _publish(self, upload_id: str) -> None:
        """The row first, the file next; the row says that the archive does not have it."""
        node, disk, lfn = self._node, self._node.disk, self._names[upload_id]
        old, replaces = disk.rows.get(lfn), lfn in disk.files
        disk.commit(lfn, Row(self._sizes[upload_id], self.content_of(upload_id), archived=False))
        node.effect("the row of what a client wrote was committed")
        try:
            disk.move_in(upload_id)
            node.effect("what a client wrote was moved to its place")
            disk.sync_name(lfn)
        except DiskError:
            if lfn not in disk.files or not replaces:
                self._take_back(lfn, old)
                raise
            node.unsure.add(lfn)
            node.tell(f"{lfn} is written, but the disk does not say that it will stay")
        node.effect("its directory was synced")
        del self._writing[upload_id], self.written[upload_id]
        node.tell(f"holds {lfn}, written by a client")
        node.handle(ev.UploadPublished(upload_id))
        self._told.pop(upload_id)(True)

    def _take_back(self, lfn: str, old: Row | None) -> None:
        self._node.unlink(lfn)
        try:
            if old is not None:
                self._node.disk.commit(lfn, old)
            else:
                self._node.disk.uncommit(lfn)
        except DiskError as error:
            self._node.tell(f"the row of {lfn} is wrong for now: {error}")

    def _end(self, upload_id: str) -> None:
        self.written.pop(upload_id, None)
        if upload_id in self._writing:
            self._writing.pop(upload_id).call_off()
        self._ending.add(upload_id)
        self._told.pop(upload_id)(False)
        if upload_id not in self._asking:
            self._remove(upload_id)

    def _remove(self, upload_id: str) -> None:
        def gone() -> None:
            self._ending.remove(upload_id)
            self._node.clean_up(upload_id)
            self._node.handle(ev.UploadGone(upload_id))

        self._node.later(self._node.delay_s(0.05), gone)
