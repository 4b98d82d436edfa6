"""The thin parts around the core: the journal, the streams, the wire, what gathers."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from common.clock import Clock
from common.errors import Damaged, PackhorseError, Refused
from packetizer import wire
from packetizer.core import events as ev
from packetizer.core import instructions as ins
from packetizer.feed import Gathering
from packetizer.journal import Journal
from packetizer.streams import Streams
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.packetizer_desk import DeskWorld, two_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from packetizer.writing import Keep

TIMEOUT_S = 10.0


# --- the journal ---------------------------------------------------------------------


class FakeDatabase:
    """Fails as it is told to; remembers what it was given."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.batches: list[int] = []
        self.poison: object = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, fn: Callable[[Any], None]) -> None:
        rows = fn.args[0]  # type: ignore[attr-defined]
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        if self.poison in rows:
            raise sqlite3.IntegrityError("UNIQUE constraint failed")
        self.batches.append(len(rows))


class JournalWorld:
    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.kept: list[tuple[Keep, str]] = []
        self.journal = Journal(
            self.database,  # type: ignore[arg-type]
            Clock(),
            lambda row, problem: self.kept.append((row, problem)),
            retry_s=0.01,
        )

    async def until_idle(self) -> None:
        running = asyncio.create_task(self.journal.run())
        async with asyncio.timeout(TIMEOUT_S):
            await self.journal.idle()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def rows(number: int) -> list[ins.KeepBad]:
    return [ins.KeepBad(f"s{k}", ()) for k in range(number)]


async def test_what_gathers_while_one_batch_is_written_is_the_next_batch() -> None:
    world = JournalWorld()
    world.database.gate.clear()
    first, *others = rows(5)
    world.journal.keep(first)
    running = asyncio.create_task(world.until_idle())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for row in others:
        world.journal.keep(row)
    world.database.gate.set()
    await running
    assert world.database.batches == [1, 4]
    assert world.kept == [(row, "") for row in (first, *others)]


async def test_a_full_disk_is_waited_for() -> None:
    world = JournalWorld()
    world.database.errors = [PackhorseError("p.sqlite: no space left to keep state")] * 3
    world.journal.keep(rows(1)[0])
    await world.until_idle()
    assert [problem for _, problem in world.kept] == [""]
    assert world.journal.trouble == ""


