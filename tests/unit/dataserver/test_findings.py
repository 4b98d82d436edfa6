"""What fsck makes of a file and of what is remembered of it."""

from __future__ import annotations

import pytest

from dataserver.core.findings import (
    REMEDIES,
    Finding,
    Kind,
    Remedy,
    Remembered,
    compare,
    compare_sums,
    is_to_be_read,
    missing,
)

ROW = Remembered(100, 5, archived=True)
MINE = Remembered(100, 5, archived=False)


@pytest.mark.parametrize(
    ("size_bytes", "mtime_ns", "row", "kind", "remedy"),
    [
        (100, 5, None, Kind.STRAY, Remedy.START),
        (99, 5, ROW, Kind.SIZE, Remedy.REMOVE),
        (99, 5, MINE, Kind.SIZE, Remedy.START),
        (100, 6, ROW, Kind.CHANGED, Remedy.START),
        (100, 6, MINE, Kind.CHANGED, Remedy.START),
    ],
)
def test_a_file_unlike_its_row_is_told(
    size_bytes: int, mtime_ns: int, row: Remembered | None, kind: Kind, remedy: Remedy
) -> None:
    finding = compare("/a", size_bytes, mtime_ns, row)
    assert finding is not None
    assert (finding.kind, finding.remedy) == (kind, remedy)


def test_a_file_like_its_row_is_fine_but_its_bytes_may_not_be() -> None:
    assert compare("/a", 100, 5, ROW) is None
    assert is_to_be_read(None)
    assert is_to_be_read(compare("/a", 100, 6, ROW))
    assert not is_to_be_read(compare("/a", 100, 6, MINE)), "its owner may have changed it"
    assert not is_to_be_read(compare("/a", 99, 5, ROW)), "no sum is needed to see that"


def test_wrong_bytes_are_removed_only_if_the_archive_has_the_right_ones() -> None:
    assert compare_sums("/a", 100, "adler32:1", "adler32:1", archived=True) is None
    bad = compare_sums("/a", 100, "adler32:1", "adler32:2", archived=True)
    mine = compare_sums("/a", 100, "adler32:1", "adler32:2", archived=False)
    assert bad is not None
    assert mine is not None
    assert (bad.remedy, mine.remedy) == (Remedy.REMOVE, Remedy.APART)


def test_a_missing_file_that_was_nowhere_else_is_told_so() -> None:
    assert missing("/a", ROW).why == "it is gone"
    assert "the archive was not known to have it" in missing("/a", MINE).why


def test_everything_that_can_be_wrong_has_a_remedy_and_no_only_copy_is_removed() -> None:
    for kind in Kind:
        for archived in (True, False):
            assert Finding(kind, "/a", "", archived=archived).remedy in Remedy
    removed = {
        kind
        for (kind, archived), what in REMEDIES.items()
        if what is Remedy.REMOVE and not archived
    }
    assert removed == {Kind.LEFTOVER}
