"""Faults that were put into the cores on purpose, one for each promise at least.

Each is a small patch of a real core, such as somebody might make by mistake. A simulation
whose checks are worth something finds every one of them, and says which promise it breaks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from common import names
from dataserver.core import node as node_module
from dataserver.core.books import Books
from dataserver.core.changes import ChangeLog
from dataserver.core.failure import FailureKind
from dataserver.core.instructions import Publish
from dataserver.core.pins import PinTable
from dataserver.core.pool import Pool
from dataserver.core.replica import Standing
from dataserver.core.space import Space
from dataserver.core.staging import Staging
from dataserver.core.store import StoreState
from dataserver.core.stores import Stores
from packetizer.core import commits
from redirector.core.asking import Asking
from redirector.core.explaining import Explaining
from redirector.core.nodes import Nodes
from redirector.core.requests import Requests
from redirector.core.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is patched, and the promise that is broken by it."""

    promise: int
    apply: Callable[[pytest.MonkeyPatch], None]

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.promise}-{self.apply.__name__}"


def recalls_start_before_all_nodes_are_back(patch: pytest.MonkeyPatch) -> None:
    """After a restart the head does not wait to hear what nodes run already."""
    patch.setattr(Nodes, "awaited", lambda _self, _now_s: [])


def nodes_overstay_their_lease(patch: pytest.MonkeyPatch) -> None:
    """A node out of touch goes on with its recalls."""
    patch.setattr(node_module, "LEASE_SHARE", 10.0)
    patch.setattr(node_module, "COMMANDS_SHARE", 10.0)


def stopped_servers_keep_their_commands(patch: pytest.MonkeyPatch) -> None:
    """Only the server itself ends its commands with the lease."""
    patch.setattr(node_module, "COMMANDS_SHARE", 100.0)


def what_clients_wrote_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """The head hears of recalled replicas only."""
    enter = ChangeLog.enter

    def enter_some(self: ChangeLog, lfn: str, size_bytes: int, **others: Any) -> None:
        if others.get("dropped") or others.get("recall_id"):
            enter(self, lfn, size_bytes, **others)

    patch.setattr(ChangeLog, "enter", enter_some)


def recalls_end_before_their_commands(patch: pytest.MonkeyPatch) -> None:
    """A cancelled recall is forgotten, and its command is not stopped."""

    def stop(self: Staging, recall: Any, failure: Any, now_s: float, **_: Any) -> None:
        self._end(recall, replace(failure, kind=FailureKind.TRANSIENT), now_s)

    patch.setattr(Staging, "_stop", stop)


def failures_give_no_reason(patch: pytest.MonkeyPatch) -> None:
    """Files fail in silence."""
    failed = Settling.failed
    patch.setattr(Settling, "failed", lambda self, lfn, _why, now_s: failed(self, lfn, "", now_s))


def cancelled_requests_go_on(patch: pytest.MonkeyPatch) -> None:
    """A request that was cancelled has ended, and its files wait for ever."""
    patch.setattr(Settling, "_settle", lambda *_: None)
    patch.setattr(Settling, "end_if_settled", _end_anyhow)


def _end_anyhow(self: Settling, request: Any, _now_s: float, *, cancelled: bool = False) -> None:
    request.state = request.outcome(cancelled=cancelled)
    self._books.out.ended(request)


def keys_are_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    """Who asks again under the same key has asked twice."""
    patch.setattr(Requests, "of_key", lambda _self, _key: None)


def restarts_forget_requests(patch: pytest.MonkeyPatch) -> None:
    """What is on disk is not read."""
    restore = Asking.restore
    patch.setattr(
        Asking,
        "restore",
        lambda self, event, now_s: restore(self, replace(event, requests=()), now_s),
    )


def pinned_files_are_purged(patch: pytest.MonkeyPatch) -> None:
    """Pins are kept, and nobody looks at them."""
    patch.setattr(PinTable, "__contains__", lambda _self, _lfn: False)


def open_files_are_purged(patch: pytest.MonkeyPatch) -> None:
    """Who reads a file is not asked."""
    _let_go(patch, lambda books, one: one.archived and one.lfn not in books._pins)
    open_, close = Pool.open, Pool.close

    def open_and_let_go(self: Pool, lfn: str, now_s: float, **others: Any) -> Any:
        replica = open_(self, lfn, now_s, **others)
        self._join_idle(replica)
        return replica

    def leave_and_close(self: Pool, replica: Any, now_s: float, **others: Any) -> None:
        self._leave_idle(replica)
        close(self, replica, now_s, **others)

    patch.setattr(Pool, "open", open_and_let_go)
    patch.setattr(Pool, "close", leave_and_close)


