"""What stands in a pool's books: its replicas, what they weigh, and who needs them.

`Pool` is what changes them; here is all that can be asked, and the sums that are kept in
step so that no question needs a walk.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from common import wording
from dataserver.core.groups import Groups
from dataserver.core.pins import PinTable
from dataserver.core.replica import Mark, Replica, Standing
from dataserver.core.shelves import Shelves
from dataserver.core.space import Space
from dataserver.core.unarchived import Unarchived

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dataserver.core.pins import Pin
    from dataserver.core.replica import Limits
    from dataserver.core.shelves import Place


class Books:
    """Replicas by name, and the sums over those that are open, pinned, idle or leaving."""

    def __init__(self, limits: Limits, groups: Groups | None = None) -> None:
        """`groups` is whose files are whose; without it nobody has a share of his own."""
        self.limits = limits
        self.away = ""  # why nothing can be read or written here now; "" if it can
        self.groups = groups if groups is not None else Groups()
        self.shelves = Shelves()
        self.unarchived = Unarchived()
        self.leaving_bytes = 0
        self.leaving_files = 0
        self.pinned_bytes = 0
        self.pinned_files = 0
        self.open_bytes = 0
        self.open_files = 0
        self._space = Space(limits)
        self._replicas: dict[str, Replica] = {}
        self._pins = PinTable()
        self._remarked: dict[str, None] = {}
        self._number = 0

    # --- looking ------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._replicas)

    def get(self, lfn: str) -> Replica | None:
        """The replica in whatever standing, or None."""
        return self._replicas.get(lfn)

    def everything(self) -> Iterable[Replica]:
        """Every replica in whatever standing, in no order."""
        return self._replicas.values()

    def held(self) -> Iterator[Replica]:
        """Every visible replica, in no order."""
        if self.away:
            return iter(())
        return (one for one in self._replicas.values() if one.standing is Standing.HELD)

    def idle(self) -> Iterator[Replica]:
        """What may go, the longest unused first. Do not change the pool meanwhile."""
        replicas = self._replicas
        shelves = [self.shelves.places(one) for one in self.shelves.names()]
        return (replicas[place[2]] for place in heapq.merge(*shelves))

    @property
    def idle_files(self) -> int:
        """How many replicas may go."""
        return self.shelves.files

    @property
    def idle_bytes(self) -> int:
        """What they weigh."""
        return self.shelves.size_bytes

    @property
    def used_bytes(self) -> int:
        """What all replicas weigh, those on their way out included."""
        return self._space.used_bytes

    @property
    def reserved_bytes(self) -> int:
        """What is set aside for recalls and uploads."""
        return self._space.reserved_bytes

    @property
    def peak_bytes(self) -> int:
        """The most that was ever used + reserved, since start."""
        return self._space.peak_bytes

    @property
    def peak_files(self) -> int:
        """The most files that ever counted, since start."""
        return self._space.peak_files

    @property
    def files(self) -> int:
        """Files that count against the limit: replicas and reservations."""
        return self._space.taken_files

    @property
    def protected_bytes(self) -> int:
        """Used bytes that no purge could free now: open, pinned, or not safe elsewhere."""
        return self.used_bytes - self.idle_bytes - self.leaving_bytes

    def pins_of(self, lfn: str) -> Mapping[str, Pin]:
        """The pins on a name by their owners."""
        return self._pins.of(lfn)

    def veto(self, lfn: str, now_s: float) -> str | None:
        """Why this replica must stay, in words; None if it may go."""
        replica = self._replicas.get(lfn)
        if replica is None:
            return "not held here"
        if self.away:
            return self.away
        if replica.idle:
            return None
        if replica.standing is Standing.LEAVING:
            return "on its way out already"
        if replica.standing is Standing.UNCHECKED:
            return "found at start and still being checked"
        if replica.opens:
            return f"open {replica.opens} times" if replica.opens > 1 else "open"
        if not replica.archived:
            return "not in the archive: this may be the only copy"
        last = max(self._pins.of(lfn).values(), key=lambda pin: pin.expires_s)
        return f"pinned by {last} for another {wording.duration(max(0.0, last.expires_s - now_s))}"

    def shortfall(self, more_bytes: int, more_files: int = 0) -> tuple[int, int]:
        """How many bytes and files are too many if that much came on top of all there is."""
        return self._space.shortfall(more_bytes, more_files)

    def standing_text(self) -> str:
        """What fills the pool, for reasons and reports."""
        held = f"{wording.size(self.used_bytes)} of {wording.size(self.limits.quota_bytes)}"
        parts = [
            f"pool holds {held} in {len(self._replicas)} files",
            f"{wording.size(self.reserved_bytes)} reserved",
            f"{wording.size(self.pinned_bytes)} pinned",
            f"{wording.size(self.open_bytes)} open",
        ]
        if self.limits.max_files:
            parts.append(f"{self.files} of {self.limits.max_files} files taken")
        return ", ".join(parts)

    # --- sums ---------------------------------------------------------------

    def _enter(
        self, lfn: str, size_bytes: int, now_s: float, standing: Standing, archived: bool
    ) -> Replica:
        assert lfn not in self._replicas, lfn
        group = self.groups.of(lfn)
        replica = Replica(size_bytes, self._place(lfn, now_s), standing, archived, group)
        self._replicas[lfn] = replica
        self._space.enter(size_bytes)
        self._count(replica)
        return replica

    def _place(self, lfn: str, now_s: float) -> Place:
        self._number += 1
        return (now_s, self._number, lfn)

    def _use(self, replica: Replica, now_s: float) -> None:
        """Counts a use of a replica that is not idle: nobody has done with it."""
        replica.place = self._place(replica.lfn, now_s)
        self._set_mark(replica, None)

    def _set_mark(self, replica: Replica, mark: Mark | None) -> None:
        if replica.mark is not mark:
            replica.mark = mark
            self._remarked[replica.lfn] = None

    def _may_idle(self, replica: Replica) -> bool:
        return (
            replica.standing is Standing.HELD
            and replica.opens == 0
            and replica.archived
            and replica.lfn not in self._pins
        )

    def _join_idle(self, replica: Replica) -> None:
        if not replica.idle and self._may_idle(replica):
            self.shelves.add(replica)

    def _leave_idle(self, replica: Replica) -> None:
        if replica.idle:
            self.shelves.remove(replica)

    def _pins_changed(self, lfn: str, before: bool) -> None:
        replica = self._replicas.get(lfn)
        after = lfn in self._pins
        if replica is None or before == after:
            return
        if after:
            self.pinned_files += 1
            self.pinned_bytes += replica.size_bytes
            self._leave_idle(replica)
        else:
            self.pinned_files -= 1
            self.pinned_bytes -= replica.size_bytes
            self._join_idle(replica)

    def _count(self, replica: Replica) -> None:
        """Adds a replica to the sums over its uses, other than the idle ones."""
        self.unarchived.join(replica)
        if replica.opens:
            self.open_files += 1
            self.open_bytes += replica.size_bytes
        if replica.lfn in self._pins:
            self.pinned_files += 1
            self.pinned_bytes += replica.size_bytes
        if replica.standing is not Standing.LEAVING:
            self.groups.add(replica.group, replica.size_bytes)

    def _uncount(self, replica: Replica) -> None:
        """Takes a replica out of all sums but the used bytes."""
        self._leave_idle(replica)
        self.unarchived.leave(replica)
        if replica.opens:
            self.open_files -= 1
            self.open_bytes -= replica.size_bytes
        if replica.lfn in self._pins:
            self.pinned_files -= 1
            self.pinned_bytes -= replica.size_bytes
        if replica.standing is Standing.LEAVING:
            self.leaving_bytes -= replica.size_bytes
            self.leaving_files -= 1
        else:
            self.groups.add(replica.group, -replica.size_bytes)

    def check(self) -> None:
        """Asserts every rule of this module by counting everything anew. O(n)."""
        replicas = self._replicas.values()
        self._space.check([one.size_bytes for one in replicas])
        leaving = [one for one in replicas if one.standing is Standing.LEAVING]
        assert (self.leaving_files, self.leaving_bytes) == _sums(leaving)
        opened = [one for one in replicas if one.opens]
        assert (self.open_files, self.open_bytes) == _sums(opened)
        pinned = [one for one in replicas if one.lfn in self._pins]
        assert (self.pinned_files, self.pinned_bytes) == _sums(pinned)
        idle = [one for one in replicas if self._may_idle(one)]
        assert [one for one in replicas if one.idle] == idle
        self.shelves.check(idle)
        self.unarchived.check(replicas)
        assert not any(one.archived and one.sent for one in replicas)
        self.groups.check(
            (one.group, one.size_bytes) for one in replicas if one.standing is not Standing.LEAVING
        )
        assert all(one.group == self.groups.of(lfn) for lfn, one in self._replicas.items())
        assert all(lfn == one.lfn for lfn, one in self._replicas.items())
        self._pins.check()


def _sums(replicas: list[Replica]) -> tuple[int, int]:
    return len(replicas), sum(one.size_bytes for one in replicas)
