"""Subscriptions: told in order, bounded, and ended when they should be."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import Unreachable
from redirector.core.model import FileEvent
from redirector.core.states import FileEventKind, FileState
from redirector.watching import Watchers


def event(lfn: str) -> FileEvent:
    return FileEvent(lfn, FileState.ONLINE, FileEventKind.PUBLISHED)


async def test_a_subscription_hears_of_its_files_only_and_in_order() -> None:
    watchers = Watchers()
    some = watchers.subscribe(["/a", "/b"])
    everything = watchers.subscribe()
    events = [event("/a"), event("/c"), event("/b"), event("/a")]
    watchers.publish(events)
    assert await some.take() == [events[0], events[2], events[3]]
    assert await everything.take() == events


async def test_taking_waits_for_something_to_happen() -> None:
    watchers = Watchers()
    subscription = watchers.subscribe(["/a"])
    taking = asyncio.create_task(subscription.take())
    await asyncio.sleep(0)
    assert not taking.done()
    watchers.publish([event("/a")])
    assert await taking == [event("/a")]


async def test_a_reader_that_falls_behind_is_told_to_look_anew() -> None:
    watchers = Watchers(buffer_events=3)
    slow = watchers.subscribe(["/a"])
    quick = watchers.subscribe(["/a"])
    watchers.publish([event("/a")] * 3)
    assert len(await quick.take() or []) == 3
    watchers.publish([event("/a")])
    assert await slow.take() == []
    assert await quick.take() == [event("/a")]
    watchers.publish([event("/a")])
    assert await slow.take() == [event("/a")]


async def test_the_end_of_a_request_comes_after_what_happened_before_it() -> None:
    watchers = Watchers()
    subscription = watchers.subscribe(["/a"], "req-1")
    watchers.publish([event("/a")])
    watchers.end_request("req-2")
    watchers.end_request("req-1")
    story = [subscription.is_over, await subscription.take(), subscription.is_over]
    assert story == [False, [event("/a")], True]
    assert await subscription.take() is None


async def test_nothing_is_left_of_a_subscription_that_went() -> None:
    watchers = Watchers()
    first = watchers.subscribe(["/a"], "req-1")
    second = watchers.subscribe(["/a"])
    everything = watchers.subscribe()
    watchers.unsubscribe(first, "req-1")
    watchers.unsubscribe(everything)
    watchers.publish([event("/a")])
    assert await second.take() == [event("/a")]
    watchers.unsubscribe(second)
    assert not any(vars(watchers)[table] for table in ("_by_lfn", "_to_all", "_by_request", "_all"))


async def test_all_subscriptions_end_when_the_server_stops() -> None:
    watchers = Watchers()
    subscription = watchers.subscribe(["/a"])
    watchers.close_all(Unreachable("the redirector is stopping"))
    with pytest.raises(Unreachable, match="stopping"):
        await subscription.take()
