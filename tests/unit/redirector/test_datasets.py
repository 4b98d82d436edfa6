"""Registering: what becomes of the files there are and the files given, and the quota."""

from __future__ import annotations

import pytest

from common.errors import AlreadyExists, QuotaExceeded, TooLarge, UsageError
from redirector.core import datasets
from redirector.core.datasets import (
    DatasetFile,
    DatasetHeader,
    Mode,
    Volume,
    check_header,
    check_quota,
    plan_registration,
    updated,
    volume_of,
)
from redirector.core.model import Checksum
from redirector.core.states import FileState

ADLER = Checksum("adler32", "00000001")
A = DatasetFile("/store/a.root", size_bytes=10)
B = DatasetFile("/store/b.root")
C = DatasetFile("/store/c.root", size_bytes=30, entries=7)


def by_name(*files: DatasetFile) -> dict[str, DatasetFile]:
    return {file.lfn: file for file in files}


def test_a_new_dataset_holds_what_was_given() -> None:
    plan = plan_registration("zmm", Mode.NEW, None, [A, B])
    assert plan.changed == (A, B)
    assert (plan.added, plan.duplicates) == (2, 0)
    assert plan.volume == Volume(files=2, bytes_known=10, files_of_unknown_size=1)


def test_new_is_refused_where_the_dataset_exists() -> None:
    with pytest.raises(AlreadyExists, match="zmm exists already"):
        plan_registration("zmm", Mode.NEW, by_name(A), [B])


@pytest.mark.parametrize(
    ("mode", "existing"),
    [
        (Mode.NEW, None),
        (Mode.REPLACE, None),
        (Mode.UPDATE, None),
        (Mode.REPLACE, by_name(A)),
        (Mode.UPDATE, by_name(A)),
    ],
)
def test_an_empty_dataset_is_refused(mode: Mode, existing: dict[str, DatasetFile] | None) -> None:
    with pytest.raises(UsageError, match="cannot be empty"):
        plan_registration("zmm", mode, existing, [])


def test_replace_keeps_only_what_is_given() -> None:
    verified = A._replace(state=FileState.ONLINE)
    plan = plan_registration("zmm", Mode.REPLACE, by_name(verified, B), [A, C])
    assert plan.replaces
    assert plan.changed == (A, C)
    assert plan.volume == volume_of([A, C])


def test_update_adds_to_what_there_is() -> None:
    verified = A._replace(state=FileState.ONLINE)
    plan = plan_registration("zmm", Mode.UPDATE, by_name(verified, B), [A, C])
    assert not plan.replaces
    assert plan.changed == (C,)
    assert plan.added == 1
    assert plan.volume == volume_of([A, B, C])


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.UPDATE])
def test_replace_and_update_make_a_dataset_that_does_not_exist(mode: Mode) -> None:
    assert plan_registration("zmm", mode, None, [A]).added == 1


def test_names_given_twice_are_kept_once_with_all_that_is_known() -> None:
    more = DatasetFile(A.lfn, checksum=ADLER, entries=5)
    plan = plan_registration("zmm", Mode.NEW, None, [A, B, more, A])
    assert plan.duplicates == 2
    assert plan.changed == (A._replace(checksum=ADLER, entries=5), B)


@pytest.mark.parametrize(
    ("again", "what"),
    [
        (A._replace(size_bytes=11), "size: 10 and 11"),
        (A._replace(size_bytes=0), "size: 10 and 0"),
    ],
)
def test_contradictory_duplicates_are_refused(again: DatasetFile, what: str) -> None:
    with pytest.raises(UsageError, match=f"given twice, with different {what}"):
        plan_registration("zmm", Mode.NEW, None, [A, again])


def test_a_file_in_two_trees_is_refused() -> None:
    first, again = B._replace(tree="Events"), B._replace(tree="Runs")
    with pytest.raises(UsageError, match="different tree: Events and Runs"):
        plan_registration("zmm", Mode.NEW, None, [first, again])


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_FILES", 2)
    with pytest.raises(TooLarge, match="3 files are more than the 2"):
        plan_registration("zmm", Mode.UPDATE, by_name(A, B), [C])


def test_new_knowledge_of_a_file_makes_it_unverified() -> None:
    before = A._replace(state=FileState.CORRUPT, reason="size differs", entries=3)
    after = updated(before, DatasetFile(A.lfn, size_bytes=12))
    assert after == A._replace(size_bytes=12, entries=3)


def test_nothing_new_keeps_a_file_verified() -> None:
    before = A._replace(state=FileState.ONLINE)
    assert updated(before, DatasetFile(A.lfn)) is before


def test_a_group_may_register_up_to_its_quota() -> None:
    header = DatasetHeader("zmm", group="higgs")
    volume = Volume(files=2, bytes_known=60, files_of_unknown_size=1)
    check_quota(header, volume, others_bytes=30, quota_bytes=100, assumed_bytes=10)
    with pytest.raises(QuotaExceeded) as caught:
        check_quota(header, volume, others_bytes=31, quota_bytes=100, assumed_bytes=10)
    for number in ("31 B", "100 B", "70 B", "files of unknown size: 1, counted as 10 B each"):
        assert number in str(caught.value)


def test_no_quota_means_no_limit() -> None:
    huge = Volume(files=1, bytes_known=1 << 60, files_of_unknown_size=0)
    check_quota(DatasetHeader("zmm"), huge, others_bytes=0, quota_bytes=0, assumed_bytes=1)


@pytest.mark.parametrize("name", ["zmm", "/ZMM/Summer11/RECO", "user.me:my_set#2", "a+b@c=d,e~f"])
def test_names_as_experiments_write_them_are_allowed(name: str) -> None:
    check_header(DatasetHeader(name), groups=())


@pytest.mark.parametrize("name", ["", "a b", "a*", "a?", "[a]", "a\nb", "é", "-x", "a" * 256])
def test_names_that_would_confuse_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_header(DatasetHeader(name), groups=())


def test_a_group_the_site_does_not_have_is_refused() -> None:
    header = DatasetHeader("zmm", group="hggs")
    with pytest.raises(UsageError, match="no group 'hggs'; the configuration has higgs, top"):
        check_header(header, groups=("top", "higgs"))
    check_header(header, groups=())


@pytest.mark.parametrize("label", ["tree", "owner", "title", "group"])
def test_labels_are_printable_and_short(label: str) -> None:
    for text in ("a\nb", "x" * 1025):
        with pytest.raises(UsageError, match=label):
            check_header(DatasetHeader("zmm", **{label: text}), groups=())
