"""An archive that is a directory: found, missing, unmounted, hanging."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from common.command import ErrorClass
from common.errors import NameRefused
from common.names import NameMap, NameRule
from dataserver.archive import copier, mounted, watched
from dataserver.archive.model import ArchiveFile, Fetched, FetchOrder, Presence
from dataserver.archive.mounted import MountedArchive, root_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The archive's directory, with one file besides those the tests make."""
    path = tmp_path / "archive" / "store"
    path.mkdir(parents=True)
    (path / "a.root").write_bytes(b"twelve bytes")
    return path


def archive_of(store: Path, *, deadline_s: float = 60, stall_s: float = 60) -> MountedArchive:
    rule = NameRule(archive=os.fspath(store), prefix="/store/")
    return MountedArchive(NameMap([rule], ["/store/"]), deadline_s, stall_s, 4)


@pytest.fixture
def archive(store: Path) -> MountedArchive:
    return archive_of(store)


async def fetched(
    archive: MountedArchive, lfn: str, target: Path, limit_bytes: int | None = None
) -> Fetched:
    return await archive.fetch(FetchOrder(lfn=lfn, target=target, limit_bytes=limit_bytes))


def error_class(result: Fetched) -> ErrorClass:
    assert result.failure is not None
    return result.failure.error_class


def reason(result: Fetched) -> str:
    assert result.failure is not None
    assert "\n" not in result.failure.reason
    return result.failure.reason


def unmount(store: Path, state: str) -> None:
    """Leaves what a vanished mount leaves: an empty mount point, or not even that."""
    (store / "a.root").unlink()
    if state == "gone":
        store.rmdir()


