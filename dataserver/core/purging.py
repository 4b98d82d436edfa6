"""Rounds of purging: when one begins, whom it takes, and when it ends.

A *round* starts when a recall finds no room or the pool is above its high watermark, in
bytes or in files, and ends when there is room and the pool is below its low one, or when
nothing more may go. The purge command, if the site has one, is asked once a round. Victims
go in batches, and are chosen anew for each: what was opened or pinned since is vetoed, and
a recall gets its room as soon as there is enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dataserver.core.candidates import Advice, Candidates
from dataserver.core.instructions import AskPurgeCommand, Tell
from dataserver.core.purge import Goal, choose
from dataserver.core.purge_plan import goal_in_words, ground_in_words, plan

if TYPE_CHECKING:
    from dataserver.core.events import Advised, Removed
    from dataserver.core.instructions import Instruction
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.pool import Pool
    from dataserver.core.purge_plan import Plan
    from dataserver.core.removals import Removals

#: Files removed at a time: small, so that what waits for room gets it soon.
BATCH_FILES = 256
#: A file used so lately is not taken for the watermark alone, only if room is needed.
FRESH_S = 10.0
#: How long a round for the watermark alone is put off after one that fell short.
PAUSE_S = 30.0
#: The purge command sees candidates worth this many times what has to go.
CANDIDATES_TIMES = 4
CANDIDATES_MIN_FILES = 1000
CANDIDATES_MAX_FILES = 100_000


class _Round:
    """One round. `candidates` is None while the purge command is asked."""

    __slots__ = ("bytes_to_low", "candidates", "files_to_low", "goal", "in_flight")

    def __init__(self) -> None:
        self.goal = Goal(0, 0)
        self.bytes_to_low = False
        self.files_to_low = False
        self.candidates: Candidates | None = None
        self.in_flight: set[str] = set()


class Purging:
    """Decides when room is to be made, and what goes for it."""

    def __init__(
        self,
        pool: Pool,
        removals: Removals,
        policy: PurgePolicy,
        out: list[Instruction],
        *,
        asks_command: bool,
    ) -> None:
        self.files_purged = 0
        self.bytes_purged = 0
        self._pool = pool
        self._removals = removals
        #: Who goes first, from the next round on.
        self.policy = policy
        self._out = out
        self._asks_command = asks_command
        self._round: _Round | None = None
        self._pause_until_s = 0.0

    # --- looking ------------------------------------------------------------

    def can_free(self) -> tuple[int, int]:
        """Bytes and files that are leaving or could be made to."""
        size_bytes, files = self._removals.going()
        if not self._removals.pins_known:
            return size_bytes, files
        return size_bytes + self._pool.idle_bytes, files + self._pool.idle_files

    def in_flight(self) -> set[str]:
        """What is being removed to make room."""
        return self._round.in_flight if self._round is not None else set()

    def plan(self, target_bytes: int, limit: int, advice: Advice, now_s: float) -> Plan:
        """What a purge down to `target_bytes` used (0: the low watermark) would do now."""
        return plan(self._pool, self.policy, advice, self._plan_goal(target_bytes), now_s, limit)

    def plan_question(self, target_bytes: int, now_s: float) -> AskPurgeCommand:
        """What the purge command would be asked before such a plan."""
        return self._question(self._plan_goal(target_bytes), now_s)

    def _plan_goal(self, target_bytes: int) -> Goal:
        limits = self._pool.limits
        staying_bytes, staying_files = self._staying()
        over_bytes = staying_bytes - (target_bytes or limits.low_bytes)
        over_files = 0
        if limits.max_files and not target_bytes:
            over_files = staying_files - limits.low_files
        return Goal(max(0, over_files), max(0, over_bytes))

    # --- rounds -------------------------------------------------------------

    def advance(self, need_bytes: int, need_files: int, now_s: float) -> bool:
        """Starts, continues or ends a round, for recalls that need this much room.

        False: the round ended because nothing more may go, short of what is needed.
        """
        if not self._removals.pins_known or self._pool.away:
            return True
        round_ = self._round or self._start_round(need_bytes, need_files, now_s)
        if round_ is None or round_.candidates is None or round_.in_flight:
            return True
        goal = self._goal(round_, need_bytes, need_files)
        if not goal:
            self._round = None
            return True
        # Who has just come is waited for; the watermark alone does not take it.
        in_need = any(self._pool.shortfall(need_bytes, need_files))
        if self._send_off(round_, goal, math.inf if in_need else now_s - FRESH_S, now_s):
            return True
        if not self._removals.going()[1]:
            self._round = None
            self._pause_until_s = now_s + PAUSE_S
            return False
        return True

    def advised(self, event: Advised) -> None:
        """Takes the purge command's answer into the round that asked."""
        if event.problem:
            self._out.append(Tell(f"{event.problem}; policy {self.policy.name} decides alone"))
        if self._round is not None and self._round.candidates is None:
            self._round.candidates = Candidates(self._pool, self.policy, event.advice)

    def removed(self, event: Removed) -> None:
        """Counts what was purged. To be told before the pool is."""
        round_ = self._round
        if round_ is None:
            return
        for lfn in round_.in_flight.intersection(event.gone):
            replica = self._pool.get(lfn)
            assert replica is not None, lfn
            self.files_purged += 1
            self.bytes_purged += replica.size_bytes
        round_.in_flight.difference_update(event.gone)
        failed = [lfn for lfn, _ in event.failed]
        round_.in_flight.difference_update(failed)
        if round_.candidates is not None:
            round_.candidates.leave(failed)

    def _start_round(self, need_bytes: int, need_files: int, now_s: float) -> _Round | None:
        if not need_bytes and not need_files and now_s < self._pause_until_s:
            return None
        round_ = _Round()
        round_.goal = self._goal(round_, need_bytes, need_files)
        if not round_.goal:
            return None
        self._round = round_
        if self._asks_command:
            self._out.append(self._question(round_.goal, now_s))
        else:
            round_.candidates = Candidates(self._pool, self.policy)
        return round_

    def _goal(self, round_: _Round, need_bytes: int, need_files: int) -> Goal:
        """What has to go beyond what is going already, if this much more room is needed.

        Of what has no room, or was above its high watermark, the round goes down to the low one.
        """
        limits = self._pool.limits
        over_bytes, over_files = self._pool.shortfall(need_bytes, need_files)
        staying_bytes, staying_files = self._staying()
        if over_bytes or staying_bytes > limits.high_bytes:
            round_.bytes_to_low = True
        if over_files or (limits.max_files and staying_files > limits.high_files):
            round_.files_to_low = True
        going_bytes, going_files = self._removals.going()
        beyond_bytes, beyond_files = over_bytes - going_bytes, over_files - going_files
        if round_.bytes_to_low:
            beyond_bytes = max(beyond_bytes, staying_bytes - limits.low_bytes)
        if round_.files_to_low:
            beyond_files = max(beyond_files, staying_files - limits.low_files)
        return Goal(max(0, beyond_files), max(0, beyond_bytes))

    def _staying(self) -> tuple[int, int]:
        """Bytes and files that are used, and not on their way out."""
        going_bytes, going_files = self._removals.going()
        return self._pool.used_bytes - going_bytes, len(self._pool) - going_files

    def _send_off(self, round_: _Round, goal: Goal, until_s: float, now_s: float) -> bool:
        """Sends the next victims of a round on their way; whether there are any."""
        candidates = round_.candidates
        assert candidates is not None
        proposals = candidates.propose(now_s, until_s)
        victims = choose(self._pool, proposals, goal, now_s, BATCH_FILES)
        if not victims and candidates.start_over():
            # What was closed or unpinned since it was passed over.
            proposals = candidates.propose(now_s, until_s)
            victims = choose(self._pool, proposals, goal, now_s, BATCH_FILES)
        aim = goal_in_words(round_.goal)
        for victim in victims:
            why = ground_in_words(self._pool, victim, self.policy, now_s)
            reason = f"purged by policy {self.policy.name} to free {aim}: {why}"
            self._removals.send_off(victim.lfn, reason)
            round_.in_flight.add(victim.lfn)
        if victims:
            self._removals.remove_files([victim.lfn for victim in victims])
        return bool(victims)

    def _question(self, goal: Goal, now_s: float) -> AskPurgeCommand:
        """The question the purge command is asked for this goal: who would go without it."""
        enough_bytes = goal.size_bytes * CANDIDATES_TIMES
        enough_files = max(CANDIDATES_MIN_FILES, goal.files * CANDIDATES_TIMES)
        lfns: list[str] = []
        size_bytes = 0
        for proposal in Candidates(self._pool, self.policy).propose(now_s):
            if len(lfns) >= CANDIDATES_MAX_FILES:
                break
            if size_bytes >= enough_bytes and len(lfns) >= enough_files:
                break
            replica = self._pool.get(proposal.lfn)
            assert replica is not None, proposal.lfn
            lfns.append(proposal.lfn)
            size_bytes += replica.size_bytes
        return AskPurgeCommand(tuple(lfns), goal.size_bytes, goal.files)
