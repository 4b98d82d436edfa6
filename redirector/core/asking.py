"""What clients and admins ask for: staging, cancelling, pins; and what was asked before a restart."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from common import wording
from common.errors import NotFound, UsageError
from redirector.core.events import StageAsked
from redirector.core.instructions import (
    AnswerCancel,
    AnswerPin,
    AnswerStage,
    AnswerUnpin,
    SaveRequest,
)
from redirector.core.model import FileFacts, RequestFile, RequestRecord
from redirector.core.requests import Request
from redirector.core.states import RequestFileState, RequestState
from redirector.core.telling import asked_line, staged_for, tell_if_begun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redirector.core.books import Books
    from redirector.core.endings import Endings
    from redirector.core.events import (
        CancelAsked,
        PinAsked,
        Restored,
        RestoredRequest,
        UnpinAsked,
    )
    from redirector.core.explaining import Explaining
    from redirector.core.pinning import Pinning
    from redirector.core.settling import Settling
    from redirector.core.wishes import Wishes

_UNKNOWN = FileFacts()
#: Who asks for what nobody else has asked for.
OWN_WISHES = "packhorse"
#: Of a request's files that are overdue, as many are told what they waited for.
_EXPLAINED = 100


class Asking:
    """Takes in wishes, and lets them go."""

    def __init__(
        self,
        books: Books,
        wishes: Wishes,
        endings: Endings,
        settling: Settling,
        pinning: Pinning,
        explaining: Explaining,
    ) -> None:
        self._books = books
        self._explaining = explaining
        self._wishes = wishes
        self._endings = endings
        self._settling = settling
        self._pinning = pinning

    # --- stage requests ---

    def stage(self, event: StageAsked, now_s: float) -> None:
        """Accepts a stage request, or finds the one accepted under the same key."""
        _refuse_bad_stage(event)
        if event.idempotency_key:
            known_id = self._books.requests.of_key(event.idempotency_key)
            if known_id is not None:
                self._answer_again(known_id)
                return
        self._books.out.answer(self._accept(event, now_s))

    def replace_damaged(self, now_s: float) -> None:
        """Has brought back from the archive what was online until it proved to be damaged."""
        books = self._books
        damaged, books.damaged = books.damaged, {}
        if damaged:
            request_id = f"damaged-{books.recalls.new_id(books.epoch)}"
            self._accept(StageAsked(request_id, list(damaged), owner=OWN_WISHES), now_s)

    def cancel(self, event: CancelAsked, now_s: float) -> None:
        """Lets a request, or some of its files, go."""
        request = self._books.requests.get(event.request_id)
        if request is None:
            raise NotFound(
                f"no stage request {event.request_id} is known; it may have ended long ago"
            )
        waiting = RequestFileState.WAITING
        if event.lfns:
            asked = dict.fromkeys(event.lfns)
            lfns = [lfn for lfn in asked if request.files.get(lfn) is waiting]
        else:
            lfns = request.waiting()
        self._pinning.unpin(
            event.lfns or self._books.pins.of_owner(event.request_id), event.request_id, now_s
        )
        reason = event.reason or "cancelled"
        self._let_go(request, lfns, RequestFileState.CANCELLED, reason, now_s)
        self._settling.end_if_settled(request, now_s, cancelled=not event.lfns)
        self._books.out.answer(AnswerCancel(len(lfns)))

    def end_overdue(self, now_s: float) -> None:
        """Fails what is still waiting in requests whose time is over, some at a time."""
        left = self._books.settings.overdue_slice
        for request in self._books.requests.overdue(now_s):
            record = request.record
            patience = wording.duration(record.deadline_unix_s - record.created_unix_s)
            for place, lfn in enumerate(request.waiting()):
                reason = f"not online within {patience}"
                if place < _EXPLAINED:
                    reason += self._what_it_waited_for(lfn, now_s)
                self._let_go(request, [lfn], RequestFileState.FAILED, reason, now_s)
            left -= request.total
            self._settling.end_if_settled(request, now_s)
            if left <= 0:
                return

    # --- pins ---

    def pin(self, event: PinAsked, now_s: float) -> None:
        """Pins files; those not online yet are protected from when they come online."""
        if not (isfinite(event.lifetime_s) and event.lifetime_s > 0):
            raise UsageError(
                f"a pin cannot last {event.lifetime_s:g} s; give it a lifetime above 0"
            )
        if not event.owner:
            raise UsageError("a pin needs an owner")
        lfns = list(dict.fromkeys(event.lfns))
        self._pinning.pin(lfns, event.owner, event.lifetime_s, event.reason, now_s)
        index = self._books.index
        not_online = tuple(lfn for lfn in lfns if not index.online(lfn))
        self._books.out.answer(AnswerPin(len(lfns), not_online))

    def unpin(self, event: UnpinAsked, now_s: float) -> None:
        """Takes an owner's pins off files."""
        lfns = dict.fromkeys(event.lfns) or self._books.pins.of_owner(event.owner)
        unpinned = self._pinning.unpin(lfns, event.owner, now_s)
        if event.done:
            self._pinning.tell_done(event.lfns)
        self._books.out.answer(AnswerUnpin(unpinned))

    # --- restart ---

    def restore(self, event: Restored, now_s: float) -> None:
        """Takes in what was on disk. Nothing is written: it is there already."""
        books = self._books
        books.nodes.restore(event.nodes, now_s)
        for path in event.directories:
            books.index.directories.make(path)
        books.requests.remember_keys(event.idempotency_keys.items())
        for pin in event.pins:
            books.pins.set(pin.lfn, pin.owner, pin.expires_unix_s, pin.reason)
        self.restore_requests(event.requests, now_s)

    def restore_requests(self, requests: Iterable[RestoredRequest], now_s: float) -> None:
        """Takes in requests that were active."""
        want = self._wishes.want_as_before
        for record, files in sorted(requests, key=_age):
            request = Request(record, files)
            self._books.requests.add(request)
            share = record.share
            for file in files:
                if file.state is RequestFileState.WAITING:
                    want(file.lfn, file.facts, record.priority, share, now_s)
            self._settling.end_if_settled(request, now_s)

    # --- inside ---

    def _accept(self, event: StageAsked, now_s: float) -> AnswerStage:
        request, online = self._new_request(event, now_s)
        books = self._books
        record = request.record
        files = tuple(
            RequestFile(lfn, state, facts=event.facts.get(lfn, _UNKNOWN))
            for lfn, state in request.files.items()
        )
        books.out.add(SaveRequest(record, files))
        books.requests.add(request)
        if record.pin_s > 0:
            self._pinning.pin(online, record.request_id, record.pin_s, staged_for(record), now_s)
        share = record.share
        for lfn in request.waiting():
            tell_if_begun(books, lfn, now_s, asked_line(record))
            self._wishes.want(lfn, event.facts.get(lfn), record.priority, share, now_s)
        self._refuse_too_large(request, now_s)
        self._settling.end_if_settled(request, now_s)
        return AnswerStage(record.request_id, request.total, len(online))

    def _new_request(self, event: StageAsked, now_s: float) -> tuple[Request, list[str]]:
        """A request, not yet taken in, and which of its files are online."""
        books = self._books
        record = RequestRecord(
            event.request_id,
            event.owner,
            event.priority,
            now_s,
            now_s + (event.deadline_s or books.settings.request_deadline_s),
            event.pin_s,
            event.dataset,
            event.idempotency_key,
            event.activity,
        )
        lfns = list(dict.fromkeys(event.lfns))
        holders = books.index.locate(lfns, books.nodes.reading_rank).holders
        online = [lfn for lfn, holder in zip(lfns, holders, strict=True) if holder]
        done, waiting = RequestFileState.DONE, RequestFileState.WAITING
        states = (done if holder else waiting for holder in holders)
        files = [RequestFile(lfn, state) for lfn, state in zip(lfns, states, strict=True)]
        return Request(record, files), online

    def _answer_again(self, request_id: str) -> None:
        """Answers a repeated question.

        The first one may not be on disk yet: its record is saved once more, so
        that this answer waits for the disk too.
        """
        books = self._books
        request = books.requests.get(request_id)
        if request is None:
            books.out.answer(AnswerStage(request_id, 0, 0))
            return
        if request.state is RequestState.ACTIVE:
            books.out.add(SaveRequest(request.record, ()))
        done = request.counts[RequestFileState.DONE]
        books.out.answer(AnswerStage(request_id, request.total, done))

    def _refuse_too_large(self, request: Request, now_s: float) -> None:
        """Fails files that no pool could ever hold, at once."""
        largest_bytes = self._books.nodes.largest_quota_bytes()
        if largest_bytes:
            live = self._books.recalls.live
            for lfn in request.waiting():
                recall = live[lfn]
                if recall.size_bytes > largest_bytes and recall.waits_for_node:
                    self._endings.too_large(recall, largest_bytes, now_s)

    def _let_go(
        self,
        request: Request,
        lfns: Sequence[str],
        state: RequestFileState,
        reason: str,
        now_s: float,
    ) -> None:
        """A request waits no longer for some files; recalls nobody waits for are dropped."""
        self._settling.give_up(request, lfns, state, reason)
        share = request.record.share
        for lfn in lfns:
            if self._books.requests.is_waited_for(lfn):
                self._wishes.left(lfn, share)
            else:
                self._wishes.unwanted(lfn, reason, now_s)

    def _what_it_waited_for(self, lfn: str, now_s: float) -> str:
        reason = f"; {self._explaining.next_step(lfn, now_s)}"
        recall = self._books.recalls.live[lfn]
        if recall.failure is not None:
            reason += f"; the last attempt failed: {recall.failure.reason}"
        return reason


def _refuse_bad_stage(event: StageAsked) -> None:
    if not event.lfns:
        raise UsageError("a stage request names no files")
    for name, value in (("pin_s", event.pin_s), ("deadline_s", event.deadline_s)):
        if not (isfinite(value) and value >= 0):
            raise UsageError(f"{name} is {value:g}; it must be a duration in seconds, 0 or more")


def _age(restored: RestoredRequest) -> float:
    return restored.record.created_unix_s
