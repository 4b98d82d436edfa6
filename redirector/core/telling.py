"""What is told of recalls: the lines of their stories, and the records of their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from redirector.core.model import RecallRecord

if TYPE_CHECKING:
    from redirector.core.books import Books
    from redirector.core.events import RecallEnded
    from redirector.core.model import Failure, RequestRecord
    from redirector.core.node import Node
    from redirector.core.recall import Recall
    from redirector.core.states import RecallState

#: Askers named in a story's first lines.
_ASKERS_NAMED = 3
#: Lines of a command's stderr kept in a story, and characters of each.
_OUTPUT_LINES = 5
_OUTPUT_WIDTH = 300


def asked_line(record: RequestRecord) -> str:
    """Who asked, in which request."""
    line = f"asked for by {record.owner or 'somebody'} (request {record.request_id}"
    if record.activity:
        line += f", {record.activity}"
    if record.priority:
        line += f", priority {record.priority}"
    return line + ")"


def dropped_line(node: str, reason: str) -> str:
    """Where a replica went from, and why."""
    return f"dropped by {node}: {reason or 'no reason given'}"


def staged_for(record: RequestRecord) -> str:
    """What a request's pins are for."""
    return f"staged for {record.owner}" if record.owner else "staged"


def begin_story(books: Books, recall: Recall) -> None:
    """Tells who asked for a file, if its story has not begun: queued recalls have none."""
    if recall.lfn in books.stories:
        return
    waiting = books.requests.waiting_for(recall.lfn)
    for request in waiting[:_ASKERS_NAMED]:
        books.stories.tell(recall.lfn, request.record.created_unix_s, asked_line(request.record))
    if len(waiting) > _ASKERS_NAMED:
        more = wording.count(len(waiting) - _ASKERS_NAMED, "other request")
        books.stories.tell(recall.lfn, waiting[-1].record.created_unix_s, f"and by {more}")


def tell_failure(
    books: Books,
    recall: Recall,
    node: Node,
    failure: Failure,
    event: RecallEnded | None,
    now_s: float,
) -> None:
    """Tells how a run failed: the reason, the exit code, the last lines of its stderr."""
    kind = failure.error_class.name.lower().replace("_", " ")
    line = f"attempt {recall.attempt} on {node.name} failed ({kind}): {failure.reason}"
    if event is not None and event.exit_code:
        ended = f"exit code {event.exit_code}" if event.exit_code > 0 else "killed by signal"
        ended = ended if event.exit_code > 0 else f"{ended} {-event.exit_code}"
        line += f" [{ended} after {wording.duration(event.command_s)}]"
    books.stories.tell(recall.lfn, now_s, line)
    if event is not None:
        for output in event.output_tail.splitlines()[-_OUTPUT_LINES:]:
            books.stories.tell(recall.lfn, now_s, f"stderr: {output[:_OUTPUT_WIDTH]}")


def tell_if_begun(books: Books, lfn: str, now_s: float, text: str) -> None:
    """Adds a line to a story that has begun; what was only queued needs none."""
    if lfn in books.stories:
        books.stories.tell(lfn, now_s, text)


def record_of(
    recall: Recall,
    state: RecallState,
    now_s: float,
    reason: str = "",
    event: RecallEnded | None = None,
) -> RecallRecord:
    """The record of a recall's present run, which ends in this state."""
    assert recall.node is not None
    return RecallRecord(
        recall.recall_id,
        recall.lfn,
        recall.node.name,
        state,
        recall.queued_s,
        recall.started_s,
        now_s,
        recall.size_bytes,
        recall.attempt,
        event.command_s if event is not None else 0.0,
        event.exit_code if event is not None else 0,
        reason,
    )
