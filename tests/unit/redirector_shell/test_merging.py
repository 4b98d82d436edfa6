"""Several streams read as one: everything, errors, and nothing left behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from redirector.merging import merged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def count(upto: int) -> AsyncGenerator[int, None]:
    for number in range(upto):
        await asyncio.sleep(0)
        yield number


async def test_all_items_of_all_sources_come() -> None:
    async with aclosing(merged([count(50), count(0), count(3)])) as items:
        found = [item async for item in items]
    assert sorted(found) == sorted([*range(50), *range(3)])


async def test_no_sources_yield_nothing() -> None:
    nothing: list[AsyncGenerator[int, None]] = []
    async with aclosing(merged(nothing)) as items:
        assert [item async for item in items] == []


async def test_an_error_ends_all() -> None:
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("broken")

    async with aclosing(merged([failing()])) as items:
        assert await anext(items) == 1
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_closing_closes_the_sources() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            closed.set()

    async with aclosing(merged([endless(), count(2)])) as items:
        await anext(items)
    assert closed.is_set()
