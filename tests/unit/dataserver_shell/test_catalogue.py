"""What is remembered of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataserver.catalogue import Catalogue, Entry
from dataserver.checksum import Checksum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUM = Checksum("adler32", "00000001")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.sqlite")
    yield opened
    opened.close()


def entry(lfn: str, size_bytes: int = 10, checksum: Checksum | None = SUM) -> Entry:
    return Entry(lfn, size_bytes, 123, checksum, staged_s=50.0)


async def test_rows_come_back_as_they_were_written(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a"), entry("/b", 0, None)])
    rows = await catalogue.rows()
    assert rows["/a"] == (10, 123, SUM, True, 50.0)
    assert rows["/b"] == (0, 123, None, True, 50.0)


async def test_content_goes_with_its_row(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a"), entry("/b")])
    await catalogue.set_contents([("/a", b"trees"), ("/b", b"more"), ("/gone", b"nothing")])
    known = {one.lfn: one.content for one in await catalogue.known(["/a", "/b", "/gone"])}
    assert known == {"/a": b"trees", "/b": b"more"}
    await catalogue.remove(["/a", "/never"])
    await catalogue.add([entry("/a")])
    assert [one.content for one in await catalogue.known(["/a"])] == [None]


async def test_a_new_row_of_a_name_begins_without_content(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a")])
    await catalogue.set_contents([("/a", b"old")])
    await catalogue.add([entry("/a", 20)])
    (known,) = await catalogue.known(["/a"])
    assert (known.size_bytes, known.content) == (20, None)


async def test_many_names_are_known_at_once(catalogue: Catalogue) -> None:
    names = [f"/f{number}" for number in range(1700)]
    await catalogue.add([entry(lfn) for lfn in names])
    assert {one.lfn for one in await catalogue.known([*names, "/x"])} == set(names)


async def test_uses_are_written_in_one_go_and_not_for_what_has_gone(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a"), entry("/b")])
    catalogue.note_use("/a", 70.0)
    catalogue.note_use("/a", 80.0)
    catalogue.note_use("/b", 90.0)
    await catalogue.remove(["/b"])
    await catalogue.flush_uses()
    await catalogue.flush_uses()
    assert {lfn: row.last_use_s for lfn, row in (await catalogue.rows()).items()} == {"/a": 80.0}


async def test_what_was_not_in_the_archive_may_come_to_be(catalogue: Catalogue) -> None:
    await catalogue.add([Entry("/a", 1, 1, None, 1.0, archived=False)])
    assert not (await catalogue.rows())["/a"].archived
    await catalogue.set_archived(["/a"])
    assert (await catalogue.rows())["/a"].archived


async def test_the_file_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "again.sqlite"
    first = Catalogue(path)
    await first.add([entry("/a")])
    first.close()
    second = Catalogue(path)
    assert list(await second.rows()) == ["/a"]
    second.close()


async def test_times_of_change_are_known_of_many_names_at_once(catalogue: Catalogue) -> None:
    names = [f"/f{number}" for number in range(1100)]
    await catalogue.add([Entry(lfn, 10, 1_790_000_000_500_000_000, SUM, 50.0) for lfn in names])
    found = await catalogue.modified([*names, "/x"])
    assert found == dict.fromkeys(names, 1_790_000_000.5)
    assert await catalogue.modified([]) == {}
