"""The pool on disk: nothing leads out of it, and nothing is left half done."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError, Damaged
from dataserver.descriptors import NotAFileError
from dataserver.disk import (
    NotSyncedError,
    PoolDisk,
    Publication,
    incoming_name,
)
from dataserver.identity import pool_id
from dataserver.walking import FileOnDisk, Odd, Unseen

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PoolDisk]:
    (tmp_path / "pool").mkdir()
    opened = PoolDisk(tmp_path / "pool")
    yield opened
    opened.close()


def put(disk: PoolDisk, lfn: str, content: bytes = b"x") -> dict[str, OSError]:
    disk.make_incoming(lfn, lfn).write_bytes(content)
    return disk.publish([Publication(lfn, lfn)])


def content(disk: PoolDisk, lfn: str) -> bytes:
    fd = disk.open_replica(lfn)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def incoming(disk: PoolDisk) -> list[Path]:
    return list((disk.root / ".incoming").iterdir())


def test_a_batch_is_published_with_its_directories(disk: PoolDisk) -> None:
    lfns = ["/a", "/store/x/b", "/store/x/c", "/store/y/z/d"]
    for lfn in lfns:
        disk.make_incoming(lfn, lfn).write_text(lfn)
    assert disk.publish([Publication(lfn, lfn) for lfn in lfns]) == {}
    assert [content(disk, lfn).decode() for lfn in lfns] == lfns
    assert incoming(disk) == []


def test_every_changed_directory_is_synced_once_for_a_batch(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))

    monkeypatch.setattr(os, "fsync", note)
    for lfn in ("/store/x/a", "/store/x/b"):
        disk.make_incoming(lfn, lfn).write_text(lfn)
    disk.publish([Publication(lfn, lfn) for lfn in ("/store/x/a", "/store/x/b")])
    root = str(disk.root)
    assert sorted(synced) == [root, f"{root}/store", f"{root}/store/x"]
    synced.clear()
    put(disk, "/store/x/c")
    assert synced == [f"{root}/store/x"]


def test_the_error_of_one_file_is_not_that_of_its_batch(disk: PoolDisk) -> None:
    put(disk, "/store/file")
    for lfn in ("/store/file/below", "/store/good"):
        disk.make_incoming(lfn, lfn).write_text(lfn)
    batch = [Publication(lfn, lfn) for lfn in ("/store/file/below", "/store/good", "/store/none")]
    errors = disk.publish(batch)
    assert set(errors) == {"/store/file/below", "/store/none"}
    assert isinstance(errors["/store/file/below"], NotADirectoryError)
    assert content(disk, "/store/good") == b"/store/good"
    assert incoming(disk) == []


def test_a_file_whose_directory_could_not_be_synced_is_not_published(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(disk, "/store/x/a")

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    errors = put(disk, "/store/x/b")
    assert errors["/store/x/b"].errno == errno.EIO
    assert not disk.path("/store/x/b").exists()
    assert disk.path("/store/x/a").exists()


def test_links_are_not_followed_wherever_they_are(disk: PoolDisk, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    (disk.root / "way-out").symlink_to(outside)
    (disk.root / "link").symlink_to(outside / "f")
    for lfn in ("/way-out/f", "/link"):
        with pytest.raises(OSError, match=r"Too many levels|Not a directory"):
            disk.open_replica(lfn)
    assert put(disk, "/way-out/new").keys() == {"/way-out/new"}
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        disk.unlink("/way-out/f")
    disk.unlink("/link")
    assert [path.name for path in outside.iterdir()] == ["f"]


def test_a_link_left_by_a_command_is_not_read(disk: PoolDisk) -> None:
    disk.make_incoming("r1", "/store/a").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="Too many levels"):
        disk.open_incoming("r1", "/store/a")
    disk.remove_incoming("r1")
    disk.make_incoming("r1", "/store/a").mkdir()
    with pytest.raises(NotAFileError):
        disk.open_incoming("r1", "/store/a")


def test_a_pipe_is_refused_without_waiting_for_a_writer(disk: PoolDisk) -> None:
    os.mkfifo(disk.root / "pipe")
    with pytest.raises(NotAFileError):
        disk.open_replica("/pipe")


def test_removing_a_file_takes_the_directories_that_are_empty_then(disk: PoolDisk) -> None:
    put(disk, "/store/x/y/a")
    put(disk, "/store/b")
    disk.unlink("/store/x/y/a")
    assert sorted(path.name for path in (disk.root / "store").iterdir()) == ["b"]
    disk.unlink("/store/b")
    disk.unlink("/store/b")
    assert not (disk.root / "store").exists()


def test_a_directory_that_is_removed_while_one_is_made_in_it_is_made_again(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir
    made: list[str] = []

    def remove_the_first(name: str, mode: int, *, dir_fd: int) -> None:
        made.append(name)
        if made == ["store", "x"]:
            (disk.root / "store").rmdir()
        make(name, mode, dir_fd=dir_fd)

    disk.make_incoming("1", "/store/x/a").write_bytes(b"x")
    monkeypatch.setattr(os, "mkdir", remove_the_first)
    assert disk.publish([Publication("1", "/store/x/a")]) == {}
    assert content(disk, "/store/x/a") == b"x"
    assert made == ["store", "x", "store", "x"]


def test_a_recall_finds_its_directory_empty(disk: PoolDisk) -> None:
    left = disk.make_incoming("r1", "/store/a")
    left.write_bytes(b"of an earlier attempt")
    assert not disk.make_incoming("r1", "/store/a").exists()


@pytest.mark.parametrize("recall_id", ["..", ".", "", "a/b", "x" * 300, "a\0b", ".hidden", "ü"])
def test_no_recall_id_leads_out_of_incoming(disk: PoolDisk, recall_id: str) -> None:
    target = disk.make_incoming(recall_id, "/store/a")
    assert target.parent.parent == disk.root / ".incoming"
    assert incoming_name(recall_id) == target.parent.name
    disk.remove_incoming(recall_id)
    assert incoming(disk) == []


def test_everything_left_in_incoming_is_swept_away(disk: PoolDisk, tmp_path: Path) -> None:
    disk.make_incoming("r1", "/a").write_bytes(b"x")
    (disk.root / ".incoming" / "link").symlink_to(tmp_path)
    (disk.root / ".incoming" / "file").touch()
    assert disk.sweep_incoming() == 3
    assert incoming(disk) == []


def test_a_walk_finds_files_and_names_what_is_none(disk: PoolDisk) -> None:
    put(disk, "/store/x/a", b"123")
    put(disk, "/b")
    (disk.root / "store" / "link").symlink_to("x")
    (disk.root / os.fsdecode(b"\xff")).touch()
    found = list(disk.walk())
    files = {one.lfn: one.size_bytes for one in found if isinstance(one, FileOnDisk)}
    assert files == {"/store/x/a": 3, "/b": 1}
    odd = sorted(str(one) for one in found if isinstance(one, Odd))
    assert odd == ["'/\\udcff': its name is not UTF-8", "/store/link: not a regular file"]


def test_a_pool_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
        PoolDisk(tmp_path / "file")


def test_a_pool_keeps_its_identity(disk: PoolDisk) -> None:
    first = pool_id(disk.private)
    assert pool_id(disk.private) == first
    (disk.private / "pool_id").write_text("")
    with pytest.raises(Damaged, match="does not hold a pool's identity"):
        pool_id(disk.private)


# --- what clients write -----------------------------------------------------------


def write(disk: PoolDisk, lfn: str, content: bytes, *, replaces: bool) -> dict[str, OSError]:
    fd = disk.create_incoming("u1", lfn, 0o640)
    os.write(fd, content)
    os.close(fd)
    return disk.publish([Publication("u1", lfn, replaces)])


def test_an_upload_is_made_and_takes_the_place_of_another_file(disk: PoolDisk) -> None:
    assert write(disk, "/store/a", b"old", replaces=False) == {}
    reader = disk.open_replica("/store/a")
    assert write(disk, "/store/a", b"new", replaces=True) == {}
    assert content(disk, "/store/a") == b"new"
    assert os.read(reader, 9) == b"old"
    os.close(reader)
    found = disk.stat("/store/a")
    assert found is not None
    assert found.st_mode & 0o777 == 0o640
    assert incoming(disk) == []


def test_what_replaced_a_file_stays_though_its_directory_could_not_be_synced(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(disk, "/store/a", b"old")

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    errors = write(disk, "/store/a", b"new", replaces=True)
    assert isinstance(errors["u1"], NotSyncedError)
    assert content(disk, "/store/a") == b"new"


def test_a_rename_makes_and_removes_directories(disk: PoolDisk) -> None:
    put(disk, "/store/x/a", b"1")
    disk.rename("/store/x/a", "/store/y/z/b")
    assert content(disk, "/store/y/z/b") == b"1"
    assert sorted(path.name for path in (disk.root / "store").iterdir()) == ["y"]
    disk.rename("/store/y/z/b", "/store/y/z/c")
    assert content(disk, "/store/y/z/c") == b"1"


def test_a_rename_that_could_not_be_synced_says_so(
    disk: PoolDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(disk, "/store/a")

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NotSyncedError):
        disk.rename("/store/a", "/store/b")
    assert disk.path("/store/b").exists()


def test_a_rename_below_a_file_leaves_all_as_it_is(disk: PoolDisk) -> None:
    put(disk, "/store/a")
    put(disk, "/store/b")
    with pytest.raises(NotADirectoryError):
        disk.rename("/store/a", "/store/b/a")
    with pytest.raises(FileNotFoundError):
        disk.rename("/store/none", "/store/c")
    assert content(disk, "/store/a") == b"x"


def test_what_lies_at_a_place_is_told_whatever_it_is(disk: PoolDisk) -> None:
    put(disk, "/store/a", b"123")
    (disk.root / "store" / "link").symlink_to("/etc/passwd")
    found, link, directory = (disk.stat(f"/store{name}") for name in ("/a", "/link", ""))
    assert found is not None
    assert link is not None
    assert directory is not None
    assert found.st_size == 3
    assert stat.S_ISLNK(link.st_mode)
    assert stat.S_ISDIR(directory.st_mode)
    assert disk.stat("/store/none") is None
    assert disk.stat("/none/none") is None
    with pytest.raises(NotADirectoryError):
        disk.stat("/store/a/below")


def test_what_could_not_be_looked_at_is_not_said_to_be_gone() -> None:
    unseen = Unseen()
    unseen.note(Odd("/store/bad", "Input/output error", is_there=False))
    unseen.note(Odd("/store/link", "not a regular file"))
    assert unseen.covers("/store/bad/deep/a")
    assert unseen.covers("/store/bad")
    assert not unseen.covers("/store/badly")
    assert not unseen.covers("/store/link")
    unseen.note(Odd("", "Input/output error", is_there=False))
    assert unseen.covers("/anything")
