"""One run over one dataset: its parts put together, and the moves of its state.

    OPENING ──► RUNNING ──► ENDING ──► DONE | FAILED | CANCELLED
       └───────────────────────┘

A session is ENDING from the moment its fate is decided until that is on disk; the
commits that are being written then are waited for, so the last figures are exact.
Work goes on in RUNNING only. A session that is taken up again, after a restart or
because somebody resumes it, is a new object that begins in OPENING with what was
committed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.story import IllegalMove
from packetizer.core.books import Books
from packetizer.core.commits import Commits
from packetizer.core.figures import Figures, SessionState
from packetizer.core.handout import Handout
from packetizer.core.instructions import KeepEnd, ReleaseSession, SessionOver, TellSessionEnded
from packetizer.core.intake import Intake
from packetizer.core.shelves import Shelves
from packetizer.core.window import Ahead
from packetizer.core.workers import Crew

if TYPE_CHECKING:
    from packetizer.core.events import CommitOffered, SessionOpened
    from packetizer.core.instructions import Outbox
    from packetizer.core.leases import Lease, LeaseIds
    from packetizer.core.nodes import Nodes
    from packetizer.core.policies import Policies
    from packetizer.core.window import Space
    from packetizer.core.workers import Worker

_O, _R, _E = SessionState.OPENING, SessionState.RUNNING, SessionState.ENDING

#: Every legal move. How a session ends is decided on the way into ENDING.
MOVES: dict[tuple[SessionState, str], SessionState | None] = {
    (_O, "surveyed"): _R,
    (_O, "end"): _E,
    (_R, "end"): _E,
    (_E, "end kept"): None,
}

#: A session that no worker has served for so long keeps no pins and stages nothing.
_UNATTENDED_S = 600.0


class Session:
    """A session that has not ended."""

    def __init__(
        self,
        opened: SessionOpened,
        nodes: Nodes,
        lease_ids: LeaseIds,
        policies: Policies,
        attempts: int,
        space: Space,
        outbox: Outbox,
        now_s: float,
    ) -> None:
        self.session_id = opened.session_id
        self.spec = opened.spec
        self.state = SessionState.OPENING
        self.crew = Crew()
        #: Seconds of work it was given, on the scale that sessions take turns by.
        self.served_s = 0.0
        self._outcome = SessionState.DONE
        self._reason = ""
        self._outbox = outbox
        self._attended_s = now_s
        self._packet_time_s = policies.packet_time_s
        self._shelves = Shelves(nodes)
        self._ahead = ahead = Ahead(policies.window, space)
        self.books = Books(opened, self._shelves, ahead, outbox)
        self.intake = Intake(self.books, self._shelves, ahead, nodes, outbox, opened.spec.missing)
        self.handout = Handout(
            self.books,
            self._shelves,
            self.crew,
            policies.where,
            policies.how_much(opened.spec),
            lease_ids,
            attempts,
        )
        self.commits = Commits(self.books, self.crew, self.handout, outbox, opened.commits or {})
        verb = "goes on" if self.books.entries_done or self.books.missing else "opened"
        self.books.story.tell(now_s, f"{verb}: {len(opened.files)} files of {opened.spec.dataset}")

    # --- work ------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether there is anything to lease now, to the right worker at least."""
        return self.state is SessionState.RUNNING and self.handout.has_work

    @property
    def may_have_more(self) -> bool:
        """Whether there is, or may yet be, anything to lease besides what may come back."""
        return bool(self.handout.has_work or len(self.handout.returns) or self.books.files_to_come)

    def lease(self, worker: Worker, now_s: float) -> Lease | None:
        """The next packet for a worker; None if there is none for it now."""
        return self.handout.lease(self.crew.seat(worker), now_s)

    def cost_s(self, lease: Lease) -> float:
        """About how long a packet will keep its worker busy."""
        rate = self.crew.seat(lease.worker).rate.per_s or self.crew.typical_rate
        return lease.entries / rate if rate else self._packet_time_s

    def offer(self, worker: Worker, commit: CommitOffered) -> bool:
        """A worker offers a commit. Returns whether it was taken; see `Commits.offer`."""
        running = self.state is SessionState.RUNNING
        why_not = "" if running else f"the session has ended: {self._reason or 'it is done'}"
        return self.commits.offer(worker, commit, why_not)

    def leave(self, worker: Worker) -> None:
        """A worker has gone; what it held was dealt with."""
        self.handout.leave(worker)
        self.crew.leave(worker)

    # --- moves -----------------------------------------------------------------------

    def surveyed(self, now_s: float) -> None:
        """How every file stands is known: work may begin."""
        if self.state is not SessionState.OPENING:
            return  # after a lost connection everything is told again
        self._move("surveyed", now_s)
        problem = self.intake.surveyed()
        if problem:
            self.end(SessionState.FAILED, problem, now_s)

    def space_is(self, space: Space, now_s: float) -> None:
        """The redirector tells how much space there is."""
        self._ahead.space_is(space)
        self.step(now_s)

    def step(self, now_s: float) -> None:
        """Looks whether it is time to end, or to ask for more files."""
        if self.state is not SessionState.RUNNING:
            return
        limit = self.spec.max_bad_packets
        if limit and self.books.bad_packets > limit:
            last = self.books.missing[-1]
            self.end(
                SessionState.FAILED,
                f"more than {limit} packets are bad, the last one in {last.lfn}: {last.reason}",
                now_s,
            )
        elif self.books.is_settled:
            self.end(SessionState.DONE, "", now_s)
        elif self.is_attended(now_s):
            self.intake.ask(now_s)

    def tick(self, now_s: float) -> bool:
        """Time has passed. Returns whether packets may be leased again by that."""
        if len(self.crew):
            self._attended_s = now_s
        if self.state is not SessionState.RUNNING:
            return False
        self.intake.look_again(now_s)
        problem = self.intake.wait_no_longer(now_s)
        if problem:
            self.end(SessionState.FAILED, problem, now_s)
            return False
        return self.handout.returns.wake(now_s)

    def is_attended(self, now_s: float) -> bool:
        """Whether workers serve it, or did a short while ago."""
        return now_s < self._attended_s + _UNATTENDED_S

    def end(self, outcome: SessionState, reason: str, now_s: float) -> None:
        """Decides how the session ends. Leases end too, except those being committed."""
        if self.state not in {SessionState.OPENING, SessionState.RUNNING}:
            return
        self._outcome, self._reason = outcome, reason
        self._move("end", now_s)
        for seat in self.crew.seats.values():
            worker = seat.worker
            for lease in list(worker.hand.values()):
                if lease.session_id == self.session_id and not lease.is_committing:
                    self.handout.give_back(lease)
            self._outbox.add(
                TellSessionEnded(
                    worker.name, worker.stream, self.session_id, reason or outcome.value
                )
            )
        self._outbox.add(ReleaseSession(self.session_id))
        self.keep_end(now_s)

    def keep_end(self, now_s: float) -> None:
        """Has the end written down, once the commits under way are."""
        if self.state is SessionState.ENDING and not self.commits.is_writing:
            self._outbox.add(KeepEnd(self.session_id, self._figures(self._outcome, now_s)))

    def end_kept(self, problem: str, now_s: float) -> None:
        """The end is on disk, or cannot be written: then a restart takes the session up again."""
        if problem:
            self.books.story.tell(now_s, f"its end could not be written down: {problem}")
        self._move("end kept", now_s)
        self._outbox.add(SessionOver(self.session_id))

    def _move(self, event: str, now_s: float) -> None:
        if (self.state, event) not in MOVES:
            raise IllegalMove(self.session_id, self.state.value, event, self.books.story)
        self.state = MOVES[self.state, event] or self._outcome
        self.books.story.tell(now_s, f"{event}: {self.state.value} {self._reason}".rstrip())

    # --- figures ---------------------------------------------------------------------

    def figures(self, now_s: float) -> Figures:
        """How it stands; a session that is ending is shown as running until its end is kept."""
        is_ending = self.state is SessionState.ENDING
        return self._figures(SessionState.RUNNING if is_ending else self.state, now_s)

    def _figures(self, state: SessionState, now_s: float) -> Figures:
        books = self.books
        rate = books.rate.per_s(now_s)
        is_over = state not in {SessionState.OPENING, SessionState.RUNNING}
        return Figures(
            session_id=self.session_id,
            spec=self.spec,
            state=state,
            reason=self._reason,
            elapsed_s=now_s - self.spec.created_s,
            files=len(books.files),
            files_online=books.files_online,
            files_staging=books.files_staging,
            files_done=books.files_settled,
            files_bad=books.files_bad,
            files_recalled=books.files_recalled,
            files_online_at_first_lease=books.files_online_at_first_lease,
            files_of_unknown_entries=books.files_of_unknown_entries,
            entries_total=books.entries_total,
            entries_done=books.entries_done,
            entries_bad=books.entries_bad,
            entries_local=books.entries_local,
            bytes_read=books.bytes_read,
            packets_done=books.packets_done,
            packets_retried=books.packets_retried,
            workers=len(self.crew),
            rate=rate,
            eta_s=books.entries_left / rate if rate and not is_over else -1.0,
            first_lease_s=books.first_lease_s,
            first_packet_s=books.first_packet_s,
            missing=tuple(books.missing) if is_over else (),
        )

    def check(self) -> None:
        """Asserts that all its parts agree."""
        self.books.check()
        self.intake.check()
        self.crew.check()
        self.handout.check()
        self.commits.check()
        if self.state is SessionState.DONE:
            counted = self.books.entries_done + self.books.entries_bad
            assert counted == self.books.entries_total, "an entry is neither counted nor named"
