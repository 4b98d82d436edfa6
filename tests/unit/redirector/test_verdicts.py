"""Verifying: what is concluded about each file of a dataset."""

from __future__ import annotations

import pytest

from redirector.core.datasets import DatasetFile
from redirector.core.model import Checksum
from redirector.core.states import FileState
from redirector.core.verdicts import (
    ArchiveCopy,
    Replica,
    RunningTally,
    judge_archive_copy,
    judge_failure,
    judge_replica,
    judge_staging,
)

ADLER = Checksum("adler32", "00000001")
MD5 = Checksum("md5", "d41d8cd98f00b204e9800998ecf8427e")
FILE = DatasetFile("/store/a.root")
GOOD = Replica(100, ADLER, {"Events": 7, "Runs": 1})


def test_a_good_replica_fills_in_what_was_unknown() -> None:
    verdict = judge_replica(FILE, "Events", GOOD)
    assert verdict == DatasetFile(
        FILE.lfn,
        size_bytes=100,
        checksum=ADLER,
        entries=7,
        state=FileState.ONLINE,
    )


def test_a_file_may_name_its_own_tree() -> None:
    assert judge_replica(FILE._replace(tree="Runs"), "Events", GOOD).entries == 1


def test_without_a_tree_only_a_single_table_is_counted() -> None:
    assert judge_replica(FILE, "", GOOD).entries is None
    assert judge_replica(FILE, "", Replica(1, None, {"t": 5})).entries == 5


def test_a_format_without_trees_answers_to_any_tree_name() -> None:
    rows = Replica(1, None, {"": 9}, has_trees=False)
    assert judge_replica(FILE, "Events", rows).entries == 9


@pytest.mark.parametrize(
    ("registered", "replica", "reason"),
    [
        (FILE._replace(size_bytes=99), GOOD, "size is 100 bytes, but was registered as 99"),
        (
            FILE._replace(checksum=ADLER._replace(value="00000002")),
            GOOD,
            "adler32 checksum is 00000001, but was registered as 00000002",
        ),
        (FILE, Replica(5, problem="it is no ROOT file"), "it is no ROOT file"),
        (FILE._replace(tree="Tracks"), GOOD, "no tree 'Tracks'; it has Events, Runs"),
        (FILE, Replica(5, None, {}), "no tree 'Events'; it has none"),
        (FILE._replace(entries=6), GOOD, "7 entries, but was registered with 6"),
    ],
)
def test_what_is_not_as_it_should_be_is_corrupt(
    registered: DatasetFile, replica: Replica, reason: str
) -> None:
    verdict = judge_replica(registered, "Events", replica)
    assert verdict.state is FileState.CORRUPT
    assert reason in verdict.reason


def test_checksums_of_different_kinds_are_not_compared() -> None:
    registered = FILE._replace(checksum=MD5)
    verdict = judge_replica(registered, "Events", GOOD)
    assert verdict.state is FileState.ONLINE
    assert verdict.checksum == MD5


def test_a_replica_that_was_not_inspected_is_online() -> None:
    verdict = judge_replica(FILE, "Events", Replica(3))
    assert (verdict.state, verdict.entries, verdict.size_bytes) == (FileState.ONLINE, None, 3)


def test_an_empty_file_has_a_known_size() -> None:
    assert judge_replica(FILE, "", Replica(0)).size_bytes == 0


def test_a_file_in_the_archive_is_nearline_and_its_size_known() -> None:
    verdict = judge_archive_copy(FILE, ArchiveCopy(True, 50, MD5))
    assert (verdict.state, verdict.size_bytes, verdict.checksum) == (
        FileState.NEARLINE,
        50,
        MD5,
    )


def test_a_file_the_archive_does_not_have_is_missing() -> None:
    verdict = judge_archive_copy(FILE, ArchiveCopy(False))
    assert verdict.state is FileState.MISSING
    assert verdict.reason


def test_a_file_the_archive_cannot_tell_about_is_taken_for_nearline() -> None:
    assert judge_archive_copy(FILE, ArchiveCopy(None)).state is FileState.NEARLINE


def test_an_archived_file_of_another_size_is_corrupt() -> None:
    verdict = judge_archive_copy(FILE._replace(size_bytes=51), ArchiveCopy(True, 50))
    assert verdict.state is FileState.CORRUPT
    assert "in the archive" in verdict.reason


def test_a_failed_recall_is_missing_only_if_the_archive_said_so() -> None:
    assert judge_failure(FILE, "no such file", not_found=True).state is FileState.MISSING
    assert judge_failure(FILE, "drive broken", not_found=False).state is FileState.FAILED


def test_a_tally_follows_its_files() -> None:
    other = DatasetFile("/store/b.root", size_bytes=4, entries=2)
    tally = RunningTally([FILE, other])
    assert (tally.now().files, tally.now().files_of_unknown_size) == (2, 1)
    staging = judge_staging(FILE)
    tally.change(FILE, staging)
    assert tally.now().staging == 1
    tally.change(staging, judge_replica(FILE, "Events", GOOD))
    now = tally.now()
    assert (now.online, now.staging, now.bytes_known, now.entries_known) == (1, 0, 104, 9)
    assert (now.files_of_unknown_size, now.files_of_unknown_entries) == (0, 0)
