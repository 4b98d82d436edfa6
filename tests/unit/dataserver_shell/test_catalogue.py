"""What is remembered of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import AlreadyExists, NotFound, QuotaExceeded, Refused
from common.sqlite import Database
from dataserver.catalogue import _MIGRATIONS, Catalogue, Entry, Version
from dataserver.checksum import Checksum
from dataserver.core.replica import Mark

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
    assert rows["/a"] == (10, 123, SUM, True, 50.0, None)
    assert rows["/b"] == (0, 123, None, True, 50.0, None)


def version(lfn: str, size_bytes: int = 10, mtime_ns: int = 123) -> Version:
    return Version(lfn, size_bytes, mtime_ns)


async def test_content_goes_with_its_row(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a"), entry("/b")])
    found = [(version("/a"), b"trees"), (version("/b"), b"more"), (version("/gone"), b"nothing")]
    await catalogue.set_contents(found)
    known = {one.lfn: one.content for one in await catalogue.known(["/a", "/b", "/gone"])}
    assert known == {"/a": b"trees", "/b": b"more"}
    await catalogue.remove(["/a", "/never"])
    await catalogue.add([entry("/a")])
    assert [one.content for one in await catalogue.known(["/a"])] == [None]


async def test_a_new_row_of_a_name_begins_without_content(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a")])
    await catalogue.set_contents([(version("/a"), b"old")])
    await catalogue.add([entry("/a", 20)])
    (known,) = await catalogue.known(["/a"])
    assert (known.size_bytes, known.content) == (20, None)


@pytest.mark.parametrize("other", [version("/a", 11), version("/a", mtime_ns=124)])
async def test_what_was_found_in_another_file_of_the_name_is_not_kept(
    catalogue: Catalogue, other: Version
) -> None:
    await catalogue.add([Entry("/a", 10, 123, SUM, 50.0, archived=False)])
    await catalogue.set_contents([(other, b"old")])
    await catalogue.add_checksum(other, Checksum("md5", "0" * 32))
    await catalogue.set_archived([other])
    (known,) = await catalogue.known(["/a"])
    assert known.content is None
    assert await catalogue.checksum("/a", "md5") is None
    assert not (await catalogue.rows())["/a"].archived


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


async def test_marks_come_back_with_the_rows_until_they_are_taken_away(
    catalogue: Catalogue,
) -> None:
    await catalogue.add([entry("/a"), entry("/b"), entry("/c")])
    await catalogue.marks.keep(
        {"/a": Mark.SOFT, "/b": Mark.DONE, "/c": None, "/nowhere": Mark.SOFT}
    )
    await catalogue.marks.keep({"/b": Mark.SOFT, "/a": None})
    await catalogue.marks.keep({})
    marks = {lfn: row.mark for lfn, row in (await catalogue.rows()).items()}
    assert marks == {"/a": None, "/b": Mark.SOFT, "/c": None}
    # Another file of the name has none.
    await catalogue.add([entry("/b")])
    assert (await catalogue.rows())["/b"].mark is None


async def test_what_was_not_in_the_archive_may_come_to_be(catalogue: Catalogue) -> None:
    await catalogue.add([Entry("/a", 1, 1, None, 1.0, archived=False)])
    assert not (await catalogue.rows())["/a"].archived
    await catalogue.set_archived([Version("/a", 1, 1)])
    assert (await catalogue.rows())["/a"].archived


# --- what belongs to a row ----------------------------------------------------------


MD5 = Checksum("md5", "0123456789abcdef" * 2)


async def describe(catalogue: Catalogue, lfn: str) -> None:
    await catalogue.set_contents([(version(lfn), b"trees")])
    await catalogue.add_checksum(version(lfn), MD5)
    await catalogue.set_attribute(lfn, "colour", b"blue", new_only=True, most=9)


async def test_a_checksum_is_found_wherever_it_is(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a"), entry("/none", 10, None)])
    await describe(catalogue, "/a")
    assert await catalogue.checksum("/a", "adler32") == SUM
    assert await catalogue.checksum("/a", "md5") == MD5
    assert await catalogue.checksum("/a", "crc32c") is None
    assert await catalogue.checksum("/none", "adler32") is None
    await catalogue.remove(["/a"])
    await catalogue.add([entry("/a", 10, None)])
    assert await catalogue.checksum("/a", "md5") is None


async def test_attributes_are_set_changed_and_forgotten(catalogue: Catalogue) -> None:
    await catalogue.add([entry("/a")])
    await catalogue.set_attribute("/a", "colour", b"blue", new_only=False, most=2)
    await catalogue.set_attribute("/a", "colour", b"red", new_only=False, most=2)
    await catalogue.set_attribute("/a", "shape", bytes(range(256)), new_only=True, most=2)
    with pytest.raises(AlreadyExists, match="/a has an attribute 'shape' already"):
        await catalogue.set_attribute("/a", "shape", b"", new_only=True, most=2)
    with pytest.raises(QuotaExceeded, match="/a has 2 attributes, and can have no more"):
        await catalogue.set_attribute("/a", "weight", b"", new_only=False, most=2)
    assert await catalogue.attributes("/a") == {"colour": b"red", "shape": bytes(range(256))}
    await catalogue.remove_attribute("/a", "colour")
    with pytest.raises(NotFound, match="/a has no attribute 'colour'"):
        await catalogue.remove_attribute("/a", "colour")
    await catalogue.remove(["/a"])
    await catalogue.add([entry("/a")])
    assert await catalogue.attributes("/a") == {}


async def test_what_has_no_row_has_no_attributes(catalogue: Catalogue) -> None:
    await catalogue.set_attribute("/a", "colour", b"blue", new_only=False, most=2)
    assert await catalogue.attributes("/a") == {}


async def test_what_takes_a_replicas_place_keeps_its_attributes_and_nothing_else(
    catalogue: Catalogue,
) -> None:
    old = Entry("/a", 10, 123, SUM, 50.0, archived=False)
    assert await catalogue.replace(old) is None
    await describe(catalogue, "/a")
    new = Entry("/a", 20, 456, None, 60.0, archived=False)
    assert await catalogue.replace(new) == old
    assert (await catalogue.rows())["/a"] == (20, 456, None, False, 60.0, None)
    (known,) = await catalogue.known(["/a"])
    assert known.content is None
    assert await catalogue.checksum("/a", "md5") is None
    assert await catalogue.attributes("/a") == {"colour": b"blue"}
    assert await catalogue.replace(old) == new


async def test_all_that_belongs_to_a_replica_follows_it_to_another_name(
    catalogue: Catalogue,
) -> None:
    await catalogue.add([entry("/a"), entry("/b", 99)])
    await describe(catalogue, "/a")
    await catalogue.copy("/a", "/b")
    await catalogue.remove(["/a"])
    assert await catalogue.rows() == {"/b": (10, 123, SUM, True, 50.0, None)}
    (known,) = await catalogue.known(["/b"])
    assert known.content == b"trees"
    assert await catalogue.checksum("/b", "md5") == MD5
    assert await catalogue.attributes("/b") == {"colour": b"blue"}
    with pytest.raises(Refused, match="nothing is remembered of /a"):
        await catalogue.copy("/a", "/c")


async def test_a_catalogue_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    Database(path, _MIGRATIONS[:1]).close()
    old = Catalogue(path)
    await old.add([entry("/a")])
    await describe(old, "/a")
    assert await old.attributes("/a") == {"colour": b"blue"}
    old.close()


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
    found = await catalogue.stats([*names, "/x"])
    assert found == dict.fromkeys(names, (1_790_000_000.5, None))
    assert await catalogue.stats([]) == {}


async def test_checksums_are_told_of_the_kind_that_is_asked_for(catalogue: Catalogue) -> None:
    """Those that came with a file, and those that were computed later."""
    await catalogue.add([entry("/both"), entry("/one"), entry("/none", checksum=None)])
    more = Checksum("md5", "0f")
    await catalogue.add_checksum(version("/both"), more)
    names = ["/both", "/one", "/none"]

    async def sums(algorithm: str) -> list[Checksum | None]:
        found = await catalogue.stats(names, algorithm)
        return [found[lfn].checksum for lfn in names]

    assert await sums("") == [SUM, SUM, None]
    assert await sums(SUM.algorithm) == [SUM, SUM, None]
    assert await sums("md5") == [more, None, None]
    assert await sums("crc32c") == [None, None, None]