@pytest.fixture
def stuck_copying(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Makes every slice of a copy wait for an event, which is set at the end."""
    event = threading.Event()

    def stuck(source: int, target: int, offset: int, count: int) -> int:
        event.wait(60)
        return copier._copy_file_range(source, target, offset, count)

    monkeypatch.setattr(copier, "_METHODS", (stuck,))
    monkeypatch.setattr(watched, "_STOPPING_S", 0.05)
    yield event
    event.set()


# --- asking -----------------------------------------------------------------


async def test_files_are_told_in_the_order_asked(archive: MountedArchive, store: Path) -> None:
    (store / "directory").mkdir()
    (store / "empty").touch()
    os.mkfifo(store / "pipe")
    for name in ("a.root", "empty", "directory", "pipe"):
        os.utime(store / name, (0, 1_790_000_000.5))
    found = await archive.examine(
        [
            "/store/missing",
            "/store/a.root",
            "/store/directory",
            "/store/empty",
            "/store/pipe",
            "/other/a",
        ]
    )
    assert found[:5] == [
        ArchiveFile(
            "/store/missing",
            Presence.NOT_THERE,
            reason=f"{store}/missing: No such file or directory",
        ),
        ArchiveFile("/store/a.root", Presence.THERE, 12, mtime_s=1_790_000_000.5),
        ArchiveFile(
            "/store/directory",
            Presence.NOT_THERE,
            reason=f"{store}/directory is a directory",
            mtime_s=1_790_000_000.5,
            is_directory=True,
        ),
        ArchiveFile("/store/empty", Presence.THERE, 0, mtime_s=1_790_000_000.5),
        ArchiveFile(
            "/store/pipe",
            Presence.NOT_THERE,
            reason=f"{store}/pipe is not a regular file",
            mtime_s=1_790_000_000.5,
        ),
    ]
    assert found[5].presence is Presence.UNKNOWN
    assert "not under what this site exports" in found[5].reason


async def test_many_files_are_all_told(archive: MountedArchive, store: Path) -> None:
    for i in range(0, 500, 2):
        (store / f"f{i}").write_bytes(bytes(i))
    found = await archive.examine([f"/store/f{i}" for i in range(500)])
    assert [file.lfn for file in found] == [f"/store/f{i}" for i in range(500)]
    assert [file.size_bytes for file in found[::2]] == list(range(0, 500, 2))
    assert {file.presence for file in found[1::2]} == {Presence.NOT_THERE}


async def test_asking_about_nothing_is_answered(archive: MountedArchive) -> None:
    assert await archive.examine([]) == []


@pytest.mark.parametrize("state", ["gone", "empty"])
async def test_a_vanished_mount_does_not_make_files_missing(
    archive: MountedArchive, store: Path, state: str
) -> None:
    unmount(store, state)
    (found,) = await archive.examine(["/store/a.root"])
    assert found.presence is Presence.UNKNOWN
    assert "is it mounted?" in found.reason
    assert str(store) in found.reason


async def test_an_archive_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, archive: MountedArchive
) -> None:
    free = threading.Event()
    answer = archive._examine_one

    def hanging(lfn: str) -> ArchiveFile:
        if lfn.endswith("hang"):
            free.wait(60)
        return answer(lfn)

    monkeypatch.setattr(archive, "_examine_one", hanging)
    monkeypatch.setattr(mounted, "STAT_LIMIT_S", 0.2)
    hung, good = await archive.examine(["/store/hang", "/store/a.root"])
    free.set()
    assert good.presence is Presence.THERE
    assert hung.presence is Presence.UNKNOWN
    assert "did not answer" in hung.reason


# --- fetching ---------------------------------------------------------------


async def test_a_file_is_fetched(archive: MountedArchive, tmp_path: Path) -> None:
    result = await fetched(archive, "/store/a.root", tmp_path / "target")
    assert result.failure is None
    assert result.size_bytes == 12
    assert (tmp_path / "target").read_bytes() == b"twelve bytes"


async def test_a_missing_file_is_not_found(
    archive: MountedArchive, store: Path, tmp_path: Path
) -> None:
    result = await fetched(archive, "/store/b.root", tmp_path / "target")
    assert error_class(result) is ErrorClass.NOT_FOUND
    assert reason(result) == f"{store}/b.root: No such file or directory"


@pytest.mark.parametrize("state", ["gone", "empty"])
async def test_fetching_from_a_vanished_mount_is_worth_another_try(
    archive: MountedArchive, store: Path, tmp_path: Path, state: str
) -> None:
    unmount(store, state)
    result = await fetched(archive, "/store/a.root", tmp_path / "target")
    assert error_class(result) is ErrorClass.TRANSIENT
    assert "is it mounted?" in reason(result)


async def test_a_limit_is_kept(archive: MountedArchive, tmp_path: Path) -> None:
    result = await fetched(archive, "/store/a.root", tmp_path / "target", limit_bytes=11)
    assert error_class(result) is ErrorClass.NO_SPACE


async def test_a_name_without_a_rule_is_refused(archive: MountedArchive, tmp_path: Path) -> None:
    with pytest.raises(NameRefused):
        await fetched(archive, "/other/a.root", tmp_path / "target")


async def test_a_copy_without_progress_is_given_up(
    store: Path, tmp_path: Path, stuck_copying: threading.Event
) -> None:
    archive = archive_of(store, stall_s=0.05)
    result = await fetched(archive, "/store/a.root", tmp_path / "target")
    assert error_class(result) is ErrorClass.TRANSIENT
    assert reason(result).endswith("a.root made no progress for 50 ms")


async def test_a_copy_has_a_deadline(
    store: Path, tmp_path: Path, stuck_copying: threading.Event
) -> None:
    archive = archive_of(store, deadline_s=0.05)
    result = await fetched(archive, "/store/a.root", tmp_path / "target")
    assert error_class(result) is ErrorClass.TRANSIENT
    assert reason(result).endswith("a.root took longer than 50 ms")


async def test_progress_is_told(
    archive: MountedArchive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copier, "SLICE_BYTES", 4)
    monkeypatch.setattr(watched, "_LOOK_EVERY_S", 0.01)
    slices = threading.Semaphore(1)

    def paced(source: int, target: int, offset: int, count: int) -> int:
        slices.acquire(timeout=60)
        return copier._copy_file_range(source, target, offset, count)

    told: list[int] = []

    def hear(bytes_done: int) -> None:
        told.append(bytes_done)
        slices.release()

    monkeypatch.setattr(copier, "_METHODS", (paced,))
    target = tmp_path / "target"
    result = await archive.fetch(FetchOrder(lfn="/store/a.root", target=target, on_progress=hear))
    assert result.failure is None
    assert told[:2] == [4, 8]


async def test_a_cancelled_copy_writes_nothing_more(
    archive: MountedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copier, "SLICE_BYTES", 4)
    begun, stopped = threading.Event(), threading.Event()

    def stop(copy: copier.Copy) -> None:
        copy._stopped = True
        stopped.set()

    def held_up(source: int, target: int, offset: int, count: int) -> int:
        begun.set()
        stopped.wait(60)
        return copier._copy_file_range(source, target, offset, count)

    monkeypatch.setattr(copier.Copy, "stop", stop)
    monkeypatch.setattr(copier, "_METHODS", (held_up,))
    target = tmp_path / "target"
    fetching = asyncio.create_task(fetched(archive, "/store/a.root", target))
    await asyncio.to_thread(begun.wait, 60)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert target.stat().st_size == 4


# --- where a rule points to -------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "root"),
    [
        (NameRule(archive="/tape/store", prefix="/store/"), "/tape/store"),
        (NameRule(archive=r"/tape/\1/x\2", regex=r"/store/(\w+)/(.*)"), "/tape/"),
        (NameRule(archive=r"/tape/run\g<run>", regex=r"/store/(?P<run>.*)"), "/tape/"),
    ],
)
def test_the_root_of_a_rule_is_what_all_its_files_share(rule: NameRule, root: str) -> None:
    assert root_of(rule) == root
