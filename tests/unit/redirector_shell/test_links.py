"""Links: commands in order, questions answered or failed, slow nodes cut off."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from common.errors import Refused, TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.links import Link, Links

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def cancel(recall_id: str) -> pb.NodeCommand:
    return pb.NodeCommand(cancel_recall=pb.CancelRecall(recall_id=recall_id))


def describe(number: int) -> pb.NodeCommand:
    return pb.NodeCommand(describe=pb.DescribeFiles(query_id=number))


async def asked(link: Link, commands: AsyncGenerator[pb.NodeCommand, None]) -> int:
    """Waits for a question to go out; returns its number."""
    async with asyncio.timeout(5):
        return (await anext(commands)).describe.query_id


async def test_commands_come_out_in_order() -> None:
    link = Link(1)
    link.send(cancel("1"))
    link.send(cancel("2"))
    link.close()
    link.send(cancel("3"))
    async with aclosing(link.commands()) as commands:
        sent = [command.cancel_recall.recall_id async for command in commands]
    assert sent == ["1", "2"]


async def test_a_node_that_takes_batches_gets_what_waits_at_once_and_in_order() -> None:
    link = Link(1)
    link.takes_batches = True
    for number in range(150):
        link.send(cancel(str(number)))
    link.send(pb.NodeCommand(set_pins=pb.SetPins(files=[pb.FilePins(lfn="/" + "a" * (1 << 20))])))
    link.close()
    async with aclosing(link.commands()) as commands:
        messages = [command async for command in commands]
    assert [len(message.batch) for message in messages] == [100, 50, 0]
    told = [one.cancel_recall.recall_id for message in messages for one in message.batch]
    assert told == [str(number) for number in range(150)]
    assert messages[-1].HasField("set_pins"), "a large command goes alone"


async def test_a_link_closed_with_an_error_sends_nothing_more() -> None:
    link = Link(1)
    link.send(cancel("1"))
    link.close(Refused("another one is here"))
    link.close()
    async with aclosing(link.commands()) as commands:
        with pytest.raises(Refused, match="another one"):
            await anext(commands)


async def test_a_node_that_does_not_read_is_cut_off() -> None:
    link = Link(1, max_waiting=2)
    for recall_id in "123":
        link.send(cancel(recall_id))
    assert link.is_closed
    async with aclosing(link.commands()) as commands:
        with pytest.raises(Refused, match="does not read"):
            await anext(commands)


async def test_an_answer_comes_piece_by_piece() -> None:
    link = Link(1)
    commands = link.commands()

    async def ask() -> list[pb.Described]:
        async with aclosing(link.ask(describe, timeout_s=5)) as pieces:
            return [piece async for piece in pieces]

    asking = asyncio.create_task(ask())
    number = await asked(link, commands)
    first = pb.Described(query_id=number, not_online=["/a"])
    last = pb.Described(query_id=number, last=True)
    link.answered(pb.Described(query_id=number + 7, last=True))
    link.answered(first)
    link.answered(last)
    assert await asking == [first, last]
    await commands.aclose()


async def test_an_answer_of_one_piece_needs_no_last() -> None:
    link = Link(1)
    commands = link.commands()
    asking = asyncio.create_task(anext(link.ask(describe, timeout_s=5)))
    plan = pb.PurgePlan(query_id=await asked(link, commands))
    link.answered(plan)
    assert await asking == plan
    await commands.aclose()


async def test_a_question_fails_when_the_link_ends() -> None:
    link = Link(1)
    link.node = "disk1"
    commands = link.commands()
    asking = asyncio.create_task(anext(link.ask(describe, timeout_s=5)))
    await asked(link, commands)
    link.close()
    with pytest.raises(Unreachable, match="disk1 went away"):
        await asking
    with pytest.raises(Unreachable):
        await anext(link.ask(describe, timeout_s=5))
    await commands.aclose()


async def test_a_question_fails_when_no_answer_comes() -> None:
    link = Link(1)
    with pytest.raises(TimedOut, match=r"within 0\.01 s"):
        await anext(link.ask(describe, timeout_s=0.01))
    link.answered(pb.Described(query_id=1, last=True))


async def test_connections_are_never_used_twice() -> None:
    links = Links()
    first = links.open()
    links.forget(first)
    second = links.open()
    assert first.connection != second.connection
    assert first.is_closed
    assert links.get(first.connection) is None
    assert links.get(second.connection) is second
