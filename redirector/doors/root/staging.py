"""The wait for a file that no data server in touch holds.

A file is *brought* when the client can be sent to a holder of it. Mostly that takes a
recall. It may also take the return of the data server that holds it, or the end of that
server's lease, after which others recall the file. Whoever waits is told of each change by
the head's own events, so nothing is asked again and again but what no event tells of.

A client that goes away takes its wish along if nothing has been begun for it. A recall that
runs already goes on: the tape is mounted, and the client most likely comes back for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from common.errors import NotFound, PackhorseError, Refused, StageFailed
from redirector.core.events import CancelAsked, StageAsked
from redirector.core.states import FileEventKind, FileState, RequestState
from redirector.ids import new_request_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from redirector.core.model import FileEvent, NodeAddress
    from redirector.questions import Questions
    from redirector.runner import Runner

#: How often a holder that is out of touch is looked for.
LOOK_EVERY_S: Final = 0.25
#: A node that a client came back from is given so long to tell what became of its replica.
EXPLAIN_S: Final = 2.0


class Bringing:
    """Brings files for clients, each by a stage request that bears the client's name."""

    def __init__(self, runner: Runner, questions: Questions, deadline_s: float) -> None:
        """`deadline_s` is how long a recall goes on that an open has started."""
        self._runner = runner
        self._questions = questions
        self._deadline_s = deadline_s

    async def bring(
        self, lfn: str, owner: str, host: str, avoid: Collection[str] = ()
    ) -> NodeAddress:
        """The node to read a file from, as soon as there is one.

        `host` is the client's host label, `avoid` are nodes it came back from. Raises
        NotFound if the archive has no such file, StageFailed with the stage command's own
        reason, Refused.
        """
        head = self._runner.head
        for node_name in avoid:
            self._questions.check_replica(lfn, node_name)
        avoid_until_s = self._runner.now_s() + EXPLAIN_S
        while True:
            if avoid and self._runner.now_s() >= avoid_until_s:
                avoid = ()
            node = head.choose_reader(lfn, host, avoid)
            if node is not None:
                return node
            if head.is_online(lfn):
                self._check_served(lfn)
                await self._next_change(lfn)
            else:
                avoid = ()
                await self._stage(lfn, owner)

    def _check_served(self, lfn: str) -> None:
        """Raises Refused if those who have the file are there, but serve no root://."""
        head = self._runner.head
        if not head.holders(lfn) and head.group_by_holder([lfn]).by_connection:
            raise Refused(f"{lfn} is online, but where it is no root:// door is open")

    async def _next_change(self, lfn: str) -> None:
        """Waits until something happens to a file; not for long, as no event tells of nodes."""
        watchers = self._runner.watchers
        subscription = watchers.subscribe([lfn])
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await subscription.take()
        finally:
            watchers.unsubscribe(subscription)

    async def _stage(self, lfn: str, owner: str) -> None:
        """Has a file staged, and returns when it is online or has been. Raises as `bring`."""
        watchers = self._runner.watchers
        request_id = new_request_id()
        subscription = watchers.subscribe([lfn], request_id)
        try:
            await self._runner.ask(
                StageAsked(request_id, [lfn], owner=owner, deadline_s=self._deadline_s)
            )
            while not self._runner.head.is_online(lfn):
                events = await subscription.take()
                if events is None:
                    self._check_done(lfn, request_id)
                    return
                for event in events:
                    _raise_failure(event)
        finally:
            watchers.unsubscribe(subscription, request_id)
            self._give_up(lfn, request_id)

    def _check_done(self, lfn: str, request_id: str) -> None:
        """Raises StageFailed if a request has ended without its file."""
        if self._runner.head.request(request_id).state is not RequestState.DONE:
            raise StageFailed(f"{lfn}: not online in time, see 'packhorse explain {lfn}'")

    def _give_up(self, lfn: str, request_id: str) -> None:
        """Takes a wish back whose recall has not begun; if it is fulfilled, that does nothing."""
        if self._runner.head.staging_node(lfn) is None:
            with contextlib.suppress(PackhorseError):
                self._runner.tell(CancelAsked(request_id, reason="its client has gone"))


def _raise_failure(event: FileEvent) -> None:
    if event.kind is FileEventKind.CANCELLED:
        raise Refused(f"{event.lfn}: its recall was cancelled: {event.reason}")
    if event.kind is FileEventKind.FAILED:
        kind = NotFound if event.state is FileState.MISSING else StageFailed
        raise kind(f"{event.lfn}: {event.reason}")
