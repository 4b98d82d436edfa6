"""The name space as a tree: listings, and directories that clients make and remove."""

from __future__ import annotations

import random
from itertools import chain
from typing import NamedTuple

import pytest

from common.errors import AlreadyExists, NotFound, Refused
from redirector.core import browsing, events
from redirector.core.index import ReplicaIndex
from redirector.core.instructions import (
    AnswerClaim,
    AnswerDirectory,
    RemoveDirectory,
    SaveDirectories,
)
from redirector.core.settings import HeadSettings
from redirector.core.states import NodeState
from tests.support.redirector_head import Site


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join("disk1", {"/store/a": 1, "/store/run/b": 2, "/other/c": 3})
    site.join("disk2", {"/store/a": 1, "/store/d": 4})
    return site


class Listed(NamedTuple):
    """Files of a directory, with their sizes, and directories, by their names in it."""

    files: list[tuple[str, int]]
    directories: list[str]


def listed(site: Site, path: str) -> Listed:
    pieces, directories = site.head.list_directory(path)
    names = dict.fromkeys(chain.from_iterable(pieces))
    above = path.removesuffix("/") + "/"
    files = [(lfn.removeprefix(above), size) for lfn, size in site.head.sizes_of(names)]
    assert site.head.has_entries(path) == bool(files or directories)
    return Listed(sorted(files), sorted(directories))


def make(site: Site, lfn: str, *, parents: bool = False) -> None:
    done = site.give(events.MakeDirectoryAsked(lfn, parents))
    (saved,) = [one for one in done if isinstance(one, SaveDirectories)]
    assert done[-1] == AnswerDirectory(len(saved.lfns))


def remove(site: Site, lfn: str) -> None:
    done = site.give(events.RemoveDirectoryAsked(lfn))
    assert done == [RemoveDirectory(lfn), AnswerDirectory(1)]


# --- listing ---


def test_a_directory_lists_its_own_files_and_directories(site: Site) -> None:
    assert listed(site, "/") == Listed([], ["other", "store"])
    assert listed(site, "/store") == Listed([("a", 1), ("d", 4)], ["run"])
    assert listed(site, "/store/run") == Listed([("b", 2)], [])


def test_what_is_no_directory_lists_nothing(site: Site) -> None:
    for path in ("/nowhere", "/store/a", "/stor"):
        assert not site.head.is_directory(path)
        assert listed(site, path) == Listed([], [])
    assert site.head.is_directory("/")
    assert site.head.is_directory("/store/run")


def test_a_directory_goes_with_its_last_file(site: Site) -> None:
    site.change("disk1", "/other/c", 3, dropped=True)
    assert not site.head.is_directory("/other")
    assert listed(site, "/") == Listed([], ["store"])


def lose_for_good(site: Site, name: str) -> None:
    """A node is dropped, and no more of what it held is swept than in one go."""
    site.lose(name)
    while site.head.node(name, site.now_s).state is not NodeState.DROPPED:
        site.now_s += 1.0
        for other in site.connections:
            site.beat(other)
        site.give(events.Tick())


def test_what_only_a_lost_node_held_is_not_listed_even_before_it_is_swept() -> None:
    site = Site(HeadSettings(sweep_slice=1))
    site.join("disk1", {"/store/a": 1, "/store/run/b": 2, "/other/c": 3})
    site.join("disk2", {"/store/a": 1, "/store/d": 4})
    lose_for_good(site, "disk1")
    assert listed(site, "/") == Listed([], ["store"])
    assert listed(site, "/store") == Listed([("a", 1), ("d", 4)], [])
    assert not site.head.is_directory("/other")


def test_of_what_a_lost_node_held_not_all_is_looked_at_before_it_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browsing, "_LOOKED_AT", 3)
    site = Site(HeadSettings(sweep_slice=1))
    site.join("disk1", {"/few/f": 1} | {f"/many/f{number}": 1 for number in range(10)})
    lose_for_good(site, "disk1")
    assert site.head.is_directory("/many"), "taken to be there for the moment"
    assert not site.head.is_directory("/few")
    site.wait(1.0)
    assert not site.head.is_directory("/many")


def test_files_at_the_top_are_listed() -> None:
    site = Site()
    site.join("disk1", {"/f": 1})
    assert listed(site, "/") == Listed([("f", 1)], [])


