"""Watching files: how they stand now, then every change, for as long as it is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common.errors import Refused
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.wire import files as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from redirector.core.model import RequestFile
    from redirector.runner import Runner

#: Events in one message: well below the largest message, for names of any length.
PIECE_EVENTS = 2_000
#: A watcher gets this many messages at once, and then so many a second. Between
#: them events gather, for at a thousand recalls a second a message for each event
#: of each watcher would cost more than the recalls.
BURST_MESSAGES = 20
MESSAGES_PER_S = 50.0


class Pace:
    """Lets a few go at once, and then only so many a second."""

    def __init__(self, burst: float = BURST_MESSAGES, per_s: float = MESSAGES_PER_S) -> None:
        self._clock = asyncio.get_running_loop()
        self._burst = burst
        self._per_s = per_s
        self._credit = burst
        self.counted_s = self._clock.time()

    async def step(self) -> None:
        """Waits until the next one may go."""
        now_s = self._clock.time()
        earned = (now_s - self.counted_s) * self._per_s
        self._credit = min(self._burst, self._credit + earned) - 1
        self.counted_s = now_s
        if self._credit < 0:
            await asyncio.sleep(-self._credit / self._per_s)


async def watch(
    runner: Runner,
    lfns: Sequence[str] | None,
    request_id: str,
    ended: Sequence[RequestFile] | None,
) -> AsyncGenerator[pb.WatchReply, None]:
    """The replies of one Watch call.

    Args:
        runner: has the head and its watchers.
        lfns: what is watched; None is every file of the site, without a snapshot.
        request_id: of the request whose end ends the watch; "" if there is none.
        ended: the files of a request that has ended already; they are all there is to tell.

    Raises:
        Refused: a watcher of every file has fallen behind.
    """
    if ended is not None:
        for reply in _pieces([wire.request_snapshot_event(file) for file in ended]):
            yield reply
        yield pb.WatchReply(snapshot_complete=True)
        return
    different = None if lfns is None else list(dict.fromkeys(lfns))
    subscription = runner.watchers.subscribe(different, request_id)
    try:
        if different is not None:
            async for reply in _snapshot(runner, different):
                yield reply
        pace = Pace()
        while (events := await subscription.take()) is not None:
            if events:
                for reply in _pieces([wire.event_message(event) for event in events]):
                    yield reply
                if not subscription.is_over:
                    await pace.step()
            elif different is None:
                raise Refused(
                    "this watcher of all files reads more slowly than things happen; watch again"
                )
            else:
                async for reply in _snapshot(runner, different):
                    yield reply
    finally:
        runner.watchers.unsubscribe(subscription, request_id)


async def _snapshot(runner: Runner, lfns: Sequence[str]) -> AsyncGenerator[pb.WatchReply, None]:
    for start in range(0, len(lfns), PIECE_EVENTS):
        piece = lfns[start : start + PIECE_EVENTS]
        standings = runner.head.standing(piece, runner.now_s())
        yield pb.WatchReply(events=map(wire.snapshot_event, standings))
        # A snapshot of 100,000 files must not keep everybody else waiting.
        await asyncio.sleep(0)
    yield pb.WatchReply(snapshot_complete=True)


def _pieces(events: Sequence[pb.FileEvent]) -> Iterable[pb.WatchReply]:
    for start in range(0, len(events), PIECE_EVENTS):
        yield pb.WatchReply(events=events[start : start + PIECE_EVENTS])
