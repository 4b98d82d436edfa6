"""What the packetizer keeps, it finds again: sessions, ranges, results, ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from common.errors import Damaged, NotFound, Refused
from common.sqlite import Database
from packetizer.core import events as ev
from packetizer.core import instructions as ins
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from packetizer.schema import MIGRATIONS
from packetizer.store import Store
from packetizer.writing import NewSession, commit_row, keep, pack_ranges, unpack_ranges
from protos.packhorse.v1 import packetizer_pb2 as pb
from tests.support.packetizer_desk import SESSION, TREE, DeskWorld, lfn, two_nodes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from packetizer.core.leases import Lease

NOW_S = 1_700_000_000.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "p.sqlite", MIGRATIONS) as database:
        yield database


@pytest.fixture
def world() -> DeskWorld:
    """A session of two files, at work: packets of it are what is kept here."""
    world = DeskWorld(now_s=NOW_S)
    world.nodes(*two_nodes())
    world.open(2, packet_entries=50)
    for number in (0, 1):
        world.online(number)
    world.join("a", want=4)
    return world


def new_session(session_id: str = SESSION, key: str = "", **spec: object) -> NewSession:
    files = [FileSpec(lfn(0), TREE, 1000), FileSpec(lfn(1), TREE, 0, 100)]
    session_spec = ev.SessionSpec(
        "d",
        ev.Missing.SKIP,
        "ann",
        "count",
        max_bad_packets=3,
        packet_entries=50,
        created_s=NOW_S,
    )
    return NewSession(session_id, key, session_spec, files, b"\x00function")


def commit_of(
    leases: list[Lease], number: int, worker: str = "a", supersedes: tuple[int, ...] = ()
) -> ins.KeepCommit:
    message = pb.Commit(
        commit_id=number,
        packets=[pb.PacketRecord(lease_id=lease.lease_id, compute_s=0.5) for lease in leases],
        result=f"result {number} of {worker}".encode(),
    )
    return ins.KeepCommit(
        SESSION,
        worker,
        "h1",
        number,
        leases,
        70,
        supersedes,
        message,
        ev.Progress(packets_retried=2, first_lease_s=1.5, files_recalled=1),
    )


async def write(database: Database, *rows: object) -> None:
    made = [commit_row(row, NOW_S) if isinstance(row, ins.KeepCommit) else row for row in rows]
    await database.write(lambda connection: keep(made, NOW_S + 9, connection))  # type: ignore[arg-type]


async def results(store: Store, session_id: str = SESSION) -> list[bytes]:
    return [content async for content in store.results(session_id)]


def bad(index: int, start: int, stop: int, entries: int) -> ins.KeepBad:
    missing = ev.MissingRange(lfn(index), start, stop, "broken", "Traceback")
    return ins.KeepBad(SESSION, [ins.BadRange(index, entries, missing)])


def end_of(world: DeskWorld, state: SessionState) -> ins.KeepEnd:
    session = world.desk.sessions[SESSION]
    return ins.KeepEnd(SESSION, session._figures(state, NOW_S + 9))


async def test_epochs_grow_over_restarts(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        with Database(tmp_path / "p.sqlite", MIGRATIONS) as database:
            epochs.append(await Store(database).next_epoch())
    assert epochs == [1, 2, 3]


async def test_a_session_is_found_as_it_was_opened(database: Database) -> None:
    store = Store(database)
    new = new_session()
    assert await store.add(new) == SESSION
    (opened,) = await store.unended()
    assert opened.spec == new.spec
    assert list(opened.files) == list(new.files)
    assert opened.progress == ev.Progress()
    assert await store.function(SESSION) == b"\x00function"
    assert await store.number_of_files(SESSION) == 2
    assert await store.last_status(SESSION) is None


async def test_the_same_key_is_the_same_session(database: Database) -> None:
    store = Store(database)
    assert await store.add(new_session("first", "k")) == "first"
    assert await store.add(new_session("second", "k")) == "first"
    assert await store.by_key("k") == "first"
    assert await store.by_key("other") is None
    assert await store.add(new_session("third")) == "third"
    assert await store.add(new_session("fourth")) == "fourth", "no key is no key in common"


async def test_commits_are_found_as_ranges_sums_and_results(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    first, second, third, _fourth = world.hands["a"]
    await write(database, commit_of([first, second], 1), commit_of([third], 1, "b"))
    (opened,) = await store.unended()
    assert opened.files[0].committed == ((0, 100),), "ranges that touch are one"
    assert opened.files[1].committed == ((0, 50),)
    assert [file.entries for file in opened.files] == [100, 100]
    assert opened.commits == {"a": [1], "b": [1]}
    assert opened.progress == ev.Progress(
        packets_done=3,
        packets_retried=2,
        entries_local=150,
        bytes_read=140,
        files_recalled=1,
        first_lease_s=1.5,
    )
    assert await results(store) == [b"result 1 of a", b"result 1 of b"]


async def test_a_result_that_was_replaced_is_gone_but_its_ranges_stay(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    first, second, third, _ = world.hands["a"]
    await write(database, commit_of([first], 1), commit_of([third], 1, "b"))
    await write(database, commit_of([second], 2, supersedes=(1,)))
    assert await results(store) == [b"result 1 of b", b"result 2 of a"]
    (opened,) = await store.unended()
    assert opened.commits == {"a": [2], "b": [1]}
    assert opened.progress.packets_done == 3


async def test_records_are_complete(database: Database, world: DeskWorld) -> None:
    store = Store(database)
    await store.add(new_session())
    for number, lease in enumerate(world.hands["a"], 1):
        await write(database, commit_of([lease], number))
    records = [one async for piece in store.records(SESSION) for one in piece]
    assert [(r.lfn, r.start, r.stop) for r in records] == [
        (lfn(0), 0, 50),
        (lfn(0), 50, 100),
        (lfn(1), 0, 50),
        (lfn(1), 50, 100),
    ]
    record = records[0]
    assert (record.worker, record.host, record.node, record.local) == ("a", "h1", "n1", True)
    assert (record.compute_s, record.ended_unix_s) == (0.5, NOW_S)


async def test_a_commit_is_written_whole_or_not_at_all(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    first, second, *_ = world.hands["a"]
    await write(database, commit_of([first], 1))
    with pytest.raises(Exception, match="UNIQUE"):
        await write(database, commit_of([second], 2, supersedes=(1,)), commit_of([second], 1))
    assert await results(store) == [b"result 1 of a"]
    assert (await store.unended())[0].progress.packets_done == 1


async def test_ranges_that_overlap_are_found_out(database: Database, world: DeskWorld) -> None:
    store = Store(database)
    await store.add(new_session())
    first, *_ = world.hands["a"]
    await write(database, commit_of([first], 1), commit_of([first], 2))
    with pytest.raises(Damaged, match=r"an entry of /store/f0\.root is counted twice"):
        await store.unended()


async def test_what_was_given_up_is_found_again(database: Database) -> None:
    store = Store(database)
    await store.add(new_session())
    await write(database, bad(0, 20, 40, 100), bad(1, 0, 0, -1))
    (opened,) = await store.unended()
    assert opened.files[0].bad == ((20, 40),)
    assert opened.files[0].entries == 100
    assert opened.files[1].is_lost
    assert [(m.lfn, m.start, m.reason, m.traceback) for m in opened.missing] == [
        (lfn(0), 20, "broken", "Traceback"),
        (lfn(1), 0, "broken", "Traceback"),
    ]


async def test_an_end_is_found_with_what_is_missing(database: Database, world: DeskWorld) -> None:
    store = Store(database)
    await store.add(new_session())
    await write(database, bad(0, 20, 40, 100), end_of(world, SessionState.DONE))
    assert not await store.unended()
    status = await store.last_status(SESSION)
    assert status is not None
    assert status.state == pb.SESSION_STATE_DONE
    assert [(m.start, m.stop) for m in status.missing] == [(20, 40)]
    (listed,) = await store.ended()
    assert not listed.missing


async def test_a_session_is_to_be_released_until_it_is(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    assert not await store.unreleased()
    await store.released(SESSION)
    await write(database, end_of(world, SessionState.CANCELLED))
    assert await store.unreleased() == [SESSION], "it was at work when that was said"
    await store.released(SESSION)
    assert not await store.unreleased()


async def test_resuming_tries_again_what_was_given_up(database: Database, world: DeskWorld) -> None:
    store = Store(database)
    await store.add(new_session())
    with pytest.raises(Refused, match="is at work"):
        await store.resume(SESSION)
    await write(
        database,
        commit_of(world.hands["a"][:1], 1),
        bad(1, 0, 0, -1),
        end_of(world, SessionState.FAILED),
    )
    opened = await store.resume(SESSION)
    assert opened.files[0].committed == ((0, 50),)
    assert not opened.files[1].is_lost
    assert not opened.missing
    assert [one.session_id for one in await store.unended()] == [SESSION]


async def test_a_session_that_is_done_cannot_be_resumed(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    await write(database, end_of(world, SessionState.DONE))
    with pytest.raises(Refused, match="is done"):
        await store.resume(SESSION)


def count_rows(table: str, connection: sqlite3.Connection) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_what_is_forgotten_leaves_nothing(database: Database, world: DeskWorld) -> None:
    store = Store(database)
    await store.add(new_session())
    await store.function(SESSION)
    with pytest.raises(Refused, match="at work"):
        await store.forget(SESSION)
    await write(
        database,
        commit_of(world.hands["a"][:1], 1),
        bad(1, 0, 0, -1),
        end_of(world, SessionState.DONE),
    )
    await store.forget(SESSION)
    for table in ("sessions", "functions", "files", "commits", "results", "bad_ranges"):
        left = await database.read(partial(count_rows, table))
        assert left == 0, table
    with pytest.raises(NotFound):
        await store.function(SESSION)


async def test_old_sessions_are_cleared_once_they_are_released(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    await store.add(new_session("other"))
    await write(database, end_of(world, SessionState.DONE))
    assert await store.clear(NOW_S + 100) == 0
    await store.released(SESSION)
    assert await store.clear(NOW_S + 5) == 0
    assert await store.clear(NOW_S + 100) == 1
    assert [one.session_id for one in await store.unended()] == ["other"]


async def test_results_of_an_ended_session_come_one_by_one(
    database: Database, world: DeskWorld
) -> None:
    store = Store(database)
    await store.add(new_session())
    for number, lease in enumerate(world.hands["a"], 1):
        await write(database, commit_of([lease], number))
    before = await results(store)
    await write(database, end_of(world, SessionState.DONE))
    assert await results(store) == before
    assert len(before) == 4


def test_ranges_are_packed_as_large_as_they_come(world: DeskWorld) -> None:
    lease = world.hands["a"][0]
    lease.start, lease.stop, lease.file.entries = 2**40, 2**63, 2**63
    ranges: dict[int, list[tuple[int, int]]] = {}
    entries: dict[int, int] = {}
    unpack_ranges(pack_ranges([lease]), ranges, entries)
    assert ranges == {0: [(2**40, 2**63)]}
    assert entries == {0: 2**63}
