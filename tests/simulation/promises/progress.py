"""Promise 9: what makes no progress is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core import events as head_ev
from redirector.core.states import RequestFileState
from tests.simulation.promises.promise import Promise

if TYPE_CHECKING:
    from redirector.core.model import FileEvent
    from tests.simulation.laboratory import Laboratory

LOOK_EVERY_S = 5.0
#: The longest wait for a retry is no lack of progress; nor are a tick's delays.
SLACK_S = 25.0


class StuckIsReported(Promise):
    """What makes no progress is reported.

    A file that an accepted request waits for, and of which for long nothing has been heard
    (no run begun or ended, no next step, no byte), is among what the head calls stuck; or a node is there
    that keeps it waiting, or so many others that not all are named.
    """

    number = 9

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        self._limit_s = laboratory.stuck_after_s + SLACK_S
        self._news_s: dict[str, float] = {}
        self._how_far: dict[str, tuple[str, int]] = {}
        self._life = 0
        self._began_s = self.world.now_s
        self._next_s = 0.0
        self.reports = 0
        self.site.head.watchers.append(self._watched)
        self.site.head.observers.append(self._observed)

    def _watched(self, events: tuple[FileEvent, ...]) -> None:
        for event in events:
            self._news_s[event.lfn] = self.world.now_s

    def _observed(self, event: head_ev.Event) -> None:
        if isinstance(event, head_ev.RecallEnded):
            self._news_s[event.lfn] = self.world.now_s
        if not isinstance(event, head_ev.RecallProgressed):
            return
        how_far = (event.phase, event.bytes_done)
        if how_far != self._how_far.get(event.recall_id):
            self._how_far[event.recall_id] = how_far
            for node in self.site.nodes:
                recall = node.node.staging.get(event.recall_id) if node.alive else None
                if recall is not None:
                    self._news_s[recall.lfn] = self.world.now_s

    def check(self) -> None:
        """Looks now and then."""
        head = self.site.head
        if self._life != head.life or head.is_frozen:
            self._life, self._began_s = head.life, self.world.now_s
        if not head.answers or self.world.now_s < self._next_s:
            return
        self._next_s = self.world.now_s + LOOK_EVERY_S
        silent = [lfn for lfn in self._waiting() if self._silent_s(lfn) > self._limit_s]
        if not silent:
            return
        lines = head.head.stuck(head.now_s())
        self.reports += 1
        nodes = [line for line in lines if line.startswith(("node ", "no recall is started"))]
        queued = [line for line in lines if "queued for" in line or "held for" in line]
        for lfn in silent:
            if self._was_given_up_lately(lfn):
                continue
            named = any(line.startswith(f"{lfn}:") for line in lines)
            if not named and not nodes and len(queued) < 20:
                raise self.broken(f"{lfn} makes no progress, and nobody says so: {lines}", lfn)

    def _was_given_up_lately(self, lfn: str) -> bool:
        """Whether the head took a run from a node of late: nobody has sent it word of that."""
        head = self.site.head
        now_s = head.now_s()
        story = head.head.explain(lfn, now_s).story
        runs_s = [line.unix_s for line in story if line.text.startswith("attempt ")]
        return bool(runs_s) and now_s - runs_s[-1] < self._limit_s

    def _waiting(self) -> set[str]:
        database = self.site.head.database
        return {
            file.lfn
            for request_id in self.site.head.accepted - database.ended.keys()
            for file in database.request_files[request_id].values()
            if file.state is RequestFileState.WAITING
        }

    def _silent_s(self, lfn: str) -> float:
        since_s = self._news_s.setdefault(lfn, self.world.now_s)
        return self.world.now_s - max(since_s, self._began_s)
