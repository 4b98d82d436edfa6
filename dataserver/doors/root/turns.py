"""The order of what a client asks of one file that it writes, where that order matters.

A client need not wait for the answer to one request before it sends the next. Its writes go
side by side, for they are for different places of the file, or the client does not care. But
a sync is about all that was written before it, and what a truncate cuts off or lets stand
depends on what comes before and what behind.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


class Turn:
    """One request's place. It is taken when the request is heard, and used by `in_turn`."""

    def __init__(self, before: Iterable[asyncio.Future[None]]) -> None:
        self._before = [future for future in before if not future.done()]
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def come(self) -> None:
        """Waits until all that this one has to wait for is over."""
        if self._before:
            await asyncio.wait(self._before)
            self._before.clear()

    def end(self) -> None:
        """The request is done with, well or not."""
        if not self.over.done():
            self.over.set_result(None)


class Turns:
    """The requests under way for one file."""

    def __init__(self) -> None:
        self._together: set[asyncio.Future[None]] = set()  # since the last one alone
        self._alone: asyncio.Future[None] | None = None  # the last of those

    def together(self) -> Turn:
        """The turn of a request that goes side by side with others: a write."""
        return self._among(Turn([] if self._alone is None else [self._alone]))

    def behind(self) -> Turn:
        """The turn of one that waits for all before it, and nobody for it: a sync."""
        return self._among(Turn(self._all()))

    def alone(self) -> Turn:
        """The turn of one that waits for all before it, and all behind it for it: a truncate."""
        turn = Turn(self._all())
        self._together.clear()
        self._alone = turn.over
        return turn

    def _all(self) -> list[asyncio.Future[None]]:
        return [*self._together, *([] if self._alone is None else [self._alone])]

    def _among(self, turn: Turn) -> Turn:
        self._together.add(turn.over)
        turn.over.add_done_callback(self._together.discard)
        return turn


@asynccontextmanager
async def in_turn(*turns: Turn) -> AsyncIterator[None]:
    """Waits for turns, one for each file concerned, and ends them at the end."""
    try:
        for turn in turns:
            await turn.come()
        yield
    finally:
        for turn in turns:
            turn.end()
