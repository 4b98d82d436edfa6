"""Recalls in the hands of nodes: given, reported on, found running, lost.

A recall that is in a node's hands is given to nobody else while that node may
run it: until the node says that it has ended, joins anew and neither runs nor
holds it, or has been out of touch for the length of the recall lease, by when it
has stopped everything of its own accord.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from common import wording
from redirector.core.instructions import CancelRecall, SaveRecall, StartRecall
from redirector.core.model import Failure, PinOrder
from redirector.core.queue import whose_turn
from redirector.core.states import ErrorClass, FileEventKind, FileState, RecallState
from redirector.core.telling import begin_story, staged_for, tell_if_begun

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.endings import Endings
    from redirector.core.events import RecallEnded, RecallProgressed
    from redirector.core.model import RunningRecall
    from redirector.core.node import Node
    from redirector.core.pinning import Pinning
    from redirector.core.recall import Recall
    from redirector.core.settling import Settling
    from redirector.core.wishes import Wishes


class Staging:
    """What nodes do with recalls, and what that means."""

    def __init__(
        self,
        books: Books,
        wishes: Wishes,
        endings: Endings,
        settling: Settling,
        pinning: Pinning,
    ) -> None:
        self._books = books
        self._wishes = wishes
        self._endings = endings
        self._settling = settling
        self._pinning = pinning

    def start(self, recall: Recall, node: Node, why: str, now_s: float) -> None:
        """Gives a queued recall to a node, with room reserved."""
        books = self._books
        lfn = recall.lfn
        recall_id = books.recalls.new_id(books.epoch)
        reserved = node.need_bytes(recall, books.settings.assumed_size_bytes)
        begin_story(books, recall)
        if turn := whose_turn(recall):
            books.stories.tell(lfn, now_s, f"its turn: {turn}")
        books.recalls.give(recall, "assign", node, recall_id, reserved, now_s)
        given = f"attempt {recall.attempt} given to {node.name}"
        books.stories.tell(lfn, now_s, f"{given}, {wording.size(reserved)} reserved: {why}")
        pins = self._pins_to_come(lfn, now_s)
        size_bytes = recall.size_bytes
        order = StartRecall(recall_id, lfn, size_bytes, recall.checksum, reserved, pins)
        books.out.send(node, order)
        started = FileEventKind.STARTED
        books.out.file_event(lfn, FileState.STAGING, started, node.name, size_bytes)

    # --- reports ---

    def progressed(self, node: Node, event: RecallProgressed, now_s: float) -> None:
        """A node tells how far it has come."""
        recall = self._books.recalls.run_of(event.recall_id, node)
        if recall is None:
            return
        self._learn_size(recall, event.size_bytes)
        if event.bytes_done > recall.bytes_done or event.phase != recall.phase:
            recall.progress_s = now_s
        node.advance(recall, event.bytes_done)
        recall.phase = event.phase

    def ended(self, node: Node, event: RecallEnded, now_s: float) -> None:
        """A node says that a run is over. If that is not its present one, it is old news."""
        books = self._books
        recall = books.recalls.run_of(event.recall_id, node)
        if recall is None:
            self._complete_record(event, now_s)
            return
        books.nodes_changed[node] = None
        self._learn_size(recall, event.size_bytes)
        if event.failure is None and books.index.holds(node.number, recall.lfn):
            # Cancelled too late, or its replica was in the inventory of a node just joined.
            self._endings.published(recall, node, recall.size_bytes, now_s)
            self._complete_record(event, now_s)
        elif recall.state is RecallState.CANCELLING:
            self._endings.stopped(recall, now_s, event)
        elif event.failure is None:
            # Its replica is in a report of changes that must follow.
            recall.awaiting_publish = True
            books.recalls.wake(recall, now_s + books.settings.lost_after_s)
        else:
            self._endings.run_failed(recall, event.failure, now_s, event)

    def appeared(self, lfn: str, node: Node, size_bytes: int, recall_id: str, now_s: float) -> None:
        """A replica has appeared on a node, brought by a recall or by any other way."""
        books = self._books
        recall = books.recalls.live.get(lfn)
        if recall is not None:
            self._endings.online(recall, node, size_bytes, recall_id, now_s)
            self._settling.online(lfn, now_s)
        books.recalls.forget_failure(lfn)
        if lfn in books.pins and not node.filling:
            node.fresh_pinned_bytes += size_bytes
            self._pinning.tell_holders([lfn], now_s)

    # --- nodes that come and go ---

    def account(self, node: Node, running: tuple[RunningRecall, ...], now_s: float) -> None:
        """Compares what a joining node runs with what the books say it does.

        What is neither running nor, once the inventory is complete, held is `missed`.
        """
        for recall in node.recalls.values():
            recall.unaccounted = True
        for run in running:
            self._adopt(node, run, now_s)
        for recall in list(node.recalls.values()):
            if recall.unaccounted and recall.state is RecallState.CANCELLING:
                self._endings.stopped(recall, now_s)

    def missed(self, node: Node, now_s: float) -> None:
        """A joined node's inventory is complete: what it neither runs nor holds has failed."""
        reason = f"{node.name} joined anew and no longer runs it"
        unaccounted = [recall for recall in node.recalls.values() if recall.unaccounted]
        self._give_up(unaccounted, reason, now_s)

    def lease_over(self, node: Node, now_s: float) -> None:
        """A node is dropped: by now it has stopped every recall of its own accord."""
        self._give_up(list(node.recalls.values()), f"{node.name} was lost", now_s)

    def wake_due(self, now_s: float) -> None:
        """Puts what has waited long enough back into the queue."""
        books = self._books
        for recall in books.recalls.due(now_s):
            if recall.state is RecallState.RETRY_WAIT and recall.retry_at_s <= now_s:
                books.recalls.move(recall, "due", now_s)
                self._wishes.queue(recall, now_s)
            elif recall.state is RecallState.ASSIGNED and recall.awaiting_publish:
                failure = Failure(ErrorClass.TRANSIENT, "it ended well, but no replica appeared")
                self._endings.run_failed(recall, failure, now_s)

    # --- inside ---

    def _give_up(self, recalls: list[Recall], reason: str, now_s: float) -> None:
        """Runs have ended without a word."""
        for recall in recalls:
            if recall.state is RecallState.CANCELLING:
                self._endings.stopped(recall, now_s)
            else:
                failure = Failure(ErrorClass.TRANSIENT, reason)
                self._endings.run_failed(recall, failure, now_s, node_went=True)

    def _adopt(self, node: Node, run: RunningRecall, now_s: float) -> None:
        """A joining node runs a recall already."""
        books = self._books
        recall = books.recalls.live.get(run.lfn)
        mine = recall is not None and recall.node is node and recall.recall_id == run.recall_id
        if recall is not None and mine:
            recall.unaccounted = False
            if recall.state is RecallState.CANCELLING:
                self._wishes.stop_run(recall, "it was cancelled")
        elif books.recalls.is_run(run.recall_id) or (
            recall is not None and recall.node is not None
        ):
            books.out.send(node, CancelRecall(run.recall_id, "the file has another recall now"))
        elif recall is not None:
            begin_story(books, recall)
            books.recalls.give(recall, "adopt", node, run.recall_id, run.reserved_bytes, now_s)
            tell_if_begun(books, run.lfn, now_s, f"{node.name} joined and runs it already")
            started = FileEventKind.STARTED
            books.out.file_event(run.lfn, FileState.STAGING, started, node.name)
            if run.lfn in books.claims:
                books.recalls.move(recall, "drop", now_s)
                self._wishes.stop_run(recall, "the file is being written")
        else:
            stray = books.recalls.create(run.lfn, 0, None, now_s)
            books.recalls.give(stray, "adopt", node, run.recall_id, run.reserved_bytes, now_s)
            books.recalls.move(stray, "drop", now_s)
            self._wishes.stop_run(stray, "nobody waits for it")

    def _complete_record(self, event: RecallEnded, now_s: float) -> None:
        """The last report of a run that was published already has the details of it."""
        books = self._books
        record = books.recalls.take_published(event.recall_id)
        if record is not None and event.failure is None:
            detailed = replace(record, command_s=event.command_s, exit_code=event.exit_code)
            books.out.add(SaveRecall(detailed))
            line = f"its command took {wording.duration(event.command_s)}"
            tell_if_begun(books, record.lfn, now_s, line)

    def _learn_size(self, recall: Recall, size_bytes: int) -> None:
        if size_bytes and size_bytes != recall.size_bytes:
            recall.size_bytes = size_bytes
            if recall.node is not None:
                recall.node.resize(recall, size_bytes)

    def _pins_to_come(self, lfn: str, now_s: float) -> tuple[PinOrder, ...]:
        """The pins in force from the moment a file is published."""
        books = self._books
        records = [request.record for request in books.requests.waiting_for(lfn)]
        wished = (
            PinOrder(one.request_id, one.pin_s, staged_for(one)) for one in records if one.pin_s > 0
        )
        return (*books.pins.orders(lfn, now_s), *wished)
