"""The pool's books: which replicas it holds, what they weigh, and who needs them.

Three rules are kept here and nowhere else.

* *Used + reserved never passes the quota*, in bytes and in files. Room is taken only
  by `reserve` and `extend`, which refuse; `publish` turns a reservation into a replica
  and never takes more than was reserved. A pool that was already too full when it was
  loaded (its quota was lowered) may only shrink until it fits.
* *What is idle may be purged, nothing else.* A replica is idle while it is held, known to
  be in the archive, neither open nor pinned. Idle replicas, and only they, stand in one
  list sorted by last use, so the next victim is found without a walk.
* *Bytes count until the disk says they are gone.* A replica chosen to go is LEAVING:
  nobody can open it any more, but its room is free only once it is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from common import wording
from common.errors import NotFound
from dataserver.core.pins import PinTable
from dataserver.core.replica import Replica, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dataserver.core.replica import Found, Limits


class Pool:
    """Replicas by name, reservations by recall or upload, and the sums over both."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used_bytes = 0
        self.reserved_bytes = 0
        self.idle_bytes = 0
        self.leaving_bytes = 0
        self.leaving_files = 0
        self.pinned_bytes = 0
        self.pinned_files = 0
        self.open_bytes = 0
        self.open_files = 0
        self.peak_bytes = 0  # of used + reserved, since start
        self.peak_files = 0
        self._ceiling_bytes = limits.quota_bytes
        self._ceiling_files = limits.max_files
        self._replicas: dict[str, Replica] = {}
        self._idle: SortedList[tuple[float, int, str]] = SortedList()
        self._reservations: dict[str, int] = {}
        self._pins = PinTable()
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
        return (one for one in self._replicas.values() if one.standing is Standing.HELD)

    def idle(self) -> Iterator[Replica]:
        """What may go, the longest unused first. Do not change the pool meanwhile."""
        replicas = self._replicas
        return (replicas[place[2]] for place in self._idle)

    @property
    def idle_files(self) -> int:
        """How many replicas may go."""
        return len(self._idle)

    @property
    def files(self) -> int:
        """Files that count against the limit: replicas and reservations."""
        return len(self._replicas) + len(self._reservations)

    @property
    def protected_bytes(self) -> int:
        """Used bytes that no purge could free now: open, pinned, or not safe elsewhere."""
        return self.used_bytes - self.idle_bytes - self.leaving_bytes

    def pins_of(self, lfn: str) -> Mapping[str, float]:
        """Owner and expiry of every pin on a name."""
        return self._pins.of(lfn)

    def veto(self, lfn: str, now_s: float) -> str | None:
        """Why this replica must stay, in words; None if it may go."""
        replica = self._replicas.get(lfn)
        if replica is None:
            return "not held here"
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
        owner, expires_s = max(self._pins.of(lfn).items(), key=lambda pin: pin[1])
        return f"pinned by {owner} for another {wording.duration(max(0.0, expires_s - now_s))}"

    def shortfall(self, more_bytes: int, more_files: int = 0) -> tuple[int, int]:
        """How many bytes and files are too many if that much came on top of all there is."""
        over_bytes = self.used_bytes + self.reserved_bytes + more_bytes - self.limits.quota_bytes
        over_files = self.files + more_files - self.limits.max_files if self.limits.max_files else 0
        return max(0, over_bytes), max(0, over_files)

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

    # --- coming in ----------------------------------------------------------

    def load(self, found: Iterable[Found]) -> None:
        """Enters replicas found on disk at start, whether they fit or not."""
        places = []
        for one in found:
            standing = Standing.HELD if one.checked else Standing.UNCHECKED
            replica = self._enter(one.lfn, one.size_bytes, one.last_use_s, standing, one.archived)
            if self._may_idle(replica):
                replica.idle = True
                self.idle_bytes += replica.size_bytes
                places.append(replica.place)
        self._idle.update(places)
        self._ceiling_bytes = max(self._ceiling_bytes, self.used_bytes + self.reserved_bytes)
        self._ceiling_files = max(self._ceiling_files, self.files)

    def settle(self, lfn: str, *, archived: bool) -> None:
        """Makes an UNCHECKED replica visible."""
        replica = self._replicas[lfn]
        assert replica.standing is Standing.UNCHECKED, (lfn, replica.standing)
        replica.standing = Standing.HELD
        replica.archived = archived
        self._join_idle(replica)

    def archive(self, lfn: str) -> None:
        """Notes that the archive has the file: its replica here may go."""
        replica = self._replicas.get(lfn)
        if replica is not None:
            replica.archived = True
            self._join_idle(replica)

    def reserve(self, holder: str, size_bytes: int) -> bool:
        """Sets room for one file aside for a recall or an upload, if there is room."""
        assert holder not in self._reservations, holder
        if any(self.shortfall(size_bytes, 1)):
            return False
        self._reservations[holder] = size_bytes
        self.reserved_bytes += size_bytes
        self._note_peak()
        return True

    def extend(self, holder: str, more_bytes: int) -> bool:
        """Makes a reservation larger, if there is room."""
        if self.shortfall(more_bytes)[0]:
            return False
        self._reservations[holder] += more_bytes
        self.reserved_bytes += more_bytes
        self._note_peak()
        return True

    def reserved_for(self, holder: str) -> int:
        """The bytes a recall or an upload has reserved; 0 if it has no reservation."""
        return self._reservations.get(holder, 0)

    def release(self, holder: str) -> None:
        """Gives a reservation back; quietly does nothing if there is none."""
        self.reserved_bytes -= self._reservations.pop(holder, 0)
        self._lower_ceiling()

    def publish(
        self, holder: str, lfn: str, size_bytes: int, now_s: float, *, archived: bool = True
    ) -> Replica:
        """Turns a reservation into a visible replica of at most its size.

        It takes the place of one that was never archived, if there is one.
        """
        reserved_bytes = self._reservations[holder]
        assert size_bytes <= reserved_bytes, (lfn, size_bytes, reserved_bytes)
        old = self._replicas.get(lfn)
        if old is not None:
            assert old.standing is Standing.HELD, (lfn, old.standing)
            assert not old.archived, lfn
            self.drop(lfn)
        self.release(holder)
        replica = self._enter(lfn, size_bytes, now_s, Standing.HELD, archived)
        self._join_idle(replica)
        return replica

    # --- in use -------------------------------------------------------------

    def open(self, lfn: str, now_s: float, *, is_use: bool = True) -> Replica:
        """Counts one more reader, and a use if it is one; give the replica back to `close`.

        Raises NotFound if the replica is not here, or not visible.
        """
        replica = self._replicas.get(lfn)
        if replica is None or replica.standing is not Standing.HELD:
            raise NotFound(f"{lfn} is not on this node")
        self._leave_idle(replica)
        if replica.opens == 0:
            self.open_files += 1
            self.open_bytes += replica.size_bytes
        replica.opens += 1
        if is_use:
            replica.place = self._place(lfn, now_s)
        return replica

    def close(self, replica: Replica, now_s: float, *, is_use: bool = True) -> None:
        """Counts one reader less, and a use. The replica may have been dropped meanwhile."""
        assert replica.opens > 0, replica.lfn
        replica.opens -= 1
        if self._replicas.get(replica.lfn) is not replica:
            return
        if replica.opens == 0:
            self.open_files -= 1
            self.open_bytes -= replica.size_bytes
        if is_use:
            replica.place = self._place(replica.lfn, now_s)
        self._join_idle(replica)

    def touch(self, lfn: str, now_s: float) -> None:
        """Counts a use, if the replica is here."""
        replica = self._replicas.get(lfn)
        if replica is not None:
            self._leave_idle(replica)
            replica.place = self._place(lfn, now_s)
            self._join_idle(replica)

    def set_pins(self, lfn: str, pins: Iterable[tuple[str, float]], now_s: float) -> None:
        """Makes `pins` (owner, expiry) all the pins on a name, held or not."""
        before = lfn in self._pins
        self._pins.replace(
            lfn, ((owner, expires_s) for owner, expires_s in pins if expires_s > now_s)
        )
        self._pins_changed(lfn, before)

    def add_pins(self, lfn: str, pins: Iterable[tuple[str, float]], now_s: float) -> None:
        """Adds pins to those a name has; an owner's later pin replaces its earlier one."""
        before = lfn in self._pins
        for owner, expires_s in pins:
            if expires_s > now_s:
                self._pins.put(lfn, owner, expires_s)
        self._pins_changed(lfn, before)

    def pinned_names(self) -> list[str]:
        """Every name with a pin, held or not."""
        return self._pins.names()

    def expire_pins(self, now_s: float) -> None:
        """Lets pins run out."""
        for lfn in self._pins.expire(now_s):
            self._pins_changed(lfn, before=True)

    def rename(self, lfn: str, new_lfn: str) -> Replica:
        """Gives a replica another name, which nobody has; its readers keep it.

        Pins belong to names, so it has those of its new name from here on.
        """
        replica = self._replicas[lfn]
        assert new_lfn not in self._replicas, new_lfn
        assert replica.standing is Standing.HELD, (lfn, replica.standing)
        self._uncount(replica)
        del self._replicas[lfn]
        replica.place = self._place(new_lfn, replica.last_use_s)
        self._replicas[new_lfn] = replica
        self._count(replica)
        self._join_idle(replica)
        return replica

    # --- going --------------------------------------------------------------

    def evict(self, lfn: str, *, by_force: bool = False) -> Replica:
        """Starts a replica on its way out; ask `veto` first.

        `by_force` takes even one that is open, pinned or the only copy: its bytes are no
        good to anybody, or a client who may do so wants it gone.
        """
        replica = self._replicas[lfn]
        assert replica.idle or by_force, (lfn, replica.standing, replica.opens)
        assert replica.standing is not Standing.LEAVING, lfn
        self._uncount(replica)
        replica.standing = Standing.LEAVING
        self.leaving_bytes += replica.size_bytes
        self.leaving_files += 1
        self._count(replica)
        return replica

    def spare(self, lfn: str) -> Replica:
        """Takes a leaving replica back in: its file could not be removed."""
        replica = self._replicas[lfn]
        assert replica.standing is Standing.LEAVING, (lfn, replica.standing)
        self._uncount(replica)
        replica.standing = Standing.HELD
        self._count(replica)
        self._join_idle(replica)
        return replica

    def drop(self, lfn: str) -> Replica:
        """Forgets a replica: its bytes are gone from the disk."""
        replica = self._replicas[lfn]
        self._uncount(replica)
        del self._replicas[lfn]
        self.used_bytes -= replica.size_bytes
        self._lower_ceiling()
        return replica

    # --- sums ---------------------------------------------------------------

    def _enter(
        self, lfn: str, size_bytes: int, now_s: float, standing: Standing, archived: bool
    ) -> Replica:
        assert lfn not in self._replicas, lfn
        replica = Replica(size_bytes, self._place(lfn, now_s), standing, archived)
        self._replicas[lfn] = replica
        self.used_bytes += size_bytes
        self._count(replica)
        self._note_peak()
        return replica

    def _place(self, lfn: str, now_s: float) -> tuple[float, int, str]:
        self._number += 1
        return (now_s, self._number, lfn)

    def _may_idle(self, replica: Replica) -> bool:
        return (
            replica.standing is Standing.HELD
            and replica.opens == 0
            and replica.archived
            and replica.lfn not in self._pins
        )

    def _join_idle(self, replica: Replica) -> None:
        if not replica.idle and self._may_idle(replica):
            replica.idle = True
            self._idle.add(replica.place)
            self.idle_bytes += replica.size_bytes

    def _leave_idle(self, replica: Replica) -> None:
        if replica.idle:
            replica.idle = False
            self._idle.remove(replica.place)
            self.idle_bytes -= replica.size_bytes

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
        if replica.opens:
            self.open_files += 1
            self.open_bytes += replica.size_bytes
        if replica.lfn in self._pins:
            self.pinned_files += 1
            self.pinned_bytes += replica.size_bytes

    def _uncount(self, replica: Replica) -> None:
        """Takes a replica out of all sums but the used bytes."""
        self._leave_idle(replica)
        if replica.opens:
            self.open_files -= 1
            self.open_bytes -= replica.size_bytes
        if replica.lfn in self._pins:
            self.pinned_files -= 1
            self.pinned_bytes -= replica.size_bytes
        if replica.standing is Standing.LEAVING:
            self.leaving_bytes -= replica.size_bytes
            self.leaving_files -= 1

    def _note_peak(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self.used_bytes + self.reserved_bytes)
        self.peak_files = max(self.peak_files, self.files)

    def _lower_ceiling(self) -> None:
        """An overfull pool may shrink, and never grow back above what it shrank to."""
        taken_bytes = self.used_bytes + self.reserved_bytes
        self._ceiling_bytes = max(self.limits.quota_bytes, min(self._ceiling_bytes, taken_bytes))
        self._ceiling_files = max(self.limits.max_files, min(self._ceiling_files, self.files))

    def check(self) -> None:
        """Asserts every rule of this module by counting everything anew. O(n)."""
        replicas = self._replicas.values()
        assert self.used_bytes == sum(one.size_bytes for one in replicas)
        assert self.reserved_bytes == sum(self._reservations.values())
        assert self.used_bytes + self.reserved_bytes <= self._ceiling_bytes
        if self.limits.max_files:
            assert self.files <= self._ceiling_files
        assert self.peak_bytes >= self.used_bytes + self.reserved_bytes
        leaving = [one for one in replicas if one.standing is Standing.LEAVING]
        assert (self.leaving_files, self.leaving_bytes) == _sums(leaving)
        opened = [one for one in replicas if one.opens]
        assert (self.open_files, self.open_bytes) == _sums(opened)
        pinned = [one for one in replicas if one.lfn in self._pins]
        assert (self.pinned_files, self.pinned_bytes) == _sums(pinned)
        idle = [one for one in replicas if self._may_idle(one)]
        assert [one for one in replicas if one.idle] == idle
        assert (len(self._idle), self.idle_bytes) == _sums(idle)
        assert list(self._idle) == sorted(one.place for one in idle)
        assert all(lfn == one.lfn for lfn, one in self._replicas.items())
        self._pins.check()


def _sums(replicas: list[Replica]) -> tuple[int, int]:
    return len(replicas), sum(one.size_bytes for one in replicas)
