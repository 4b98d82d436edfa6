"""Room for answers: so many at a time, in the order they came, and none is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from common.root_server import RootError
from common.root_server.room import Room


class Box:
    """What waits to be sent, as far as a room knows of it."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.room = Room(100, lambda: self.waiting_bytes)
        self.entered: list[str] = []

    def enter(self, name: str, size_bytes: int, until: asyncio.Event) -> asyncio.Task[None]:
        """Takes room in a task, and keeps it until something happens."""

        async def take() -> None:
            async with self.room.taken(size_bytes):
                self.entered.append(name)
                await until.wait()

        return asyncio.create_task(take())


async def settled() -> None:
    """Lets every task go on until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_answer_is_let_in_as_long_as_less_than_the_limit_is_waiting() -> None:
    box, end = Box(), asyncio.Event()
    tasks = [box.enter(str(number), 60, end) for number in range(4)]
    await settled()
    assert box.entered == ["0", "1"]
    assert box.room.promised_bytes == 120
    end.set()
    await asyncio.gather(*tasks)
    assert box.entered == ["0", "1", "2", "3"]
    assert box.room.promised_bytes == 0


async def test_what_waits_to_be_sent_takes_room_too() -> None:
    box, end = Box(), asyncio.Event()
    end.set()
    box.waiting_bytes = 100
    task = box.enter("late", 1, end)
    await settled()
    assert box.entered == []
    box.waiting_bytes = 99
    box.room.look()
    await task
    assert box.entered == ["late"]


async def test_a_large_answer_is_not_overtaken_by_small_ones() -> None:
    box, end = Box(), asyncio.Event()
    first = box.enter("first", 100, end)
    await settled()
    later = [box.enter("large", 500, end), box.enter("small", 1, end)]
    await settled()
    assert box.entered == ["first"]
    end.set()
    await asyncio.gather(first, *later)
    assert box.entered == ["first", "large", "small"]


async def test_whoever_is_cancelled_takes_no_room() -> None:
    box, end, never = Box(), asyncio.Event(), asyncio.Event()
    first = box.enter("first", 100, end)
    await settled()
    cancelled, next_one = box.enter("second", 100, never), box.enter("third", 1, end)
    await settled()
    cancelled.cancel()
    end.set()
    await asyncio.gather(first, next_one)
    assert box.entered == ["first", "third"]
    assert box.room.promised_bytes == 0


async def test_room_that_comes_with_a_cancellation_goes_to_the_next() -> None:
    box, end = Box(), asyncio.Event()
    box.waiting_bytes = 100
    cancelled, next_one = box.enter("second", 100, end), box.enter("third", 1, end)
    await settled()
    end.set()
    box.waiting_bytes = 0
    # In the same moment, before the task hears of either.
    box.room.look()
    cancelled.cancel()
    await next_one
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert box.entered == ["third"]
    assert box.room.promised_bytes == 0


async def test_with_the_end_of_the_connection_nobody_is_let_in() -> None:
    box, end = Box(), asyncio.Event()
    first = box.enter("first", 100, end)
    await settled()
    tasks = [box.enter(str(number), 10, end) for number in range(3)]
    await settled()
    box.room.close()
    tasks.append(box.enter("after", 10, end))
    for task in tasks:
        with pytest.raises(RootError, match="the connection has ended"):
            await task
    end.set()
    await first
    assert box.entered == ["first"]
    assert box.room.promised_bytes == 0
