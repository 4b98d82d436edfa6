"""How recalls end, and what follows for those who wait.

- A file that comes online by whatever way ends its recall.
- What the archive does not have, or fails for good, is told at once.
- A transient failure is tried again, with a growing wait and rather on another
  node, up to a number of attempts. Having found no room, having been stopped by
  its node, or having been lost with it, is not counted: such a recall waits, and is
  reported as waiting. Servers may be killed and restarted as often as it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from redirector.core.instructions import SaveRecall
from redirector.core.model import Failure
from redirector.core.states import ErrorClass, FileEventKind, FileState, RecallState
from redirector.core.telling import begin_story, record_of, tell_failure, tell_if_begun

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.events import RecallEnded
    from redirector.core.node import Node
    from redirector.core.recall import Recall
    from redirector.core.settling import Settling
    from redirector.core.wishes import Wishes

#: Failures in a row after which a node rests, so that it does not attract, being
#: idle, one recall after another only to fail them.
_FAILURES_BEFORE_REST = 3
#: A file of unknown size that found no room is given this much more at its next try: it
#: may have outgrown a reservation for which more could have been purged beforehand.
_MORE_ROOM = 4


class Endings:
    """Ends runs of recalls, well or badly."""

    def __init__(self, books: Books, wishes: Wishes, settling: Settling) -> None:
        self._books = books
        self._wishes = wishes
        self._settling = settling

    def online(
        self, recall: Recall, node: Node, size_bytes: int, recall_id: str, now_s: float
    ) -> None:
        """A recall's file has appeared on a node: brought by this recall, or otherwise."""
        books = self._books
        lfn = recall.lfn
        if recall.node is None:
            books.recalls.move(recall, "online", now_s)
            tell_if_begun(books, lfn, now_s, f"came online on {node.name} without a recall")
        elif recall.node is node and (recall.recall_id == recall_id or recall.unaccounted):
            self.published(recall, node, size_bytes, now_s)
        elif recall.state is RecallState.ASSIGNED:
            reason = f"the file came online on {node.name} meanwhile"
            books.recalls.move(recall, "drop", now_s)
            books.stories.tell(lfn, now_s, f"run on {recall.node.name} cancelled: {reason}")
            self._wishes.stop_run(recall, reason)

    def published(self, recall: Recall, node: Node, size_bytes: int, now_s: float) -> None:
        """A run has brought its file."""
        books = self._books
        recall.size_bytes = size_bytes
        record = record_of(recall, RecallState.DONE, now_s)
        books.out.add(SaveRecall(record))
        books.recalls.remember_published(record)
        books.recalls.move(recall, "publish", now_s)
        node.failures_in_row = 0
        books.nodes_changed[node] = None
        took = wording.duration(now_s - recall.started_s)
        line = f"online on {node.name}: {wording.size(size_bytes)} in {took}"
        books.stories.tell(recall.lfn, now_s, line)

    def run_failed(
        self,
        recall: Recall,
        failure: Failure,
        now_s: float,
        event: RecallEnded | None = None,
        *,
        node_went: bool = False,
    ) -> None:
        """A run has failed, or went with its node: its recall is tried again, or fails for good."""
        books = self._books
        node = recall.node
        assert node is not None
        record = record_of(recall, RecallState.FAILED, now_s, failure.reason, event)
        books.out.add(SaveRecall(record))
        tell_failure(books, recall, node, failure, event, now_s)
        recall.failure = failure
        match failure.error_class:
            case ErrorClass.NOT_FOUND | ErrorClass.PERMANENT:
                self.fail(recall, failure, now_s)
            case ErrorClass.NO_SPACE:
                arrived_bytes = event.arrived_bytes if event is not None else 0
                self._found_no_room(recall, node, arrived_bytes, now_s)
            case ErrorClass.TRANSIENT if not node_went:
                self._blame(node, now_s)
                self._failed_once_more(recall, node, failure, now_s)
            case ErrorClass.TRANSIENT | ErrorClass.CANCELLED:
                self._set_back(recall, node, now_s)

    def fail(self, recall: Recall, failure: Failure, now_s: float) -> None:
        """Fails a recall for good, and all who wait for it."""
        books = self._books
        lfn = recall.lfn
        node = recall.node.name if recall.node else ""
        begin_story(books, recall)
        books.recalls.move(recall, "fail", now_s)
        books.recalls.remember_failure(lfn, failure, now_s)
        books.stories.tell(lfn, now_s, f"failed for good: {failure.reason}")
        missing = failure.error_class is ErrorClass.NOT_FOUND
        state = FileState.MISSING if missing else FileState.FAILED
        kind = FileEventKind.FAILED
        books.out.file_event(lfn, state, kind, node, recall.size_bytes, failure.reason)
        self._settling.failed(lfn, failure.reason, now_s)

    def too_large(self, recall: Recall, largest_bytes: int, now_s: float) -> None:
        """Fails a recall that no pool could ever hold, even if all of its size is not known."""
        size = wording.size(recall.size_bytes or recall.arrived_bytes)
        if not recall.size_bytes:
            size += " so far"
        largest = wording.size(largest_bytes)
        reason = f"its {size} are more than any pool can hold (the largest: {largest})"
        self.fail(recall, Failure(ErrorClass.PERMANENT, reason), now_s)

    def stopped(self, recall: Recall, now_s: float, event: RecallEnded | None = None) -> None:
        """A cancelled run has ended. Whoever asked for the file meanwhile gets a new recall."""
        books = self._books
        assert recall.node is not None
        record = record_of(recall, RecallState.CANCELLED, now_s, "cancelled", event)
        books.out.add(SaveRecall(record))
        tell_if_begun(books, recall.lfn, now_s, f"its run on {recall.node.name} has ended")
        books.recalls.move(recall, "stopped", now_s)
        for request in books.requests.waiting_for(recall.lfn):
            asked = request.record
            renewed = self._wishes.want(recall.lfn, None, asked.priority, asked.share, now_s)
            renewed.size_bytes, renewed.checksum = recall.size_bytes, recall.checksum

    # --- inside ---

    def _found_no_room(self, recall: Recall, node: Node, arrived_bytes: int, now_s: float) -> None:
        """A run ended because its node had no room; another try needs more, or another node."""
        books = self._books
        recall.arrived_bytes = max(recall.arrived_bytes, arrived_bytes)
        largest_bytes = books.nodes.largest_quota_bytes()
        if recall.arrived_bytes > largest_bytes > 0:
            self.too_large(recall, largest_bytes, now_s)
            return
        node.full_for_bytes = recall.reserved_bytes
        recall.least_bytes = _MORE_ROOM * recall.reserved_bytes
        node.full_until_s = now_s + books.settings.backoff_s
        self._set_back(recall, node, now_s)

    def _failed_once_more(self, recall: Recall, node: Node, failure: Failure, now_s: float) -> None:
        recall.failures += 1
        if recall.failures < self._books.settings.attempts:
            self._retry(recall, node, recall.failures, now_s)
            return
        given_up = f"given up after {wording.count(recall.failures, 'failed attempt')}"
        self.fail(recall, failure._replace(reason=f"{failure.reason} ({given_up})"), now_s)

    def _set_back(self, recall: Recall, node: Node, now_s: float) -> None:
        recall.setbacks += 1
        self._retry(recall, node, recall.setbacks, now_s)

    def _retry(self, recall: Recall, node: Node, times: int, now_s: float) -> None:
        """Lets a recall wait, and then go rather to another node."""
        books = self._books
        settings = books.settings
        assert recall.failure is not None
        if node.name not in recall.failed_on:
            recall.failed_on += (node.name,)
        wait_s = min(settings.backoff_s * 2.0 ** min(times - 1, 60), settings.backoff_max_s)
        wait_s *= 1.0 + 0.25 * books.rng.random()
        recall.retry_at_s = now_s + wait_s
        books.recalls.move(recall, "retry later", now_s)
        books.recalls.wake(recall, recall.retry_at_s)
        books.stories.tell(recall.lfn, now_s, f"tried again in {wording.duration(wait_s)}")
        books.out.file_event(
            recall.lfn,
            FileState.STAGING,
            FileEventKind.RETRYING,
            node.name,
            recall.size_bytes,
            recall.failure.reason,
        )

    def _blame(self, node: Node, now_s: float) -> None:
        """Lets a node rest that fails one recall after another."""
        settings = self._books.settings
        node.failures_in_row += 1
        beyond = node.failures_in_row - _FAILURES_BEFORE_REST
        if beyond >= 0:
            rest_s = min(settings.backoff_s * 2.0 ** min(beyond, 60), settings.backoff_max_s)
            node.resting_until_s = now_s + rest_s
