"""Times of use, marks and the access log, written now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.clock import Clock
from common.errors import Refused
from dataserver import uses as uses_module
from dataserver.access_log import AccessLog, files_of, read
from dataserver.catalogue import Catalogue, Entry
from dataserver.core import events, instructions
from dataserver.core.access import AccessKind
from dataserver.core.node import Node
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits, Mark
from dataserver.engine import Engine
from dataserver.uses import Uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


class Pieces:
    """A node with two files, its catalogue and its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        pool = Pool(Limits.of(1000, 0, 0.9, 0.5))
        pool.load([Found("/a", 10, 1.0), Found("/b", 20, 2.0)])
        self.node = Node(pool, slots=1, examines=False)
        self.engine = Engine(self.node, Clock(), "disk1")
        for kind in (instructions.RemoveFiles, instructions.TellEvicted):
            self.engine.carry_with({kind: lambda _: None})
        self.uses = Uses(self.engine, self.catalogue, AccessLog(folder, 1_000_000))

    def logged(self) -> list[tuple[AccessKind, str]]:
        return [(one.kind, one.lfn) for one in read(files_of(self.folder))]


@pytest.fixture
async def pieces(tmp_path: Path) -> AsyncIterator[Pieces]:
    made = Pieces(tmp_path)
    await made.catalogue.add([Entry(lfn, 10, 1, None, 1.0) for lfn in ("/a", "/b")])
    yield made
    made.catalogue.close()


async def test_what_has_gathered_is_written_in_the_order_it_happened(pieces: Pieces) -> None:
    now_s = pieces.engine.now_s()
    pieces.catalogue.note_use("/b", now_s - 5.0)
    pieces.catalogue.note_use("/b", now_s - 4.0)
    pieces.catalogue.note_use("/nowhere", now_s)
    pieces.engine.post(events.EvictionOrdered(1, ("/b",), soft=True))
    pieces.engine.post(events.Lost("/a", "vanished", "no such file"))
    await pieces.uses.stop()
    assert pieces.logged() == [
        (AccessKind.USED, "/b"),
        (AccessKind.GONE, "/a"),
        (AccessKind.SOFT, "/b"),
    ]
    row = (await pieces.catalogue.rows())["/b"]
    assert (row.mark, row.last_use_s) == (Mark.SOFT, now_s - 4.0)


async def test_marks_that_could_not_be_written_are_written_the_next_time(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pieces.node.pool.mark("/a", Mark.DONE)

    async def full(_marks: Mapping[str, Mark | None]) -> None:
        raise Refused("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(pieces.catalogue.marks, "keep", full)
        await pieces.uses.flush()
    assert "the disk is full" in caplog.text
    assert (await pieces.catalogue.rows())["/a"].mark is None
    await pieces.uses.stop()
    assert (await pieces.catalogue.rows())["/a"].mark is Mark.DONE


async def test_a_disk_that_hangs_does_not_fill_the_memory(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses_module, "MOST_LINES_KEPT", 3)
    for number in range(10):
        pieces.node.changes.enter(f"/f{number}", 1)
    await pieces.uses.stop()
    assert len(pieces.logged()) == 3
