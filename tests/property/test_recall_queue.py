"""The queue under random use: whatever is asked for goes, and the books agree after every step."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from redirector.core.queue import ArchiveLimit, Limits, RecallQueue, ShareKey, Weights
from redirector.core.recall import Recall
from redirector.core.settings import HeadSettings
from redirector.core.states import RecallState

KEYS = st.builds(
    ShareKey, st.sampled_from(["", "prod"]), st.sampled_from(["alice", "bob", "carol"])
)
SIZES = st.sampled_from([0, 1_000_000, 50_000_000_000])
SETTINGS = HeadSettings(
    weights=Weights({"prod": 3.0}, {"alice": 0.5}),
    limits=Limits(
        recalls=6,
        drives=2,
        archives=(ArchiveLimit("/a"), ArchiveLimit("/b", recalls=3)),
        archive_of=lambda lfn: int(lfn) % 2,
        volume_s=5.0,
    ),
    hint_wait_s=3.0,
)


class QueueMachine(RuleBasedStateMachine):
    """Drives a queue as `Recalls` does, and keeps account of what it should hold."""

    recalls = Bundle("recalls")

    def __init__(self) -> None:
        super().__init__()
        self.queue = RecallQueue(SETTINGS)
        self.now_s = 1000.0
        self.queued: set[Recall] = set()
        self.running: set[Recall] = set()
        self.made = 0

    @rule(target=recalls, key=KEYS, priority=st.integers(-3, 3), size_bytes=SIZES)
    def wish(self, key: ShareKey, priority: int, size_bytes: int) -> Recall:
        recall = Recall(str(self.made), priority, self.now_s)
        recall.size_bytes = size_bytes
        self.made += 1
        self.queue.admit(recall, key)
        self.queue.add(recall, self.now_s)
        self.queued.add(recall)
        return recall

    @rule(recall=recalls, key=KEYS)
    def join(self, recall: Recall, key: ShareKey) -> None:
        if recall.shares:
            self.queue.join(recall, key)

    @rule(recall=recalls, data=st.data())
    def leave(self, recall: Recall, data: st.DataObject) -> None:
        if len(recall.shares) > 1:
            share = data.draw(st.sampled_from(recall.shares))
            self.queue.leave(recall, share.key)

    @rule(recall=recalls, priority=st.integers(0, 9))
    def hurry(self, recall: Recall, priority: int) -> None:
        if recall.shares:
            self.queue.raise_priority(recall, priority)

    @rule(recall=recalls, volume=st.sampled_from(["", "V1", "V2", "V3"]), at=st.integers(0, 5))
    def hint(self, recall: Recall, volume: str, at: int) -> None:
        if recall.shares:
            self.queue.learn_place(recall, volume, at)

    @rule(recall=recalls)
    def cancel(self, recall: Recall) -> None:
        if recall in self.queued:
            self.queued.remove(recall)
            recall.state = RecallState.CANCELLED
            self.queue.remove(recall)
            self.queue.forget(recall)

    @rule(take=st.lists(st.booleans(), max_size=12))
    def place(self, take: list[bool]) -> None:
        answers = iter(take)
        seen = set()
        for recall in self.queue.proposals(self.now_s, places=8):
            assert recall in self.queued
            assert recall not in seen, "proposed twice in one pass"
            seen.add(recall)
            answer = next(answers, None)
            if answer is None:
                break
            if answer:
                self._start(recall)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), size_bytes=SIZES, again=st.booleans())
    def end(self, data: st.DataObject, size_bytes: int, again: bool) -> None:
        recall = data.draw(st.sampled_from(sorted(self.running, key=lambda one: one.order)))
        self.running.remove(recall)
        recall.size_bytes = recall.size_bytes or size_bytes
        self.queue.ended(recall)
        if again:
            recall.state = RecallState.QUEUED
            self.queue.add(recall, self.now_s)
            self.queued.add(recall)
        else:
            recall.state = RecallState.DONE
            self.queue.forget(recall)

    @rule(seconds=st.floats(0.1, 4.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.queue.release_unhinted(self.now_s)

    @invariant()
    def agrees(self) -> None:
        self.queue.check()
        assert len(self.queue) == len(self.queued)
        assert self.queue.running == len(self.running) <= SETTINGS.limits.recalls
        for archive in self.queue.archives:
            assert not archive.limit.recalls or archive.running <= archive.limit.recalls
        assert len(self.queue.drives.open) <= SETTINGS.limits.drives

    def teardown(self) -> None:
        """Whatever is left goes, once nothing stands in its way."""
        self.now_s += SETTINGS.hint_wait_s + 0.1
        self.queue.release_unhinted(self.now_s)
        while self.queued or self.running:
            for recall in self.queue.proposals(self.now_s, places=8):
                self._start(recall)
            assert self.running, "something is queued and nothing goes"
            for recall in list(self.running):
                self.running.remove(recall)
                self.queue.ended(recall)
                recall.state = RecallState.DONE
                self.queue.forget(recall)
        self.agrees()

    def _start(self, recall: Recall) -> None:
        self.queued.remove(recall)
        recall.state = RecallState.ASSIGNED
        self.queue.remove(recall)
        self.queue.started(recall, self.now_s)
        self.running.add(recall)


TestQueue = QueueMachine.TestCase
TestQueue.settings = hypothesis_settings(max_examples=60, stateful_step_count=60, deadline=None)
