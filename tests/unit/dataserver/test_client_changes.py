"""Removals and renames by clients, in the node."""

from __future__ import annotations

import pytest

from common.errors import AlreadyExists, NotFound, Refused, UsageError
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.pins import Pin
from dataserver.core.replica import Found
from tests.support.driven_node import Driven, files, of_kind, only

MINE = Found("/mine", 100, 500.0, archived=False)


def ready(*found: Found) -> Driven:
    node = Driven(found=[MINE, *found])
    node.welcome()
    node.node.inventory()
    return node


def rename(node: Driven, lfn: str, new_lfn: str) -> do.MoveFile:
    order = ev.RenameOrdered("c1", lfn, new_lfn)
    assert only(node(order), do.ClaimName) == do.ClaimName("c1", new_lfn, replaces=False)
    return only(node(ev.Claimed("c1")), do.MoveFile)


# --- removals -------------------------------------------------------------------


def test_a_removal_is_answered_when_the_file_is_gone() -> None:
    node = ready()
    assert node(ev.RemovalOrdered("c1", "/mine")) == [do.RemoveFiles(("/mine",), by_force=True)]
    assert not node.node.is_visible("/mine")
    assert node.node.pool.used_bytes == 100
    assert node(ev.Removed(("/mine",))) == [do.TellChanged("c1")]
    assert node.node.pool.used_bytes == 0
    (change,) = node.node.changes.take(9)
    assert (change.lfn, change.dropped, change.reason) == ("/mine", True, "removed")
    assert node.node.load(0.0).files_purged == 0


def test_who_reads_a_removed_file_keeps_it() -> None:
    node = ready()
    reader = node.node.pool.open("/mine", node.now_s)
    node.node.pool.set_pins("/mine", [Pin("ann", node.now_s + 60.0)], node.now_s)
    node(ev.RemovalOrdered("c1", "/mine"))
    node(ev.Removed(("/mine",)))
    assert node.node.pool.open_files == 0
    node.node.pool.close(reader, node.now_s)
    node.node.check()


def test_what_could_not_be_removed_is_there_again() -> None:
    node = ready()
    node(ev.RemovalOrdered("c1", "/mine"))
    told = only(node(ev.Removed((), (("/mine", "Input/output error"),)))[1:], do.TellChanged)
    assert isinstance(told.error, Refused)
    assert told.error.message == "/mine could not be removed: Input/output error"
    assert node.node.is_visible("/mine")
    assert [one.dropped for one in node.node.changes.take(9)] == [True, False]


@pytest.mark.parametrize(
    ("lfn", "error", "words"),
    [
        ("/old0", Refused, "/old0 is in the archive: its copy here cannot be changed"),
        ("/none", NotFound, "/none is not on this node"),
        ("/new", Refused, "still being checked"),
        ("/gone", Refused, "on its way out"),
        ("/written", Refused, "is being written by a client"),
        ("/moved", Refused, "/moved is being renamed to /moving"),
    ],
)
def test_why_a_file_is_neither_removed_nor_renamed(
    lfn: str, error: type[Exception], words: str
) -> None:
    node = ready(
        *files(1),
        Found("/new", 1, 0.0, checked=False),
        Found("/gone", 1, 0.0),
        Found("/written", 1, 0.0, archived=False),
        Found("/moved", 1, 0.0, archived=False),
    )
    node(ev.EvictionOrdered(1, ("/gone",)))
    node(ev.UploadBegun("u1", "/written", 0, replaces=True))
    node(ev.RenameOrdered("c0", "/moved", "/moving"))
    for order in (ev.RemovalOrdered("c1", lfn), ev.RenameOrdered("c1", lfn, "/other")):
        told = only(node(order), do.TellChanged)
        assert isinstance(told.error, error)
        assert words in told.error.message
    unchangeable = node.node.unchangeable(lfn)
    assert unchangeable is not None
    assert words in unchangeable.message


# --- renames --------------------------------------------------------------------


def test_a_rename_claims_the_new_name_moves_the_file_and_is_told_as_two_changes() -> None:
    node = ready()
    node.node.pool.set_pins("/mine", [Pin("ann", 9e9)], node.now_s)
    assert rename(node, "/mine", "/yours") == do.MoveFile("c1", "/mine", "/yours")
    assert node.node.claims() == ["/yours"]
    assert node.node.is_moving("/mine")
    assert node.node.is_visible("/mine")
    assert node(ev.Renamed("c1")) == [do.TellClaimEnded("/yours", "c1"), do.TellChanged("c1")]
    dropped, entered = node.node.changes.take(9)
    assert (dropped.lfn, dropped.dropped, dropped.reason) == ("/mine", True, "renamed")
    assert (entered.lfn, entered.size_bytes, entered.dropped) == ("/yours", 100, False)
    assert not node.node.is_visible("/mine")
    assert node.node.is_visible("/yours")
    assert node.node.pool.pinned_files == 0
    assert node.node.is_idle


