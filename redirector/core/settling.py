"""Letting those who wait know: a file came online, failed, or is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.states import RequestFileState, RequestState
from redirector.core.telling import staged_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redirector.core.books import Books
    from redirector.core.pinning import Pinning
    from redirector.core.requests import Request


class Settling:
    """Ends the files of requests, and requests with their last file."""

    def __init__(self, books: Books, pinning: Pinning) -> None:
        self._books = books
        self._pinning = pinning

    def online(self, lfn: str, now_s: float) -> None:
        """A file is online: whoever waits for it has it, pinned if that was asked for.

        The nodes are not told of the pins here: whoever calls this does so.
        """
        waiting = self._books.requests.waiting_for(lfn)
        records = [request.record for request in waiting]
        for one in records:
            if one.pin_s > 0:
                pin = (lfn, one.request_id, one.pin_s)
                self._pinning.record([pin], staged_for(one), now_s)
        for request in waiting:
            self._settle(request, lfn, RequestFileState.DONE, "")
            self.end_if_settled(request, now_s)

    def failed(self, lfn: str, reason: str, now_s: float) -> None:
        """A file's recall has failed for good."""
        for request in self._books.requests.waiting_for(lfn):
            self._settle(request, lfn, RequestFileState.FAILED, reason)
            self.end_if_settled(request, now_s)

    def give_up(
        self, request: Request, lfns: Iterable[str], state: RequestFileState, reason: str
    ) -> None:
        """A request no longer waits for some of its files; `end_if_settled` may follow."""
        for lfn in lfns:
            self._settle(request, lfn, state, reason)

    def end_if_settled(self, request: Request, now_s: float, *, cancelled: bool = False) -> None:
        """Ends a request if none of its files is waiting."""
        if request.state is RequestState.ACTIVE and not request.counts[RequestFileState.WAITING]:
            self._books.requests.end(request, request.outcome(cancelled=cancelled), now_s)
            self._books.out.ended(request)

    def _settle(self, request: Request, lfn: str, state: RequestFileState, reason: str) -> None:
        self._books.requests.settle(request, lfn, state, reason)
        self._books.out.settled(request, lfn, state, reason)
