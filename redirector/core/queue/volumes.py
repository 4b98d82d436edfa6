"""Parts of the archive, and the volumes (tapes) that files are known to lie on.

Recalls stand in *places*: a `Volume`, or the `Loose` ones of a part of the archive,
of which no volume is known. A volume is *open* while it is being read: it takes up a
drive. What waits for volumes that are not open stands on the *shelf* of its part.

Loose ones, a shelf and an open volume are *gates*: each has the turns of the shares
that wait there, and proposes a recall for the share whose turn it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedKeyList

from redirector.core.queue.shares import Turns

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from redirector.core.queue.lanes import Lane
    from redirector.core.queue.limits import ArchiveLimit
    from redirector.core.queue.shares import Share
    from redirector.core.recall import Recall


class Archive:
    """One part of the archive: its loose recalls, its volumes, what runs from it."""

    __slots__ = ("limit", "loose", "running", "shelf", "volumes")

    def __init__(self, limit: ArchiveLimit) -> None:
        self.limit = limit
        self.running = 0
        self.loose = Loose(self)
        self.shelf = Shelf()
        self.volumes: dict[str, Volume] = {}

    @property
    def is_full(self) -> bool:
        """Whether as many recalls run from here as may."""
        return 0 < self.limit.recalls <= self.running

    def volume(self, name: str) -> Volume:
        """The volume of this name."""
        volume = self.volumes.get(name)
        if volume is None:
            volume = self.volumes[name] = Volume(name, self)
        return volume

    def forget_if_done(self, volume: Volume) -> None:
        """Forgets a volume that nobody wants and nothing reads."""
        if not volume.is_open and not volume.files:
            self.volumes.pop(volume.name, None)

    def check(self) -> None:
        """Asserts that all that stands here agrees."""
        self.loose.turns.check()
        self.shelf.check()
        for name, volume in self.volumes.items():
            assert volume.name == name
            volume.check()
        running = sum(volume.running for volume in self.volumes.values())
        assert self.running == self.loose.running + running


class Loose:
    """The recalls of an archive that are on no known volume."""

    __slots__ = ("archive", "running", "turns")

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.turns = Turns()
        self.running = 0

    def attach(self, lane: Lane) -> None:
        """A share waits here now."""
        self.turns.add(lane.share)

    def detach(self, lane: Lane) -> None:
        """A share waits here no longer."""
        self.turns.remove(lane.share)

    def before_first_changes(self, lane: Lane) -> None:
        """Nothing here depends on which recall of a lane is the first."""

    def after_first_changed(self, lane: Lane) -> None:
        """Nothing here depends on which recall of a lane is the first."""

    def propose(self, share: Share, passed: Container[Recall]) -> Recall | None:
        """The share's most urgent recall here."""
        return share.lanes[self].first_besides(passed)


class Shelf:
    """The lanes of volumes that are not open, by share."""

    __slots__ = ("_lanes", "running", "turns")

    def __init__(self) -> None:
        self.turns = Turns()
        # A drive that is free goes before one that is at work.
        self.running = -1
        self._lanes: dict[Share, SortedKeyList[Lane]] = {}

    def add(self, lane: Lane) -> None:
        """Puts a lane on the shelf."""
        lanes = self._lanes.get(lane.share)
        if lanes is None:
            lanes = self._lanes[lane.share] = SortedKeyList(key=_lane_order)
            self.turns.add(lane.share)
        lanes.add(lane)

    def remove(self, lane: Lane) -> None:
        """Takes a lane from the shelf."""
        lanes = self._lanes[lane.share]
        lanes.remove(lane)
        if not lanes:
            del self._lanes[lane.share]
            self.turns.remove(lane.share)

    def propose(self, share: Share, passed: Container[Recall]) -> Recall | None:
        """Where to begin with the volume of the share's most urgent recall."""
        for lane in self._lanes[share]:
            volume = lane.place
            assert isinstance(volume, Volume)
            recall = volume.following()
            if recall not in passed:
                return recall
        return None

    def check(self) -> None:
        """Asserts that lanes stand where their volumes are not open."""
        assert set(self.turns) == set(self._lanes)
        self.turns.check()
        for share, lanes in self._lanes.items():
            assert lanes
            orders = [lane.first.order for lane in lanes]
            assert orders == sorted(orders) == [lane.order for lane in lanes]
            for lane in lanes:
                assert lane.share is share
                assert isinstance(lane.place, Volume)
                assert not lane.place.is_open


