"""The visible replicas that the archive is not known to have, and news of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.core.replica import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.replica import Replica


class Unarchived:
    """By name, with what they weigh; it tells whoever follows it where something has changed."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._replicas: dict[str, Replica] = {}
        self._news: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._replicas)

    def get(self, lfn: str) -> Replica | None:
        """The replica of this name, if it is one of them."""
        return self._replicas.get(lfn)

    def all(self) -> Iterable[Replica]:
        """All of them, in no order."""
        return self._replicas.values()

    def take_news(self) -> list[str]:
        """The names of which `get` may tell something else than when this was last asked."""
        news = list(self._news)
        self._news.clear()
        return news

    def join(self, replica: Replica) -> None:
        """Takes a replica in, if it is one of them."""
        if replica.standing is Standing.HELD and not replica.archived:
            self._replicas[replica.lfn] = replica
            self._news[replica.lfn] = None
            self.size_bytes += replica.size_bytes

    def leave(self, replica: Replica) -> None:
        """Takes a replica out, before it changes; fine if it is not one of them."""
        if self._replicas.get(replica.lfn) is replica:
            del self._replicas[replica.lfn]
            self._news[replica.lfn] = None
            self.size_bytes -= replica.size_bytes

    def check(self, replicas: Iterable[Replica]) -> None:
        """Asserts that these are just those of all `replicas` that should be here. O(n)."""
        mine = [one for one in replicas if one.standing is Standing.HELD and not one.archived]
        assert len(mine) == len(self._replicas)
        assert all(self._replicas.get(one.lfn) is one for one in mine)
        assert self.size_bytes == sum(one.size_bytes for one in mine)
