"""The journal: in order, together, and again if the disk did not take it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import PackhorseError
from common.sqlite import Database
from redirector.core.instructions import RemoveNode, SaveNode
from redirector.core.model import NodeRecord
from redirector.journal import Journal
from redirector.store.history import History
from redirector.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class MoodyDatabase(Database):
    """A database whose disk is full when a test says so."""

    full = False
    commits = 0

    async def write(self, fn: Callable[..., Any]) -> Any:
        self.commits += 1
        if self.full:
            raise PackhorseError("no space left to keep state")
        return await super().write(fn)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    with MoodyDatabase(tmp_path / "state.sqlite", MIGRATIONS) as database:
        yield database


@pytest.fixture
async def journal(database: MoodyDatabase) -> AsyncIterator[Journal]:
    journal = Journal(database, retry_s=0.01)
    running = asyncio.create_task(journal.run())
    yield journal
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def save(node: str) -> SaveNode:
    return SaveNode(NodeRecord(node, f"pool of {node}"))


async def nodes_on_disk(database: Database) -> list[str]:
    return [node.node for node in (await History(database).restored()).nodes]


async def test_it_is_on_disk_when_the_future_is_done(
    journal: Journal, database: MoodyDatabase
) -> None:
    await journal.keep([save("disk1")])
    assert await nodes_on_disk(database) == ["disk1"]


async def test_many_batches_share_few_commits(journal: Journal, database: MoodyDatabase) -> None:
    await asyncio.gather(*(journal.keep([save(f"disk{i}")]) for i in range(1000)))
    assert len(await nodes_on_disk(database)) == 1000
    assert database.commits < 10


async def test_an_empty_batch_waits_for_all_before_it(
    journal: Journal, database: MoodyDatabase
) -> None:
    journal.keep([save("disk1")])
    await journal.keep([])
    assert await nodes_on_disk(database) == ["disk1"]
    commits = database.commits
    await journal.keep([])
    assert database.commits == commits


async def test_a_full_disk_is_told_and_made_good_in_order(
    journal: Journal, database: MoodyDatabase
) -> None:
    database.full = True
    with pytest.raises(PackhorseError, match="no space"):
        await journal.keep([save("disk1"), save("disk2")])
    assert "no space" in journal.trouble
    database.full = False
    # Newer than the saving that failed: it must be carried out after it.
    await journal.keep([RemoveNode("disk1")])
    assert await nodes_on_disk(database) == ["disk2"]
    assert not journal.trouble
