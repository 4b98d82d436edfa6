"""Clients remove and replace what is in the archive, where the site lets them."""

from __future__ import annotations

from common.errors import NotFound, Refused, Unreachable
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.events import Likeness
from dataserver.core.replica import Found
from dataserver.core.store import StoreState
from dataserver.core.stores import StoreRules
from tests.support.driven_node import Driven, of_kind, only

ARCHIVED = Found("/a", 100, 0.0)
MINE = Found("/mine", 100, 0.0, archived=False)
DOWN = Unreachable("the library is down")


def ready(*found: Found, slots: int = 1) -> Driven:
    """A node of a site that lets clients remove what is in its archive."""
    rules = StoreRules(slots, 0.0, 60.0, 3600.0, can_look=True, covers=lambda _: True)
    node = Driven(found=list(found), store_rules=rules, withdraws=True)
    node.welcome()
    return node


def remove(node: Driven, lfn: str = "/a", *, replaces: bool = True) -> do.RemoveFromArchive:
    """A removal by a client, up to where the archive is asked."""
    claim = only(node(ev.RemovalOrdered("c1", lfn, also_archived=True)), do.ClaimName)
    assert claim == do.ClaimName("c1", lfn, replaces=replaces, is_new=False)
    assert node.node.claims() == [lfn]
    return only(node(ev.Claimed("c1")), do.RemoveFromArchive)


# --- removing -------------------------------------------------------------------


def test_the_archive_loses_a_file_before_the_pool_does() -> None:
    node = ready(ARCHIVED)
    assert remove(node) == do.RemoveFromArchive("c1", "/a")
    # Meanwhile it is the only copy.
    assert node.node.pool.veto("/a", node.now_s) == "not in the archive: this may be the only copy"
    done = node(ev.Withdrawn("c1"))
    assert done == [do.RemoveFiles(("/a",), by_force=True), do.TellClaimEnded("/a", "c1")]
    assert node(ev.Removed(("/a",))) == [do.TellChanged("c1")]
    assert node.node.is_idle
    assert node.node.claims() == []


def test_what_only_the_archive_has_can_be_removed_here_too() -> None:
    node = ready()
    remove(node, replaces=False)
    assert node(ev.Withdrawn("c1")) == [do.TellClaimEnded("/a", "c1"), do.TellChanged("c1")]
    assert node.node.is_idle


def test_what_neither_has_is_not_found() -> None:
    node = ready()
    remove(node, replaces=False)
    gone = NotFound("/a does not exist")
    assert only(node(ev.Withdrawn("c1", gone))[1:], do.TellChanged).error is gone


def test_an_archive_that_does_not_let_go_keeps_the_file_and_so_does_the_pool() -> None:
    node = ready(ARCHIVED)
    remove(node)
    done = node(ev.Withdrawn("c1", DOWN))
    assert of_kind(done, do.TellChanged) == [do.TellChanged("c1", DOWN)]
    assert not of_kind(done, do.RemoveFiles)
    # It is for its storing to find out what the archive has.
    step_id = only(of_kind(done, do.CompareWithArchive), do.CompareWithArchive).step_id
    node(ev.Compared(step_id, Likeness.SAME))
    node(ev.ArchivedNoted(step_id))
    assert node.node.pool.veto("/a", node.now_s) is None


def test_a_name_that_is_not_to_be_had_stays() -> None:
    node = ready(ARCHIVED)
    node(ev.RemovalOrdered("c1", "/a"))
    taken = Refused("/a is online elsewhere")
    assert node(ev.ClaimRefused("c1", taken)) == [
        do.TellClaimEnded("/a", "c1"),
        do.TellChanged("c1", taken),
    ]
    assert node.node.pool.veto("/a", node.now_s) is None


def test_a_file_that_is_removed_while_it_is_stored_does_not_come_back() -> None:
    node = ready(MINE)
    store = node.node.stores.table.get("/mine")
    assert store is not None
    step_id = store.step_id
    node(ev.Compared(step_id, Likeness.ABSENT))
    node(ev.RemovalOrdered("c1", "/mine"))
    # First nothing more of it is stored, then the archive lets go of what it has.
    assert node(ev.Claimed("c1")) == [do.StopStore(step_id)]
    assert node(ev.StoreRan(step_id)) == []
    assert node(ev.StoreStopped(step_id)) == [do.RemoveFromArchive("c1", "/mine")]
    assert node(ev.Tick()) == []
    only(node(ev.Withdrawn("c1"))[:1], do.RemoveFiles)
    node(ev.Removed(("/mine",)))
    assert len(node.node.stores.table) == 0


