"""Telling those who watch what happens to files, and bounding what that costs.

A *subscription* is to some names or to all. What happens is put into its buffer
at once; whoever reads it takes it from there. A reader that falls behind by
more than a buffer loses what is in it, and is told so: it must look at how the
files stand now and go on from there. So a slow reader costs no more memory than
any other, and no reader ever holds up the head.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from common.errors import PackhorseError
    from redirector.core.model import FileEvent

#: Events a reader may fall behind; about 2 MB.
BUFFER_EVENTS = 10_000


class Subscription:
    """What one reader is still to be told."""

    __slots__ = ("_buffer", "_buffer_events", "_ended", "_error", "_overrun", "_ready", "lfns")

    def __init__(self, lfns: Sequence[str] | None, buffer_events: int) -> None:
        self.lfns = lfns
        self._buffer_events = buffer_events
        self._buffer: list[FileEvent] = []
        self._overrun = False
        self._ended = False
        self._error: PackhorseError | None = None
        self._ready = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to tell, now or later."""
        return self._ended and not self._buffer and not self._overrun

    async def take(self) -> list[FileEvent] | None:
        """Waits for events and takes all there are. Empty: the reader fell behind. None: the end.

        Raises what the subscription was closed with.
        """
        await self._ready.wait()
        if self._error is not None:
            raise self._error
        if self._overrun:
            self._overrun = False
            self._settle()
            return []
        events, self._buffer = self._buffer, []
        self._settle()
        return events or None

    def put(self, event: FileEvent) -> None:
        """Tells of an event."""
        if self._overrun:
            return
        if len(self._buffer) >= self._buffer_events:
            self._buffer.clear()
            self._overrun = True
        else:
            self._buffer.append(event)
        self._ready.set()

    def end(self) -> None:
        """Nothing more will come; what is in the buffer can still be taken."""
        self._ended = True
        self._ready.set()

    def close(self, error: PackhorseError) -> None:
        """Nothing more will come, because of this."""
        self._error = error
        self._ready.set()

    def _settle(self) -> None:
        if not self._ended:
            self._ready.clear()


class Watchers:
    """All subscriptions, by the names they are to."""

    def __init__(self, buffer_events: int = BUFFER_EVENTS) -> None:
        self._buffer_events = buffer_events
        self._by_lfn: dict[str, list[Subscription]] = {}
        self._to_all: list[Subscription] = []
        self._by_request: dict[str, list[Subscription]] = {}
        self._all: set[Subscription] = set()

    def subscribe(self, lfns: Sequence[str] | None = None, request_id: str = "") -> Subscription:
        """A subscription to different names (None: to all), ending when the request does."""
        subscription = Subscription(lfns, self._buffer_events)
        self._all.add(subscription)
        if lfns is None:
            self._to_all.append(subscription)
        else:
            for lfn in lfns:
                self._by_lfn.setdefault(lfn, []).append(subscription)
        if request_id:
            self._by_request.setdefault(request_id, []).append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription, request_id: str = "") -> None:
        """Forgets a subscription; the arguments are those it was made with."""
        self._all.remove(subscription)
        if subscription.lfns is None:
            self._to_all.remove(subscription)
        else:
            for lfn in subscription.lfns:
                _remove(self._by_lfn, lfn, subscription)
        if request_id:
            _remove(self._by_request, request_id, subscription)

    def publish(self, events: Iterable[FileEvent]) -> None:
        """Tells everybody concerned, in order."""
        for event in events:
            for subscription in self._by_lfn.get(event.lfn, ()):
                subscription.put(event)
            for subscription in self._to_all:
                subscription.put(event)

    def end_request(self, request_id: str) -> None:
        """Ends the subscriptions that were to end with this request."""
        for subscription in self._by_request.get(request_id, ()):
            subscription.end()

    def close_all(self, error: PackhorseError) -> None:
        """Ends every subscription, as when the redirector stops."""
        for subscription in self._all:
            subscription.close(error)


def _remove(table: dict[str, list[Subscription]], key: str, subscription: Subscription) -> None:
    others = table[key]
    others.remove(subscription)
    if not others:
        del table[key]
