"""Where queued recalls stand: in a lane for each share that wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedKeyList

if TYPE_CHECKING:
    from collections.abc import Container

    from redirector.core.queue.shares import Share
    from redirector.core.queue.volumes import Loose, Volume
    from redirector.core.recall import Recall


class Lane:
    """What one share waits for of one volume, or of what lies on none; the most urgent first."""

    __slots__ = ("order", "place", "recalls", "share")

    def __init__(self, share: Share, place: Loose | Volume) -> None:
        self.share = share
        self.place = place
        self.order = 0  # of the most urgent one
        self.recalls: SortedKeyList[Recall] = SortedKeyList(key=recall_order)

    @property
    def first(self) -> Recall:
        """The most urgent one."""
        return self.recalls[0]

    def first_besides(self, passed: Container[Recall]) -> Recall | None:
        """The most urgent one that was not passed over."""
        return next((recall for recall in self.recalls if recall not in passed), None)

    def before(self, recall: Recall) -> int:
        """How many are more urgent than this one."""
        return self.recalls.bisect_key_left(recall.order)


def put_in_lanes(recall: Recall) -> None:
    """Puts a recall into the lanes of all shares that want it."""
    for share in recall.shares:
        put_in_lane(recall, share)


def put_in_lane(recall: Recall, share: Share) -> None:
    """Puts a recall into the lane of one share."""
    place = recall.place
    lane = share.lanes.get(place)
    if lane is None:
        lane = share.lanes[place] = Lane(share, place)
        lane.recalls.add(recall)
        lane.order = recall.order
        place.attach(lane)
    elif recall.order < lane.order:
        place.before_first_changes(lane)
        lane.recalls.add(recall)
        lane.order = recall.order
        place.after_first_changed(lane)
    else:
        lane.recalls.add(recall)


def take_out_of_lanes(recall: Recall) -> None:
    """Takes a recall out of all lanes."""
    for share in recall.shares:
        take_out_of_lane(recall, share)


def take_out_of_lane(recall: Recall, share: Share) -> None:
    """Takes a recall out of the lane of one share."""
    place = recall.place
    lane = share.lanes[place]
    if len(lane.recalls) == 1:
        place.detach(lane)
        lane.recalls.remove(recall)
        del share.lanes[place]
    elif lane.first is recall:
        place.before_first_changes(lane)
        lane.recalls.remove(recall)
        lane.order = lane.first.order
        place.after_first_changed(lane)
    else:
        lane.recalls.remove(recall)


def recall_order(recall: Recall) -> int:
    """What recalls of one lane are ordered by."""
    return recall.order
