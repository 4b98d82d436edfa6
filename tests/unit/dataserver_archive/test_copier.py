from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.command import ErrorClass, Failure
from dataserver.archive import copier
from dataserver.archive.copier import SLICE_BYTES, Copy, CopyError

if TYPE_CHECKING:
    from collections.abc import Callable


def copy_of(source: Path, target: Path, limit_bytes: int | None = None) -> Copy:
    return Copy(os.fspath(source), os.fspath(target), limit_bytes)


def failure(copy: Copy) -> Failure:
    with pytest.raises(CopyError) as caught:
        copy.run()
    assert "\n" not in caught.value.failure.reason
    return caught.value.failure


def failing(number: int) -> Callable[[int, int, int, int], int]:
    def method(source: int, target: int, offset: int, count: int) -> int:
        raise OSError(number, os.strerror(number))

    return method


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def use_methods(
    monkeypatch: pytest.MonkeyPatch, *methods: Callable[[int, int, int, int], int]
) -> None:
    monkeypatch.setattr(copier, "_METHODS", methods)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, SLICE_BYTES, SLICE_BYTES + 1])
def test_the_copy_equals_the_source(tmp_path: Path, target: Path, size_bytes: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size_bytes))
    copy = copy_of(source, target)
    copy.run()
    assert target.read_bytes() == source.read_bytes()
    assert copy.bytes_done == size_bytes


@pytest.mark.parametrize("method", copier._METHODS)
def test_each_way_of_copying_copies(
    monkeypatch: pytest.MonkeyPatch,
    source: Path,
    target: Path,
    method: Callable[[int, int, int, int], int],
) -> None:
    monkeypatch.setattr(copier, "SLICE_BYTES", 30_000)
    use_methods(monkeypatch, method)
    copy_of(source, target).run()
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_way_that_does_not_work_here_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path, number: int
) -> None:
    use_methods(monkeypatch, failing(number), lambda *_: 0, copier._read_and_write)
    copy_of(source, target).run()
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("number", "error_class"),
    [
        (errno.ENOSPC, ErrorClass.NO_SPACE),
        (errno.EDQUOT, ErrorClass.NO_SPACE),
        (errno.EIO, ErrorClass.TRANSIENT),
        (errno.ESTALE, ErrorClass.TRANSIENT),
    ],
)
def test_errors_while_copying_are_sorted(
    monkeypatch: pytest.MonkeyPatch,
    source: Path,
    target: Path,
    number: int,
    error_class: ErrorClass,
) -> None:
    use_methods(monkeypatch, failing(number))
    error = failure(copy_of(source, target))
    assert error.error_class is error_class
    assert error.reason == f"copying {source}: {os.strerror(number)}"


@pytest.mark.parametrize(
    ("number", "error_class"),
    [
        (errno.ENOENT, ErrorClass.NOT_FOUND),
        (errno.ENOTDIR, ErrorClass.NOT_FOUND),
        (errno.EACCES, ErrorClass.PERMANENT),
        (errno.EPERM, ErrorClass.PERMANENT),
        (errno.EIO, ErrorClass.TRANSIENT),
        (errno.ESTALE, ErrorClass.TRANSIENT),
        (errno.ENOTCONN, ErrorClass.TRANSIENT),
        (errno.EMFILE, ErrorClass.TRANSIENT),
    ],
)
def test_errors_about_a_file_of_the_archive_are_sorted(
    number: int, error_class: ErrorClass
) -> None:
    assert copier.class_of(OSError(number, os.strerror(number))) is error_class


def test_a_missing_source_is_not_found(tmp_path: Path, target: Path) -> None:
    error = failure(copy_of(tmp_path / "nothing", target))
    assert error.error_class is ErrorClass.NOT_FOUND
    assert error.reason == f"{tmp_path / 'nothing'}: No such file or directory"
    assert not target.exists()


def test_only_regular_files_are_copied(tmp_path: Path, target: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "pipe"):
        error = failure(copy_of(tmp_path / name, target))
        assert error.error_class is ErrorClass.PERMANENT
        assert error.reason == f"{tmp_path / name} is not a regular file"
    assert not target.exists()


def test_a_link_in_the_archive_is_followed(tmp_path: Path, source: Path, target: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(source)
    copy_of(link, target).run()
    assert target.read_bytes() == source.read_bytes()


def test_a_source_beyond_the_limit_is_not_even_begun(source: Path, target: Path) -> None:
    error = failure(copy_of(source, target, 99_999))
    assert error.error_class is ErrorClass.NO_SPACE
    assert error.reason == f"{source} has 100000 bytes, 99999 are reserved"
    assert not target.exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_lies_at_the_target_is_never_written_over(
    tmp_path: Path, source: Path, target: Path, kind: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    if kind == "link":
        target.symlink_to(precious)
    else:
        target.write_bytes(b"precious")
    assert failure(copy_of(source, target)).error_class is ErrorClass.TRANSIENT
    assert target.read_bytes() == precious.read_bytes() == b"precious"


def test_a_pool_that_cannot_be_written_to_is_this_nodes_trouble(
    tmp_path: Path, source: Path
) -> None:
    error = failure(copy_of(source, tmp_path / "no such directory" / "target"))
    assert error.error_class is ErrorClass.TRANSIENT


def test_a_source_that_grows_while_copied_is_told(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path
) -> None:
    def growing(source_fd: int, target_fd: int, offset: int, count: int) -> int:
        with source.open("ab") as stream:
            stream.write(b"more")
        return copier._copy_file_range(source_fd, target_fd, offset, count)

    use_methods(monkeypatch, growing)
    error = failure(copy_of(source, target))
    assert error.error_class is ErrorClass.TRANSIENT
    assert error.reason == f"{source} changed while it was copied"


def test_a_source_that_shrinks_while_copied_is_told(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path
) -> None:
    monkeypatch.setattr(copier, "SLICE_BYTES", 30_000)

    def shrinking(source_fd: int, target_fd: int, offset: int, count: int) -> int:
        os.truncate(source, 40_000)
        return copier._read_and_write(source_fd, target_fd, offset, count)

    use_methods(monkeypatch, shrinking)
    error = failure(copy_of(source, target))
    assert error.error_class is ErrorClass.TRANSIENT
    assert error.reason == f"{source} ended after 40000 of 100000 bytes"


def test_a_stopped_copy_ends_before_its_next_slice(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path
) -> None:
    monkeypatch.setattr(copier, "SLICE_BYTES", 30_000)
    copy = copy_of(source, target)

    def stopping(*arguments: int) -> int:
        copy.stop()
        return copier._copy_file_range(*arguments)

    use_methods(monkeypatch, stopping)
    assert failure(copy).error_class is ErrorClass.TRANSIENT
    assert copy.bytes_done == 30_000


def test_no_file_stays_open_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path
) -> None:
    use_methods(monkeypatch, failing(errno.EIO))
    before = open_files()
    failure(copy_of(source, target))
    assert open_files() == before