def test_a_file_that_was_never_sent_is_removed_at_once() -> None:
    node = ready(MINE)
    done = node(ev.RemovalOrdered("c1", "/mine"))
    assert of_kind(done, do.RemoveFiles) == [do.RemoveFiles(("/mine",), by_force=True)]
    assert not of_kind(done, do.ClaimName)


def test_a_second_removal_of_a_file_is_refused() -> None:
    node = ready(ARCHIVED)
    remove(node)
    told = only(node(ev.RemovalOrdered("c2", "/a")), do.TellChanged)
    assert isinstance(told.error, Refused)


def test_a_file_that_vanishes_while_the_archive_lets_it_go_is_gone() -> None:
    node = ready(ARCHIVED)
    remove(node)
    node(ev.Lost("/a", "vanished", "gone"))
    done = node(ev.Withdrawn("c1"))
    assert of_kind(done, do.TellChanged)
    node(ev.Removed(("/a",)))
    assert node.node.is_idle


def test_a_server_that_stops_takes_no_more_removals_on_and_ends_those_that_wait() -> None:
    node = ready(ARCHIVED)
    node(ev.RemovalOrdered("c1", "/a"))
    told = of_kind(node(ev.Closing()), do.TellChanged)
    assert [one.change_id for one in told] == ["c1"]
    assert only(node(ev.RemovalOrdered("c2", "/a")), do.TellChanged).error is not None
    assert node(ev.Claimed("c1")) == []


def test_without_a_removecmd_what_is_archived_stays() -> None:
    node = Driven(found=[ARCHIVED])
    told = only(node(ev.RemovalOrdered("c1", "/a", also_archived=True)), do.TellChanged)
    assert isinstance(told.error, Refused)


# --- replacing ------------------------------------------------------------------


def write(node: Driven) -> list[object]:
    """A client's new content for /a, up to where it is whole."""
    node(ev.UploadBegun("u1", "/a", 50, replaces=True))
    only(node(ev.Claimed("u1")), do.GrantRoom)
    return list(node(ev.UploadWritten("u1", 50)))


def test_the_archive_loses_the_old_content_before_the_new_one_is_there() -> None:
    node = ready(ARCHIVED)
    assert write(node) == [do.RemoveFromArchive("u1", "/a")]
    assert node.node.is_visible("/a")
    published = only(node(ev.Withdrawn("u1")), do.PublishUpload)
    assert published == do.PublishUpload("u1", "/a", 50, replaces=True)
    done = node(ev.UploadPublished("u1"))
    # The new content is stored in its turn.
    assert [one.lfn for one in of_kind(done, do.CompareWithArchive)] == ["/a"]
    assert node.node.pool.unarchived.size_bytes == 50


def test_old_content_that_the_archive_does_not_let_go_stays() -> None:
    node = ready(ARCHIVED)
    write(node)
    ended = of_kind(node(ev.Withdrawn("u1", DOWN)), do.EndUpload)
    assert ended == [do.EndUpload("u1", DOWN)]
    node(ev.UploadGone("u1"))
    assert node.node.pool.unarchived.size_bytes == 100


def test_new_content_whose_claim_was_lost_meanwhile_is_not_published() -> None:
    node = ready(ARCHIVED)
    write(node)
    node(ev.UploadFailed("u1", Refused("its client went away")))
    node.now_s += 1000.0
    node(ev.Tick())
    done = node(ev.Withdrawn("u1"))
    assert of_kind(done, do.EndUpload)
    assert not of_kind(done, do.PublishUpload)
    node(ev.UploadGone("u1"))
    node.now_s += 10.0
    # The old content is stored again.
    store = node.node.stores.table.get("/a")
    assert store is not None
    assert store.state is StoreState.LOOKING or of_kind(node(ev.Tick()), do.CompareWithArchive)


def test_new_content_that_cannot_be_put_in_place_leaves_the_old_one_to_be_stored() -> None:
    node = ready(ARCHIVED)
    write(node)
    node(ev.Withdrawn("u1"))
    node(ev.UploadFailed("u1", Refused("Input/output error")))
    node(ev.UploadGone("u1"))
    node.now_s += 10.0
    assert only(node(ev.Tick()), do.CompareWithArchive).lfn == "/a"