def files_nowhere_else_are_purged(patch: pytest.MonkeyPatch) -> None:
    """Whether the archive has a file is not asked."""
    _let_go(patch, lambda books, one: one.opens == 0 and one.lfn not in books._pins)


def store_commands_are_believed(patch: pytest.MonkeyPatch) -> None:
    """The archive is not asked whether it has what a command says that it has stored."""
    ran = Stores.ran

    def believe(self: Stores, event: Any, now_s: float) -> None:
        store = self._by_step.get(event.step_id)
        if store is not None and store.state is StoreState.STORING and event.failure is None:
            self._note(store, now_s)
        else:
            ran(self, event, now_s)

    patch.setattr(Stores, "ran", believe)


def _let_go(patch: pytest.MonkeyPatch, rule: Callable[[Books, Any], bool]) -> None:
    patch.setattr(
        Books,
        "_may_idle",
        lambda self, one: one.standing is Standing.HELD and rule(self, one),
    )


def reservations_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """Room is given to many at once that is there only once."""

    def shortfall(self: Space, more_bytes: int, more_files: int = 0) -> tuple[int, int]:
        return max(0, self.used_bytes + more_bytes - self.limits.quota_bytes), 0

    patch.setattr(Space, "shortfall", shortfall)


def files_are_published_unverified(patch: pytest.MonkeyPatch) -> None:
    """What a command has left is neither checked nor synced."""
    copied = Staging.copied

    def publish(self: Staging, event: Any, now_s: float) -> None:
        copied(self, event, now_s)
        recall = self._recalls[event.recall_id]
        if recall.state.value == "verifying":
            self._out.pop()
            self._move(recall, "verified", now_s)
            self._out.append(Publish(recall.recall_id, recall.lfn, recall.size_bytes or 0, None))

    patch.setattr(Staging, "copied", publish)


def nothing_is_ever_stuck(patch: pytest.MonkeyPatch) -> None:
    """All is well, always."""
    patch.setattr(Explaining, "stuck", lambda _self, _now_s: [])


def superseded_results_stay(patch: pytest.MonkeyPatch) -> None:
    """A worker's total counts beside the parts it is made of."""
    keep = commits.KeepCommit
    patch.setattr(commits, "KeepCommit", lambda *of: keep(*of[:6], (), *of[7:]))


def old_connections_count(patch: pytest.MonkeyPatch) -> None:
    """What comes by a connection that its node has replaced is taken for news."""
    admit, known = Nodes.admit, {}

    def remember(self: Nodes, hello: Any, now_s: float) -> Any:
        known[self, hello.connection] = admit(self, hello, now_s)
        return known[self, hello.connection]

    patch.setattr(Nodes, "admit", remember)
    patch.setattr(Nodes, "connected_by", lambda self, number: known.get((self, number)))


def names_are_taken_as_they_are_spelt(patch: pytest.MonkeyPatch) -> None:
    """A door passes on what it was given."""
    patch.setattr(names, "normalise", lambda lfn: lfn)


MUTATIONS = (
    Mutation(1, recalls_start_before_all_nodes_are_back),
    Mutation(1, nodes_overstay_their_lease),
    Mutation(1, stopped_servers_keep_their_commands),
    Mutation(2, what_clients_wrote_is_not_told),
    Mutation(3, recalls_end_before_their_commands),
    Mutation(4, failures_give_no_reason),
    Mutation(4, cancelled_requests_go_on),
    Mutation(5, keys_are_not_looked_up),
    Mutation(5, restarts_forget_requests),
    Mutation(6, pinned_files_are_purged),
    Mutation(6, open_files_are_purged),
    Mutation(6, files_nowhere_else_are_purged),
    Mutation(6, store_commands_are_believed),
    Mutation(7, reservations_are_not_counted),
    Mutation(8, files_are_published_unverified),
    Mutation(9, nothing_is_ever_stuck),
    Mutation(10, superseded_results_stay),
    Mutation(11, old_connections_count),
    Mutation(12, names_are_taken_as_they_are_spelt),
)
