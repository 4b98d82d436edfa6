"""The worker's logic: which packet next, when to commit, how many more to ask for.

Events come in (`connected`, `take`, `answered`, …), reports go out through `send`;
between them `run_next` runs one packet. Nothing here waits, or knows of threads and
connections. The rules:

- Packets are asked for before the last one is begun, so that none is waited for:
  enough to be busy for `LOOK_AHEAD_S`, and always at least one.
- Results are committed `commit_s` after the first of them, or when there is nothing
  else to do, or when the packetizer asks for it because the session nears its end.
- Leases die with the connection they came through: what belongs to an earlier one
  is dropped, since others are at work on it already.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from common.errors import PackhorseError
from packhorse.functions import Work, load_work
from packhorse.merging import MergeError
from packhorse.tables import load_libraries
from packhorse.values.files import format_name
from packhorse.worker.partial import Partial
from packhorse.worker.running import describe_error, failure, key_of
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from packhorse.functions import Function
    from packhorse.worker.running import Key, Outcome

LOOK_AHEAD_S = 0.1
MAX_WANT = 256
# How much the last packet counts in the mean time of a packet.
_NEWEST_SHARE = 0.2
# An open file is kept for so long when there is nothing to do.
IDLE_CLOSE_S = 1.0

_Kind = pb.PacketFailure


class PacketRunner(Protocol):
    """What runs packets: `running.Runner`, or a test's own."""

    def run(self, packet: pb.Packet, function: Function) -> Outcome:
        """Calls the function on a packet."""
        ...

    def keep(self, keys: Collection[Key]) -> None:
        """Closes every file but these."""
        ...


@dataclass(slots=True)
class _Session:
    """A session as this worker sees it. `problem` says why its function cannot run here."""

    work: Work | None
    problem: str
    partial: Partial


@dataclass(frozen=True, slots=True)
class _Queued:
    packet: pb.Packet
    commit_after: bool