async def test_trouble_is_told_while_it_lasts() -> None:
    world = JournalWorld()
    world.database.errors = [PackhorseError("no space left")]
    world.journal._retry_s = 1000.0
    world.journal.keep(rows(1)[0])
    running = asyncio.create_task(world.journal.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.journal.trouble == "no space left"
    assert not world.kept
    running.cancel()


async def test_a_disk_that_fails_is_told_of() -> None:
    world = JournalWorld()
    world.database.errors = [Damaged("the disk fails")]
    world.journal.keep(rows(1)[0])
    await world.until_idle()
    assert [problem for _, problem in world.kept] == ["the disk fails"]


async def test_one_row_that_cannot_be_written_takes_no_other_down() -> None:
    world = JournalWorld()
    good, poison, other = rows(3)
    world.database.poison = poison
    for row in (good, poison, other):
        world.journal.keep(row)
    await world.until_idle()
    assert world.kept == [(good, ""), (poison, "UNIQUE constraint failed"), (other, "")]


# --- streams ---------------------------------------------------------------------------


def command(number: int) -> pb.WorkerCommand:
    return pb.WorkerCommand(commit_answer=pb.CommitAnswer(commit_id=number))


async def test_what_is_for_a_worker_goes_to_its_latest_stream() -> None:
    streams = Streams()
    old, new = streams.open("a"), streams.open("a")
    streams.admitted(old)
    streams.admitted(new)
    streams.send_to_worker("a", command(1))
    streams.send(old.number, command(2))
    assert (await new.take()) == command(1)
    assert (await old.take()) == command(2)
    streams.remove(old)
    streams.send_to_worker("a", command(3))
    assert (await new.take()) == command(3)
    streams.remove(new)
    streams.send_to_worker("a", command(4))
    streams.send(new.number, command(5))


async def test_a_stream_that_is_closed_first_gives_what_it_has() -> None:
    streams = Streams()
    stream = streams.open("a")
    stream.put(command(1))
    streams.close(stream.number, "it was silent")
    assert (await stream.take()) == command(1)
    with pytest.raises(Refused, match="it was silent"):
        await stream.take()


async def test_a_worker_that_hangs_up_ends_its_stream_without_an_error() -> None:
    stream = Streams().open("a")
    stream.close()
    assert await stream.take() is None


# --- gathering ---------------------------------------------------------------------------


async def test_names_gather_once_each_in_order() -> None:
    gathering = Gathering()
    gathering.add("abc")
    gathering.add("bd")
    gathering.discard("c")
    assert await gathering.take(2) == ["a", "b"]
    assert gathering.take_now(9) == ["d"]
    assert gathering.take_now(9) == []


async def test_taking_waits_for_names() -> None:
    gathering = Gathering()
    gathering.add("a")
    gathering.discard("a")
    taking = asyncio.create_task(gathering.take(5))
    await asyncio.sleep(0)
    assert not taking.done()
    gathering.add("b")
    assert await asyncio.wait_for(taking, TIMEOUT_S) == ["b"]


# --- the wire ------------------------------------------------------------------------------


def test_packets_carry_everything_a_worker_needs() -> None:
    world = DeskWorld()
    world.nodes(*two_nodes())
    world.open(2, packet_entries=50)
    world.online(0, "n1")
    world.online(1, "n2")
    world.join("a", want=4)
    addresses = {
        name: types_pb2.NodeAddress(node=name, address=f"{name}:1", host=host)
        for name, host in (("n1", "h1"), ("n2", "h2"))
    }
    message = wire.packets(world.hands["a"], addresses, commit_soon=True).packets
    assert message.commit_soon
    assert [(p.lfn[-6], p.start, p.stop, getattr(p, "from").node) for p in message.packets] == [
        ("0", 0, 50, "n1"),
        ("0", 50, 100, "n1"),
        ("1", 0, 50, "n2"),
        ("1", 50, 100, "n2"),
    ]
    ids = [packet.lease_id for packet in message.packets]
    assert ids == [lease.lease_id for lease in world.hands["a"]]


@pytest.mark.parametrize(
    ("state", "known"),
    [
        (types_pb2.FILE_STATE_STAGING, ev.Offline.STAGING),
        (types_pb2.FILE_STATE_MISSING, ev.Offline.LOST),
        (types_pb2.FILE_STATE_FAILED, ev.Offline.LOST),
        (types_pb2.FILE_STATE_NEARLINE, ev.Offline.NEARLINE),
        (99, ev.Offline.NEARLINE),
    ],
)
def test_states_of_files_are_understood(
    state: types_pb2.FileState.ValueType, known: ev.Offline
) -> None:
    assert wire.offline_state(state) is known


def test_a_failure_of_a_later_version_counts_as_the_functions() -> None:
    failure = pb.PacketFailure(lease_id=1, kind=99, reason="", traceback="t" * 100_000)  # type: ignore[arg-type]
    failed = wire.packet_failed(failure)
    assert failed.kind is ev.FailureKind.FUNCTION
    assert failed.reason == "no reason was given"
    assert len(failed.traceback) == 16_000


def test_missing_ranges_that_do_not_fit_a_message_are_counted() -> None:
    status = pb.SessionStatus()
    missing = [ev.MissingRange(f"/f{k}", k, k + 1, "r" * 900, "t" * 15_000) for k in range(2000)]
    wire.add_missing(status, missing)
    assert status.ByteSize() < 16 << 20
    named = len(status.missing) - 1
    assert status.missing[-1].reason == f"and {2000 - named} more ranges, too many for one message"
    assert named > 500
