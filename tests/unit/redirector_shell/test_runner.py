"""The runner: instructions in order, answers only when durable, wake-ups when asked for."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, cast

import pytest

from common.errors import PackhorseError, Refused
from redirector.core.events import CancelAsked, StageAsked, Tick, UnpinAsked
from redirector.core.instructions import (
    AnswerCancel,
    AnswerStage,
    AnswerUnpin,
    CancelRecall,
    CloseConnection,
    EndRequest,
    PublishFiles,
    RemoveNode,
    SendToNode,
)
from redirector.core.model import FileEvent
from redirector.core.states import FileEventKind, FileState, RequestState
from redirector.links import Links
from redirector.runner import Runner
from redirector.watching import Watchers

if TYPE_CHECKING:
    from redirector.core.instructions import Instruction

ASKED = StageAsked("req-1", ["/store/a"])
ANSWER = AnswerStage("req-1", 1, 0)
KEEP = RemoveNode("disk1")


class Clock:
    """A clock that a test sets."""

    time_s = 100.0

    def now_s(self) -> float:
        return self.time_s


class Head:
    """Returns what a test put into `replies`, and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.replies: dict[type, list[Instruction]] = {}
        self.wakeup_s = math.inf
        self.ticked = asyncio.Event()

    def handle(self, event: object, now_s: float) -> list[Instruction]:
        self.told.append(event)
        return self.replies.get(type(event), [])

    def tick(self, now_s: float) -> list[Instruction]:
        self.wakeup_s = math.inf
        self.ticked.set()
        return self.handle(Tick(), now_s)

    def next_wakeup_s(self) -> float:
        return self.wakeup_s


class Journal:
    """Says that something is on disk when a test says so."""

    def __init__(self) -> None:
        self.kept: list[object] = []
        self.trouble = ""
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def keep(self, instructions: list[object]) -> asyncio.Future[None]:
        self.kept += instructions
        return self.written


class Desk:
    """A runner among stand-ins."""

    def __init__(self) -> None:
        self.head = Head()
        self.clock = Clock()
        self.journal = Journal()
        self.links = Links()
        self.watchers = Watchers()
        self.runner = Runner(
            cast("Any", self.head),
            cast("Any", self.clock),
            cast("Any", self.journal),
            self.links,
            self.watchers,
        )


async def test_an_answer_waits_for_the_disk() -> None:
    desk = Desk()
    desk.head.replies[StageAsked] = [KEEP, ANSWER]
    asking = asyncio.create_task(desk.runner.ask(ASKED))
    await asyncio.sleep(0)
    assert desk.journal.kept == [KEEP]
    assert not asking.done()
    desk.journal.written.set_result(None)
    assert await asking == ANSWER


async def test_an_answer_with_nothing_to_keep_waits_for_what_came_before_it() -> None:
    desk = Desk()
    desk.head.replies[StageAsked] = [ANSWER]
    asking = asyncio.create_task(desk.runner.ask(ASKED))
    await asyncio.sleep(0)
    assert not asking.done()
    desk.journal.written.set_result(None)
    await asking


async def test_a_request_the_disk_did_not_take_is_taken_back() -> None:
    desk = Desk()
    desk.head.replies[StageAsked] = [KEEP, ANSWER]
    desk.head.replies[CancelAsked] = [AnswerCancel(1)]
    desk.journal.written.set_exception(PackhorseError("no space left"))
    with pytest.raises(PackhorseError, match="no space left"):
        await desk.runner.ask(ASKED)
    (_, cancel) = desk.head.told
    assert isinstance(cancel, CancelAsked)
    assert cancel.request_id == "req-1"


async def test_while_the_disk_is_full_nothing_is_accepted() -> None:
    desk = Desk()
    desk.journal.trouble = "no space left"
    with pytest.raises(Refused, match="accepts nothing now: no space left"):
        await desk.runner.ask(ASKED)
    assert not desk.head.told


async def test_commands_go_to_their_connections_and_others_are_dropped() -> None:
    desk = Desk()
    link = desk.links.open()
    desk.head.replies[UnpinAsked] = [
        SendToNode(link.connection, CancelRecall("r1", "why")),
        SendToNode(link.connection + 1, CancelRecall("r2", "why")),
        CloseConnection(link.connection, "a newer one is here"),
        CloseConnection(link.connection + 1, "nobody is here"),
        AnswerUnpin(0),
    ]
    desk.runner.tell(UnpinAsked("ada"))
    assert link.is_closed


async def test_who_watches_a_request_hears_the_last_event_before_its_end() -> None:
    desk = Desk()
    event = FileEvent("/store/a", FileState.ONLINE, FileEventKind.PUBLISHED)
    subscription = desk.watchers.subscribe(["/store/a"], "req-1")
    desk.head.replies[Tick] = [
        EndRequest("req-1", RequestState.DONE, 100.0),
        PublishFiles((event,)),
    ]
    desk.runner.tell(Tick())
    assert await subscription.take() == [event]
    assert await subscription.take() is None


async def test_the_head_is_woken_when_it_asked_to_be() -> None:
    desk = Desk()
    running = asyncio.create_task(desk.runner.run())
    desk.runner.tell(UnpinAsked("ada"))
    await asyncio.sleep(0)
    assert not desk.head.ticked.is_set()
    # Something happens after which the head has something to do soon.
    desk.head.wakeup_s = desk.clock.time_s + 0.02
    desk.runner.tell(UnpinAsked("ada"))
    async with asyncio.timeout(5):
        await desk.head.ticked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_head_that_fails_to_wake_ends_the_run_loudly() -> None:
    desk = Desk()
    desk.head.wakeup_s = 0.0

    def fail(now_s: float) -> list[Instruction]:
        raise AssertionError("a bug")

    desk.head.tick = fail  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        with pytest.raises(AssertionError, match="a bug"):
            await desk.runner.run()
