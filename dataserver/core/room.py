"""Room in the pool for those who wait for it: recalls and uploads, in one line.

Room is granted in the order it was asked for: nobody overtakes. Who cannot be given room,
not even after purging all that may go, is refused at once. Two kinds of growth are beside
the line. A recall's command goes on writing whatever we do, so what it outgrows is extended
first (`Growth`). An upload can be made to wait, so what it wishes ahead of its need is given
only when nobody waits; it stands in the line once it cannot go on without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataserver.core.growth import PAUSE_S, Growth

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataserver.core.pool import Pool
    from dataserver.core.purging import Purging


@dataclass(slots=True, eq=False)
class Want:
    """Room that somebody waits for: a reservation, or (`is_new` False) more of the one it has.

    One of the two is called once, with the time; neither may ask for room.
    """

    holder: str
    size_bytes: int
    is_new: bool
    granted: Callable[[float], None]
    refused: Callable[[float], None]

    @property
    def files(self) -> int:
        """How many files more it takes."""
        return 1 if self.is_new else 0


class Room:
    """The line, and the wishes beside it."""

    def __init__(self, pool: Pool, purging: Purging) -> None:
        self.growth = Growth(pool)
        self._pool = pool
        self._purging = purging
        self._line: list[Want] = []
        self._wishes: dict[str, Want] = {}
        self._no_wishes_before_s = 0.0

    # --- looking ------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nobody stands in the line."""
        return not self._line

    def waiting(self) -> list[str]:
        """Who stands in the line, in order."""
        return [want.holder for want in self._line]

    def need(self) -> tuple[int, int]:
        """Bytes and files of room that somebody waits or wishes for."""
        size_bytes = sum(want.size_bytes for want in self._line)
        size_bytes += sum(wish.size_bytes for wish in self._wishes.values())
        return size_bytes + self.growth.wished_bytes, sum(want.files for want in self._line)

    # --- asking -------------------------------------------------------------

    def ask(self, want: Want, now_s: float) -> None:
        """Puts somebody at the end of the line; it may be its turn at once."""
        self._line.append(want)
        self.grant(now_s)

    def wish(self, wish: Want, now_s: float) -> None:
        """Wishes for more of a reservation ahead of need.

        It is given once there is room that nobody waits for, and quietly forgotten if
        purging cannot make it.
        """
        if now_s < self._no_wishes_before_s:
            return
        self._wishes.pop(wish.holder, None)
        over_bytes, _ = self._pool.shortfall(wish.size_bytes + self.need()[0])
        if over_bytes <= self._purging.can_free()[0]:
            self._wishes[wish.holder] = wish

    def forget(self, holder: str) -> None:
        """Somebody neither waits nor wishes any more; fine if it never did."""
        self._line = [want for want in self._line if want.holder != holder]
        self._wishes.pop(holder, None)
        self.growth.forget(holder)

    # --- granting -----------------------------------------------------------

    def grant(self, now_s: float) -> None:
        """Gives room to those who wait, in order; refuses those for whom there is none."""
        self.growth.grant()
        can_bytes, can_files = self._purging.can_free()
        ahead_bytes = ahead_files = 0
        somebody_waits = False
        for want in list(self._line):
            if not somebody_waits and self._take(want):
                self._line.remove(want)
                want.granted(now_s)
                continue
            over_bytes, over_files = self._pool.shortfall(
                ahead_bytes + want.size_bytes, ahead_files + want.files
            )
            if over_bytes > can_bytes or over_files > can_files:
                self._line.remove(want)
                want.refused(now_s)
            else:
                somebody_waits = True
                ahead_bytes += want.size_bytes
                ahead_files += want.files
        if not somebody_waits:
            self._fulfil_wishes(now_s)

    def fall_short(self, now_s: float) -> None:
        """Purging ended without making the room asked for: nobody waits in vain."""
        self.growth.fall_short(now_s)
        self._wishes.clear()
        self._no_wishes_before_s = now_s + PAUSE_S
        for want in list(self._line):
            if any(self._pool.shortfall(want.size_bytes, want.files)):
                self._line.remove(want)
                want.refused(now_s)

    def _take(self, want: Want) -> bool:
        if want.is_new:
            return self._pool.reserve(want.holder, want.size_bytes)
        return self._pool.extend(want.holder, want.size_bytes)

    def _fulfil_wishes(self, now_s: float) -> None:
        for wish in list(self._wishes.values()):
            if self._take(wish):
                del self._wishes[wish.holder]
                wish.granted(now_s)

    def check(self, copying: set[str], growing: set[str]) -> None:
        """Asserts that only those who may grow wish to, and nobody stands in the line twice.

        `copying`: recalls that copy; `growing`: uploads that are written.
        """
        self.growth.check(copying)
        assert self._wishes.keys() <= growing
        assert all(not wish.is_new for wish in self._wishes.values())
        waiting = self.waiting()
        assert len(waiting) == len(set(waiting)), waiting
        assert {want.holder for want in self._line if not want.is_new} <= growing
