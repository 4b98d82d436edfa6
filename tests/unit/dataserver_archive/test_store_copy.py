"""Copying to a mounted archive: whole, synced, and never over somebody else's file."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from common.command import ErrorClass
from dataserver.archive import store_copy
from dataserver.archive.copier import CopyError
from dataserver.archive.model import ToStore
from dataserver.archive.store_copy import StoreCopy, remove_file

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"events " * 100
MTIME_NS = 1_700_000_000_000_000_000


def to_store(folder: Path, *, again: bool = False, content: bytes = CONTENT) -> ToStore:
    path = folder / "pool-file"
    path.write_bytes(content)
    return ToStore("/store/a", path, len(CONTENT), MTIME_NS, again=again)


def failure(copy: StoreCopy) -> CopyError:
    with pytest.raises(CopyError) as error:
        copy.run()
    return error.value


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_a_file_is_copied_with_its_time_into_directories_that_are_made(tmp_path: Path) -> None:
    target = tmp_path / "archive/run7/new/a"
    copy = StoreCopy(to_store(tmp_path), str(target))
    copy.run()
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mtime_ns == MTIME_NS
    assert names_in(target.parent) == ["a"]
    # It was copied, and then read back.
    assert copy.bytes_done == 2 * len(CONTENT)


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    target = tmp_path / "archive/a"
    StoreCopy(ToStore("/store/a", path, 0, MTIME_NS), str(target)).run()
    assert target.read_bytes() == b""


def test_what_is_there_already_is_not_copied_again(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(CONTENT)
    before = target.stat().st_ino
    StoreCopy(to_store(tmp_path), str(target)).run()
    assert target.stat().st_ino == before


@pytest.mark.parametrize("other", [b"other", b"x" * len(CONTENT)])
def test_another_file_of_the_name_is_left_alone(tmp_path: Path, other: bytes) -> None:
    target = tmp_path / "archive/a"
    target.parent.mkdir()
    target.write_bytes(other)
    error = failure(StoreCopy(to_store(tmp_path), str(target)))
    assert error.failure.error_class is ErrorClass.PERMANENT
    assert "is another file in the archive" in error.failure.reason
    assert target.read_bytes() == other
    assert names_in(target.parent) == ["a"]


def test_a_file_that_appears_while_ours_is_copied_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "archive/a"
    real = store_copy.StoreCopy._make_copy

    def copy_slowly(self: StoreCopy) -> None:
        real(self)
        target.write_bytes(b"other")

    monkeypatch.setattr(store_copy.StoreCopy, "_make_copy", copy_slowly)
    error = failure(StoreCopy(to_store(tmp_path), str(target)))
    assert error.failure.error_class is ErrorClass.PERMANENT
    assert target.read_bytes() == b"other"
    assert names_in(target.parent) == ["a"]


def test_what_an_earlier_run_has_left_is_replaced_and_removed(tmp_path: Path) -> None:
    target = tmp_path / "archive/a"
    first = StoreCopy(to_store(tmp_path), str(target))
    target.parent.mkdir()
    target.write_bytes(b"half")
    first._unfinished.write_bytes(b"killed here")
    (target.parent / ".packhorse-of-another-file").touch()
    StoreCopy(to_store(tmp_path, again=True), str(target)).run()
    assert target.read_bytes() == CONTENT
    assert sorted(names_in(target.parent)) == [".packhorse-of-another-file", "a"]


def test_a_file_system_without_links_gets_the_file_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", no_link)
    target = tmp_path / "archive/a"
    StoreCopy(to_store(tmp_path), str(target)).run()
    assert target.read_bytes() == CONTENT
    assert names_in(target.parent) == ["a"]


def test_what_is_read_back_must_be_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store_copy.Copy.run

    def corrupt(self: store_copy.Copy) -> None:
        real(self)
        with open(self.target, "r+b") as file:  # noqa: PTH123 - a word, not a path
            file.write(b"X")

    monkeypatch.setattr(store_copy.Copy, "run", corrupt)
    target = tmp_path / "archive/a"
    error = failure(StoreCopy(to_store(tmp_path), str(target)))
    assert error.failure.error_class is ErrorClass.TRANSIENT
    assert "what was written is not what is read back" in error.failure.reason
    assert names_in(target.parent) == []


def test_a_file_larger_than_it_was_written_is_not_stored(tmp_path: Path) -> None:
    target = tmp_path / "archive/a"
    copy = StoreCopy(to_store(tmp_path, content=CONTENT + b"more"), str(target))
    assert "are reserved" in failure(copy).failure.reason
    assert names_in(target.parent) == []


def test_a_copy_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "archive/a"
    copy = StoreCopy(to_store(tmp_path), str(target))
    copy.stop()
    assert "was stopped" in failure(copy).failure.reason
    assert names_in(target.parent) == []


def test_an_archive_that_cannot_be_written_is_a_passing_trouble(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where a directory should be")
    error = failure(StoreCopy(to_store(tmp_path), str(tmp_path / "archive/a")))
    assert error.failure.error_class is ErrorClass.TRANSIENT


def test_a_file_is_removed_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    remove_file(str(path))
    assert not path.exists()
    with pytest.raises(CopyError) as error:
        remove_file(str(path))
    assert error.value.failure.error_class is ErrorClass.NOT_FOUND
