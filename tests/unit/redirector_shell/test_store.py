"""What the head wants kept comes back as it was, and the past is cleared away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.sqlite import Database
from redirector.core.events import RestoredRequest
from redirector.core.instructions import (
    EndRequest,
    RemoveDirectory,
    RemoveNode,
    RemovePins,
    SaveDirectories,
    SaveDrops,
    SaveNode,
    SavePins,
    SaveRecall,
    SaveRequest,
    SaveRequestFiles,
)
from redirector.core.model import (
    Checksum,
    DropRecord,
    FileFacts,
    NodeRecord,
    PinRecord,
    RecallRecord,
    RequestFile,
    RequestRecord,
)
from redirector.core.states import RecallState, RequestFileState, RequestState
from redirector.store.durable import write_all
from redirector.store.history import History
from redirector.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redirector.core.instructions import Durable

FACTS = FileFacts(100, Checksum("adler32", "0000abcd"))
A = RequestFile("/store/a", RequestFileState.WAITING, facts=FACTS)
B = RequestFile("/store/b", RequestFileState.WAITING)
REQUEST = RequestRecord(
    request_id="req-1",
    owner="ada",
    priority=3,
    created_unix_s=10.0,
    deadline_unix_s=500.0,
    pin_s=60.0,
    dataset="zmm",
    idempotency_key="key",
)
RECALL = RecallRecord(
    recall_id="recall-1",
    lfn="/store/a",
    node="disk1",
    state=RecallState.DONE,
    queued_unix_s=11.0,
    started_unix_s=12.0,
    ended_unix_s=20.0,
    size_bytes=100,
    attempt=2,
    command_s=7.5,
    exit_code=0,
    reason="",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "state.sqlite", MIGRATIONS) as database:
        yield database


async def keep(database: Database, *instructions: Durable) -> None:
    await database.write(lambda connection: write_all(connection, instructions))


async def requests_on_disk(database: Database) -> list[RestoredRequest]:
    pieces = [piece async for piece in History(database).restored_requests()]
    return [request for piece in pieces for request in piece.requests]


async def test_nothing_on_disk_restores_nothing(database: Database) -> None:
    restored = await History(database).restored()
    assert not restored.nodes
    assert await requests_on_disk(database) == []
    assert not restored.pins
    assert not restored.directories


async def test_what_was_in_force_is_restored(database: Database) -> None:
    node = NodeRecord("disk1", "pool-1", draining=True)
    pin = PinRecord("/store/a", "ada", 99.0, "needed")
    await keep(database, SaveRequest(REQUEST, (B, A)), SaveNode(node), SavePins((pin,)))
    restored = await History(database).restored()
    assert await requests_on_disk(database) == [RestoredRequest(REQUEST, (A, B))]
    assert restored.nodes == (node,)
    assert restored.pins == (pin,)


async def test_many_requests_are_restored_in_pieces_the_oldest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.store.history._RESTORED_AT_A_TIME", 3)
    records = [RequestRecord(f"req-{at}", "ada", 0, float(at), 500.0) for at in range(8)]
    await keep(database, *(SaveRequest(record, (A, B)) for record in records))
    await keep(database, EndRequest("req-4", RequestState.DONE, 30.0))
    found = await requests_on_disk(database)
    assert [request.record.request_id for request in found] == [
        f"req-{at}" for at in (0, 1, 2, 3, 5, 6, 7)
    ]
    assert all(request.files == (A, B) for request in found)


async def test_directories_are_kept_until_they_are_removed(database: Database) -> None:
    made = SaveDirectories(("/store", "/store/b", "/store/a"))
    await keep(database, made, RemoveDirectory("/store/b"), RemoveDirectory("/nowhere"))
    await keep(database, SaveDirectories(("/store",)))
    assert (await History(database).restored()).directories == ("/store", "/store/a")


async def test_doing_everything_twice_changes_nothing(database: Database) -> None:
    done = A._replace(state=RequestFileState.DONE)
    instructions = (
        SaveRequest(REQUEST, (A, B)),
        SaveRequestFiles("req-1", (done,)),
        SavePins((PinRecord("/store/a", "ada", 99.0),)),
        SaveRecall(RECALL),
    )
    await keep(database, *instructions)
    once = await History(database).restored(), await requests_on_disk(database)
    await keep(database, *instructions)
    assert (await History(database).restored(), await requests_on_disk(database)) == once
    assert await History(database).recalls(0.0, 10) == [RECALL]


async def test_pins_and_nodes_can_be_forgotten(database: Database) -> None:
    pins = tuple(PinRecord("/store/a", owner, 99.0) for owner in ("ada", "bob"))
    await keep(database, SavePins(pins), SaveNode(NodeRecord("disk1", "pool-1")))
    await keep(database, RemovePins((("/store/a", "ada"),)), RemoveNode("disk1"))
    restored = await History(database).restored()
    assert restored.pins == pins[1:]
    assert not restored.nodes


async def test_an_ended_request_is_history_with_its_counts(database: Database) -> None:
    done = A._replace(state=RequestFileState.DONE)
    failed = B._replace(state=RequestFileState.FAILED, reason="no such file")
    await keep(
        database,
        SaveRequest(REQUEST, (A, B)),
        SaveRequestFiles("req-1", (done, failed)),
        EndRequest("req-1", RequestState.FAILED, 30.0),
    )
    history = History(database)
    restored = await history.restored()
    assert await requests_on_disk(database) == []
    assert restored.idempotency_keys == {"key": "req-1"}
    (figures,) = await history.ended_requests(10)
    assert figures.record == REQUEST
    assert figures.state is RequestState.FAILED
    assert (figures.files, figures.done, figures.failed, figures.cancelled) == (2, 1, 1, 0)
    kept = await history.request("req-1")
    assert kept is not None
    assert kept[1] == [done, failed]


async def test_what_ended_long_ago_is_cleared_and_the_rest_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.store.history._CLEARED_AT_A_TIME", 2)
    files = tuple(RequestFile(f"/store/{i}", RequestFileState.DONE) for i in range(5))
    await keep(
        database,
        SaveRequest(REQUEST, files),
        EndRequest("req-1", RequestState.DONE, 30.0),
        SaveRequest(RequestRecord("req-2", "ada", 0, 1.0, 500.0), (A,)),
        SaveRecall(RECALL),
    )
    history = History(database)
    await history.clear(before_unix_s=15.0)
    assert await history.request("req-1") is not None
    assert await history.recalls(0.0, 10) == [RECALL]
    await history.clear(before_unix_s=31.0)
    assert await history.request("req-1") is None
    assert await history.recalls(0.0, 10) == []
    assert len(await requests_on_disk(database)) == 1
    left = await database.read(
        lambda connection: connection.execute("SELECT count(*) FROM request_files").fetchone()
    )
    assert left == (1,)


async def test_why_files_went_is_remembered_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redirector.store.history._CLEARED_AT_A_TIME", 1)
    early = DropRecord("/store/a", "disk2", 10.0, 5, "evicted by ann")
    late = DropRecord("/store/a", "disk1", 20.0, 5, "purged by policy lru")
    again = late._replace(dropped_unix_s=30.0, reason="vanished")
    await keep(database, SaveDrops((late, early, DropRecord("/store/b", "disk1", 5.0, 1, ""))))
    history = History(database)
    assert await history.drops("/store/a") == [early, late]
    await keep(database, SaveDrops((again,)))
    assert await history.drops("/store/a") == [early, again]
    await history.clear(before_unix_s=15.0)
    assert await history.drops("/store/a") == [again]
    assert await history.drops("/store/b") == []


async def test_of_too_many_recalls_the_latest_are_told(database: Database) -> None:
    ended = [SaveRecall(_recall_at(second)) for second in range(5)]
    await keep(database, *ended)
    recalls = await History(database).recalls(1.0, 2)
    assert [recall.ended_unix_s for recall in recalls] == [3.0, 4.0]


def _recall_at(second: int) -> RecallRecord:
    return RecallRecord(
        f"r{second}", "/store/a", "disk1", RecallState.DONE, 0.0, 0.0, float(second), 1, 1
    )
