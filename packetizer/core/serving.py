"""Who is served next: workers that want packets, and sessions that have some.

A worker that gets less than it wants is *hungry*, and waits without asking again: it
is served when a file near it becomes ready, when packets come back, or when it has
waited long enough to read from afar (each `Tick`). Nobody is ever told that there
will be no more work while a session runs.

Sessions share the workers that serve any of them by start-time fair queueing: each
lease charges its session with the time it will take, the session that was charged
least is served first, and one that had nothing to lease for a while has saved
nothing up.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from packetizer.core.instructions import GivePackets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from packetizer.core.files import WorkFile
    from packetizer.core.instructions import Outbox
    from packetizer.core.leases import Lease
    from packetizer.core.nodes import Nodes
    from packetizer.core.session import Session
    from packetizer.core.workers import Worker


class Serving:
    """Brings workers and sessions together."""

    def __init__(self, sessions: Mapping[str, Session], nodes: Nodes, outbox: Outbox) -> None:
        self._sessions = sessions
        self._nodes = nodes
        self._outbox = outbox
        #: Host -> the workers there that want more than they got.
        self._hungry: dict[str, dict[str, Worker]] = {}
        #: How far the sessions' turns have come; a new session begins here.
        self.turn_s = 0.0

    def is_hungry(self, worker: Worker) -> bool:
        """Whether the worker wants more than it got."""
        return worker.name in self._hungry.get(worker.host, {})

    def feed_all(self, now_s: float) -> None:
        """Serves whoever is hungry, for time has passed or data servers have come up."""
        if self._hungry and any(session.has_work for session in self._sessions.values()):
            for worker in self._all_hungry():
                self.serve(worker, now_s)

    def feed(self, session: Session, file: WorkFile | None, now_s: float) -> None:
        """Serves hungry workers, for there is new work: in one file, or anywhere in a session.

        While more files are to come, a file is offered to the workers it is local
        to and to those that nothing is local to; the others have their turn at the
        next tick.
        """
        if not self._hungry:
            return
        if file is None or not session.books.files_to_come:
            near = self._all_hungry()
        else:
            hosts = {node.host for node in file.nodes}
            hosts.update(host for host in self._hungry if not self._nodes.has_host(host))
            near = list(chain.from_iterable(self._hungry.get(h, {}).values() for h in hosts))
        waiting = iter(near)
        while session.has_work and (worker := next(waiting, None)) is not None:
            self.serve(worker, now_s)

    def _all_hungry(self) -> list[Worker]:
        return list(chain.from_iterable(there.values() for there in self._hungry.values()))

    def serve(self, worker: Worker, now_s: float) -> None:
        """Leases to a worker what it wants, as far as there is anything for it."""
        leases: list[Lease] = []
        while len(leases) < worker.want:
            lease = self._next_lease(worker, now_s)
            if lease is None:
                break
            leases.append(lease)
        if leases:
            worker.want -= len(leases)
            last = leases[-1]
            commit_soon = last.is_alone or not self._sessions[last.session_id].may_have_more
            self._outbox.add(GivePackets(worker.name, worker.stream, leases, commit_soon))
        if worker.want:
            self._hungry.setdefault(worker.host, {})[worker.name] = worker
        else:
            self.sated(worker)

    def sated(self, worker: Worker) -> None:
        """The worker wants nothing more, or has gone."""
        there = self._hungry.get(worker.host)
        if there is not None:
            there.pop(worker.name, None)
            if not there:
                del self._hungry[worker.host]

    def _next_lease(self, worker: Worker, now_s: float) -> Lease | None:
        if worker.is_alone:
            return None
        for session in self._in_turn(worker):
            if not session.has_work:
                continue
            lease = session.lease(worker, now_s)
            if lease is not None:
                if len(self._sessions) > 1:
                    self._charge(session, lease)
                return lease
            if session.handout.is_emptying(worker):
                return None
        return None

    def open_to(self, worker: Worker) -> Collection[Session]:
        """The sessions that a worker serves."""
        if worker.only_session:
            session = self._sessions.get(worker.only_session)
            return () if session is None else (session,)
        return self._sessions.values()

    def _in_turn(self, worker: Worker) -> Iterable[Session]:
        sessions = self.open_to(worker)
        if len(sessions) < 2:
            return sessions
        return sorted(sessions, key=lambda session: session.served_s)

    def _charge(self, session: Session, lease: Lease) -> None:
        begin_s = max(session.served_s, self.turn_s)
        self.turn_s = begin_s
        session.served_s = begin_s + session.cost_s(lease)