class Volume:
    """The queued recalls of one volume, by where their files lie on it.

    It is read in one direction, from where the last one begun lies to the end, and then
    from the beginning again.
    """

    __slots__ = (
        "_at",
        "archive",
        "files",
        "is_yielding",
        "lanes",
        "name",
        "opened_s",
        "running",
        "turns",
    )

    def __init__(self, name: str, archive: Archive) -> None:
        self.name = name
        self.archive = archive
        self.files: SortedKeyList[Recall] = SortedKeyList(key=spot)
        self.lanes: dict[Share, Lane] = {}
        self.turns = Turns()  # of the shares that wait for it, while it is open
        self.running = 0
        self.opened_s: float | None = None
        self.is_yielding = False  # no more is read of it before others had their turn
        self._at = 0  # where the last one begun lies

    @property
    def is_open(self) -> bool:
        """Whether it takes up a drive."""
        return self.opened_s is not None

    # --- being read ---

    def open(self, now_s: float) -> None:
        """Begins to read it."""
        assert self.opened_s is None
        for lane in self.lanes.values():
            self.archive.shelf.remove(lane)
            self.turns.add(lane.share)
        self.opened_s = now_s

    def close(self) -> None:
        """Reads it no longer: its drive is free."""
        self.opened_s = None
        self.is_yielding = False
        for lane in self.lanes.values():
            self.turns.remove(lane.share)
            self.archive.shelf.add(lane)

    def begun(self, recall: Recall) -> None:
        """A recall is being read; those that lie behind it follow."""
        self._at = spot(recall)

    def following(self) -> Recall:
        """The queued recall to be read next."""
        return next(self.ahead())

    def ahead(self) -> Iterator[Recall]:
        """The queued recalls in the order in which they are to be read."""
        yield from self.files.irange_key(min_key=self._at)
        yield from self.files.irange_key(max_key=self._at, inclusive=(True, False))

    def before(self, recall: Recall) -> int:
        """How many are to be read before this one."""
        rank = self.files.bisect_key_left(spot(recall))
        begin = self.files.bisect_key_left(self._at)
        return rank - begin if rank >= begin else rank + len(self.files) - begin

    def propose(self, _share: Share, passed: Container[Recall]) -> Recall | None:
        """What is to be read next, whoever waits for it."""
        return next((recall for recall in self.ahead() if recall not in passed), None)

    # --- lanes ---

    def attach(self, lane: Lane) -> None:
        """A share waits for it now."""
        self.lanes[lane.share] = lane
        if self.is_open:
            self.turns.add(lane.share)
        else:
            self.archive.shelf.add(lane)

    def detach(self, lane: Lane) -> None:
        """A share waits for it no longer."""
        del self.lanes[lane.share]
        if self.is_open:
            self.turns.remove(lane.share)
        else:
            self.archive.shelf.remove(lane)

    def before_first_changes(self, lane: Lane) -> None:
        """On the shelf, a lane's place is that of its first recall."""
        if not self.is_open:
            self.archive.shelf.remove(lane)

    def after_first_changed(self, lane: Lane) -> None:
        """On the shelf, a lane's place is that of its first recall."""
        if not self.is_open:
            self.archive.shelf.add(lane)

    def check(self) -> None:
        """Asserts that files and lanes agree."""
        wanted = {id(recall) for lane in self.lanes.values() for recall in lane.recalls}
        assert wanted == {id(recall) for recall in self.files}
        assert self.is_open or not self.running
        assert self.is_open or not self.is_yielding
        assert self.is_open or self.files
        assert set(self.turns) == (set(self.lanes) if self.is_open else set())
        self.turns.check()


#: Where a share may have its turn.
Gate = Loose | Shelf | Volume


def spot(recall: Recall) -> int:
    """Where a recall's file lies on its volume."""
    return recall.position or 0


def _lane_order(lane: Lane) -> int:
    return lane.order
