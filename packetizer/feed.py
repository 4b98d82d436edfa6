"""One session's dealings with the redirector: where its files are, and having them staged.

How a file stands is only ever learnt in one way, by locating it. A watched event says
no more than "look at this file again": so events may be lost, repeated or late, and
a connection may break and be made anew, and the picture is right again after one look.

What the core wants of the redirector (locate, describe, pin, stage, unpin) gathers while a
call is under way and goes out with the next one, so that a session with thousands of
small files makes few calls. Pins are set before files are asked for, so nothing can
be purged between its coming online and our noticing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NoReturn

from common.errors import PackhorseError
from packetizer import wire
from packetizer.core import events as ev
from packetizer.link import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_NAMES, PERMANENT
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from packetizer.link import RedirectorLink
    from packetizer.runner import Runner
    from protos.packhorse.v1 import types_pb2

log = logging.getLogger(__name__)

#: Pins outlive a packetizer that is down for so long.
PIN_LIFETIME_S = 900.0
RENEW_EVERY_S = PIN_LIFETIME_S / 4
#: Names in one Describe, and how many of them at a time.
DESCRIBE_NAMES = 1_000
DESCRIBES_AT_A_TIME = 8
#: The pause before files are described again whose data server did not answer.
DESCRIBE_AGAIN_S = 1.0
#: The desk is told of so many files before others have their turn.
FILES_AT_A_TIME = 500

_WORTH_A_LOOK = frozenset(
    {
        pb.FileEvent.KIND_PUBLISHED,
        pb.FileEvent.KIND_DROPPED,
        pb.FileEvent.KIND_FAILED,
        pb.FileEvent.KIND_CANCELLED,
    }
)


def owner_of(session_id: str) -> str:
    """The name under which a session pins files and asks for them."""
    return f"session:{session_id}"


class Gathering:
    """Names that wait for the next call, each once, in the order they came."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._any = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, names: Iterable[str]) -> None:
        """More names."""
        self._names.update(dict.fromkeys(names))
        if self._names:
            self._any.set()

    def discard(self, names: Iterable[str]) -> None:
        """Names that are not to be called for after all."""
        for name in names:
            self._names.pop(name, None)

    async def take(self, limit: int) -> list[str]:
        """Waits for names, and takes at most `limit` of them."""
        while not self._names:
            self._any.clear()
            await self._any.wait()
        return self.take_now(limit)

    def take_now(self, limit: int) -> list[str]:
        """Takes at most `limit` of the names there are."""
        if len(self._names) <= limit:
            taken = list(self._names)
            self._names.clear()
            return taken
        taken = [name for name, _ in zip(self._names, range(limit), strict=False)]
        self.discard(taken)
        return taken