def test_who_reads_a_renamed_file_keeps_it_open() -> None:
    node = ready()
    reader = node.node.pool.open("/mine", node.now_s)
    rename(node, "/mine", "/yours")
    node(ev.Renamed("c1"))
    assert node.node.pool.open_files == 1
    assert reader.lfn == "/yours"
    node.node.pool.close(reader, node.now_s)
    assert node.node.pool.open_files == 0
    node.node.check()


def test_pins_wait_at_the_new_name() -> None:
    node = ready()
    node.node.pool.set_pins("/yours", [Pin("ann", 9e9)], node.now_s)
    rename(node, "/mine", "/yours")
    node(ev.Renamed("c1"))
    assert node.node.pool.pinned_files == 1


def test_a_new_name_that_is_taken_is_refused() -> None:
    node = ready(*files(1), Found("/gone", 1, 0.0))
    node(ev.EvictionOrdered(1, ("/gone",)))
    node.order("/staged")
    for new_lfn, kind in (
        ("/old0", AlreadyExists),
        ("/gone", Refused),
        ("/staged", Refused),
        ("/mine", UsageError),
    ):
        told = only(node(ev.RenameOrdered("c1", "/mine", new_lfn)), do.TellChanged)
        assert isinstance(told.error, kind), told
    assert node.node.unchangeable("/mine") is None


def test_a_claim_that_is_refused_is_the_answer() -> None:
    node = ready()
    node(ev.RenameOrdered("c1", "/mine", "/yours"))
    error = AlreadyExists("/yours is online on disk2")
    done = node(ev.ClaimRefused("c1", error))
    assert done == [do.TellClaimEnded("/yours", "c1"), do.TellChanged("c1", error)]
    assert node.node.unchangeable("/mine") is None
    assert node(ev.Claimed("c1")) == []


def test_a_file_that_vanished_before_it_was_moved_is_not_found() -> None:
    node = ready()
    node(ev.RenameOrdered("c1", "/mine", "/yours"))
    node(ev.Lost("/mine", "vanished", "it is gone"))
    told = of_kind(node(ev.Claimed("c1")), do.TellChanged)
    assert isinstance(told[0].error, Refused)
    node(ev.Removed(("/mine",)))
    assert len(node.node.pool) == 0


def test_a_file_that_could_not_be_moved_keeps_its_name() -> None:
    node = ready()
    rename(node, "/mine", "/yours")
    error = Refused("/mine cannot be renamed: Input/output error")
    done = node(ev.RenameFailed("c1", error))
    assert done == [do.TellClaimEnded("/yours", "c1"), do.TellChanged("c1", error)]
    assert node.node.is_visible("/mine")
    assert node.node.changes.take(9) == []


def test_a_file_being_moved_is_neither_lost_nor_archived() -> None:
    node = ready()
    rename(node, "/mine", "/yours")
    assert node(ev.Lost("/mine", "vanished", "it is gone")) == []
    assert node(ev.Checked("/mine", archived=True)) == []
    node(ev.Renamed("c1"))
    assert node.node.pool.veto("/yours", node.now_s) is not None


def test_a_stop_ends_renames_that_have_not_come_to_the_disk() -> None:
    node = ready(Found("/other", 1, 0.0, archived=False))
    rename(node, "/mine", "/yours")
    node(ev.RenameOrdered("c2", "/other", "/new"))
    (told,) = of_kind(node(ev.Closing()), do.TellChanged)
    assert told.change_id == "c2"
    told = only(node(ev.RenameOrdered("c3", "/other", "/new")), do.TellChanged)
    assert told.error is not None
    assert told.error.message == "this data server is being stopped"
    assert not node.node.is_idle
    node(ev.Renamed("c1"))
    assert node.node.is_idle


def test_nobody_stages_or_writes_a_name_that_is_being_renamed() -> None:
    node = ready()
    rename(node, "/mine", "/yours")
    for lfn in ("/mine", "/yours"):
        told = only(node.order(lfn), do.TellEnded)
        assert told.failure is not None
        assert told.failure.reason == "/mine is being renamed to /yours"
        assert only(node(ev.UploadBegun("u1", lfn)), do.RefuseUpload).error.message == (
            "/mine is being renamed to /yours"
        )
