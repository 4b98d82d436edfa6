"""What was written here, on its way to the archive.

Every visible replica that the archive does not have, and whose name is migratable, is stored:
after a delay, a few at a time, the one that is due first. `follow` learns from the pool's own
news which these are, so whatever happens to a replica, nothing is forgotten and nothing that
is gone is stored.

From when its command is first run a replica counts as *sent*: the archive may have it, or a
part of it. Sent replicas are no client's to change, just as archived ones, for the archive
might bring back what was removed. Only when the archive says that it has nothing of the name,
or nobody can ask it and the command refused the file for good, is a replica no longer sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from common import wording
from dataserver.core.archive_gate import ArchiveGate, pause_s
from dataserver.core.events import Likeness, StoreRan
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.instructions import (
    CompareWithArchive,
    NoteArchived,
    NoteStore,
    RunStore,
    StopStore,
    Tell,
)
from dataserver.core.replica import Standing
from dataserver.core.store import STEPPING, Store, StoreState
from dataserver.core.store_table import StoreStanding, StoreTable, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dataserver.core.busy import BusyNames
    from dataserver.core.events import (
        ArchivedNoted,
        Compared,
        StoreStepFailed,
        StoreStopped,
    )
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.replica import Replica
    from dataserver.core.store_table import StoreFound

#: How long a file waits whose name something else is under way with.
BUSY_S: Final = 1.0

_FOR_GOOD: Final = frozenset({FailureKind.PERMANENT, FailureKind.NOT_FOUND})


@dataclass(frozen=True, slots=True)
class StoreRules:
    """How a site stores files; times in seconds.

    `covers` says which names are stored at all, `can_look` whether the archive can be asked.
    """

    slots: int
    delay_s: float
    backoff_s: float
    backoff_max_s: float
    can_look: bool
    covers: Callable[[str], bool]


class Stores:
    """The storing of every file that waits for it. Without rules nothing is stored."""

    def __init__(
        self, pool: Pool, busy: BusyNames, out: list[Instruction], rules: StoreRules | None
    ) -> None:
        self.table = StoreTable()
        self.files_stored = 0
        self.bytes_stored = 0
        self._pool = pool
        self._busy = busy
        self._out = out
        self._rules = rules
        self._gate = ArchiveGate(rules.backoff_s, rules.backoff_max_s) if rules else None
        self._by_step: dict[str, Store] = {}
        #: Steps that are being ended, of files that are gone.
        self._ending: set[str] = set()
        self._then: dict[str, Callable[[float], None]] = {}
        self._number = 0
        self._closed = False

    # --- looking ------------------------------------------------------------

    @property
    def is_enabled(self) -> bool:
        """Whether the site stores files at all."""
        return self._rules is not None

    @property
    def is_idle(self) -> bool:
        """Whether no step is under way."""
        return not self._by_step and not self._ending

    def trouble(self, now_s: float) -> str:
        """Why the archive takes no files, and for how long it has not; "" if it does."""
        if self._gate is None or self._gate.closed_since_s is None:
            return ""
        closed_s = now_s - self._gate.closed_since_s
        return f"the archive has taken nothing for {wording.duration(closed_s)}: {self._gate.why}"

    def standings(
        self, now_s: float, limit: int, *, failed_only: bool = False
    ) -> list[StoreStanding]:
        """How it stands with the first `limit` files, or those that failed for good."""
        return self.table.standings(now_s, self._not_before_s(), limit, failed_only=failed_only)

    def standing(self, lfn: str, now_s: float) -> StoreStanding | None:
        """How it stands with one file, also if it stays here; None if it is archived or away."""
        if (store := self.table.get(lfn)) is not None:
            return standing(store, now_s, self._not_before_s())
        replica = self._pool.unarchived.get(lfn)
        if replica is None:
            return None
        return StoreStanding(lfn, replica.size_bytes, "kept", reason=self._why_not(lfn))

    def _not_before_s(self) -> float:
        return self._gate.next_s if self._gate is not None and self._gate.is_closed else 0.0

    # --- coming and going ---------------------------------------------------

    def load(self, found: Iterable[StoreFound], now_s: float) -> None:
        """Takes up what an earlier life of the server has left; once, after the pool's load."""
        if self._rules is None:
            return
        for one in sorted(found, key=lambda one: one.since_s):
            replica = self._pool.get(one.lfn)
            if replica is None or replica.archived or not self._rules.covers(one.lfn):
                continue
            replica.sent = one.sent
            if replica.standing is not Standing.HELD:
                continue
            # The clock may have been set back since.
            store = self._take(replica, min(now_s, one.since_s), self._rules, now_s)
            if one.failure:
                self.table.load_failed(store, one.failure)

    def follow(self, now_s: float) -> None:
        """Takes up what the pool has become the only holder of, and lets go of what is gone."""
        for lfn in self._pool.unarchived.take_news():
            if self._rules is None:
                continue
            replica = self._pool.unarchived.get(lfn)
            store = self.table.get(lfn)
            if store is not None and store.replica is not replica:
                self._forget(store)
                store = None
            if store is None and replica is not None and self._rules.covers(lfn):
                self._take(replica, now_s, self._rules, now_s)

    def _take(self, replica: Replica, since_s: float, rules: StoreRules, now_s: float) -> Store:
        store = self.table.add(replica, since_s, since_s + rules.delay_s)
        store.story.tell(now_s, f"{replica.lfn} is to be stored in the archive")
        return store

    def _forget(self, store: Store) -> None:
        """The file is gone, or has another name or content: what is under way with it ends."""
        if store.step_id:
            if store.state in STEPPING:
                self._out.append(StopStore(store.step_id))
            del self._by_step[store.step_id]
            self._ending.add(store.step_id)
        self.table.remove(store)

    # --- attempts -----------------------------------------------------------

    def start(self, now_s: float) -> None:
        """Begins with what is due, as far as there are slots and the archive takes files."""
        if self._rules is None or self._gate is None or self._closed or self._pool.away:
            return
        while (store := self.table.due(now_s)) is not None:
            under_way = len(self._by_step) + len(self._ending)
            if self._gate.room(self._rules.slots, under_way, now_s) <= 0:
                return
            self.table.unqueue(store)
            if self._busy.get(store.lfn) is not None:
                self.table.wait(store, now_s + BUSY_S)
            else:
                self._begin(store, now_s)

    def _begin(self, store: Store, now_s: float) -> None:
        assert self._rules is not None
        self._number += 1
        store.step_id = f"store.{self._number}"
        self._by_step[store.step_id] = store
        if self._rules.can_look:
            store.move("look", now_s)
            self._out.append(CompareWithArchive(store.step_id, store.lfn))
        else:
            self._run(store, now_s)

    def _run(self, store: Store, now_s: float) -> None:
        store.was_sent = store.replica.sent
        store.replica.sent = True
        store.ran_well = False
        store.attempts += 1
        store.move("store", now_s)
        self._out.append(RunStore(store.step_id, store.lfn, again=store.was_sent))

    def compared(self, event: Compared, now_s: float) -> None:
        """The archive has told what it has of a name."""
        store = self._by_step.get(event.step_id)
        if store is None:
            return
        if store.state is StoreState.LOOKING:
            self._looked(store, event, now_s)
        elif store.state is StoreState.VERIFYING:
            self._verified(store, event, now_s)

    def _looked(self, store: Store, event: Compared, now_s: float) -> None:
        sent = store.replica.sent
        likeness = event.likeness
        if likeness is Likeness.UNKNOWN:
            why = f"the archive cannot be asked about it: {event.why}"
            self._fail(store, Failure(FailureKind.TRANSIENT, why), now_s)
        elif likeness is Likeness.SAME or (likeness is Likeness.ALIKE and store.ran_well):
            self._note(store, now_s)
        elif likeness is not Likeness.ABSENT and not sent:
            self._fail(store, Failure(FailureKind.PERMANENT, _another(event)), now_s)
        elif self._busy.get(store.lfn) is not None:
            self._end_step(store)
            store.move("retry", now_s, "something else is under way with its name")
            self.table.wait(store, now_s + BUSY_S)
        else:
            self._run(store, now_s)

    def ran(self, event: StoreRan, now_s: float) -> None:
        """The command has ended."""
        store = self._by_step.get(event.step_id)
        if store is None or store.state is not StoreState.STORING:
            return
        assert self._rules is not None
        store.ran_well = event.failure is None
        store.failure = event.failure
        if self._rules.can_look:
            store.move("verify", now_s, event.failure.reason if event.failure else "")
            self._out.append(CompareWithArchive(store.step_id, store.lfn))
        elif event.failure is None:
            self._note(store, now_s)
        else:
            # What fails for good has not begun; any other command may have left something.
            if not store.was_sent and event.failure.kind in _FOR_GOOD:
                self._unsend(store)
            self._fail(store, event.failure, now_s)

    def _verified(self, store: Store, event: Compared, now_s: float) -> None:
        likeness = event.likeness
        if likeness is Likeness.SAME or (likeness is Likeness.ALIKE and store.ran_well):
            self._note(store, now_s)
            return
        if likeness is Likeness.ABSENT:
            self._unsend(store)
        failure = store.failure
        if failure is None:
            said = "cannot be asked" if likeness is Likeness.UNKNOWN else "does not agree"
            why = f"the command ended well, but the archive {said}: {event.why}"
            failure = Failure(FailureKind.TRANSIENT, why)
            store.ran_well = likeness is Likeness.UNKNOWN
        self._fail(store, failure, now_s)

    def _unsend(self, store: Store) -> None:
        """Nothing of the file is in the archive: clients may change it again."""
        store.replica.sent = False
        self._out.append(NoteStore(store.lfn, sent=False))

    def _note(self, store: Store, now_s: float) -> None:
        store.move("there", now_s)
        self._out.append(NoteArchived(store.step_id, store.lfn))

    def noted(self, event: ArchivedNoted, now_s: float) -> None:
        """The file is safe, and the catalogue knows: its replica may go from now on."""
        store = self._by_step.get(event.step_id)
        if store is None or store.state is not StoreState.NOTING:
            return
        assert self._gate is not None
        self._end_step(store)
        store.move("noted", now_s)
        self.table.remove(store)
        self._pool.archive(store.lfn)
        if self._gate.is_closed:
            self._out.append(Tell("the archive takes files again"))
        self._gate.went_well()
        self.files_stored += 1
        self.bytes_stored += store.replica.size_bytes

    def step_failed(self, event: StoreStepFailed, now_s: float) -> None:
        """A step came to nothing on this node: its disk failed, or its catalogue."""
        store = self._by_step.get(event.step_id)
        if store is None or store.state not in STEPPING:
            return
        if store.state is StoreState.STORING:
            self.ran(StoreRan(event.step_id, event.failure), now_s)
        else:
            self._fail(store, event.failure, now_s)

    def _fail(self, store: Store, failure: Failure, now_s: float) -> None:
        assert self._rules is not None
        assert self._gate is not None
        self._end_step(store)
        store.failure = failure
        store.failures += 1
        was_closed = self._gate.is_closed
        self._gate.failed(failure.reason, now_s)
        if self._gate.is_closed and not was_closed:
            text = f"the archive takes no files, and is tried with one at a time: {failure.reason}"
            self._out.append(Tell(text))
        # What a command says of a file whose disk is away says nothing of the file.
        if failure.kind in _FOR_GOOD and not self._pool.away:
            store.move("fail", now_s, failure.reason)
            self.table.note_failed(store)
            text = f"{store.lfn} cannot be stored in the archive: {failure.reason}"
            self._out.append(Tell(text))
            self._out.append(NoteStore(store.lfn, store.replica.sent, failure.reason))
        else:
            store.move("retry", now_s, failure.reason)
            rules = self._rules
            pause = pause_s(store.failures - 1, rules.backoff_s, rules.backoff_max_s)
            self.table.wait(store, now_s + pause)

    def _end_step(self, store: Store) -> None:
        del self._by_step[store.step_id]
        store.step_id = ""

    # --- being told ---------------------------------------------------------

    def again(self, lfn: str, now_s: float) -> str | None:
        """Has a file stored now, whatever it waits for or has failed of; or says why not."""
        store = self.table.get(lfn)
        if store is None:
            return self._why_not(lfn)
        assert self._gate is not None
        self._gate.open()
        if store.state in {StoreState.WAITING, StoreState.FAILED}:
            self._resume(store, now_s)
        return None

    def _why_not(self, lfn: str) -> str:
        replica = self._pool.get(lfn)
        if replica is None:
            return "not held here"
        if replica.archived:
            return "it is in the archive"
        if self._rules is None:
            return "the site has no storecmd: what is written stays in the pool"
        if not self._rules.covers(lfn):
            return "it is not migratable: it stays in the pool"
        return "it is being checked, or on its way out"

    def withdraw(self, lfn: str, then: Callable[[float], None], now_s: float) -> None:
        """Stops what is under way with a file, and does no more of it; calls `then` after it."""
        self.follow(now_s)
        store = self.table.get(lfn)
        if store is None:
            then(now_s)
        elif store.state in STEPPING:
            store.move("stop", now_s)
            self._out.append(StopStore(store.step_id))
            self._then[store.step_id] = then
        elif store.state is StoreState.STOPPING:
            self._then[store.step_id] = then
        else:
            self.table.unqueue(store)
            store.move("withdraw", now_s)
            then(now_s)

    def resume(self, lfn: str, now_s: float) -> None:
        """Goes on with a file that was withdrawn, and is still here."""
        store = self.table.get(lfn)
        if store is not None and store.state is StoreState.WITHDRAWN:
            self._resume(store, now_s)

    def stopped(self, event: StoreStopped, now_s: float) -> None:
        """Nothing of a step is left."""
        self._ending.discard(event.step_id)
        store = self._by_step.get(event.step_id)
        if store is not None and store.state is StoreState.STOPPING:
            self._end_step(store)
            store.move("stopped", now_s)
        if (then := self._then.pop(event.step_id, None)) is not None:
            then(now_s)

    def close(self, now_s: float) -> None:
        """Ends every step, and begins no more; what is left is taken up by the next start."""
        self._closed = True
        for store in self._by_step.values():
            if store.state in STEPPING:
                store.move("stop", now_s, "the server is being stopped")
                self._out.append(StopStore(store.step_id))

    def _resume(self, store: Store, now_s: float) -> None:
        self.table.unqueue(store)
        store.move("again", now_s)
        self.table.wait(store, now_s)

    def check(self) -> None:
        """Asserts that what waits is just what the pool has and the archive has not. O(n)."""
        self.table.check()
        for store in self.table.all():
            assert self._pool.unarchived.get(store.lfn) is store.replica, store.story
            assert (self._by_step.get(store.step_id) is store) == bool(store.step_id)
        assert all(self.table.get(one.lfn) is one for one in self._by_step.values())
        assert self._then.keys() <= self._by_step.keys() | self._ending
        if self._rules is not None:
            assert len(self._by_step) + len(self._ending) <= self._rules.slots
            covers = self._rules.covers
            due = {one.lfn for one in self._pool.unarchived.all() if covers(one.lfn)}
            assert due == self.table.names()


def _another(event: Compared) -> str:
    is_other = event.likeness is Likeness.OTHER
    which = "another file of this name" if is_other else "a file of this name, maybe another one"
    return (
        f"the archive has {which}, which is not overwritten: {event.why}; "
        "remove the one or the other"
    )
