"""The access log: what goes in comes out, within bounds, whatever a crash or a disk does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataserver.access_log import FILES, NAME, AccessLog, files_of, read
from dataserver.core.access import Access, AccessKind

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    accesses = [
        Access(1790000000.125, AccessKind.RECALLED, 10**12, "/store/a b.root"),
        Access(1790000001.0, AccessKind.USED, 0, "/store/\udcff.root"),
        Access(1790000002.0, AccessKind.PURGED, 7, "/store/ä", "purged by policy lru: unused"),
    ]
    log = AccessLog(tmp_path, 1_000_000)
    log.write(accesses[:2])
    log.write([])
    log.write(accesses[2:])
    log.close()
    assert list(read(files_of(tmp_path))) == accesses


def test_the_log_is_bounded_and_forgets_the_oldest(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, 8_000)
    for number in range(2_000):
        log.write([Access(float(number), AccessKind.USED, 1, f"/f{number}")])
    log.close()
    files = files_of(tmp_path)
    assert len(files) == FILES
    assert sum(file.stat().st_size for file in files) <= 8_000
    kept = [int(access.unix_s) for access in read(files)]
    assert kept == list(range(kept[0], 2_000))
    assert len(kept) > 200


def test_a_line_that_a_crash_has_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(
        b"1.000\tused\t5\t/a\n"
        b"1.500\tused\t5\t/a\n2.000\tused\t\xff\t/b\nnonsense\n2.000\tsold\t5\t/b\n"
        b"x\tused\t5\t/b\n3.000\tgone\t5\t/c\tevicted by ann\n4.000\tused\t5\t/d"
    )
    assert [one.lfn for one in read(files_of(tmp_path))] == ["/a", "/a", "/c"]


def test_an_append_after_a_crash_costs_one_line_at_most(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"1.000\tused\t5\t/a\n2.000\tus")
    log = AccessLog(tmp_path, 1_000_000)
    log.write([Access(3.0, AccessKind.USED, 5, "/b")])
    log.write([Access(4.0, AccessKind.USED, 5, "/c")])
    log.close()
    assert [one.lfn for one in read(files_of(tmp_path))] == ["/a", "/c"]


def test_a_disk_that_fails_costs_lines_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "away"
    log = AccessLog(folder, 1_000_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.write([Access(1.0, AccessKind.USED, 5, "/a")])
    assert len(caplog.records) == 1
    folder.mkdir()
    log.write([Access(2.0, AccessKind.USED, 5, "/b")])
    log.close()
    assert [one.lfn for one in read(files_of(folder))] == ["/b"]
