"""Leases, and packets that failed and wait to be leased again.

A lease id names a lease for ever: its upper half is the packetizer's epoch, a
number that grows with every start and is kept on disk, its lower half counts
the leases of that life. So what an earlier life has leased is unknown to this
one, whatever arrives late.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packetizer.core.files import WorkFile
    from packetizer.core.nodes import Node
    from packetizer.core.workers import Worker

_EPOCH_SHIFT = 32
#: How many waiting packets are looked at for one worker, at most.
_LOOKED_AT = 16


class LeaseIds:
    """Numbers that no lease had before."""

    def __init__(self, epoch: int) -> None:
        self._next = count((epoch << _EPOCH_SHIFT) + 1)

    def new(self) -> int:
        """The next one."""
        return next(self._next)


def epoch_of(lease_id: int) -> int:
    """The life of the packetizer in which a lease was given."""
    return lease_id >> _EPOCH_SHIFT


class Lease:
    """A packet in a worker's hands."""

    __slots__ = (
        "file",
        "is_alone",
        "is_committing",
        "is_local",
        "lease_id",
        "leased_s",
        "node",
        "session_id",
        "start",
        "stop",
        "tried",
        "worker",
    )

    def __init__(
        self,
        lease_id: int,
        session_id: str,
        file: WorkFile,
        start: int,
        stop: int,
        node: Node,
        worker: Worker,
        *,
        is_local: bool,
        tried: int = 0,
        is_alone: bool = False,
    ) -> None:
        self.lease_id = lease_id
        self.session_id = session_id
        self.file = file
        self.start = start
        self.stop = stop
        self.node = node
        self.worker = worker
        self.is_local = is_local
        self.leased_s = 0.0
        #: How often it has failed before.
        self.tried = tried
        #: It was in the hands of a worker that died: nothing else may be beside it.
        self.is_alone = is_alone
        #: Its commit is being written to disk: nobody can take it back now.
        self.is_committing = False

    @property
    def entries(self) -> int:
        """How many entries the packet has."""
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"<lease {self.lease_id:#x} {self.file.lfn} [{self.start}, {self.stop})>"


class Verdict(Enum):
    """What is to become of a packet that waits, if it is up to one worker."""

    TAKE = "take"
    LEAVE = "leave"  # not for this worker, or not now
    DROP = "drop"  # its entries were given up meanwhile


@dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """A packet that failed, and will be leased again as it is."""

    file: WorkFile
    start: int
    stop: int
    tried: int
    #: To be leased to a worker that holds nothing else.
    is_alone: bool
    not_before_s: float
    #: Until then it goes to another worker, another replica, the host of its data.
    choosy_until_s: float
    avoid_worker: str = ""
    avoid_node: str = ""


class Returns:
    """The packets that wait to be leased again."""

    def __init__(self) -> None:
        self._ready: deque[Returned] = deque()
        self._later: list[tuple[float, int, Returned]] = []
        self._order = count()
        self._alone = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def __iter__(self) -> Iterator[Returned]:
        yield from self._ready
        yield from (entry[2] for entry in self._later)

    @property
    def alone(self) -> int:
        """How many of those that may be leased now must be alone in a worker's hands."""
        return self._alone

    @property
    def ready(self) -> int:
        """How many may be leased now."""
        return len(self._ready)

    def put(self, returned: Returned, now_s: float) -> None:
        """Takes a packet in."""
        if returned.not_before_s > now_s:
            heapq.heappush(self._later, (returned.not_before_s, next(self._order), returned))
        else:
            self._enter(returned)

    def wake(self, now_s: float) -> bool:
        """Lets those whose time has come be leased; returns whether there were any."""
        woken = False
        while self._later and self._later[0][0] <= now_s:
            self._enter(heapq.heappop(self._later)[2])
            woken = True
        return woken

    def take(self, judge: Callable[[Returned], Verdict]) -> Returned | None:
        """The first that the judge takes, if there is one among those looked at.

        What it leaves goes to the end of the queue, so that all have their turn.
        """
        for _ in range(min(_LOOKED_AT, len(self._ready))):
            returned = self._ready.popleft()
            verdict = judge(returned)
            if verdict is Verdict.LEAVE:
                self._ready.append(returned)
                continue
            self._alone -= returned.is_alone
            if verdict is Verdict.TAKE:
                return returned
        return None

    def _enter(self, returned: Returned) -> None:
        self._ready.append(returned)
        self._alone += returned.is_alone
