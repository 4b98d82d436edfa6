"""Every file that is to be stored: by name, by when it is due, and what they weigh."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from dataserver.core.failure import Failure, FailureKind
from dataserver.core.store import Store, StoreState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataserver.core.replica import Replica


@dataclass(frozen=True, slots=True)
class StoreFound:
    """What was kept of a file's storing when a server starts; `failure` "": none for good."""

    lfn: str
    since_s: float
    sent: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True)
class StoreStanding:
    """How the storing of one file stands, for people; `reason` is why it failed last."""

    lfn: str
    size_bytes: int
    state: str
    waiting_s: float = 0.0
    next_try_s: float = 0.0
    attempts: int = 0
    reason: str = ""


class StoreTable:
    """The stores by name, and those that wait in the order in which they are due."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.failed_files = 0
        self._stores: dict[str, Store] = {}
        self._due: SortedList[tuple[float, int, str]] = SortedList()
        self._number = 0

    def __len__(self) -> int:
        return len(self._stores)

    def get(self, lfn: str) -> Store | None:
        """The storing of a file, if it is to be stored."""
        return self._stores.get(lfn)

    def all(self) -> Iterator[Store]:
        """Every file's, about the oldest first."""
        return iter(self._stores.values())

    def names(self) -> set[str]:
        """The names of all."""
        return set(self._stores)

    # --- changing -----------------------------------------------------------

    def add(self, replica: Replica, since_s: float, due_s: float) -> Store:
        """A file that is to be stored from now on."""
        assert replica.lfn not in self._stores, replica.lfn
        self._number += 1
        store = Store(replica, self._number, since_s, due_s)
        self._stores[store.lfn] = store
        self.size_bytes += replica.size_bytes
        self._due.add(store.place)
        return store

    def remove(self, store: Store) -> None:
        """A file that is stored, or gone."""
        self.unqueue(store)
        del self._stores[store.lfn]
        self.size_bytes -= store.replica.size_bytes

    def unqueue(self, store: Store) -> None:
        """Takes a store out of those that wait or have failed, before it moves on."""
        if store.state is StoreState.WAITING:
            self._due.remove(store.place)
        elif store.state is StoreState.FAILED:
            self.failed_files -= 1

    def wait(self, store: Store, due_s: float) -> None:
        """Has one wait until a time."""
        assert store.state is StoreState.WAITING, store.story
        store.due_s = due_s
        self._due.add(store.place)

    def note_failed(self, store: Store) -> None:
        """One has failed for good."""
        assert store.state is StoreState.FAILED, store.story
        self.failed_files += 1

    def load_failed(self, store: Store, reason: str) -> None:
        """One that an earlier life of the server has seen fail for good."""
        self.unqueue(store)
        store.failure = Failure(FailureKind.PERMANENT, reason)
        store.state = StoreState.FAILED
        self.failed_files += 1

    def due(self, now_s: float) -> Store | None:
        """The one that is due first, if it is due by now."""
        if not self._due or self._due[0][0] > now_s:
            return None
        return self._stores[self._due[0][2]]

    # --- telling ------------------------------------------------------------

    def oldest_s(self, now_s: float) -> float:
        """For how long the oldest has been waiting."""
        oldest = next(self.all(), None)
        return max(0.0, now_s - oldest.since_s) if oldest is not None else 0.0

    def failed_names(self) -> list[str]:
        """What has failed for good."""
        return [one.lfn for one in self.all() if one.state is StoreState.FAILED]

    def standings(
        self, now_s: float, not_before_s: float, limit: int, *, failed_only: bool
    ) -> list[StoreStanding]:
        """How it stands with the first `limit` of all, or of those that failed for good.

        None that waits is tried before `not_before_s`.
        """
        wanted = (one for one in self.all() if not failed_only or one.state is StoreState.FAILED)
        return [standing(one, now_s, not_before_s) for one in islice(wanted, limit)]

    def check(self) -> None:
        """Asserts that the order and the sums agree with the stores. O(n)."""
        for lfn, store in self._stores.items():
            store.check()
            assert store.lfn == lfn
        waiting = [one.place for one in self.all() if one.state is StoreState.WAITING]
        assert sorted(waiting) == list(self._due)
        assert self.failed_files == len(self.failed_names())
        assert self.size_bytes == sum(one.replica.size_bytes for one in self.all())


def standing(store: Store, now_s: float, not_before_s: float) -> StoreStanding:
    """How it stands with one; if it waits, it is not tried before `not_before_s`."""
    next_try_s = 0.0
    if store.state is StoreState.WAITING:
        next_try_s = max(0.0, max(store.due_s, not_before_s) - now_s)
    return StoreStanding(
        store.lfn,
        store.replica.size_bytes,
        store.state.value,
        max(0.0, now_s - store.since_s),
        next_try_s,
        store.attempts,
        store.failure.reason if store.failure is not None else "",
    )