class Engine:
    """One worker's state. All times are seconds of `clock`."""

    def __init__(
        self,
        runner: PacketRunner,
        fetch_function: Callable[[str], bytes],
        send: Callable[[pb.WorkerReport], None],
        only_session: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._fetch_function = fetch_function
        self._send = send
        self._only_session = only_session
        self._clock = clock
        self._queue: deque[_Queued] = deque()
        self._sessions: dict[str, _Session] = {}
        self._failures: list[pb.PacketFailure] = []
        self._connected_s: float | None = None
        self._commit_s = 1.0
        self._max_result_bytes = 0
        self._commits = 0
        self._commit_now: set[str] = set()
        self._asked = 0
        self._last_key: Key | None = None
        self._packet_s = 0.0
        self._idle_since_s = clock()
        self._stopping = False
        # What can be got ready while there is nothing to do, the most useful first.
        self._chores: deque[Callable[[], None]] = deque()
        if only_session:
            self._chores += [self._get_function_ready, self._get_libraries_ready]
        #: The lease that is being worked on, 0 if none is; others may look at it.
        self.lease_id = 0
        #: The session whose function is running, "" if none is; others may look at it.
        self.session_id = ""
        #: Everything is done, and nothing more will be.
        self.finished = False

    # --- what happens ---------------------------------------------------------

    def connected(self, welcome: pb.WorkerWelcome) -> None:
        """A new connection: work may be asked for."""
        self._connected_s = self._clock()
        self._commit_s = welcome.commit_s
        self._max_result_bytes = welcome.max_result_bytes

    def disconnected(self) -> None:
        """The connection is lost, and every lease with it."""
        self._connected_s = None
        self._queue.clear()
        self._failures.clear()
        self._commit_now.clear()
        self._asked = 0
        for session in self._sessions.values():
            session.partial.forget()
        self.finished = self.finished or self._stopping

    def take(self, message: pb.Packets) -> None:
        """Packets to work on."""
        packets = message.packets
        self._asked = max(0, self._asked - len(packets))
        last = len(packets) - 1
        for number, packet in enumerate(packets):
            self._queue.append(_Queued(packet, message.commit_soon and number == last))
        if self._stopping:
            self._give_back_queue()

    def answered(self, answer: pb.CommitAnswer) -> None:
        """The packetizer counted a commit, or refused it."""
        for session in self._sessions.values():
            session.partial.answered(answer.commit_id, accepted=answer.accepted)

    def session_ended(self, message: pb.SessionEnded) -> None:
        """Nothing of this session is wanted any more."""
        ended = message.session_id
        self._queue = deque(item for item in self._queue if item.packet.session_id != ended)
        self._sessions.pop(ended, None)
        self._commit_now.discard(ended)
        if ended == self._only_session:
            self.finished = True

    def stop(self) -> None:
        """Give back what is not begun, commit what is done, and finish."""
        self._stopping = True
        self._give_back_queue()
        self._commit_now.update(self._sessions)
        self.finished = self.finished or self._connected_s is None

    # --- what is done -----------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether a packet can be run now."""
        return bool(self._queue)

    @property
    def has_chores(self) -> bool:
        """Whether something can be got ready for packets to come."""
        return bool(self._chores) and self._connected_s is not None

    def do_chore(self) -> None:
        """Gets something ready while there is nothing to do."""
        self._chores.popleft()()

    def due_in_s(self) -> float | None:
        """After how long `settle` has something to do although nothing happened."""
        waiting = [
            session.partial.since_s + self._commit_s
            for session in self._sessions.values()
            if not session.partial.is_empty and not session.partial.is_waiting
        ]
        if not self._queue:
            waiting.append(self._idle_since_s + IDLE_CLOSE_S)
        now_s = self._clock()
        return min((max(0.0, due_s - now_s) for due_s in waiting if due_s > now_s), default=None)

    def run_next(self) -> None:
        """Runs one packet, having asked for more first if they will be needed."""
        self._chores.clear()
        item = self._queue.popleft()
        packet = item.packet
        try:
            session = self._session(packet.session_id)
        except PackhorseError as error:
            self._failures.append(failure(packet.lease_id, _Kind.KIND_UNDONE, error.message))
            return
        if session.work is None:
            self._failures.append(failure(packet.lease_id, _Kind.KIND_FUNCTION, session.problem))
            return
        self._ask_for_more()
        load_libraries(format_name(packet.format))
        began_s = self._clock()
        idle_s = began_s - self._idle_since_s
        self._make_room_for(packet)
        self.session_id, self.lease_id = packet.session_id, packet.lease_id
        outcome = self._runner.run(packet, session.work.function)
        self.session_id, self.lease_id = "", 0
        self._idle_since_s = self._clock()
        self._measure(self._idle_since_s - began_s)
        self._count(session, packet, outcome, began_s, idle_s)
        if item.commit_after:
            self._commit_now.add(packet.session_id)

    def settle(self) -> None:
        """Sends what is due: failures, commits, and the wish for more packets."""
        if self._connected_s is None:
            return
        now_s = self._clock()
        for session_id, session in self._sessions.items():
            if self._is_due(session_id, session.partial, now_s):
                self._commit_now.discard(session_id)
                self._commit(session)
        if self._failures:
            self._report(pb.WorkerReport())
        self._ask_for_more()
        if not self._queue and now_s - self._idle_since_s >= IDLE_CLOSE_S:
            self._runner.keep(())
        if self._stopping and not any(
            session.partial.is_waiting for session in self._sessions.values()
        ):
            self.finished = True

    def _session(self, session_id: str) -> _Session:
        """A session with its function, fetched when first needed. Raises PackhorseError."""
        session = self._sessions.get(session_id)
        if session is None:
            content = self._fetch_function(session_id)
            work, problem = None, ""
            try:
                work = load_work(content)
            except Exception as error:  # noqa: BLE001 - loading runs the user's imports
                problem = describe_error(error)
            merge = work.merge if work is not None else None
            partial = Partial(session_id, merge, self._max_result_bytes)
            session = self._sessions[session_id] = _Session(work, problem, partial)
        return session

    def _give_back_queue(self) -> None:
        self._failures += [
            failure(item.packet.lease_id, _Kind.KIND_UNDONE, "the worker stops")
            for item in self._queue
        ]
        self._queue.clear()

    def _get_function_ready(self) -> None:
        with contextlib.suppress(PackhorseError):
            self._session(self._only_session)

    def _get_libraries_ready(self) -> None:
        load_libraries("root")

    def _count(
        self,
        session: _Session,
        packet: pb.Packet,
        outcome: Outcome,
        began_s: float,
        idle_s: float,
    ) -> None:
        """Puts what came of a packet where it belongs."""
        if outcome.failure is not None:
            self._failures.append(outcome.failure)
            return
        record = outcome.record
        record.wait_s = idle_s
        record.started_s = began_s - (self._connected_s or began_s)
        try:
            session.partial.add(record, outcome.value, self._idle_since_s)
        except MergeError as error:
            self._failures.append(failure(packet.lease_id, _Kind.KIND_MERGE, str(error)))

    def _measure(self, packet_s: float) -> None:
        """Keeps the mean time of a packet, the latest ones counting most."""
        share = _NEWEST_SHARE if self._packet_s else 1.0
        self._packet_s += share * (packet_s - self._packet_s)

    def _is_due(self, session_id: str, partial: Partial, now_s: float) -> bool:
        if partial.is_empty or partial.is_waiting:
            return False
        return (
            not self._queue
            or session_id in self._commit_now
            # The next packet would hold them back for too long.
            or now_s + self._packet_s - partial.since_s >= self._commit_s
        )

    def _commit(self, session: _Session) -> None:
        self._commits += 1
        try:
            commit = session.partial.commit(self._commits)
        except MergeError as error:
            self._failures += [
                failure(record.lease_id, _Kind.KIND_MERGE, str(error))
                for record in session.partial.drop()
            ]
        else:
            self._report(pb.WorkerReport(commit=commit))

    def _ask_for_more(self) -> None:
        """Asks when less than half of what should be at hand is at hand or asked for."""
        if self._stopping or self._connected_s is None:
            return
        packet_s = self._packet_s or LOOK_AHEAD_S
        at_hand = min(MAX_WANT, max(1, math.ceil(LOOK_AHEAD_S / packet_s)))
        if len(self._queue) + self._asked <= at_hand // 2:
            self._asked = at_hand - len(self._queue)
            self._report(pb.WorkerReport())

    def _report(self, report: pb.WorkerReport) -> None:
        """Sends a report, with the failures that wait and how many packets are wanted."""
        report.failures.extend(self._failures)
        self._failures.clear()
        report.want = self._asked
        self._send(report)

    def _make_room_for(self, packet: pb.Packet) -> None:
        """Going on to another file, lets go of those that no packet at hand is of."""
        key = key_of(packet)
        if key != self._last_key:
            self._last_key = key
            self._runner.keep({key, *(key_of(item.packet) for item in self._queue)})
