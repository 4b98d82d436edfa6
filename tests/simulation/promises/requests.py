"""Promises 4 and 5: every accepted request ends, and no restart loses or doubles one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from common.errors import NotFound
from redirector.core.states import RequestFileState, RequestState
from tests.simulation.promises.promise import Promise

if TYPE_CHECKING:
    from tests.simulation.laboratory import Laboratory


class EveryRequestEnds(Promise):
    """Every accepted request ends: done, failed with a reason, or cancelled.

    That they have ended holds at peace. What is committed as ended says how each file did.
    """

    number = 4

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        self._checked: set[str] = set()

    def check(self) -> None:
        """Looks at the requests that have ended since the last time."""
        database = self.site.head.database
        if len(database.ended) == len(self._checked):
            return
        for request_id in database.ended.keys() - self._checked:
            self._checked.add(request_id)
            state = database.ended[request_id]
            for file in database.request_files[request_id].values():
                if file.state is RequestFileState.WAITING:
                    raise self.broken(f"{request_id} has ended, and {file.lfn} waits", file.lfn)
                if state is RequestState.DONE and file.state is not RequestFileState.DONE:
                    raise self.broken(f"{request_id} is done, and {file} is not", file.lfn)
                if file.state is RequestFileState.FAILED and not file.reason:
                    raise self.broken(f"{file.lfn} has failed without a reason", file.lfn)

    def check_at_peace(self) -> None:
        """Nothing that was accepted is still waiting."""
        unfinished = self.site.head.unfinished()
        if unfinished:
            raise self.broken(f"never ended: {unfinished}", unfinished[0])


class RestartLosesNothing(Promise):
    """A restart or reload loses no accepted request and doubles none.

    Nor a pin. What somebody was told of is committed; a new life of the head knows it; and
    two requests made with one key are one.
    """

    number = 5

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        self._seen = (0, 0, 0)

    def check(self) -> None:
        """Looks when something was accepted, committed, or a new life began."""
        head = self.site.head
        if not self.is_head_touched:
            return
        seen = (len(head.accepted), len(head.database.requests), head.life)
        if seen != self._seen:
            self._seen = seen
            self._check_requests()
        self._check_pins()

    def _check_requests(self) -> None:
        head, database = self.site.head, self.site.head.database
        lost = head.accepted - database.requests.keys()
        if lost:
            raise self.broken(f"accepted and not kept: {sorted(lost)}", min(lost))
        keys = Counter(one.idempotency_key for one in database.requests.values())
        double = [key for key, count in keys.items() if key and count > 1]
        if double:
            raise self.broken(f"asked once and kept twice: {double}", double[0])
        for request_id in head.accepted - database.ended.keys():
            try:
                head.head.request(request_id)
            except NotFound:
                raise self.broken(f"{request_id} is forgotten", request_id) from None

    def _check_pins(self) -> None:
        head, pins = self.site.head, self.clients.pins
        for (lfn, owner), expires_s in list(pins.items()):
            if (lfn, owner) in head.database.pins:
                continue
            if head.now_s() < expires_s:
                raise self.broken(f"the pin of {owner} on {lfn} is lost", lfn)
            del pins[lfn, owner]

    def check_at_peace(self) -> None:
        """Every request that somebody made was accepted in the end, once."""
        kept = {one.idempotency_key for one in self.site.head.database.requests.values()}
        lost = self.clients.keys - kept
        if lost:
            raise self.broken(f"asked for again and again, and never accepted: {lost}")
