"""All sessions and all workers: events in, instructions out.

The desk knows who is there and hands each event to the session it is about;
`serving` decides who is served next.

Nothing here walks over files or packets: an event costs what it changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import NotFound, Refused
from packetizer.core import events as ev
from packetizer.core.figures import Figures, SessionState
from packetizer.core.instructions import (
    AnswerCommit,
    CloseStream,
    Instruction,
    Outbox,
    TellSessionEnded,
)
from packetizer.core.leases import LeaseIds
from packetizer.core.nodes import Nodes
from packetizer.core.policies import Policies, standard_policies
from packetizer.core.serving import Serving
from packetizer.core.session import Session
from packetizer.core.window import Space
from packetizer.core.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often workers are looked through for silent ones.
_LOOK_EVERY_S = 1.0
#: A worker silent for this many heartbeats may be replaced by another of its name.
_BEATS_MISSED = 3


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the configuration says about packets and workers."""

    packet_time_s: float = 2.0
    locality_wait_s: float = 3.0
    window: float = 0.5
    attempts: int = 3
    lease_s: float = 30.0
    heartbeat_s: float = 1.0


class Desk:
    """The whole core. Give it events, carry out what it says."""

    def __init__(self, epoch: int, tuning: Tuning, policies: Policies | None = None) -> None:
        """`epoch` must be higher than in any earlier life of this packetizer."""
        self.nodes = Nodes()
        self.sessions: dict[str, Session] = {}
        self.workers: dict[str, Worker] = {}
        self._tuning = tuning
        self._policies = policies or standard_policies(
            self.nodes,
            packet_time_s=tuning.packet_time_s,
            locality_wait_s=tuning.locality_wait_s,
            window=tuning.window,
        )
        self._lease_ids = LeaseIds(epoch)
        self._outbox = Outbox()
        self._space = Space()
        self._looked_s = 0.0
        self._serving = Serving(self.sessions, self.nodes, self._outbox)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ev.WorkerReported: self._worker_reported,
            ev.CommitKept: self._commit_kept,
            ev.CommitNotKept: self._commit_not_kept,
            ev.WorkerBeat: self._worker_beat,
            ev.Tick: self._tick,
            ev.FileOnline: self._file_online,
            ev.FileOffline: self._file_offline,
            ev.FileDescribed: self._file_described,
            ev.StageAccepted: self._stage_accepted,
            ev.StageRefused: self._stage_refused,
            ev.NodesSeen: self._nodes_seen,
            ev.SpaceSeen: self._space_seen,
            ev.WorkerJoined: self._worker_joined,
            ev.WorkerLeft: self._worker_left,
            ev.SessionOpened: self._session_opened,
            ev.FilesSurveyed: self._files_surveyed,
            ev.SessionCancelled: self._session_cancelled,
            ev.SessionBroken: self._session_broken,
            ev.EndKept: self._end_kept,
        }

    def handle(self, event: ev.Event, now_s: float) -> list[Instruction]:
        """Takes in what happened; returns what to do about it, in order.

        Raises `Refused` or `NotFound` for what a client or a worker may not do.
        """
        self._handlers[type(event)](event, now_s)
        return self._outbox.take()

    def figures(self, session_id: str, now_s: float) -> Figures:
        """How a session stands that has not ended. Raises `NotFound`."""
        return self._session(session_id).figures(now_s)

    # --- sessions --------------------------------------------------------------------

    def _session(self, session_id: str) -> Session:
        session = self.sessions.get(session_id)
        if session is None:
            raise NotFound(f"there is no session {session_id} at work here")
        return session

    def _session_opened(self, event: ev.SessionOpened, now_s: float) -> None:
        if event.session_id in self.sessions:
            raise Refused(f"session {event.session_id} is at work already")
        session = Session(
            event,
            self.nodes,
            self._lease_ids,
            self._policies,
            self._tuning.attempts,
            self._space,
            self._outbox,
            now_s,
        )
        session.served_s = self._serving.turn_s
        self.sessions[event.session_id] = session
        for worker in self.workers.values():
            if worker.only_session in {"", event.session_id}:
                session.crew.seat(worker)

    def _files_surveyed(self, event: ev.FilesSurveyed, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.surveyed(now_s)
            session.step(now_s)
            self._serving.feed(session, None, now_s)

    def _session_cancelled(self, event: ev.SessionCancelled, now_s: float) -> None:
        session = self._session(event.session_id)
        session.end(SessionState.CANCELLED, event.reason or "cancelled", now_s)

    def _session_broken(self, event: ev.SessionBroken, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.end(SessionState.FAILED, event.reason, now_s)

    def _end_kept(self, event: ev.EndKept, now_s: float) -> None:
        session = self.sessions.pop(event.session_id, None)
        if session is not None:
            session.end_kept(event.problem, now_s)

    # --- files and data servers --------------------------------------------------------

    def _file_online(self, event: ev.FileOnline, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            file = session.intake.online(event.lfn, event.nodes, event.size_bytes)
            if file is not None:
                self._serving.feed(session, file, now_s)

    def _file_offline(self, event: ev.FileOffline, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.intake.offline(event.lfn, event.state, event.reason, now_s)
            session.step(now_s)

    def _file_described(self, event: ev.FileDescribed, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            file = session.intake.described(event)
            if file is not None:
                self._serving.feed(session, file, now_s)
            else:
                session.step(now_s)

    def _stage_accepted(self, event: ev.StageAccepted, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.intake.accepted(event.lfns, now_s)

    def _stage_refused(self, event: ev.StageRefused, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.intake.refused(event.lfns, event.reason)
            session.step(now_s)

    def _nodes_seen(self, event: ev.NodesSeen, now_s: float) -> None:
        came_up = [seen for seen in event.nodes if self.nodes.seen(seen)]
        if came_up:
            self._serving.feed_all(now_s)

    def _space_seen(self, event: ev.SpaceSeen, now_s: float) -> None:
        self._space = Space(event.available_bytes, event.quota_bytes)
        for session in list(self.sessions.values()):
            session.space_is(self._space, now_s)

    # --- workers -----------------------------------------------------------------------

    def _worker_joined(self, event: ev.WorkerJoined, now_s: float) -> None:
        before = self.workers.get(event.worker)
        if before is not None:
            silent_s = now_s - before.heard_s
            same = (event.pid, event.host) == (before.pid, before.host)
            if not same and silent_s < _BEATS_MISSED * self._tuning.heartbeat_s:
                raise Refused(
                    f"there is a worker named {event.worker} already "
                    f"(process {before.pid} on {before.host or 'an unnamed host'})"
                )
            # If it lives, what it held did not kill it.
            self._lose(before, "it came back over a new connection", now_s, is_alive=same)
            self._outbox.add(CloseStream(before.stream, "the worker came back"))
        if event.only_session and event.only_session not in self.sessions:
            self._outbox.add(
                TellSessionEnded(
                    event.worker, event.stream, event.only_session, "it is not at work here"
                )
            )
        worker = Worker(
            event.worker,
            event.stream,
            event.host,
            event.rack,
            event.site,
            event.only_session,
            event.pid,
        )
        worker.heard_s = now_s
        self.workers[event.worker] = worker
        for session in self._serving.open_to(worker):
            session.crew.seat(worker)

    def _worker_left(self, event: ev.WorkerLeft, now_s: float) -> None:
        worker = self._known(event.worker, event.stream)
        if worker is not None:
            self._lose(worker, event.reason, now_s)

    def _worker_beat(self, event: ev.WorkerBeat, now_s: float) -> None:
        worker = self._known(event.worker, event.stream)
        if worker is not None:
            worker.heard_s = now_s

    def _worker_reported(self, event: ev.WorkerReported, now_s: float) -> None:
        worker = self._known(event.worker, event.stream)
        if worker is None:
            return
        worker.heard_s = now_s
        worker.want = event.want
        commit = event.commit
        touched: set[Session] = set()
        for failure in event.failures:
            lease = worker.hand.get(failure.lease_id)
            if lease is not None and not lease.is_committing:
                session = self.sessions[lease.session_id]
                session.handout.failed(lease, failure, now_s)
                touched.add(session)
        if commit is not None and not self._offer(worker, commit):
            for lease_id in commit.lease_ids:
                lease = worker.hand.get(lease_id)
                if lease is not None and not lease.is_committing:
                    session = self.sessions[lease.session_id]
                    session.handout.give_back(lease)
                    touched.add(session)
        self._serving.serve(worker, now_s)
        for session in touched:
            session.step(now_s)
            self._serving.feed(session, None, now_s)

    def _offer(self, worker: Worker, commit: ev.CommitOffered) -> bool:
        session = self.sessions.get(commit.session_id)
        if session is not None:
            return session.offer(worker, commit)
        reason = f"session {commit.session_id} is not at work here"
        self._outbox.add(AnswerCommit(worker.name, commit.commit_id, accepted=False, reason=reason))
        return False

    def _commit_kept(self, event: ev.CommitKept, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is None:
            return
        session.commits.kept(event.worker, event.commit_id, now_s)
        session.step(now_s)
        session.keep_end(now_s)
        worker = self.workers.get(event.worker)
        if worker is not None and worker.want and not worker.hand:
            self._serving.serve(worker, now_s)

    def _commit_not_kept(self, event: ev.CommitNotKept, now_s: float) -> None:
        session = self.sessions.get(event.session_id)
        if session is None:
            return
        session.commits.not_kept(event.worker, event.commit_id, event.problem)
        session.end(SessionState.FAILED, f"results cannot be kept: {event.problem}", now_s)
        session.keep_end(now_s)

    def _known(self, name: str, stream: int) -> Worker | None:
        worker = self.workers.get(name)
        return worker if worker is not None and worker.stream == stream else None

    def _lose(self, worker: Worker, reason: str, now_s: float, *, is_alive: bool = False) -> None:
        """A worker is gone: its leases go back at once."""
        del self.workers[worker.name]
        self._serving.sated(worker)
        leases = [lease for lease in worker.hand.values() if not lease.is_committing]
        story = f"worker {worker.name} is gone: {reason}"
        for session in list(self.sessions.values()):
            mine = [lease for lease in leases if lease.session_id == session.session_id]
            if is_alive:
                for lease in mine:
                    session.handout.give_back(lease)
            else:
                session.handout.lost(mine, f"{worker.name} at {worker.host}: {reason}", now_s)
            session.leave(worker)
            if mine:
                session.books.story.tell(now_s, f"{story}; {len(mine)} packets come back")
                session.step(now_s)
                self._serving.feed(session, None, now_s)

    # --- time ------------------------------------------------------------------------

    def _tick(self, _: ev.Tick, now_s: float) -> None:
        if now_s >= self._looked_s + _LOOK_EVERY_S:
            self._looked_s = now_s
            self._look_for_silent_workers(now_s)
        for session in list(self.sessions.values()):
            session.tick(now_s)
            session.step(now_s)
        self._serving.feed_all(now_s)

    def _look_for_silent_workers(self, now_s: float) -> None:
        lease_s = self._tuning.lease_s
        for worker in [w for w in self.workers.values() if now_s > w.heard_s + lease_s]:
            reason = f"nothing was heard of it for {now_s - worker.heard_s:.0f} s"
            self._outbox.add(CloseStream(worker.stream, reason))
            self._lose(worker, reason, now_s)

    def check(self) -> None:
        """Asserts that sessions are whole and that every lease is in one hand."""
        for session in self.sessions.values():
            session.check()
        in_hands: set[int] = set()
        for worker in self.workers.values():
            alone = [lease for lease in worker.hand.values() if lease.is_alone]
            assert worker.is_alone == bool(alone), worker.name
            assert not alone or len(worker.hand) == 1, f"{worker.name} holds a suspect and more"
            for lease in worker.hand.values():
                assert lease.worker is worker, lease
                in_hands.add(lease.lease_id)
            assert self._serving.is_hungry(worker) == (worker.want > 0), worker.name
        leased: set[int] = set()
        for session in self.sessions.values():
            in_hands |= session.commits.leases_being_committed()
            for file in session.books.files.values():
                leased.update(file.ledger.leased if file.ledger is not None else ())
        assert in_hands == leased, f"in hands {in_hands}, in ledgers {leased}"
