"""What clients write on a data server: the shell's part of an upload, on a simulated disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.errors import PackhorseError, TimedOut, Unreachable
from dataserver.core import events as ev
from dataserver.core import instructions as do
from redirector.core import events as head_ev

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


class Uploads:
    """The uploads of one life of a data server."""

    def __init__(self, disk: DiskNode, boot_epoch: str, ask_head: AskHead) -> None:
        self._disk = disk
        self._boot_epoch = boot_epoch
        self._ask_head = ask_head
        self._count = 0
        self._sizes: dict[str, int] = {}  # upload id -> bytes
        self._names: dict[str, str] = {}
        self._asking: dict[str, Planned] = {}
        self._writing: dict[str, Planned] = {}
        self._ending: set[str] = set()
        #: Upload id → LFN: what clients have been allowed to write, and have not ended.
        self.written: dict[str, str] = {}

    def begin(self, lfn: str, size_bytes: int) -> None:
        """A client opens a file to write it, in place of the one there is."""
        self._count += 1
        upload_id = f"upload.{self._count}"
        self._sizes[upload_id], self._names[upload_id] = size_bytes, lfn
        replaces = self._disk.node.is_visible(lfn)
        self._disk.handle(ev.UploadBegun(upload_id, lfn, size_bytes, replaces))

    def carry_out(self, instruction: do.Instruction) -> None:
        """What the core wants done about uploads."""
        match instruction:
            case do.ClaimName():
                self._claim(instruction)
            case do.GrantRoom(upload_id=upload_id):
                self.written[upload_id] = self._names[upload_id]
                self._disk.incoming[upload_id] = (self._names[upload_id], self._sizes[upload_id])
                written = ev.UploadWritten(upload_id, self._sizes[upload_id])
                self._step(upload_id, WRITE_S, lambda: self._disk.handle(written))
            case do.PublishUpload(upload_id=upload_id):
                self._step(upload_id, 0.02, lambda: self._publish(upload_id))
            case do.EndUpload(upload_id=upload_id):
                self.written.pop(upload_id, None)
                if upload_id in self._writing:
                    self._writing.pop(upload_id).call_off()
                self._ending.add(upload_id)
                if upload_id not in self._asking:
                    self._remove(upload_id)
            case _:
                raise AssertionError(f"unknown instruction {instruction}")

    def _claim(self, order: do.ClaimName) -> None:
        disk, upload_id = self._disk, order.claimant_id

        def answer(event: ev.Event) -> None:
            if upload_id in self._asking:
                self._asking.pop(upload_id).call_off()
                if upload_id in self._ending:
                    self._remove(upload_id)
                disk.handle(event)

        def refuse(error: PackhorseError) -> None:
            answer(ev.ClaimRefused(upload_id, error))

        lost = TimedOut("the redirector did not answer")
        self._asking[upload_id] = disk.later(ANSWER_LIMIT_S, lambda: refuse(lost))
        if not disk.is_joined:
            disk.later(0.0, lambda: refuse(Unreachable("out of touch")))
            return
        asked = head_ev.ClaimAsked(
            disk.name, self._boot_epoch, order.lfn, upload_id, order.replaces
        )
        self._ask_head(
            asked,
            lambda: disk.later(0.0, lambda: answer(ev.Claimed(upload_id))),
            lambda error: disk.later(0.0, lambda: refuse(error)),
        )

    def _step(self, upload_id: str, mean_s: float, action: Callable[[], None]) -> None:
        self._writing[upload_id] = self._disk.later(self._disk.delay_s(mean_s), action)

    def _publish(self, upload_id: str) -> None:
        del self._writing[upload_id], self.written[upload_id]
        lfn, size_bytes = self._disk.incoming.pop(upload_id)
        self._disk.keep_written(lfn, size_bytes)
        self._disk.handle(ev.UploadPublished(upload_id))

    def _remove(self, upload_id: str) -> None:
        def gone() -> None:
            self._ending.remove(upload_id)
            self._disk.incoming.pop(upload_id, None)
            self._disk.handle(ev.UploadGone(upload_id))

        self._disk.later(self._disk.delay_s(0.05), gone)