def test_very_deep_directories_cost_what_their_names_cost() -> None:
    index = ReplicaIndex()
    slot = index.open_slot(1)
    deep = "/d" * 2000
    index.put(slot, f"{deep}/f", 1)
    index.check()
    assert index.directories.find(deep) is not None
    index.drop([slot], f"{deep}/f")
    index.check()
    assert index.directories.find("/d") is None


def test_a_directory_that_is_purged_and_filled_for_ever_does_not_grow() -> None:
    index = ReplicaIndex()
    slot = index.open_slot(1)
    rng = random.Random(1)
    held = [f"/store/f{number}" for number in range(2_000)]
    index.put_many(slot, held, [1] * len(held))
    for number in range(20_000):
        place = rng.randrange(len(held))
        index.drop([slot], held[place])
        held[place] = f"/store/g{number}"
        index.put(slot, held[place], 1)
    index.check()
    store = index.directories.find("/store")
    assert store is not None
    assert store.listed < 1.25 * len(held)


def test_a_name_is_one_string_however_often_it_is_told() -> None:
    index = ReplicaIndex()
    first = "/store/" + "f" * 50
    for node in (1, 2, 1):
        index.put(index.open_slot(node), "/store/" + "f" * 50, 1)
    index.put(index.open_slot(3), first, 1)
    index.check()
    store = index.directories.find("/store")
    assert store is not None
    assert store.listed == 1


# --- directories that clients make ---


def test_an_empty_directory_is_listed_and_can_be_removed(site: Site) -> None:
    make(site, "/store/new")
    assert site.head.is_directory("/store/new")
    assert listed(site, "/store").directories == ["new", "run"]
    assert listed(site, "/store/new") == Listed([], [])
    remove(site, "/store/new")
    assert not site.head.is_directory("/store/new")


def test_a_made_directory_survives_a_restart_and_its_files() -> None:
    site = Site(restored=events.Restored(directories=("/store/kept",)))
    assert site.head.is_directory("/store")
    site.join("disk1", {"/store/kept/f": 1})
    site.change("disk1", "/store/kept/f", 1, dropped=True)
    assert site.head.is_directory("/store/kept")


def test_a_directory_is_made_where_there_is_one_to_make_it_in(site: Site) -> None:
    with pytest.raises(NotFound, match="no directory /new/a"):
        make(site, "/new/a/b")
    make(site, "/new/a/b", parents=True)
    for path in ("/new/a/b", "/new/a", "/new"):
        assert site.head.is_directory(path)
        remove(site, path)
        assert not site.head.is_directory(path)


def test_what_exists_is_not_made_again(site: Site) -> None:
    make(site, "/new")
    site.claim("disk1", "/store/upload")
    for lfn in ("/", "/store", "/new", "/store/a", "/store/upload"):
        with pytest.raises(AlreadyExists):
            make(site, lfn, parents=True)


def test_nothing_is_made_below_a_file(site: Site) -> None:
    with pytest.raises(Refused, match="/store/a is a file"):
        make(site, "/store/a/b/c", parents=True)
    with pytest.raises(Refused, match="/store/a is a file"):
        site.claim("disk1", "/store/a/b")


def test_only_empty_directories_are_removed(site: Site) -> None:
    make(site, "/new")
    make(site, "/new/inner")
    make(site, "/upload")
    site.claim("disk1", "/upload/f")
    for lfn in ("/store", "/new", "/upload"):
        with pytest.raises(Refused, match=f"{lfn} is not empty"):
            remove(site, lfn)
    with pytest.raises(NotFound, match="no directory /nowhere"):
        remove(site, "/nowhere")
    with pytest.raises(Refused, match="top directory"):
        remove(site, "/")
    site.end_claim("disk1", "/upload/f")
    remove(site, "/upload")


def test_no_file_is_written_over_a_directory(site: Site) -> None:
    with pytest.raises(AlreadyExists, match="/store/run is a directory"):
        site.claim("disk1", "/store/run")
    make(site, "/new")
    with pytest.raises(AlreadyExists, match="/new is a directory"):
        site.claim("disk1", "/new")
    assert site.claim("disk1", "/new/f") == [AnswerClaim()]


def test_only_so_many_directories_are_made() -> None:
    site = Site(HeadSettings(made_directories=3))
    make(site, "/a/b", parents=True)
    with pytest.raises(Refused, match="3 directories are the most there may be"):
        make(site, "/c/d", parents=True)
    make(site, "/c")
    remove(site, "/a/b")
    make(site, "/d")
