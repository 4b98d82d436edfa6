"""The desk at work: events in, one at a time, and its instructions carried out.

This is where the pure core meets the world. Doors and the link to the redirector hand
in what happened; the runner gives it to the desk together with the time and carries
out what the desk returns, in order: packets go to the workers' streams, what must last
to the journal, wishes about files to the session's feed. What the journal has kept
comes back as events, so a worker hears that its commit counts when the disk has it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from packetizer import wire
from packetizer.core import events as ev
from packetizer.core import instructions as ins
from packetizer.writing import CommitRow, commit_row
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from common.clock import Clock
    from packetizer.core.desk import Desk
    from packetizer.core.nodes import NodeSeen
    from packetizer.journal import Journal
    from packetizer.streams import Streams
    from packetizer.writing import Keep

log = logging.getLogger(__name__)

#: How often the desk is told that time has passed.
TICK_S = 0.25


class Feed(Protocol):
    """What a session asks of the redirector. Every call returns at once."""

    def locate(self, lfns: Iterable[str]) -> None:
        """Find out where these files are."""

    def describe(self, lfns: Iterable[str]) -> None:
        """Find out what is inside these files."""

    def stage(self, lfns: Sequence[str]) -> None:
        """Pin these files, and have them staged."""

    def pin(self, lfns: Iterable[str]) -> None:
        """Keep these files from being purged."""

    def unpin(self, lfns: Iterable[str]) -> None:
        """Let these files go."""

    def release(self) -> None:
        """Cancel all requests and drop all pins, and then end."""


class Runner:
    """Owns the desk: everything that happens to it comes through here."""

    def __init__(self, desk: Desk, clock: Clock, streams: Streams) -> None:
        self.desk = desk
        self.clock = clock
        self._streams = streams
        self._journal: Journal | None = None
        self._feeds: dict[str, Feed] = {}
        self._over: dict[str, asyncio.Event] = {}
        #: How each data server is reached, by its name; workers are told.
        self._addresses: dict[str, types_pb2.NodeAddress] = {}
        self._up: dict[str, bool] = {}
        self._carriers: dict[type, Callable[[Any], None]] = {
            ins.GivePackets: self._give_packets,
            ins.AnswerCommit: self._answer_commit,
            ins.KeepCommit: self._keep_commit,
            ins.KeepBad: self._keep,
            ins.KeepEnd: self._keep,
            ins.TellSessionEnded: self._tell_session_ended,
            ins.CloseStream: self._close_stream,
            ins.LocateFiles: lambda i: self._feeds[i.session_id].locate(i.lfns),
            ins.DescribeFiles: lambda i: self._feeds[i.session_id].describe(i.lfns),
            ins.StageFiles: lambda i: self._feeds[i.session_id].stage(i.lfns),
            ins.PinFiles: lambda i: self._feeds[i.session_id].pin(i.lfns),
            ins.UnpinFiles: lambda i: self._feeds[i.session_id].unpin(i.lfns),
            ins.ReleaseSession: lambda i: self._feeds[i.session_id].release(),
            ins.SessionOver: self._session_over,
        }

    def write_to(self, journal: Journal) -> None:
        """Where what must last goes; to be called before anything happens."""
        self._journal = journal

    def now_s(self) -> float:
        """The time, as the desk has it."""
        return self.clock.now_s()

    @property
    def trouble(self) -> str:
        """Why nothing can be kept at the moment; "" if all is well."""
        return self._journal.trouble if self._journal is not None else ""

    def tell(self, event: ev.Event) -> None:
        """Something has happened. Raises what the desk refuses."""
        carriers = self._carriers
        for instruction in self.desk.handle(event, self.clock.now_s()):
            carriers[type(instruction)](instruction)

    def begin(self, opened: ev.SessionOpened, feed: Feed) -> None:
        """A session begins, or goes on; `feed` is what it asks of the redirector."""
        self.tell(opened)
        self._feeds[opened.session_id] = feed
        self._over[opened.session_id] = asyncio.Event()

    def over(self, session_id: str) -> asyncio.Event | None:
        """Set once the session has ended and its end is on disk; None if it is not at work."""
        return self._over.get(session_id)

    def kept(self, row: Keep, problem: str) -> None:
        """The journal has written a row, or could not."""
        match row:
            case CommitRow():
                commit = row.commit
                what = (commit.session_id, commit.worker, commit.commit_id)
                self.tell(ev.CommitNotKept(*what, problem) if problem else ev.CommitKept(*what))
            case ins.KeepEnd():
                figures = row.figures
                log.info(
                    "session %s is %s: %d entries done, %d bad%s",
                    row.session_id,
                    figures.state.value,
                    figures.entries_done,
                    figures.entries_bad,
                    f" ({figures.reason})" if figures.reason else "",
                )
                self.tell(ev.EndKept(row.session_id, problem))
            case ins.KeepBad():
                pass

    def heard_of(
        self, addresses: Iterable[types_pb2.NodeAddress], up: dict[str, bool] | None = None
    ) -> None:
        """Data servers were heard of; `up` tells how they stand, if that was told too."""
        self._up.update(up or {})
        seen: list[NodeSeen] = []
        for address in addresses:
            if self._addresses.get(address.node) != address:
                # A copy: a part of a message keeps all of the message alive.
                kept = self._addresses[address.node] = types_pb2.NodeAddress()
                kept.CopyFrom(address)
            seen.append(wire.node_seen(address, up=self._up.get(address.node, True)))
        self.tell(ev.NodesSeen(seen))

    def has_space(self, available_bytes: int, quota_bytes: int) -> None:
        """What the pools have to give, of all they hold."""
        self.tell(ev.SpaceSeen(available_bytes, quota_bytes))

    async def run(self) -> NoReturn:
        """Tells the desk that time passes."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tell(ev.Tick())

    # --- instructions ----------------------------------------------------------------

    def _give_packets(self, given: ins.GivePackets) -> None:
        command = wire.packets(given.leases, self._addresses, commit_soon=given.commit_soon)
        self._streams.send(given.stream, command)

    def _answer_commit(self, answer: ins.AnswerCommit) -> None:
        command = pb.WorkerCommand()
        command.commit_answer.commit_id = answer.commit_id
        command.commit_answer.accepted = answer.accepted
        command.commit_answer.reason = answer.reason
        self._streams.send_to_worker(answer.worker, command)

    def _tell_session_ended(self, told: ins.TellSessionEnded) -> None:
        ended = pb.SessionEnded(session_id=told.session_id, reason=told.reason)
        self._streams.send(told.stream, pb.WorkerCommand(session_ended=ended))

    def _close_stream(self, close: ins.CloseStream) -> None:
        log.info("worker stream %d is closed: %s", close.stream, close.reason)
        self._streams.close(close.stream, close.reason)

    def _keep_commit(self, commit: ins.KeepCommit) -> None:
        self._keep(commit_row(commit, self.clock.now_s()))

    def _keep(self, row: Keep) -> None:
        assert self._journal is not None, "write_to() comes before anything happens"
        self._journal.keep(row)

    def _session_over(self, over: ins.SessionOver) -> None:
        del self._feeds[over.session_id]
        self._over.pop(over.session_id).set()
