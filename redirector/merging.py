"""Reading several streams at once as if they were one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

T = TypeVar("T")

#: Items read ahead of whoever takes them.
_READ_AHEAD = 16


async def merged(sources: Iterable[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yields what the sources yield, as it comes. The first error of one ends all.

    A slow reader slows the sources down. To be used within `aclosing`: when it
    is closed, so are the sources.
    """
    items: asyncio.Queue[T | _End] = asyncio.Queue(_READ_AHEAD)

    async def pump(source: AsyncGenerator[T, None]) -> None:
        error: Exception | None = None
        try:
            async with aclosing(source):
                async for item in source:
                    await items.put(item)
        except Exception as failure:  # noqa: BLE001 - it is raised where the items are read
            error = failure
        await items.put(_End(error))

    pumps = [asyncio.create_task(pump(source)) for source in sources]
    running = len(pumps)
    try:
        while running:
            item = await items.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                running -= 1
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


class _End:
    """A source has ended, with this error or without."""

    __slots__ = ("error",)

    def __init__(self, error: Exception | None) -> None:
        self.error = error
