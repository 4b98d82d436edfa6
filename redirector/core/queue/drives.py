"""The drives that volumes are read with, and when a volume gives one up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redirector.core.queue.limits import Limits
    from redirector.core.queue.shares import Share
    from redirector.core.queue.volumes import Archive, Volume

#: Of one volume, at least so many run at a time, so that its drive need not wait for us.
_LEAST_OF_A_VOLUME = 2


class Drives:
    """Which volumes are open. A run that was found going opens its volume in any case."""

    def __init__(self, limits: Limits) -> None:
        self._drives = limits.drives
        self.volume_s = limits.volume_s
        self.open: dict[Volume, None] = {}

    @property
    def free(self) -> int:
        """How many more volumes may be read."""
        return max(0, self._drives - len(self.open))

    def begin(self, volume: Volume, now_s: float) -> None:
        """A file of a volume is about to be read."""
        if not volume.is_open:
            volume.open(now_s)
            self.open[volume] = None

    def close_if_done(self, volume: Volume) -> None:
        """Frees the drive of a volume that is read, or yields; forgets one that nobody wants."""
        if volume.is_open and not volume.running and (volume.is_yielding or not volume.files):
            volume.close()
            del self.open[volume]
        volume.archive.forget_if_done(volume)

    def gates(self, places: int) -> Iterator[Volume]:
        """The open volumes of which more may be read. `places` is what nodes take in all:
        each drive gets its part, so that no volume takes up the nodes while others wait."""
        most = max(_LEAST_OF_A_VOLUME, places // self._drives)
        for volume in self.open:
            if volume.running < most and not (volume.is_yielding or volume.archive.is_full):
                yield volume

    def make_yield(self, archives: Iterable[Archive], now_s: float) -> None:
        """Has a volume that was read for long give way, if somebody who had less waits for it."""
        if self.free or any(volume.is_yielding for volume in self.open):
            return
        waiting = _first_on_shelves(archives)
        if waiting is None:
            return
        for volume in self.open:
            if self._was_read_for_long(volume, now_s) and _served_had_more(volume, waiting):
                volume.is_yielding = True
                self.close_if_done(volume)
                return

    def check(self, archives: Iterable[Archive]) -> None:
        """Asserts that all open volumes are known here."""
        volumes = [volume for archive in archives for volume in archive.volumes.values()]
        assert {volume for volume in volumes if volume.is_open} == set(self.open)

    def _was_read_for_long(self, volume: Volume, now_s: float) -> bool:
        assert volume.opened_s is not None
        return now_s - volume.opened_s >= self.volume_s


def _first_on_shelves(archives: Iterable[Archive]) -> Share | None:
    """Who waits for a drive and has had least."""
    shelves = [archive.shelf for archive in archives if not archive.is_full]
    firsts = [share for shelf in shelves if (share := shelf.turns.first()) is not None]
    return min(firsts, key=lambda share: (share.had, share.number), default=None)


def _served_had_more(volume: Volume, waiting: Share) -> bool:
    """Whether whoever is served next by a volume has had more than one who waits."""
    if not volume.files:
        return False
    return all(waiting.had < share.had for share in volume.following().shares)
