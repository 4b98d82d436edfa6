"""Wishes for files: joining the one recall of a file, and leaving it.

There is one live recall for a file. Whoever asks for the file joins it; when the
last of them goes it is cancelled. A cancelled run on a node counts as live until
the node says that it has ended, or the node's lease is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.instructions import CancelRecall
from redirector.core.states import FileEventKind, FileState, RecallState
from redirector.core.telling import tell_if_begun

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.model import FileFacts
    from redirector.core.queue import ShareKey
    from redirector.core.recall import Recall


class Wishes:
    """Makes recalls, and drops them."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def want(
        self, lfn: str, facts: FileFacts | None, priority: int, key: ShareKey, now_s: float
    ) -> Recall:
        """Somebody waits for a file that is not online: joins its recall, or makes one.

        Those who watch are told if nobody has waited for it.
        """
        books = self._books
        recall = books.recalls.live.get(lfn)
        if recall is None or recall.state is RecallState.CANCELLING:
            books.out.file_event(lfn, FileState.STAGING, FileEventKind.QUEUED)
        return self.want_as_before(lfn, facts, priority, key, now_s)

    def want_as_before(
        self, lfn: str, facts: FileFacts | None, priority: int, key: ShareKey, now_s: float
    ) -> Recall:
        """The same, without a word: it was waited for when the head stopped."""
        books = self._books
        recall = books.recalls.live.get(lfn)
        if recall is None:
            books.recalls.forget_failure(lfn)
            recall = books.recalls.create(lfn, priority, key, now_s)
            self.queue(recall, now_s)
        elif recall.state is not RecallState.CANCELLING:
            self._join(recall, priority, key)
        if facts is not None:
            recall.size_bytes = recall.size_bytes or facts.size_bytes
            recall.checksum = recall.checksum or facts.checksum
        return recall

    def queue(self, recall: Recall, now_s: float) -> None:
        """A recall has come into the queue; it stays there unless its file is being written."""
        books = self._books
        if recall.lfn in books.claims:
            books.recalls.move(recall, "hold", now_s)
        else:
            books.queue_grown = True

    def left(self, lfn: str, key: ShareKey) -> None:
        """One of several who waited for a file has gone."""
        books = self._books
        recall = books.recalls.live[lfn]
        waiting = books.requests.waiting_for(lfn)
        if recall.state is RecallState.CANCELLING:
            return
        if all(request.record.share != key for request in waiting):
            books.recalls.queue.leave(recall, key)

    def unwanted(self, lfn: str, reason: str, now_s: float) -> None:
        """The last one who waited for a file has gone."""
        books = self._books
        recall = books.recalls.live[lfn]
        books.out.file_event(lfn, FileState.NEARLINE, FileEventKind.CANCELLED, reason=reason)
        tell_if_begun(books, lfn, now_s, f"cancelled: {reason}")
        if recall.state is RecallState.CANCELLING:
            return
        running = recall.state is RecallState.ASSIGNED
        books.recalls.move(recall, "drop", now_s)
        if running:
            self.stop_run(recall, reason)

    def stop_run(self, recall: Recall, reason: str) -> None:
        """Tells a node to stop its run of a recall."""
        assert recall.node is not None
        self._books.out.send(recall.node, CancelRecall(recall.recall_id, reason))

    # --- inside ---

    def _join(self, recall: Recall, priority: int, key: ShareKey) -> None:
        """Somebody else wants a recall too."""
        books = self._books
        books.recalls.queue.join(recall, key)
        books.queue_grown = True
        if priority > recall.priority:
            books.recalls.queue.raise_priority(recall, priority)
