"""Uploads in the node: names, room, and what becomes of the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import AlreadyExists, NotFound, PackhorseError, QuotaExceeded, Refused
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.candidates import Advice
from dataserver.core.failure import FailureKind
from dataserver.core.replica import Found, Standing
from dataserver.core.uploads import STEP_BYTES
from tests.support.driven_node import Driven, files, of_kind, only

if TYPE_CHECKING:
    from dataserver.core.instructions import Instruction

MINE = Found("/mine", 100, 500.0, archived=False)


def begin(
    node: Driven, lfn: str, size_bytes: int = 0, *, replaces: bool = False, copies: bool = False
) -> list[Instruction]:
    """What comes of beginning an upload whose claim is granted."""
    upload_id = f"u{lfn}"
    done = node(ev.UploadBegun(upload_id, lfn, size_bytes, replaces, copies, "ann"))
    if not of_kind(done, do.ClaimName):
        return done
    assert done == [do.ClaimName(upload_id, lfn, replaces)]
    return node(ev.Claimed(upload_id))


def put(node: Driven, lfn: str, size_bytes: int = 100, *, replaces: bool = False) -> None:
    """An upload that goes well."""
    only(begin(node, lfn, size_bytes, replaces=replaces), do.GrantRoom)
    only(node(ev.UploadWritten(f"u{lfn}", size_bytes)), do.PublishUpload)
    node(ev.UploadPublished(f"u{lfn}"))


def refused(done: list[Instruction]) -> PackhorseError:
    return only(done, do.RefuseUpload).error


def ready(node: Driven) -> Driven:
    node.welcome()
    node.node.inventory()
    return node


# --- the way of one -------------------------------------------------------------


def test_an_upload_is_claimed_given_room_written_and_published_in_turn() -> None:
    node = ready(Driven())
    claim = only(node(ev.UploadBegun("u1", "/a", 300)), do.ClaimName)
    assert claim == do.ClaimName("u1", "/a", False)
    assert node.node.claims() == ["/a"]
    assert node.node.pool.reserved_bytes == 0
    assert only(node(ev.Claimed("u1")), do.GrantRoom) == do.GrantRoom("u1", 300, 300)
    assert node.node.pool.reserved_bytes == 300
    order = only(node(ev.UploadWritten("u1", 120)), do.PublishUpload)
    assert order == do.PublishUpload("u1", "/a", 120, replaces=False)
    assert not node.node.is_visible("/a")
    assert node.node.is_moving("/a")
    assert node(ev.UploadPublished("u1")) == [do.Inspect("/a"), do.TellClaimEnded("/a", "u1")]
    (change,) = node.node.changes.take(9)
    assert (change.lfn, change.size_bytes, change.dropped) == ("/a", 120, False)
    assert (node.node.pool.used_bytes, node.node.pool.reserved_bytes) == (120, 0)
    assert node.node.claims() == []
    assert node.node.is_idle


def test_what_was_uploaded_is_never_purged_or_evicted() -> None:
    node = ready(Driven())
    put(node, "/a", 950)
    node.now_s += 1000.0
    assert node(ev.Tick()) == []
    veto = node.node.pool.veto("/a", node.now_s)
    assert veto == "not in the archive: this may be the only copy"


@pytest.mark.parametrize("state", ["claiming", "reserving", "writing"])
def test_an_upload_that_comes_to_nothing_gives_back_its_name_and_its_room(state: str) -> None:
    node = ready(Driven(found=files(9)))
    node(ev.UploadBegun("u1", "/a", 300))
    if state != "claiming":
        removal = only(node(ev.Claimed("u1")), do.RemoveFiles)
        if state == "writing":
            assert of_kind(node(ev.Removed(removal.lfns)), do.GrantRoom)
    upload = node.node.uploads.get("u1")
    assert upload is not None
    assert upload.state.value == state
    error = Refused("its client went away")
    assert only(node(ev.UploadFailed("u1", error)), do.EndUpload) == do.EndUpload("u1", error)
    assert node.node.pool.reserved_bytes == (300 if state == "writing" else 0)
    assert node(ev.UploadFailed("u1", Refused("once more"))) == []
    assert only(node(ev.UploadGone("u1")), do.TellClaimEnded).lfn == "/a"
    assert node.node.pool.reserved_bytes == 0
    assert node.node.is_idle


def test_a_file_that_does_not_get_to_its_place_is_ended_with_its_reason() -> None:
    node = ready(Driven())
    begin(node, "/a", 100)
    node(ev.UploadWritten("u/a", 100))
    error = QuotaExceeded("the disk is full")
    assert only(node(ev.UploadFailed("u/a", error)), do.EndUpload).error is error
    node(ev.UploadGone("u/a"))
    assert node.node.pool.get("/a") is None
    assert node.node.changes.take(9) == []


def test_a_claim_that_is_refused_ends_the_upload_with_the_redirectors_words() -> None:
    node = ready(Driven())
    node(ev.UploadBegun("u1", "/a"))
    error = AlreadyExists("/a is online on disk2")
    assert only(node(ev.ClaimRefused("u1", error)), do.EndUpload).error is error
    assert only(node(ev.UploadGone("u1")), do.TellClaimEnded).lfn == "/a"


def test_the_answer_to_a_claim_that_nobody_waits_for_changes_nothing() -> None:
    node = ready(Driven())
    node(ev.UploadBegun("u1", "/a"))
    node(ev.UploadFailed("u1", Refused("gone")))
    assert node(ev.Claimed("u1")) == []
    assert node(ev.ClaimRefused("u1", Refused("late"))) == []
    node(ev.UploadGone("u1"))
    assert node(ev.Claimed("u1")) == []
    assert node(ev.UploadFailed("u1", Refused("later"))) == []
    assert node(ev.RoomWanted("u1", 10)) == []
    assert node(ev.UploadWritten("u1", 10)) == []


def test_a_stop_ends_all_uploads_but_those_being_published_and_takes_no_more() -> None:
    node = ready(Driven())
    begin(node, "/a", 100)
    begin(node, "/b", 100)
    node(ev.UploadWritten("u/b", 100))
    ended = only(node(ev.Closing()), do.EndUpload)
    assert (ended.upload_id, ended.error.message) == ("u/a", "this data server is being stopped")
    node(ev.UploadGone("u/a"))
    assert not node.node.is_idle
    node(ev.UploadPublished("u/b"))
    assert node.node.is_idle
    assert refused(begin(node, "/c")).message == "this data server is being stopped"


def test_out_of_touch_for_most_of_the_lease_a_node_ends_its_uploads() -> None:
    node = ready(Driven())
    begin(node, "/a", 100)
    node.now_s += 48.1
    ended = only(node(ev.Tick()), do.EndUpload)
    assert "out of touch with the redirector for 48.1 s" in ended.error.message
    assert node(ev.Tick()) == []


# --- names ------------------------------------------------------------------------


def test_one_name_has_one_writer() -> None:
    node = ready(Driven())
    begin(node, "/a", 100)
    error = refused(node(ev.UploadBegun("u2", "/a")))
    assert isinstance(error, Refused)
    assert error.message == "/a is being written by a client on this node"


def test_a_live_recall_refuses_an_upload_and_an_upload_fails_a_recall() -> None:
    node = ready(Driven())
    node.order("/a")
    assert refused(begin(node, "/a")).message == "recall r/a of /a is under way on this node"
    begin(node, "/b", 100)
    told = only(node.order("/b"), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.TRANSIENT
    assert told.failure.reason == "/b is being written by a client on this node"
    node(ev.UploadWritten("u/b", 100))
    node(ev.UploadPublished("u/b"))
    assert only(node.order("/b"), do.TellEnded).failure is None


def test_a_name_that_exists_is_not_written_anew() -> None:
    node = ready(Driven(found=[MINE, *files(1)]))
    for lfn in ("/mine", "/old0"):
        error = refused(begin(node, lfn))
        assert isinstance(error, AlreadyExists)
        assert error.message == f"{lfn} exists already"


def test_what_is_not_here_cannot_be_replaced() -> None:
    node = ready(Driven())
    error = refused(begin(node, "/a", replaces=True))
    assert isinstance(error, NotFound)
    assert error.message == "/a is not on this node"


def test_what_is_in_the_archive_is_never_replaced() -> None:
    node = ready(Driven(found=files(1)))
    error = refused(begin(node, "/old0", replaces=True))
    assert isinstance(error, Refused)
    assert error.message == "/old0 is in the archive: its copy here cannot be changed"


def test_what_is_leaving_or_unchecked_is_not_written() -> None:
    node = ready(Driven(found=[*files(1), Found("/new", 1, 0.0, checked=False)]))
    node(ev.EvictionOrdered(1, ("/old0",)))
    for replaces in (True, False):
        assert "on its way out" in refused(begin(node, "/old0", replaces=replaces)).message
    assert "still being checked" in refused(begin(node, "/new", replaces=True)).message
    assert isinstance(refused(begin(node, "/new")), AlreadyExists)


# --- replacing ----------------------------------------------------------------------


def test_the_old_replica_stays_until_the_new_one_takes_its_place() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    reader = node.node.pool.open("/mine", node.now_s)
    assert (node.node.pool.used_bytes, node.node.pool.reserved_bytes) == (100, 300)
    assert only(node(ev.UploadWritten("u/mine", 200)), do.PublishUpload).replaces
    assert node.node.is_visible("/mine")
    node(ev.UploadPublished("u/mine"))
    assert (node.node.pool.used_bytes, node.node.pool.reserved_bytes) == (200, 0)
    assert node.node.pool.open_files == 0
    node.node.pool.close(reader, node.now_s)
    (change,) = node.node.changes.take(9)
    assert (change.lfn, change.size_bytes, change.dropped) == ("/mine", 200, False)
    node.node.check()


def test_an_update_reserves_at_least_what_it_begins_with() -> None:
    node = ready(Driven(found=[MINE]))
    assert only(begin(node, "/mine", 30, replaces=True, copies=True), do.GrantRoom) == (
        do.GrantRoom("u/mine", 100, 100)
    )


def test_an_update_that_comes_to_nothing_leaves_the_old_replica() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    node(ev.UploadFailed("u/mine", Refused("gone")))
    node(ev.UploadGone("u/mine"))
    assert node.node.is_visible("/mine")
    assert node.node.pool.used_bytes == 100
    assert node.node.changes.take(9) == []


def test_a_replica_the_archive_has_by_now_is_not_replaced() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    node(ev.Checked("/mine", archived=True))
    ended = only(node(ev.UploadWritten("u/mine", 200)), do.EndUpload)
    assert "is in the archive" in ended.error.message


def test_news_of_the_old_content_is_none_of_what_replaces_it() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    node(ev.UploadWritten("u/mine", 200))
    assert node(ev.Checked("/mine", archived=True)) == []
    assert node(ev.Lost("/mine", "vanished", "it is gone")) == []
    node(ev.UploadPublished("u/mine"))
    assert node.node.is_visible("/mine")
    assert node.node.pool.veto("/mine", node.now_s) is not None


def test_an_old_replica_that_vanished_meanwhile_is_replaced_by_nothing_less() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    node(ev.Lost("/mine", "vanished", "it is gone"))
    node(ev.Removed(("/mine",)))
    assert not only(node(ev.UploadWritten("u/mine", 200)), do.PublishUpload).replaces
    node(ev.UploadPublished("u/mine"))
    assert node.node.pool.used_bytes == 200


def test_a_file_is_not_published_while_the_old_one_is_being_removed() -> None:
    node = ready(Driven(found=[MINE]))
    begin(node, "/mine", 300, replaces=True)
    node(ev.Lost("/mine", "vanished", "it is gone"))
    assert "on its way out" in only(node(ev.UploadWritten("u/mine", 1)), do.EndUpload).error.message
    node(ev.UploadGone("u/mine"))
    node(ev.Removed((), (("/mine", "Read-only file system"),)))
    replica = node.node.pool.get("/mine")
    assert replica is not None
    assert replica.standing is Standing.LEAVING


# --- room -----------------------------------------------------------------------------


def test_an_upload_of_unknown_size_begins_small_and_doubles() -> None:
    node = ready(Driven(64_000))
    granted = only(begin(node, "/a"), do.GrantRoom)
    assert granted == do.GrantRoom("u/a", 1000, 750)
    granted = only(node(ev.RoomWanted("u/a", 800)), do.GrantRoom)
    assert granted == do.GrantRoom("u/a", 2000, 1500)
    granted = only(node(ev.RoomWanted("u/a", 5000)), do.GrantRoom)
    assert granted.reserved_bytes == 10_000


def test_a_large_upload_grows_in_steps_that_do_not_double_for_ever() -> None:
    node = ready(Driven(100 << 30))
    begin(node, "/a", 10 << 30)
    granted = only(node(ev.RoomWanted("u/a", (10 << 30) + 1)), do.GrantRoom)
    assert granted.reserved_bytes == (10 << 30) + 1 + STEP_BYTES
    assert granted.ask_from_bytes == granted.reserved_bytes - STEP_BYTES // 2


def test_a_promised_size_is_reserved_as_it_is_and_asks_for_no_more_before_its_end() -> None:
    node = ready(Driven())
    assert only(begin(node, "/a", 400), do.GrantRoom) == do.GrantRoom("u/a", 400, 400)
    assert only(node(ev.RoomWanted("u/a", 401)), do.GrantRoom).reserved_bytes == 802


def test_room_for_an_upload_is_purged_and_it_waits_for_it() -> None:
    node = ready(Driven(found=files(9)))
    removal = only(begin(node, "/a", 300), do.RemoveFiles)
    done = node(ev.Removed(removal.lfns))
    assert only(done, do.GrantRoom).reserved_bytes == 300


def test_room_for_an_upload_that_grows_is_purged_too() -> None:
    node = ready(Driven(found=files(8)))
    begin(node, "/a", 200)
    removal = only(node(ev.RoomWanted("u/a", 250)), do.RemoveFiles)
    granted = only(node(ev.Removed(removal.lfns)), do.GrantRoom)
    assert granted.reserved_bytes >= 250
    assert granted.ask_from_bytes < granted.reserved_bytes


def test_no_room_even_after_purging_is_refused_with_the_numbers() -> None:
    node = ready(Driven(found=[Found("/mine", 900, 0.0, archived=False)]))
    ended = only(begin(node, "/a", 200), do.EndUpload)
    assert isinstance(ended.error, QuotaExceeded)
    assert ended.error.message == (
        "no room for 200 B: pool holds 900 B of 1 kB in 1 files, 0 B reserved, 0 B pinned, 0 B open"
    )


def test_more_than_the_quota_is_refused_without_purging() -> None:
    node = ready(Driven(found=files(8)))
    ended = only(begin(node, "/a", 1001), do.EndUpload)
    assert "more than this pool's quota" in ended.error.message


def test_an_upload_that_cannot_grow_keeps_what_it_has() -> None:
    node = ready(Driven(found=[Found("/mine", 900, 0.0, archived=False)]))
    begin(node, "/a", 100)
    told = only(node(ev.RoomWanted("u/a", 101)), do.RefuseRoom)
    assert isinstance(told.error, QuotaExceeded)
    assert node.node.pool.reserved_for("u/a") == 100
    only(node(ev.UploadWritten("u/a", 100)), do.PublishUpload)


def test_uploads_and_recalls_stand_in_one_line() -> None:
    node = ready(Driven(found=files(9), slots=3))
    of_kind(begin(node, "/big", 500), do.RemoveFiles)
    assert node.order("/small", 50) == []
    assert node(ev.Removed(("/old0",))) == []
    done = node(ev.Removed(("/old1", "/old2", "/old3")))
    assert [type(one) for one in done if not isinstance(one, do.RemoveFiles)] == [do.GrantRoom]
    done = node(ev.Removed(("/old4",)))
    assert [one.lfn for one in of_kind(done, do.Copy)] == ["/small"]


def test_an_upload_does_not_grow_past_a_recall_that_waits() -> None:
    node = ready(Driven(found=[Found("/mine", 100, 0.0, archived=False), *files(7)]))
    begin(node, "/a", 100)
    removal = only(node.order("/b", 400), do.RemoveFiles)
    assert node(ev.RoomWanted("u/a", 150)) == []
    assert node.node.pool.reserved_for("u/a") == 100
    done = node(ev.Removed(removal.lfns))
    assert of_kind(done, do.GrantRoom) == []
    assert [one.lfn for one in of_kind(done, do.Copy)] == ["/b"]
    removal = of_kind(done, do.RemoveFiles)[0]
    granted = only(node(ev.Removed(removal.lfns)), do.GrantRoom)
    assert granted.reserved_bytes >= 150


def grown(node: Driven) -> Driven:
    """An upload that has outgrown what was promised, and has 8002 bytes reserved by now."""
    begin(node, "/a", 4000)
    granted = only(node(ev.RoomWanted("u/a", 4001)), do.GrantRoom)
    assert granted == do.GrantRoom("u/a", 8002, 6002)
    return node


def test_a_step_ahead_is_wished_for_and_given_once_there_is_room() -> None:
    node = grown(ready(Driven(64_000, found=files(1, 55_000))))
    removal = only(node(ev.RoomWanted("u/a", 6500)), do.RemoveFiles)
    assert only(node(ev.Removed(removal.lfns)), do.GrantRoom).reserved_bytes == 16_004


def test_a_step_ahead_that_no_purge_could_make_room_for_is_not_wished_for() -> None:
    mine = Found("/mine", 55_000, 0.0, archived=False)
    node = grown(ready(Driven(64_000, found=[mine, *files(1, 400)])))
    assert node(ev.RoomWanted("u/a", 6500)) == []
    assert node.node.pool.get("/old0") is not None
    assert of_kind(node(ev.RoomWanted("u/a", 8800)), do.RemoveFiles)


def test_a_wish_that_purging_could_not_fulfil_is_forgotten_for_a_while() -> None:
    node = grown(ready(Driven(64_000, found=files(1, 55_000), asks=True)))
    only(node(ev.RoomWanted("u/a", 6500)), do.AskPurgeCommand)
    assert node(ev.Advised(Advice(keep=frozenset({"/old0"})))) == []
    assert node(ev.RoomWanted("u/a", 6600)) == []
    node.now_s += 31.0
    only(node(ev.RoomWanted("u/a", 6700)), do.AskPurgeCommand)


def test_files_count_too() -> None:
    node = ready(Driven(found=[MINE], max_files=2))
    only(begin(node, "/a", 1), do.GrantRoom)
    ended = only(begin(node, "/b", 1), do.EndUpload)
    assert "2 of 2 files taken" in ended.error.message
