"""Why a recall waits in the queue, and whose turn it was: in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from redirector.core.queue.volumes import Volume

if TYPE_CHECKING:
    from redirector.core.queue.queue import RecallQueue
    from redirector.core.queue.shares import Share, Turns
    from redirector.core.recall import Recall

#: Volumes named where all drives are in use.
_NAMED = 5


def why_it_waits(queue: RecallQueue, recall: Recall, now_s: float) -> str:
    """What keeps a queued recall from being proposed: a limit, its volume, or others' turns."""
    if recall in queue.unhinted:
        wait = wording.duration(max(0.0, queue.unhinted.until_s(recall) - now_s))
        return f"it is being asked where the file lies on tape; not waited for longer than {wait}"
    archive = recall.place.archive
    if queue.is_full:
        return f"as many recalls run as may at a time: {queue.running}"
    if archive.is_full:
        name = archive.limit.name
        return f"as many recalls from {name} run as may at a time: {archive.running}"
    if isinstance(recall.place, Volume):
        return _why_on_volume(queue, recall, recall.place, now_s)
    return _turn(recall, archive.loose.turns)


def whose_turn(recall: Recall) -> str:
    """Who is charged for a recall that is about to start, and where its file lies.

    "" if nobody else is waiting and it lies on no volume that is known.
    """
    parts = []
    if isinstance(recall.place, Volume):
        parts.append(f"on volume {recall.place.name} at {recall.position}")
    if any(len(turns) > len(recall.shares) for one in recall.shares for turns in one.turns):
        parts += [f"{share.key} has had {_had(share)}" for share in recall.shares]
    return "; ".join(parts)


def _why_on_volume(queue: RecallQueue, recall: Recall, volume: Volume, now_s: float) -> str:
    at = f"volume {volume.name} at {recall.position}"
    if volume.is_open:
        assert volume.opened_s is not None
        since = wording.duration(now_s - volume.opened_s)
        if volume.is_yielding:
            return f"{at}: it was read for {since}, and now gives way to who had less"
        ahead = wording.count(volume.before(recall), "recall")
        return f"{at}: read for {since}, {ahead} before this one"
    if queue.drives.free:
        return f"{at}: {_turn(recall, volume.archive.shelf.turns)}"
    named = ", ".join(one.name for one in list(queue.drives.open)[:_NAMED])
    more = ", …" if len(queue.drives.open) > _NAMED else ""
    in_use = "waits for a drive, of which as many are in use as may be"
    turn = _turn(recall, volume.archive.shelf.turns, is_next="the next one is for it")
    return f"{at}: {in_use} ({named}{more}); {turn}"


def _turn(
    recall: Recall, turns: Turns, is_next: str = "waits for a node to have fewer recalls"
) -> str:
    """How many go first, of the share that has its turn soonest."""
    share = min(recall.shares, key=lambda share: (share.had, share.number))
    ahead = share.lanes[recall.place].before(recall)
    others = turns.before(share)
    if not ahead and not others:
        return is_next
    line = f"waits for its turn: {wording.count(ahead, 'recall')} before it"
    if len(turns) > 1:
        line += f" of {share.key}, who has had {_had(share)}"
        line += f"; {wording.count(others, 'owner')} had less" if others else "; nobody had less"
    return line


def _had(share: Share) -> str:
    """What a share has had, and its part of the weight."""
    return f"{wording.size(round(share.had))} (by weight)"
