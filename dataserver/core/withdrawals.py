"""Taking files out of the archive, for clients who remove or replace them.

First nothing more is stored of the file; then its replica counts as the only copy, which is
written to the catalogue; and only then is the archive's copy removed. So a crash at any moment
leaves a file that is stored again, and never one that is nowhere. If the archive does not let
it go, the file is what it was: its storing finds out what the archive has of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.core.instructions import RemoveFromArchive
from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.errors import PackhorseError
    from dataserver.core.events import Withdrawn
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.stores import Stores

    #: Called with what came of it, and the time.
    Done = Callable[[PackhorseError | None, float], None]


class Withdrawals:
    """The withdrawals under way, by whoever asked for them."""

    def __init__(
        self, pool: Pool, stores: Stores, out: list[Instruction], *, is_enabled: bool
    ) -> None:
        """`is_enabled`: whether the site lets clients remove what is in its archive."""
        self.is_enabled = is_enabled
        self._pool = pool
        self._stores = stores
        self._out = out
        self._under_way: dict[str, tuple[str, Done]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is being withdrawn."""
        return not self._under_way

    def is_needed(self, lfn: str) -> bool:
        """Whether the archive may have a file that has a replica here."""
        replica = self._pool.get(lfn)
        return replica is not None and (replica.archived or replica.sent)

    def begin(self, holder: str, lfn: str, done: Done, now_s: float) -> None:
        """Has the archive's copy of a file removed, whether there is a replica here or not.

        Whoever begins has the name to itself until `done` is called.
        """
        assert self.is_enabled
        assert holder not in self._under_way, holder
        self._under_way[holder] = (lfn, done)
        replica = self._pool.get(lfn)
        if replica is not None and replica.standing is Standing.HELD and replica.archived:
            self._pool.unarchive(lfn)
        ask = RemoveFromArchive(holder, lfn)
        self._stores.withdraw(lfn, lambda _: self._out.append(ask), now_s)

    def withdrawn(self, event: Withdrawn, now_s: float) -> None:
        """The archive has it no longer, or has not let it go."""
        lfn, done = self._under_way.pop(event.holder)
        replica = self._pool.get(lfn)
        if event.error is None and replica is not None:
            replica.sent = False
        done(event.error, now_s)
        # If it is neither removed nor replaced in the end, it is stored after all.
        self._stores.resume(lfn, now_s)

    def check(self) -> None:
        """Asserts that what is being withdrawn is the only copy, as far as anybody knows."""
        for lfn, _ in self._under_way.values():
            replica = self._pool.get(lfn)
            assert replica is None or not replica.archived, lfn
