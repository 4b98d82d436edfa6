"""Listing directories: what the rules give, what a mounted archive has, and what is believed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from common.names import NameMap, NameRule
from dataserver.archive import mounted, mounted_lister
from dataserver.archive.lister import Lister
from dataserver.archive.model import ArchiveEntry, Listing, Presence
from dataserver.archive.mounted_lister import MountedLister

if TYPE_CHECKING:
    from pathlib import Path

    from common.directories import Directory

MTIME_S = 1_790_000_000.5


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The archive's directory, with one file besides those the tests make."""
    path = tmp_path / "archive" / "store"
    path.mkdir(parents=True)
    (path / "a.root").write_bytes(b"twelve bytes")
    os.utime(path / "a.root", (0, MTIME_S))
    return path


@pytest.fixture
def lister(store: Path) -> Lister:
    rules = [
        NameRule(prefix="/store", archive=os.fspath(store)),
        NameRule(prefix="/store/raw/run7", archive=os.fspath(store.parent / "raw7")),
        NameRule(regex="/store/odd-.*", archive="/elsewhere"),
    ]
    return Lister(NameMap(rules, ["/store"]), MountedLister(4))


class Told:
    """An archive that says of every directory what a test has it say."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.asked: list[str] = []

    async def list_directory(self, directory: Directory) -> Listing:
        self.asked.append(directory.archive_name)
        return self.listing


def names_in(listing: Listing) -> set[str]:
    names = [entry.name for entry in listing.entries]
    assert len(names) == len(set(names)), "a name is told once"
    return set(names)


def unmount(store: Path, state: str) -> None:
    """Leaves what a vanished mount leaves: an empty mount point, or not even that."""
    (store / "a.root").unlink()
    if state == "gone":
        store.rmdir()


# --- what a mounted archive has -----------------------------------------------


async def test_what_is_just_being_stored_is_not_told(lister: Lister, store: Path) -> None:
    (store / ".packhorse-0123-4567").touch()
    assert names_in(await lister.list_directory("/store")) >= {"a.root"}
    assert ".packhorse-0123-4567" not in names_in(await lister.list_directory("/store"))


async def test_files_and_directories_are_told(lister: Lister, store: Path) -> None:
    (store / "run 7").mkdir()
    (store / "empty").touch()
    for name in ("run 7", "empty"):
        os.utime(store / name, (0, MTIME_S))
    listing = await lister.list_directory("/store")
    assert listing.presence is Presence.THERE
    assert listing.reason == ""
    assert {entry.name: entry for entry in listing.entries} == {
        "a.root": ArchiveEntry("a.root", False, 12, MTIME_S),
        "run 7": ArchiveEntry("run 7", True, None, MTIME_S),
        "empty": ArchiveEntry("empty", False, 0, MTIME_S),
        "raw": ArchiveEntry("raw", is_directory=True),
    }


async def test_links_count_as_what_they_point_to(lister: Lister, store: Path) -> None:
    (store / "run7").mkdir()
    (store / "file").symlink_to("a.root")
    (store / "directory").symlink_to("run7")
    (store / "dangling").symlink_to("nowhere")
    (store / "loop").symlink_to("loop")
    os.mkfifo(store / "pipe")
    listing = await lister.list_directory("/store")
    found = {entry.name: entry for entry in listing.entries}
    assert found.keys() == {"a.root", "run7", "file", "directory", "raw"}
    assert found["file"].size_bytes == 12
    assert found["directory"].is_directory


async def test_names_that_cannot_be_are_left_out(lister: Lister, store: Path) -> None:
    for name in (b"\xff", b"a\nb", "Zürich".encode()):
        (store / os.fsdecode(name)).touch()
    assert names_in(await lister.list_directory("/store")) == {"a.root", "Zürich", "raw"}


async def test_a_file_that_cannot_be_asked_about_is_told_all_the_same(
    lister: Lister, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        """Of a file system that has troubles with one file."""

        def __init__(self, name: str, *, is_directory: bool) -> None:
            self.name = name
            self._is_directory = is_directory

        def stat(self) -> None:
            raise PermissionError(13, "Permission denied")

        def is_dir(self, *, follow_symlinks: bool) -> bool:
            assert not follow_symlinks
            return self._is_directory

    def read(path: str, there: list[object]) -> None:
        there += [Entry("f", is_directory=False), Entry("d", is_directory=True)]

    monkeypatch.setattr(mounted_lister, "_read", read)
    listing = await lister.list_directory("/store/x")
    assert set(listing.entries) == {ArchiveEntry("f"), ArchiveEntry("d", is_directory=True)}


async def test_an_empty_directory_is_there(lister: Lister, store: Path) -> None:
    (store / "empty").mkdir()
    assert await lister.list_directory("/store/empty") == Listing(Presence.THERE, [])


@pytest.mark.parametrize("name", ["missing", "a.root", "a.root/b"])
async def test_what_is_no_directory_is_not_there(lister: Lister, name: str, store: Path) -> None:
    listing = await lister.list_directory(f"/store/{name}")
    assert listing.presence is Presence.NOT_THERE
    assert listing.reason.startswith(f"{store}/{name}: ")


@pytest.mark.parametrize("state", ["gone", "empty"])
@pytest.mark.parametrize("lfn", ["/store", "/store/run7"])
async def test_a_vanished_mount_makes_no_directory_missing_or_empty(
    lister: Lister, store: Path, lfn: str, state: str
) -> None:
    unmount(store, state)
    listing = await lister.list_directory(lfn)
    assert listing.presence is Presence.UNKNOWN
    assert "is it mounted?" in listing.reason
    # What the configuration gives is told all the same.
    assert names_in(listing) == ({"raw"} if lfn == "/store" else set())


async def test_a_directory_that_may_not_be_read_is_unknown(
    lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, there: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mounted_lister, "_read", refuse)
    listing = await lister.list_directory("/store/x")
    assert listing.presence is Presence.UNKNOWN
    assert listing.reason.endswith("x: Permission denied")


async def test_a_directory_of_too_many_entries_is_not_listed(
    lister: Lister, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounted_lister, "MAX_ENTRIES", 2)
    (store / "b").touch()
    assert (await lister.list_directory("/store")).presence is Presence.THERE
    (store / "c").touch()
    listing = await lister.list_directory("/store")
    assert listing.presence is Presence.UNKNOWN
    assert listing.reason == f"{store} has more than 2 entries"


async def test_many_entries_are_all_told(lister: Lister, store: Path) -> None:
    for i in range(500):
        (store / f"f{i}").write_bytes(bytes(i))
    listing = await lister.list_directory("/store")
    sizes = {entry.name: entry.size_bytes for entry in listing.entries}
    assert sizes == {"a.root": 12, "raw": None, **{f"f{i}": i for i in range(500)}}


@pytest.mark.parametrize("step", ["_read", "_look"])
async def test_an_archive_that_hangs_is_not_waited_for(
    lister: Lister, store: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    free = threading.Event()

    def hang(*_: object) -> None:
        free.wait(60)

    monkeypatch.setattr(mounted_lister, step, hang)
    monkeypatch.setattr(mounted, "STAT_LIMIT_S", 0.05)
    listing = await lister.list_directory("/store")
    free.set()
    assert listing.presence is Presence.UNKNOWN
    assert "did not answer" in listing.reason


# --- what the rules give --------------------------------------------------------


async def test_above_the_exports_the_archive_is_not_asked() -> None:
    told = Told(Listing(Presence.UNKNOWN))
    rules = [NameRule(prefix="/store/run7", archive="/7"), NameRule(prefix="/user", archive="/u")]
    lister = Lister(NameMap(rules, ["/store/run7/", "/user/"]), told)
    assert names_in(await lister.list_directory("/")) == {"store", "user"}
    assert names_in(await lister.list_directory("/store")) == {"run7"}
    assert told.asked == []


async def test_names_of_a_longer_prefix_come_from_its_rule(lister: Lister, store: Path) -> None:
    (store / "raw" / "run7").mkdir(parents=True)
    (store / "raw" / "run7" / "hidden").touch()
    (store / "raw" / "run8").mkdir()
    (store.parent / "raw7").mkdir()
    (store.parent / "raw7" / "b.root").touch()
    assert names_in(await lister.list_directory("/store")) == {"a.root", "raw"}
    assert names_in(await lister.list_directory("/store/raw")) == {"run7", "run8"}
    assert names_in(await lister.list_directory("/store/raw/run7")) == {"b.root"}


async def test_what_leads_to_a_longer_prefix_is_there_without_the_archive(lister: Lister) -> None:
    listing = await lister.list_directory("/store/raw")
    assert listing == Listing(Presence.THERE, [ArchiveEntry("run7", is_directory=True)])


async def test_names_that_a_regex_is_about_are_not_the_prefixs(lister: Lister, store: Path) -> None:
    (store / "odd-file").touch()
    assert names_in(await lister.list_directory("/store")) == {"a.root", "raw"}


async def test_what_only_regexes_are_about_cannot_be_listed() -> None:
    told = Told(Listing(Presence.THERE))
    rule = NameRule(regex="/store/(.*)", archive=r"/tape/\1")
    listing = await Lister(NameMap([rule], ["/store"]), told).list_directory("/store/run7")
    assert listing.presence is Presence.UNKNOWN
    assert "cannot be listed" in listing.reason
    assert told.asked == []


@pytest.mark.parametrize("lfn", ["/user", "/store/../etc", "store", "/.packhorse"])
async def test_a_directory_that_is_not_the_sites_is_not_there(lister: Lister, lfn: str) -> None:
    listing = await lister.list_directory(lfn)
    assert listing.presence is Presence.NOT_THERE
    assert listing.reason != ""


async def test_without_a_way_to_ask_only_the_given_is_told() -> None:
    rules = [NameRule(prefix="/store", archive="/s"), NameRule(prefix="/store/x", archive="/x")]
    listing = await Lister(NameMap(rules, ["/store"]), None).list_directory("/store")
    assert listing == Listing(
        Presence.UNKNOWN,
        [ArchiveEntry("x", is_directory=True)],
        "the site has no listcmd, so its archive cannot be listed",
    )


async def test_a_name_that_the_archive_tells_twice_is_told_once() -> None:
    entries = [ArchiveEntry("a", False, 1), ArchiveEntry("a", False, 2)]
    told = Told(Listing(Presence.THERE, entries))
    names = NameMap([NameRule(prefix="/store", archive="root://old//s/")], ["/store"])
    listing = await Lister(names, told).list_directory("/store")
    assert listing.entries == [ArchiveEntry("a", False, 2)]
    assert told.asked == ["root://old//s"]


async def test_a_directory_of_the_configuration_is_there_although_the_archive_has_none() -> None:
    told = Told(Listing(Presence.NOT_THERE, reason="no such directory"))
    lister = Lister(NameMap([NameRule(prefix="/store", archive="/s")], ["/store"]), told)
    assert await lister.list_directory("/store") == Listing(Presence.THERE, [])
    assert await lister.list_directory("/store/x") == told.listing