class SessionFeed:
    """Keeps one session informed, and does what it wishes. `run` it."""

    def __init__(
        self, session_id: str, lfns: Sequence[str], link: RedirectorLink, runner: Runner, epoch: int
    ) -> None:
        self._session_id = session_id
        self._owner = owner_of(session_id)
        self._lfns = lfns
        self._link = link
        self._runner = runner
        self._epoch = epoch
        self._requests = count(1)
        self._to_look_at = Gathering()
        self._to_describe = Gathering()
        #: Files whose description did not come; they are looked at first.
        self._undescribed: set[str] = set()
        self._to_pin = Gathering()
        self._to_unpin = Gathering()
        self._unpinning: list[str] = []
        self._to_stage: list[Sequence[str]] = []
        self._pinned: set[str] = set()
        self._orders = asyncio.Event()
        self._release = asyncio.Event()

    # --- what the session wishes (see runner.Feed) ---------------------------------------

    def locate(self, lfns: Iterable[str]) -> None:
        """Find out where these files are."""
        self._to_look_at.add(lfns)

    def describe(self, lfns: Iterable[str]) -> None:
        """Find out what is inside these files."""
        self._to_describe.add(lfns)

    def stage(self, lfns: Sequence[str]) -> None:
        """Pin these files, and have them staged."""
        self.pin(lfns)
        self._to_stage.append(lfns)

    def pin(self, lfns: Iterable[str]) -> None:
        """Keep these files from being purged."""
        lfns = list(lfns)
        self._pinned.update(lfns)
        self._to_unpin.discard(lfns)
        self._to_pin.add(lfns)
        self._orders.set()

    def unpin(self, lfns: Iterable[str]) -> None:
        """Let these files go."""
        lfns = list(lfns)
        self._pinned.difference_update(lfns)
        self._to_pin.discard(lfns)
        self._to_unpin.add(lfns)
        self._orders.set()

    def release(self) -> None:
        """Cancel all requests and drop all pins, and then end."""
        self._release.set()

    # --- at work ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until the session is to be released; `release` is what is left to do then."""
        working = asyncio.create_task(self._work())
        told = asyncio.create_task(self._release.wait())
        try:
            await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, told):
                task.cancel()
            ended = await asyncio.gather(working, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]

    async def _work(self) -> None:
        pieces = [self._lfns[k : k + MAX_NAMES] for k in range(0, len(self._lfns), MAX_NAMES)]
        async with asyncio.TaskGroup() as group:
            surveys = []
            for piece in pieces:
                surveyed = asyncio.Event()
                surveys.append(surveyed)
                group.create_task(self._watch(piece, surveyed))
            group.create_task(self._look())
            group.create_task(self._carry_out_orders())
            group.create_task(self._renew_pins())
            for _ in range(DESCRIBES_AT_A_TIME):
                group.create_task(self._describe())
            await self._link.was_heard.wait()
            for surveyed in surveys:
                await surveyed.wait()
            self._runner.tell(ev.FilesSurveyed(self._session_id))

    # --- where files are -------------------------------------------------------------------

    async def _watch(self, lfns: Sequence[str], surveyed: asyncio.Event) -> NoReturn:
        """Watches some files for ever, through lost connections."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(self._link.watch(lfns)) as replies:
                    async for reply in replies:
                        if reply.snapshot_complete:
                            await self._survey(lfns)
                            surveyed.set()
                            pause_s = FIRST_PAUSE_S
                        else:
                            self._to_look_at.add(_changed(reply.events))
            except PERMANENT as error:
                reason = f"its files cannot be watched: {error}"
                self._runner.tell(ev.SessionBroken(self._session_id, reason))
                await self._release.wait()
            except PackhorseError as error:
                log.warning("session %s: %s", self._session_id, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _survey(self, lfns: Sequence[str]) -> None:
        """Locates all of these files; what the watch tells from now on are changes to this."""
        reply = await self._link.locate(lfns)
        for start in range(0, len(lfns), FILES_AT_A_TIME):
            self._tell(lfns, reply, start, start + FILES_AT_A_TIME)
            await asyncio.sleep(0)

    async def _look(self) -> NoReturn:
        """Locates files of which something was heard."""
        while True:
            lfns = await self._to_look_at.take(FILES_AT_A_TIME)
            what = f"session {self._session_id}: looking for files"
            try:
                reply = await self._link.insist(what, partial(self._link.locate, lfns))
            except PERMANENT as error:
                log.error("%s: %s", what, error)
            else:
                self._tell(lfns, reply, 0, len(lfns))

    def _tell(self, lfns: Sequence[str], reply: pb.LocateReply, start: int, stop: int) -> None:
        """Tells of the rows from `start` to `stop`."""
        names = [node.node for node in reply.nodes]
        more: dict[int, list[str]] = {}
        for copy in reply.more:
            more.setdefault(copy.row, []).append(names[copy.holder - 1])
        offline = {row.row: row for row in reply.offline}
        tell, session_id = self._runner.tell, self._session_id
        for row in range(start, min(stop, len(lfns))):
            lfn, holder = lfns[row], reply.holder[row]
            if lfn in self._undescribed:
                self._undescribed.discard(lfn)
                if holder:
                    self._to_describe.add((lfn,))
            if holder:
                nodes = (names[holder - 1], *more.get(row, ()))
                tell(ev.FileOnline(session_id, lfn, nodes, reply.size_bytes[row]))
            elif row in offline:
                state = wire.offline_state(offline[row].state)
                tell(ev.FileOffline(session_id, lfn, state, offline[row].reason))
            else:
                tell(ev.FileOffline(session_id, lfn, ev.Offline.NEARLINE))

    # --- what is inside them -----------------------------------------------------------------

    async def _describe(self) -> NoReturn:
        """Has files described, a batch at a time."""
        while True:
            lfns = await self._to_describe.take(DESCRIBE_NAMES)
            left = set(lfns)
            try:
                async with aclosing(self._link.describe(lfns)) as replies:
                    async for reply in replies:
                        for info in reply.files:
                            left.discard(info.lfn)
                            self._runner.tell(_described(self._session_id, info))
            except PackhorseError as error:
                log.warning("session %s: %s", self._session_id, error)
            if left:
                await asyncio.sleep(DESCRIBE_AGAIN_S)
                self._undescribed |= left
                self._to_look_at.add(left)

    # --- pins and stage requests ---------------------------------------------------------------

    async def _carry_out_orders(self) -> NoReturn:
        """Pins, then asks, then unpins, over and over."""
        while True:
            await self._orders.wait()
            self._orders.clear()
            stages, self._to_stage = self._to_stage, []
            while lfns := self._to_pin.take_now(MAX_NAMES):
                await self._pin(lfns)
            for wish in stages:
                await self._stage(wish)
            await self.let_go()

    async def let_go(self) -> None:
        """Unpins what the session has done with, and what it had begun to unpin."""
        while self._unpinning or self._to_unpin:
            self._unpinning = self._unpinning or self._to_unpin.take_now(MAX_NAMES)
            unpin = partial(self._link.unpin, self._unpinning, self._owner)
            await self._insist("unpinning", unpin)
            self._unpinning = []

    async def _stage(self, lfns: Sequence[str]) -> None:
        key = f"{self._owner}:{self._epoch}:{next(self._requests)}"
        try:
            await self._link.insist(
                f"session {self._session_id}: staging",
                lambda: self._link.stage(lfns, self._owner, key),
            )
        except PERMANENT as error:
            if len(lfns) == 1:
                self._runner.tell(ev.StageRefused(self._session_id, lfns, str(error)))
                return
            # One name that is refused must not take the others down with it.
            middle = len(lfns) // 2
            await self._stage(lfns[:middle])
            await self._stage(lfns[middle:])
        else:
            self._runner.tell(ev.StageAccepted(self._session_id, lfns))

    async def _pin(self, lfns: Sequence[str]) -> None:
        await self._insist("pinning", partial(self._link.pin, lfns, self._owner, PIN_LIFETIME_S))

    async def _renew_pins(self) -> NoReturn:
        """Renews all pins in time, as long as anybody works on the session."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            session = self._runner.desk.sessions.get(self._session_id)
            if session is not None and session.is_attended(self._runner.now_s()):
                self.pin(self._pinned)

    async def _insist(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """Makes a call until it is answered; a refusal is only worth a line in the log."""
        what = f"session {self._session_id}: {what}"
        try:
            await self._link.insist(what, attempt)
        except PERMANENT as error:
            log.error("%s: %s", what, error)


async def release(link: RedirectorLink, session_id: str) -> None:
    """Cancels what an ended session still asks for and drops its pins, whenever they were set."""
    owner = owner_of(session_id)
    what = f"session {session_id}: letting go of its files"
    try:
        await link.insist(what, lambda: link.cancel_all(owner))
        await link.insist(what, lambda: link.unpin((), owner))
    except PERMANENT as error:
        log.error("%s: %s", what, error)


def _changed(events: Iterable[pb.FileEvent]) -> Iterator[str]:
    """The files worth a look: what is queued, started or retried changes nothing for us."""
    for event in events:
        if event.kind in _WORTH_A_LOOK:
            yield event.lfn


def _described(session_id: str, info: types_pb2.FileInfo) -> ev.FileDescribed:
    content = info.content
    problem = content.problem
    if not info.HasField("content"):
        problem = "nothing is known of its content: its data server inspects no files"
    return ev.FileDescribed(
        session_id, info.lfn, info.size_bytes, content.format, wire.tables_of(content), problem
    )
