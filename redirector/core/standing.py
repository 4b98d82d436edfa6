"""How one file stands, seen over all the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.figures import FileStanding
from redirector.core.states import ErrorClass, FileState

if TYPE_CHECKING:
    from redirector.core.books import Books


def standing_of(books: Books, lfn: str, now_s: float) -> FileStanding:
    """ONLINE with its best replica; else STAGING if anybody waits for it; else how its last
    recall failed, if that is remembered; else NEARLINE."""
    replicas = books.index.replicas(lfn)
    if replicas:
        number, size_bytes = min(replicas, key=lambda one: books.nodes.reading_rank(one[0]))
        return FileStanding(lfn, FileState.ONLINE, books.nodes.numbered(number).name, size_bytes)
    recall = books.recalls.live.get(lfn)
    if recall is not None and books.requests.is_waited_for(lfn):
        node = recall.node.name if recall.node is not None else ""
        reason = recall.failure.reason if recall.failure is not None else ""
        return FileStanding(lfn, FileState.STAGING, node, recall.size_bytes, reason)
    failure = books.recalls.failure_of(lfn, now_s)
    if failure is None:
        return FileStanding(lfn, FileState.NEARLINE)
    missing = failure.error_class is ErrorClass.NOT_FOUND
    return FileStanding(
        lfn, FileState.MISSING if missing else FileState.FAILED, reason=failure.reason
    )
