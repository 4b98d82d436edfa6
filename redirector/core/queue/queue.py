"""The queue of recalls that wait for a node: it proposes them in the order of turns.

Of the shares that can have a recall now, it is the turn of the one that has had least
(see `shares`). What it gets:

- of its loose recalls, the most urgent one;
- of an open volume that it waits for, whatever is to be read next there, for whomever:
  so a tape is read in one sweep, and all who want some of it are served and charged;
- if a drive is free, a volume that is not open yet: that of its most urgent recall.

Recalls are ordered by when they were first wished for, and one of a higher priority as
if that had been so much earlier for each step: who waits becomes more urgent in the same
measure as everybody else, so nothing starves and no order ever has to be made anew.

A volume stays open until all of it is read, or until it was read for `volume_s` while
somebody who has had less waits for a drive.

The queue only proposes. It is told what was started, and what has ended; the limits
of what may run at a time are kept here, those of nodes are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.queue.drives import Drives
from redirector.core.queue.hints import Unhinted
from redirector.core.queue.lanes import (
    put_in_lane,
    put_in_lanes,
    take_out_of_lane,
    take_out_of_lanes,
)
from redirector.core.queue.one_pass import OnePass
from redirector.core.queue.shares import Shares
from redirector.core.queue.volumes import Archive, Volume
from redirector.core.states import RecallState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redirector.core.queue.shares import ShareKey
    from redirector.core.queue.volumes import Gate
    from redirector.core.recall import Recall
    from redirector.core.settings import HeadSettings

#: A recall's order is one number, a time and a place: more places than are given out in
#: the millisecond by which times differ.
_PLACES = 1 << 22


class RecallQueue:
    """Queued recalls; every operation takes logarithmic time."""

    def __init__(self, settings: HeadSettings) -> None:
        self._step_s = settings.priority_step_s
        self._assumed_bytes = settings.assumed_size_bytes
        self._start_bytes = int(settings.recall_start_s * settings.assumed_rate)
        self.limits = settings.limits
        self.shares = Shares(settings.weights)
        self.archives = [Archive(limit) for limit in self.limits.archives]
        self.drives = Drives(self.limits)
        self.unhinted = Unhinted(settings.hint_wait_s)
        self.running = 0
        self._queued = 0
        self._next_place = 0

    def reconfigure(self, settings: HeadSettings) -> None:
        """Other weights, and other times for volumes, hold from here on."""
        self._assumed_bytes = settings.assumed_size_bytes
        self.drives.volume_s = settings.limits.volume_s
        self.shares.reweigh(settings.weights)

    def __len__(self) -> int:
        return self._queued

    # --- recalls and who wants them ---

    def admit(self, recall: Recall, key: ShareKey | None) -> None:
        """Gives a new recall its order, which it keeps through all retries, and its first share.

        Without a key nobody wants it, and nobody is charged: it is a run of former times.
        """
        recall.order = self._order(recall, self._next_place % _PLACES)
        self._next_place += 1
        archive_of = self.limits.archive_of
        recall.place = self.archives[archive_of(recall.lfn) if archive_of is not None else 0].loose
        if key is not None:
            share = self.shares.of(key)
            self.shares.want(share)
            recall.shares = share.alone
            self.unhinted.to_be_asked(recall)

    def join(self, recall: Recall, key: ShareKey) -> None:
        """Somebody else wants a recall too: it is in the lanes of both."""
        share = self.shares.of(key)
        if share in recall.shares:
            return
        self.shares.want(share)
        recall.shares += (share,)
        if self._is_in_lanes(recall):
            put_in_lane(recall, share)

    def leave(self, recall: Recall, key: ShareKey) -> None:
        """One of several shares wants a recall no longer."""
        share = self.shares.of(key)
        assert len(recall.shares) > 1
        if self._is_in_lanes(recall):
            take_out_of_lane(recall, share)
        rest = tuple(one for one in recall.shares if one is not share)
        recall.shares = rest if len(rest) > 1 else rest[0].alone
        share.want(-1)

    def raise_priority(self, recall: Recall, priority: int) -> None:
        """Moves a recall to where it would stand with a higher priority."""
        lined_up = self._is_in_lanes(recall)
        if lined_up:
            self._take_out(recall)
        recall.priority = priority
        recall.order = self._order(recall, recall.order % _PLACES)
        if lined_up:
            self._line_up(recall)

    def forget(self, recall: Recall) -> None:
        """A recall has come to its end."""
        for share in recall.shares:
            share.want(-1)
        recall.shares = ()

    # --- where files lie ---

    def learn_place(self, recall: Recall, volume: str, position: int) -> None:
        """It has become known on which volume a file lies, and where ("": on none).

        Of a recall that runs already, this says nothing any more.
        """
        if recall.state in (RecallState.ASSIGNED, RecallState.CANCELLING):
            return
        queued = recall.state is RecallState.QUEUED
        if queued and not self.unhinted.release(recall):
            self._take_out(recall)
        archive = recall.place.archive
        recall.place = archive.volume(volume) if volume else archive.loose
        recall.position = position
        if queued:
            self._line_up(recall)
        elif isinstance(recall.place, Volume):
            archive.forget_if_done(recall.place)

    def release_unhinted(self, now_s: float) -> bool:
        """Lets those stand in line that were held back for a hint long enough; if there were any."""
        released = False
        while (recall := self.unhinted.due(now_s)) is not None:
            self.unhinted.release(recall)
            self._line_up(recall)
            released = True
        return released

    # --- in the queue ---

    def add(self, recall: Recall, now_s: float) -> None:
        """Puts a recall at its place, when it is known or has been waited for long enough."""
        self._queued += 1
        if not self.unhinted.hold(recall, now_s):
            self._line_up(recall)

    def remove(self, recall: Recall) -> None:
        """Takes a recall out."""
        self._queued -= 1
        if not self.unhinted.release(recall):
            self._take_out(recall)

    # --- what runs ---

    def started(self, recall: Recall, now_s: float) -> None:
        """A recall, no longer queued, is given to a node; whoever wants it is charged."""
        place = recall.place
        if isinstance(place, Volume):
            place = recall.place = place.archive.volume(place.name)
            self.drives.begin(place, now_s)
            place.begun(recall)
        place.running += 1
        place.archive.running += 1
        self.running += 1
        recall.charged_bytes = self._start_bytes + (recall.size_bytes or self._assumed_bytes)
        self._charge(recall, recall.charged_bytes)
        for share in recall.shares:
            share.served_s = now_s

    def ended(self, recall: Recall) -> None:
        """A node has a recall no longer. If its size was not known, the charge is set right."""
        place = recall.place
        place.running -= 1
        place.archive.running -= 1
        self.running -= 1
        if recall.size_bytes:
            self._charge(recall, self._start_bytes + recall.size_bytes - recall.charged_bytes)
        if isinstance(place, Volume):
            self.drives.close_if_done(place)

    # --- whose turn it is ---

    def proposals(self, now_s: float, places: int) -> Iterator[Recall]:
        """The queued recalls in the order of turns, as it is whenever one is asked for.

        One that was neither started nor removed by then was passed over, and is not proposed
        again; others of its share are, once every other share was asked. `places` is how many
        recalls the nodes take in all.
        """
        self.drives.make_yield(self.archives, now_s)
        one_pass = OnePass()
        while (turn := one_pass.next_turn(list(self._open_gates(places)))) is not None:
            had = turn.share.had
            yield turn.recall
            if turn.recall.state is RecallState.QUEUED:
                one_pass.passed_over(turn)
            else:
                one_pass.taken(turn)
                self.shares.reached(had)

    @property
    def is_full(self) -> bool:
        """Whether as many recalls run as may at all."""
        return 0 < self.limits.recalls <= self.running

    def foremost(self, limit: int) -> list[Recall]:
        """The most urgent recall of each lane, those of the shares that have had least first."""
        held = self.unhinted.first()
        found: dict[Recall, None] = {} if held is None else {held: None}
        lanes = (lane for share in self.shares.in_turn() for lane in share.lanes.values())
        for lane in lanes:
            if len(found) >= limit:
                break
            found[lane.first] = None
        return list(found)

    def check(self) -> None:
        """Asserts that all that stands anywhere agrees."""
        self.shares.check()
        queued = {id(recall) for recall in self.unhinted.held()}
        for share in self.shares.in_turn():
            for place, lane in share.lanes.items():
                assert lane.recalls
                assert all(share in one.shares and one.place is place for one in lane.recalls)
                queued |= {id(recall) for recall in lane.recalls}
        assert len(queued) == self._queued
        for archive in self.archives:
            archive.check()
        assert self.running == sum(archive.running for archive in self.archives)
        self.drives.check(self.archives)

    # --- inside ---

    def _order(self, recall: Recall, place: int) -> int:
        wished_s = recall.queued_s - recall.priority * self._step_s
        return round(wished_s * 1000) * _PLACES + place

    def _is_in_lanes(self, recall: Recall) -> bool:
        return recall.state is RecallState.QUEUED and recall not in self.unhinted

    def _line_up(self, recall: Recall) -> None:
        if isinstance(recall.place, Volume):
            # While it was not queued, its volume may have been forgotten.
            recall.place = recall.place.archive.volume(recall.place.name)
            recall.place.files.add(recall)
        put_in_lanes(recall)

    def _take_out(self, recall: Recall) -> None:
        take_out_of_lanes(recall)
        if isinstance(recall.place, Volume):
            recall.place.files.remove(recall)
            self.drives.close_if_done(recall.place)

    def _charge(self, recall: Recall, cost_bytes: int) -> None:
        """Charges all who want a recall, each for its part."""
        for share in recall.shares:
            self.shares.charge(share, cost_bytes / len(recall.shares))

    def _open_gates(self, places: int) -> Iterator[Gate]:
        """Where somebody may have a turn now."""
        if self.is_full:
            return
        for archive in self.archives:
            if not archive.is_full:
                yield archive.loose
                if self.drives.free:
                    yield archive.shelf
        yield from self.drives.gates(places)
