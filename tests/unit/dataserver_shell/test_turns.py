"""What is asked of one file that is written: side by side, or one behind the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from dataserver.doors.root.turns import Turn, Turns, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterable


class Asked:
    """Requests of a client: which have had their turn, and how they are answered."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.begun = ""
        self._going_on: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def ask(self, names: str) -> None:
        """One request for each letter: writes are w and x, sync is s, truncate t, close c."""
        for name in names:
            self._going_on[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._answer(name, self._turn(name)))

    async def answer(self, name: str) -> None:
        """A request is done."""
        self._going_on[name].set()
        await self._tasks[name]
        await self.settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await self.settle()

    async def settle(self) -> None:
        """Lets everybody go on who can."""
        for _ in range(10):
            await asyncio.sleep(0)

    def _turn(self, name: str) -> Turn:
        if name in "wx":
            return self.turns.together()
        return self.turns.behind() if name == "s" else self.turns.alone()

    async def _answer(self, name: str, turn: Turn) -> None:
        async with in_turn(turn):
            self.begun += name
            await self._going_on[name].wait()


async def begun(asked: Asked, names: Iterable[str]) -> bool:
    await asked.settle()
    return asked.begun == "".join(names)


async def test_writes_wait_for_nobody() -> None:
    asked = Asked()
    asked.ask("wx")
    assert await begun(asked, "wx")


async def test_a_sync_waits_for_the_writes_before_it_and_no_write_for_a_sync() -> None:
    asked = Asked()
    asked.ask("wsx")
    assert await begun(asked, "wx")
    await asked.answer("w")
    assert await begun(asked, "wxs")


async def test_a_truncate_waits_for_what_is_before_it_and_what_is_behind_for_it() -> None:
    asked = Asked()
    asked.ask("wtxsc")
    assert await begun(asked, "w")
    await asked.answer("w")
    assert await begun(asked, "wt")
    await asked.answer("t")
    assert await begun(asked, "wtx")
    await asked.answer("x")
    assert await begun(asked, "wtxs")
    await asked.answer("s")
    assert await begun(asked, "wtxsc")


async def test_who_gives_up_keeps_nobody_waiting() -> None:
    asked = Asked()
    asked.ask("wtx")
    await asked.settle()
    await asked.cancel("t")
    assert await begun(asked, "wx")
