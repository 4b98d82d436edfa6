"""A pool: replicas come in, are used, and go; what is there stands in its `Books`.

Three rules are kept here and nowhere else.

* *Used + reserved never passes the quota*, in bytes and in files (see `Space`): `publish`
  turns a reservation into a replica and never takes more than was reserved.
* *What is idle may be purged, nothing else.* A replica is idle while it is held, known to
  be in the archive, neither open nor pinned. Idle replicas, and only they, stand on the
  `Shelves`, where the next victim is found without a walk.
* *Bytes count until the disk says they are gone.* A replica chosen to go is LEAVING:
  nobody can open it any more, but its room is free only once it is dropped.

While the pool's disk is `away`, the books stay as they are: nothing is opened and nothing
goes, for what cannot be seen is not gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NotFound
from dataserver.core.books import Books
from dataserver.core.replica import Mark, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.pins import Pin
    from dataserver.core.replica import Found, Limits, Replica


class Pool(Books):
    """All that may happen to a pool's replicas and reservations."""

    # --- coming in ----------------------------------------------------------

    def load(self, found: Iterable[Found]) -> None:
        """Enters replicas found on disk at start, whether they fit or not."""
        idle = []
        for one in found:
            standing = Standing.HELD if one.checked else Standing.UNCHECKED
            replica = self._enter(one.lfn, one.size_bytes, one.last_use_s, standing, one.archived)
            replica.mark = one.mark
            if self._may_idle(replica):
                idle.append(replica)
        self.shelves.add_all(idle)
        self._space.tolerate()

    def settle(self, lfn: str, *, archived: bool) -> None:
        """Makes an UNCHECKED replica visible."""
        replica = self._replicas[lfn]
        assert replica.standing is Standing.UNCHECKED, (lfn, replica.standing)
        replica.standing = Standing.HELD
        replica.archived = archived
        replica.sent = replica.sent and not archived
        self.unarchived.join(replica)
        self._join_idle(replica)

    def archive(self, lfn: str) -> None:
        """Notes that the archive has the file: its replica here may go."""
        replica = self._replicas.get(lfn)
        if replica is not None:
            self.unarchived.leave(replica)
            replica.archived = True
            replica.sent = False
            self._join_idle(replica)

    def unarchive(self, lfn: str) -> None:
        """Notes that the archive's copy is being removed: the one here may be the last."""
        replica = self._replicas[lfn]
        assert replica.standing is Standing.HELD, (lfn, replica.standing)
        self._leave_idle(replica)
        self.unarchived.leave(replica)
        replica.archived = False
        replica.sent = True
        self.unarchived.join(replica)

    def reserve(self, holder: str, size_bytes: int) -> bool:
        """Sets room for one file aside for a recall or an upload, if there is room."""
        return self._space.reserve(holder, size_bytes)

    def extend(self, holder: str, more_bytes: int) -> bool:
        """Makes a reservation larger, if there is room."""
        return self._space.extend(holder, more_bytes)

    def reserved_for(self, holder: str) -> int:
        """The bytes a recall or an upload has reserved; 0 if it has no reservation."""
        return self._space.reserved_for(holder)

    def release(self, holder: str) -> None:
        """Gives a reservation back; quietly does nothing if there is none."""
        self._space.release(holder)

    def publish(
        self, holder: str, lfn: str, size_bytes: int, now_s: float, *, archived: bool = True
    ) -> Replica:
        """Turns a reservation into a visible replica of at most its size.

        It takes the place of one that was never archived, if there is one.
        """
        reserved_bytes = self.reserved_for(holder)
        assert size_bytes <= reserved_bytes, (lfn, size_bytes, reserved_bytes)
        old = self._replicas.get(lfn)
        if old is not None:
            assert old.standing is Standing.HELD, (lfn, old.standing)
            assert not old.archived, lfn
            self.drop(lfn)
            if old.mark is not None:
                # What was said of the old content says nothing of the new.
                self._remarked[lfn] = None
        self._space.give_up(holder)
        replica = self._enter(lfn, size_bytes, now_s, Standing.HELD, archived)
        self._join_idle(replica)
        return replica

    def set_limits(self, limits: Limits) -> None:
        """Other limits hold from here on; a pool that is too full for them may only shrink."""
        self.limits = limits
        self._space.set_limits(limits)
        self.groups.set_whole(limits.low_bytes)

    # --- in use -------------------------------------------------------------

    def open(self, lfn: str, now_s: float, *, is_use: bool = True) -> Replica:
        """Counts one more reader, and a use if it is one; give the replica back to `close`.

        Raises NotFound if the replica is not here, or not visible.
        """
        replica = self._replicas.get(lfn)
        if replica is None or replica.standing is not Standing.HELD:
            raise NotFound(f"{lfn} is not on this node")
        if self.away:
            raise NotFound(f"{lfn} is not on this node now: {self.away}")
        self._leave_idle(replica)
        if replica.opens == 0:
            self.open_files += 1
            self.open_bytes += replica.size_bytes
        replica.opens += 1
        if is_use:
            self._use(replica, now_s)
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
            self._use(replica, now_s)
            self._join_idle(replica)

    def mark(self, lfn: str, mark: Mark) -> None:
        """Notes that a replica should go sooner than others, until it is used again.

        One that is to go before all others stays so, whatever else is said of it.
        """
        replica = self._replicas.get(lfn)
        if replica is not None and replica.mark not in {mark, Mark.SOFT}:
            self._leave_idle(replica)
            self._set_mark(replica, mark)
            self._join_idle(replica)

    def take_remarked(self) -> dict[str, Mark | None]:
        """The marks that were set or taken away since the last call, of replicas still here."""
        remarked, self._remarked = self._remarked, {}
        return {lfn: one.mark for lfn in remarked if (one := self._replicas.get(lfn)) is not None}

    def give_back_remarked(self, lfns: Iterable[str]) -> None:
        """What was taken could not be kept: the next call tells of these again."""
        self._remarked.update(dict.fromkeys(lfns))

    def set_pins(self, lfn: str, pins: Iterable[Pin], now_s: float) -> None:
        """Makes `pins` all the pins on a name, held or not."""
        before = lfn in self._pins
        self._pins.replace(lfn, (pin for pin in pins if pin.expires_s > now_s))
        self._pins_changed(lfn, before)

    def add_pins(self, lfn: str, pins: Iterable[Pin], now_s: float) -> None:
        """Adds pins to those a name has; an owner's later pin replaces its earlier one."""
        before = lfn in self._pins
        for pin in pins:
            if pin.expires_s > now_s:
                self._pins.put(lfn, pin)
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
        replica.group = self.groups.of(new_lfn)
        if replica.mark is not None:
            self._remarked[new_lfn] = None
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
        self._space.leave(replica.size_bytes)
        return replica
