"""Work in batches: nobody is forgotten, and everybody hears of his own error."""

from __future__ import annotations

import asyncio

import pytest

from dataserver.threads import Batcher


async def double(batch: list[int]) -> list[int | Exception]:
    await asyncio.sleep(0)
    return [number * 2 if number >= 0 else ValueError(str(number)) for number in batch]


async def test_each_gets_the_answer_to_his_own_item() -> None:
    batcher = Batcher(double, limit=3)
    assert await asyncio.gather(*(batcher.do(number) for number in range(10))) == [
        number * 2 for number in range(10)
    ]


async def test_an_error_is_only_his_whose_item_it_is() -> None:
    batcher = Batcher(double, limit=10)
    good, bad = batcher.do(1), batcher.do(-1)
    assert await good == 2
    with pytest.raises(ValueError, match="-1"):
        await bad


async def test_an_error_of_the_whole_batch_is_everybodys() -> None:
    async def fail(_: list[int]) -> list[int | Exception]:
        raise OSError("the disk is gone")

    batcher = Batcher(fail, limit=10)
    for future in [batcher.do(1), batcher.do(2)]:
        with pytest.raises(OSError, match="the disk is gone"):
            await future


async def test_what_comes_just_when_a_batch_ends_is_not_forgotten() -> None:
    batcher = Batcher(double, limit=10, parallel=2)
    async with asyncio.timeout(10):
        for number in range(500):
            first = batcher.do(number)
            # Called before any callback of the worker's end.
            second = asyncio.ensure_future(chain(first, batcher))
            assert await second == number * 4


async def chain(first: asyncio.Future[int], batcher: Batcher[int, int]) -> int:
    return await batcher.do(await first)


async def test_waiting_ones_go_together_while_a_batch_runs() -> None:
    sizes: list[int] = []
    running = asyncio.Event()
    go_on = asyncio.Event()

    async def note(batch: list[int]) -> list[int | Exception]:
        sizes.append(len(batch))
        running.set()
        await go_on.wait()
        return list(batch)

    batcher = Batcher(note, limit=4)
    futures = [batcher.do(0)]
    await running.wait()
    futures += [batcher.do(number) for number in range(1, 7)]
    go_on.set()
    await asyncio.gather(*futures)
    await batcher.finish()
    assert sizes == [1, 4, 2]


async def test_one_who_gives_up_does_not_keep_the_others() -> None:
    batcher = Batcher(double, limit=10)
    gone, there = batcher.do(1), batcher.do(2)
    gone.cancel()
    assert await there == 4
