"""Stage requests: who wishes which files online, and how far it has come.

A request is ACTIVE while any of its files is WAITING, and then DONE, FAILED or
CANCELLED for ever. Ended requests are remembered without their files, the latest
ones only; the shell has all of them on disk. An idempotency key leads to its
request for as long as the request, or the site's history, is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from redirector.core.figures import RequestFigures
from redirector.core.states import RequestFileState, RequestState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redirector.core.model import RequestFile, RequestRecord

_WAITING = RequestFileState.WAITING


class Request:
    """One stage request and its files."""

    __slots__ = ("counts", "ended_s", "files", "reasons", "record", "state", "total")

    def __init__(self, record: RequestRecord, files: Iterable[RequestFile]) -> None:
        self.record = record
        self.state = RequestState.ACTIVE
        self.ended_s = 0.0
        self.files: dict[str, RequestFileState] = {}
        self.reasons: dict[str, str] = {}
        self.counts = dict.fromkeys(RequestFileState, 0)
        for file in files:
            self.files[file.lfn] = file.state
            self.counts[file.state] += 1
            if file.reason:
                self.reasons[file.lfn] = file.reason
        self.total = len(self.files)

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.record.request_id

    def waiting(self) -> list[str]:
        """The files that have not ended."""
        return [lfn for lfn, state in self.files.items() if state is _WAITING]

    def figures(self) -> RequestFigures:
        """The request as people see it."""
        counts = self.counts
        return RequestFigures(
            self.record,
            self.state,
            self.ended_s,
            self.total,
            counts[RequestFileState.DONE],
            counts[RequestFileState.FAILED],
            counts[RequestFileState.CANCELLED],
        )

    def outcome(self, *, cancelled: bool) -> RequestState:
        """How it ended: DONE if every file that was still wanted came online."""
        if cancelled:
            return RequestState.CANCELLED
        if self.counts[RequestFileState.FAILED]:
            return RequestState.FAILED
        if self.counts[RequestFileState.DONE]:
            return RequestState.DONE
        return RequestState.CANCELLED


class Requests:
    """The table of stage requests."""

    def __init__(self, ended_remembered: int) -> None:
        self._ended_remembered = ended_remembered
        self._active: dict[str, Request] = {}
        self._ended: OrderedDict[str, Request] = OrderedDict()
        # Who waits for a file: mostly one request, so that is stored as it is.
        self._waiting: dict[str, Request | dict[Request, None]] = {}
        self._keys: dict[str, str] = {}
        self._deadlines: list[tuple[float, str]] = []

    def get(self, request_id: str) -> Request | None:
        """An active or remembered request."""
        return self._active.get(request_id) or self._ended.get(request_id)

    def of_key(self, key: str) -> str | None:
        """The id of the request that was accepted under an idempotency key."""
        return self._keys.get(key)

    def active(self) -> Iterator[Request]:
        """The active requests, oldest first."""
        return iter(self._active.values())

    @property
    def active_count(self) -> int:
        """How many are active."""
        return len(self._active)

    def newest_first(self, *, active_only: bool) -> list[Request]:
        """The requests in memory."""
        known = list(self._active.values())
        if not active_only:
            known += self._ended.values()
        return sorted(known, key=lambda request: request.record.created_unix_s, reverse=True)

    # --- life ---

    def remember_keys(self, keys: Iterable[tuple[str, str]]) -> None:
        """Takes in the keys of requests that ended before a restart."""
        self._keys.update(keys)

    def add(self, request: Request) -> None:
        """Takes in an active request; its WAITING files wait from now on."""
        record = request.record
        assert record.request_id not in self._active, f"request {record.request_id} exists"
        self._active[record.request_id] = request
        if record.idempotency_key:
            self._keys[record.idempotency_key] = record.request_id
        heappush(self._deadlines, (record.deadline_unix_s, record.request_id))
        for lfn in request.waiting():
            self._wait(lfn, request)

    def is_waited_for(self, lfn: str) -> bool:
        """Whether any request waits for a file."""
        return lfn in self._waiting

    def waiting_for(self, lfn: str) -> list[Request]:
        """The requests that wait for a file."""
        waiting = self._waiting.get(lfn)
        if waiting is None:
            return []
        return [waiting] if isinstance(waiting, Request) else list(waiting)

    def settle(self, request: Request, lfn: str, state: RequestFileState, reason: str) -> None:
        """One waiting file of a request has ended."""
        assert request.files[lfn] is _WAITING
        assert state is not _WAITING
        request.files[lfn] = state
        request.counts[_WAITING] -= 1
        request.counts[state] += 1
        if reason:
            request.reasons[lfn] = reason
        self._stop_waiting(lfn, request)

    def end(self, request: Request, state: RequestState, now_s: float) -> None:
        """Ends a request none of whose files is waiting; its files are forgotten."""
        assert request.state is RequestState.ACTIVE
        assert not request.counts[_WAITING]
        request.state = state
        request.ended_s = now_s
        request.files = {}
        request.reasons = {}
        del self._active[request.request_id]
        self._ended[request.request_id] = request
        if len(self._ended) > self._ended_remembered:
            _id, oldest = self._ended.popitem(last=False)
            self._keys.pop(oldest.record.idempotency_key, None)

    # --- deadlines ---

    def overdue(self, now_s: float) -> Iterator[Request]:
        """Active requests whose deadline has come, each once."""
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _deadline_s, request_id = heappop(self._deadlines)
            request = self._active.get(request_id)
            if request is not None:
                yield request

    def next_deadline_s(self) -> float | None:
        """When `overdue` has to look next."""
        return self._deadlines[0][0] if self._deadlines else None

    def check(self) -> None:
        """Asserts that counts and waiting lists agree with the files."""
        waiting = set()
        for request_id, request in self._active.items():
            assert request.request_id == request_id
            assert request.state is RequestState.ACTIVE
            assert len(request.files) == request.total == sum(request.counts.values())
            for state in RequestFileState:
                states = list(request.files.values())
                assert request.counts[state] == states.count(state)
            assert request.counts[_WAITING], f"request {request_id} should have ended"
            waiting |= {(lfn, request_id) for lfn in request.waiting()}
        told = {(lfn, one.request_id) for lfn in self._waiting for one in self.waiting_for(lfn)}
        assert waiting == told
        assert not self._active.keys() & self._ended.keys()
        assert all(request.state is not RequestState.ACTIVE for request in self._ended.values())

    # --- inside ---

    def _wait(self, lfn: str, request: Request) -> None:
        waiting = self._waiting.get(lfn)
        if waiting is None:
            self._waiting[lfn] = request
        elif isinstance(waiting, Request):
            self._waiting[lfn] = {waiting: None, request: None}
        else:
            waiting[request] = None

    def _stop_waiting(self, lfn: str, request: Request) -> None:
        waiting = self._waiting[lfn]
        if isinstance(waiting, Request):
            assert waiting is request
            del self._waiting[lfn]
        else:
            del waiting[request]
            if len(waiting) == 1:
                self._waiting[lfn] = next(iter(waiting))
