"""Explanations for people: the story of a file, what happens next, what is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from common.story import StoryLine
from redirector.core.figures import Explanation
from redirector.core.queue import why_it_waits
from redirector.core.standing import standing_of
from redirector.core.states import NodeState, RecallState
from redirector.core.telling import asked_line

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.node import Node
    from redirector.core.recall import Recall

#: Askers named for a file that is merely queued.
_ASKERS_NAMED = 20
#: Lines about queued recalls in the list of what is stuck, and as many about held ones.
_QUEUED_NAMED = 20


class Explaining:
    """Reads the tables and puts them into words. Changes nothing."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def explain(self, lfn: str, now_s: float) -> Explanation:
        """The story of a file."""
        books = self._books
        standing = standing_of(books, lfn, now_s)
        waiting = books.requests.waiting_for(lfn)
        story = list(books.stories.of(lfn))
        if lfn not in books.stories:
            records = [request.record for request in waiting[:_ASKERS_NAMED]]
            story = [StoryLine(one.created_unix_s, asked_line(one)) for one in records]
        replicas = [
            (books.nodes.numbered(number).name, size_bytes)
            for number, size_bytes in books.index.replicas(lfn)
        ]
        return Explanation(
            lfn,
            standing.state,
            standing.reason,
            replicas,
            books.pins.figures(lfn, now_s),
            [request.request_id for request in waiting],
            story,
            self.next_step(lfn, now_s),
        )

    def next_step(self, lfn: str, now_s: float) -> str:
        """What happens next to a file, in words."""
        books = self._books
        recall = books.recalls.live.get(lfn)
        writer = books.claims.writer_of(lfn)
        if recall is None:
            return f"is being written on {writer.name}" if writer is not None else ""
        if recall.state is RecallState.QUEUED:
            return self._blocked(recall, now_s)
        if recall.state is RecallState.HELD:
            assert writer is not None
            return f"waits for the client that writes it on {writer.name}"
        if recall.state is RecallState.RETRY_WAIT:
            wait = wording.duration(max(0.0, recall.retry_at_s - now_s))
            elsewhere = any(node.name not in recall.failed_on for node in books.nodes.usable())
            return f"retry in {wait}{' on another node' if elsewhere else ''}"
        assert recall.node is not None
        name = recall.node.name
        if recall.state is RecallState.CANCELLING:
            return f"its run on {name} is being stopped"
        if recall.node.state is not NodeState.UP:
            left_s = recall.node.last_heard_s + books.settings.lost_after_s - now_s
            wait = wording.duration(max(0.0, left_s))
            return f"{name} is out of touch; others get the recall if it stays away for {wait}"
        phase = f", {recall.phase}" if recall.phase else ""
        total = wording.size(recall.size_bytes) if recall.size_bytes else "an unknown size"
        return f"runs on {name}{phase}: {wording.size(recall.bytes_done)} of {total} are there"

    def stuck(self, now_s: float) -> list[str]:
        """What makes no progress, a line each."""
        books = self._books
        awaited = books.nodes.awaited(now_s)
        lines = [self._hold_off(awaited, now_s)] if awaited and books.recalls.queue else []
        lines += [line for node in books.nodes if (line := self._node_trouble(node, now_s))]
        lines += [line for node in books.nodes if (line := _stores_trouble(node))]
        limit_s = books.settings.stuck_after_s
        for recall in books.recalls.runs():
            assert recall.node is not None
            idle_s = now_s - max(recall.progress_s, recall.started_s)
            if idle_s >= limit_s:
                doing = "is being cancelled" if recall.state is RecallState.CANCELLING else "runs"
                idle = wording.duration(idle_s)
                lines.append(f"{recall.lfn}: {doing} on {recall.node.name}, no progress for {idle}")
        for recall in books.recalls.queue.foremost(_QUEUED_NAMED):
            waited_s = now_s - recall.waiting_since_s
            served_s = max(share.served_s for share in recall.shares)
            # A long queue is no trouble, as long as its owner is served.
            if min(waited_s, now_s - served_s) >= limit_s:
                waited = wording.duration(waited_s)
                lines.append(f"{recall.lfn}: queued for {waited}: {self._blocked(recall, now_s)}")
        return lines + self._held_for_long(now_s)

    # --- inside ---

    def _held_for_long(self, now_s: float) -> list[str]:
        """A line for each file that is waited for while a client writes it, and writes it."""
        books = self._books
        lines = []
        for lfn in books.claims:
            recall = books.recalls.live.get(lfn)
            if recall is None or recall.state is not RecallState.HELD:
                continue
            waited_s = now_s - recall.waiting_since_s
            if waited_s >= books.settings.stuck_after_s:
                waited = wording.duration(waited_s)
                lines.append(f"{lfn}: held for {waited}: {self.next_step(lfn, now_s)}")
            if len(lines) >= _QUEUED_NAMED:
                break
        return lines

    def _blocked(self, recall: Recall, now_s: float) -> str:
        """Why a queued recall is not on a node."""
        books = self._books
        awaited = books.nodes.awaited(now_s)
        if awaited:
            return self._hold_off(awaited, now_s)
        usable = books.nodes.usable()
        if not usable:
            return "no data server can take recalls: none is up, or all are drained or in trouble"
        assumed = books.settings.assumed_size_bytes
        room = [node for node in usable if node.need_bytes(recall, assumed) <= node.room_bytes]
        if not room:
            most = max(usable, key=lambda node: node.room_bytes)
            free = wording.size(max(0, most.room_bytes))
            need = wording.size(most.need_bytes(recall, assumed))
            return f"needs {need}; the most that is neither pinned nor promised is {free} on {most.name}"
        return why_it_waits(books.recalls.queue, recall, now_s)

    def _hold_off(self, awaited: list[str], now_s: float) -> str:
        until_s = self._books.nodes.await_until_s
        assert until_s is not None
        wait = wording.duration(until_s - now_s)
        names = ", ".join(awaited[:3]) + (" and others" if len(awaited) > 3 else "")
        return f"no recall is started before {names} joined again, for {wait} at most"

    def _node_trouble(self, node: Node, now_s: float) -> str:
        """Why a node is of no use now; "" if it is, or is drained or dropped on purpose."""
        silent_s = now_s - node.last_heard_s
        settings = self._books.settings
        if node.state is NodeState.SUSPECT and silent_s >= settings.suspect_after_s:
            return f"node {node.name}: out of touch for {wording.duration(silent_s)}"
        if node.state is NodeState.DROPPED:
            return f"node {node.name}: dropped, out of touch for {wording.duration(silent_s)}"
        if node.load.trouble:
            return f"node {node.name}: {node.load.trouble}"
        if node.resting_until_s > now_s:
            failures = wording.count(node.failures_in_row, "recall")
            rest = wording.duration(node.resting_until_s - now_s)
            return f"node {node.name}: failed {failures} in a row, rests for {rest}"
        return ""


def _stores_trouble(node: Node) -> str:
    """Why files on a node do not come into the archive; "" if they do, or there are none."""
    load = node.load
    if load.stores_trouble:
        files = wording.count(load.stores_waiting, "file")
        return f"node {node.name}: {files} wait to be stored: {load.stores_trouble}"
    if load.stores_failed:
        files = wording.count(load.stores_failed, "file")
        return f"node {node.name}: {files} cannot be stored, see packhorse stores --failed"
    return ""
