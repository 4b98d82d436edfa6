"""Blocking code may wait for asynchronous code, be interrupted, and be called back."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from common.errors import NotFound, UsageError
from packhorse.portal import Portal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


async def fail() -> None:
    raise NotFound("there is no such thing")


def test_a_coroutine_is_waited_for(portal: Portal) -> None:
    assert portal.run(double(4)) == 8


def test_an_error_reaches_the_caller(portal: Portal) -> None:
    with pytest.raises(NotFound, match="no such thing"):
        portal.run(fail())


async def test_it_works_where_a_loop_runs_already(portal: Portal) -> None:
    assert portal.run(double(4)) == 8


def test_callbacks_are_made_in_the_callers_thread(portal: Portal) -> None:
    seen: list[tuple[int, threading.Thread]] = []

    async def report(relay: Callable[[int], None]) -> str:
        for number in range(3):
            relay(number)
        return "done"

    def callback(number: int) -> None:
        seen.append((number, threading.current_thread()))

    assert portal.run_with(report, callback) == "done"
    assert seen == [(number, threading.current_thread()) for number in range(3)]


def test_a_callback_that_raises_cancels_the_work(portal: Portal) -> None:
    cancelled = threading.Event()

    async def report_for_ever(relay: Callable[[], None]) -> None:
        relay()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def refuse() -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        portal.run_with(report_for_ever, refuse)
    assert cancelled.is_set()


def test_an_interruption_lets_the_work_clean_up_first(portal: Portal) -> None:
    cleaned = threading.Event()

    async def wait_for_ever(relay: Callable[[], None]) -> None:
        relay()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    with pytest.raises(KeyboardInterrupt):
        portal.run_with(wait_for_ever, lambda: signal.raise_signal(signal.SIGINT))
    assert cleaned.is_set()


def test_a_generator_is_read_and_closed_when_the_reader_stops(portal: Portal) -> None:
    closed = threading.Event()

    async def count() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
        finally:
            closed.set()

    assert list(portal.iterate(count())) == list(range(10))
    closed.clear()
    numbers = portal.iterate(count())
    assert [next(numbers), next(numbers)] == [0, 1]
    assert not closed.is_set()
    del numbers
    assert closed.wait(5)


def test_a_generator_that_outlives_the_portal_was_closed_with_it() -> None:
    portal = Portal()
    closed = threading.Event()

    async def count() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
        finally:
            closed.set()

    numbers = portal.iterate(count())
    assert next(numbers) == 0
    portal.close()
    assert closed.is_set()
    numbers.close()


def test_closing_cancels_what_still_runs() -> None:
    portal = Portal()
    cancelled = threading.Event()

    async def linger() -> asyncio.Task[None]:
        async def wait_for_ever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        return task

    portal.run(linger())
    portal.close()
    portal.close()
    assert cancelled.is_set()
    with pytest.raises(UsageError, match="is closed"):
        portal.run(double(1))
