"""All recalls: at most one live one for a file, whoever asked and however often.

Every move of a recall goes through `Recalls.move`, which keeps the books: the
queue, the nodes' reservations, the ids of present runs, the counts. Nothing here
takes time that grows with the number of recalls, but for the queue's logarithm.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from redirector.core.queue import RecallQueue
from redirector.core.recall import FINAL, Recall
from redirector.core.states import RecallState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redirector.core.model import Failure, RecallRecord
    from redirector.core.node import Node
    from redirector.core.queue import ShareKey
    from redirector.core.settings import HeadSettings
    from redirector.core.stories import Stories

#: Published runs whose last report, with the details, may still come.
_PUBLISHED_REMEMBERED = 10_000


class _RememberedFailure(NamedTuple):
    failure: Failure
    until_s: float


class Recalls:
    """The table of live recalls, and what is remembered of ended ones."""

    def __init__(self, settings: HeadSettings, stories: Stories) -> None:
        self.settings = settings
        self._stories = stories
        self.live: dict[str, Recall] = {}
        self.queue = RecallQueue(settings)
        self._runs: dict[str, Recall] = {}  # by recall id; given to nodes
        self._timers: list[tuple[float, int, Recall, str]] = []
        self._timer_count = count()
        self._run_count = count(1)
        self._failures: OrderedDict[str, _RememberedFailure] = OrderedDict()
        self._published: OrderedDict[str, RecallRecord] = OrderedDict()
        self.done = 0
        self.failed = 0

    @property
    def running(self) -> int:
        """How many are given to nodes."""
        return len(self._runs)

    def runs(self) -> Iterator[Recall]:
        """Those given to nodes."""
        return iter(self._runs.values())

    def run_of(self, recall_id: str, node: Node) -> Recall | None:
        """The recall whose present run, on this node, has this id."""
        recall = self._runs.get(recall_id)
        return recall if recall is not None and recall.node is node else None

    def is_run(self, recall_id: str) -> bool:
        """Whether any recall's present run has this id."""
        return recall_id in self._runs

    # --- life ---

    def new_id(self, epoch: str) -> str:
        """An id for a run; the epoch keeps it apart from those of other lives of the head."""
        return f"{epoch}.{next(self._run_count)}"

    def create(self, lfn: str, priority: int, key: ShareKey | None, now_s: float) -> Recall:
        """A new recall, QUEUED, for this share. There must be no live one for the file."""
        assert lfn not in self.live, f"two recalls for {lfn}"
        recall = Recall(lfn, priority, now_s)
        self.live[lfn] = recall
        self.queue.admit(recall, key)
        self.queue.add(recall, now_s)
        return recall

    def give(
        self,
        recall: Recall,
        event: str,
        node: Node,
        recall_id: str,
        reserved_bytes: int,
        now_s: float,
    ) -> None:
        """Gives a recall to a node: `assign`, or `adopt` if the node runs it already."""
        self.move(recall, event, now_s)
        recall.node = node
        recall.recall_id = recall_id
        recall.reserved_bytes = reserved_bytes
        recall.attempt += 1
        recall.started_s = recall.progress_s = now_s
        recall.bytes_done = 0
        recall.phase = ""
        recall.awaiting_publish = recall.unaccounted = False
        self._runs[recall_id] = recall
        node.take(recall)
        self.queue.started(recall, now_s)

    def move(self, recall: Recall, event: str, now_s: float) -> None:
        """Makes a legal move and keeps the books; raises IllegalMove for any other."""
        before = recall.state
        recall.move(event, self._stories.of(recall.lfn))
        if before is RecallState.QUEUED:
            self.queue.remove(recall)
            self.keep_no_node(recall)
        held = recall.state in (RecallState.ASSIGNED, RecallState.CANCELLING)
        if recall.node is not None and not held:
            self._take_from_node(recall)
        if recall.state is RecallState.QUEUED:
            recall.waiting_since_s = now_s
            recall.overtaken = 0
            self.queue.add(recall, now_s)
        elif recall.state in FINAL:
            del self.live[recall.lfn]
            self.queue.forget(recall)
            self.done += recall.state is RecallState.DONE
            self.failed += recall.state is RecallState.FAILED

    def keep_no_node(self, recall: Recall) -> None:
        """No node is kept free for this recall any longer."""
        if recall.kept_on is not None:
            recall.kept_on.kept_for = None
            recall.kept_on = None

    # --- timers ---

    def wake(self, recall: Recall, at_s: float) -> None:
        """`due` will return the recall then, if it still is in its present run or wait."""
        heappush(self._timers, (at_s, next(self._timer_count), recall, recall.recall_id))

    def due(self, now_s: float) -> Iterator[Recall]:
        """Recalls whose wait is over by now, each once."""
        while self._timers and self._timers[0][0] <= now_s:
            _at_s, _number, recall, recall_id = heappop(self._timers)
            if recall.state not in FINAL and recall.recall_id == recall_id:
                yield recall

    def next_due_s(self) -> float | None:
        """When `due` has something next."""
        return self._timers[0][0] if self._timers else None

    # --- memory of ended ones ---

    def remember_failure(self, lfn: str, failure: Failure, now_s: float) -> None:
        """Notes that the last recall of a file failed for good."""
        until_s = now_s + self.settings.failure_memory_s
        self._failures[lfn] = _RememberedFailure(failure, until_s)
        self._failures.move_to_end(lfn)
        if len(self._failures) > self.settings.failures_remembered:
            self._failures.popitem(last=False)

    def failure_of(self, lfn: str, now_s: float) -> Failure | None:
        """How the last recall of a file failed, if that was lately."""
        remembered = self._failures.get(lfn)
        if remembered is None or remembered.until_s <= now_s:
            return None
        return remembered.failure

    def forget_failure(self, lfn: str) -> None:
        """The file is online, or asked for anew."""
        self._failures.pop(lfn, None)

    def remember_published(self, record: RecallRecord) -> None:
        """Notes a published run, until its node's last report of it comes."""
        self._published[record.recall_id] = record
        if len(self._published) > _PUBLISHED_REMEMBERED:
            self._published.popitem(last=False)

    def take_published(self, recall_id: str) -> RecallRecord | None:
        """What was noted of a published run, once."""
        return self._published.pop(recall_id, None)

    def check(self) -> None:
        """Asserts that the books agree."""
        states = [recall.state for recall in self.live.values()]
        assert not any(state in FINAL for state in states)
        assert len(self.queue) == states.count(RecallState.QUEUED)
        assert self.queue.running == len(self._runs)
        self.queue.check()
        given = {id(r) for r in self.live.values() if r.node is not None}
        assert given == {id(recall) for recall in self._runs.values()}
        for lfn, recall in self.live.items():
            assert recall.lfn == lfn
            held = recall.state in (RecallState.ASSIGNED, RecallState.CANCELLING)
            assert held == (recall.node is not None)
            if recall.node is not None:
                assert recall.node.recalls[lfn] is recall
                assert self._runs[recall.recall_id] is recall
            if recall.kept_on is not None:
                assert recall.state is RecallState.QUEUED
                assert recall.kept_on.kept_for is recall
            if recall.state is RecallState.RETRY_WAIT:
                assert any(timer[2] is recall for timer in self._timers)

    def _take_from_node(self, recall: Recall) -> None:
        assert recall.node is not None
        recall.node.release(recall)
        recall.node = None
        recall.awaiting_publish = recall.unaccounted = False
        del self._runs[recall.recall_id]
        self.queue.ended(recall)
