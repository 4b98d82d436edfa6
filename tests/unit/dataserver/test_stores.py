"""Storing in the node: what is stored when, and what of it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import Refused
from common.story import IllegalMove
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.events import Likeness
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.replica import Found, Replica, Standing
from dataserver.core.store import Store, StoreState
from dataserver.core.store_table import StoreFound
from dataserver.core.stores import BUSY_S, StoreRules
from tests.support.driven_node import Driven, of_kind, only

if TYPE_CHECKING:
    from dataserver.core.instructions import Instruction

DELAY_S = 600.0
BACKOFF_S = 60.0
DOWN = Failure(FailureKind.TRANSIENT, "the library is down")
FORBIDDEN = Failure(FailureKind.PERMANENT, "no such pool")


def rules(*, slots: int = 1, can_look: bool = True) -> StoreRules:
    return StoreRules(
        slots,
        DELAY_S,
        BACKOFF_S,
        3600.0,
        can_look,
        covers=lambda lfn: not lfn.startswith("/scratch/"),
    )


def mine(*names: str) -> list[Found]:
    return [Found(name, 100, 0.0, archived=False) for name in names]


def driven(*names: str, slots: int = 1, can_look: bool = True) -> Driven:
    """A node that holds files of clients', which are due to be stored now."""
    quota_bytes = max(1000, 200 * len(names))
    found = mine(*names)
    node = Driven(quota_bytes, found=found, store_rules=rules(slots=slots, can_look=can_look))
    node.now_s = 1.0
    node.node.stores.load([StoreFound(name, 0.0) for name in names], node.now_s)
    node.welcome(lease_s=1e9)
    node.now_s = 1000.0
    return node


def state_of(node: Driven, lfn: str = "/a") -> StoreState:
    store = node.node.stores.table.get(lfn)
    assert store is not None
    return store.state


def first(done: list[Instruction]) -> str:
    """The step that the archive is to be asked for."""
    return only(done, do.CompareWithArchive).step_id


def store(node: Driven, lfn: str = "/a") -> str:
    """Has the archive asked, which has nothing: the step whose command runs now."""
    step_id = first(node(ev.Tick()))
    done = node(ev.Compared(step_id, Likeness.ABSENT))
    assert done == [do.RunStore(step_id, lfn, again=False)]
    return step_id


def may_go(node: Driven, lfn: str = "/a") -> bool:
    return node.node.pool.veto(lfn, node.now_s) is None


# --- the way of one -------------------------------------------------------------


def test_a_file_is_stored_verified_noted_and_only_then_may_go() -> None:
    node = driven("/a")
    step_id = store(node)
    assert node(ev.StoreRan(step_id)) == [do.CompareWithArchive(step_id, "/a")]
    assert not may_go(node)
    assert node(ev.Compared(step_id, Likeness.SAME)) == [do.NoteArchived(step_id, "/a")]
    assert not may_go(node)
    assert node(ev.ArchivedNoted(step_id)) == []
    assert may_go(node)
    assert node.node.is_idle
    load = node.node.load(node.now_s)
    assert (load.stores_waiting, load.unarchived_files, load.files_stored) == (0, 0, 1)
    assert load.bytes_stored == 100


def test_a_fresh_file_is_left_alone_for_the_delay() -> None:
    node = driven()
    node(ev.UploadBegun("u1", "/a", 100))
    node(ev.Claimed("u1"))
    node(ev.UploadWritten("u1", 100))
    assert not of_kind(node(ev.UploadPublished("u1")), do.CompareWithArchive)
    node.now_s += DELAY_S - 1.0
    assert node(ev.Tick()) == []
    load = node.node.load(node.now_s)
    assert (load.stores_waiting, load.stores_waiting_bytes) == (1, 100)
    assert load.stores_oldest_s == DELAY_S - 1.0
    node.now_s += 1.0
    only(node(ev.Tick()), do.CompareWithArchive)


def test_what_is_not_migratable_stays_and_is_never_purged() -> None:
    node = driven("/scratch/a")
    assert node(ev.Tick()) == []
    assert not may_go(node, "/scratch/a")
    standing = node.node.stores.standing("/scratch/a", node.now_s)
    assert standing is not None
    assert (standing.state, standing.reason) == (
        "kept",
        "it is not migratable: it stays in the pool",
    )
    load = node.node.load(node.now_s)
    assert (load.stores_waiting, load.unarchived_files) == (0, 1)


def test_without_rules_nothing_is_stored() -> None:
    node = Driven(found=mine("/a"))
    node.node.stores.load([StoreFound("/a", 0.0, sent=True)], node.now_s)
    assert node(ev.Tick()) == []
    assert node.node.unchangeable("/a") is None


def test_slots_limit_what_is_stored_at_a_time() -> None:
    node = driven("/a", "/b", "/c", slots=2)
    steps = of_kind(node(ev.Tick()), do.CompareWithArchive)
    assert [one.lfn for one in steps] == ["/a", "/b"]
    (third,) = of_kind(node(ev.Compared(steps[0].step_id, Likeness.UNKNOWN)), do.CompareWithArchive)
    assert third.lfn == "/c"


# --- what the archive has already ---------------------------------------------------


def test_what_the_archive_has_already_is_not_stored_again() -> None:
    node = driven("/a")
    step_id = first(node(ev.Tick()))
    only(node(ev.Compared(step_id, Likeness.SAME)), do.NoteArchived)
    assert node.node.unchangeable("/a") is None
    node(ev.ArchivedNoted(step_id))
    assert may_go(node)


@pytest.mark.parametrize(
    ("likeness", "which"),
    [
        (Likeness.OTHER, "has another file of this name, which is not overwritten: it has 7 bytes"),
        (Likeness.ALIKE, "has a file of this name, maybe another one, which is not overwritten"),
    ],
)
def test_a_file_of_somebody_elses_in_the_archive_is_not_overwritten(
    likeness: Likeness, which: str
) -> None:
    node = driven("/a")
    done = node(ev.Compared(first(node(ev.Tick())), likeness, "it has 7 bytes"))
    told, note = done
    assert isinstance(note, do.NoteStore)
    assert isinstance(told, do.Tell)
    assert told.text == f"/a cannot be stored in the archive: {note.failure}"
    assert (note.sent, which in note.failure) == (False, True)
    assert state_of(node) is StoreState.FAILED
    assert node.node.load(node.now_s).stores_failed == 1


@pytest.mark.parametrize("likeness", [Likeness.OTHER, Likeness.ALIKE, Likeness.ABSENT])
def test_what_an_earlier_run_may_have_left_is_overwritten(likeness: Likeness) -> None:
    node = Driven(found=mine("/a"), store_rules=rules())
    node.node.stores.load([StoreFound("/a", 0.0, sent=True)], node.now_s)
    step_id = first(node(ev.Tick()))
    assert node(ev.Compared(step_id, likeness)) == [do.RunStore(step_id, "/a", again=True)]


def test_what_an_earlier_run_has_stored_well_is_not_stored_again_if_a_checksum_says_so() -> None:
    node = Driven(found=mine("/a"), store_rules=rules())
    node.node.stores.load([StoreFound("/a", 0.0, sent=True)], node.now_s)
    only(node(ev.Compared(first(node(ev.Tick())), Likeness.SAME)), do.NoteArchived)


def test_an_archive_that_cannot_be_asked_gets_nothing() -> None:
    node = driven("/a")
    assert node(ev.Compared(first(node(ev.Tick())), Likeness.UNKNOWN, "timeout")) == []
    assert state_of(node) is StoreState.WAITING
    assert node.node.unchangeable("/a") is None
    standing = node.node.stores.standing("/a", node.now_s)
    assert standing is not None
    assert standing.next_try_s == BACKOFF_S
    assert "timeout" in standing.reason


# --- after the command --------------------------------------------------------------


def test_a_command_that_ended_well_is_believed_where_nobody_can_ask() -> None:
    node = driven("/a", can_look=False)
    step_id = only(node(ev.Tick()), do.RunStore).step_id
    only(node(ev.StoreRan(step_id)), do.NoteArchived)


def test_a_command_that_ended_well_is_believed_if_nothing_speaks_against_it() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id))
    only(node(ev.Compared(step_id, Likeness.ALIKE)), do.NoteArchived)


@pytest.mark.parametrize("likeness", [Likeness.OTHER, Likeness.ABSENT])
def test_a_command_that_lies_is_found_out(likeness: Likeness) -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id))
    node(ev.Compared(step_id, likeness, "it has 99 bytes"))
    assert state_of(node) is StoreState.WAITING
    assert not may_go(node)
    standing = node.node.stores.standing("/a", node.now_s)
    assert standing is not None
    assert "ended well, but the archive does not agree: it has 99 bytes" in standing.reason


def test_what_was_stored_well_is_not_stored_again_when_the_archive_could_not_be_asked() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id))
    assert node(ev.Compared(step_id, Likeness.UNKNOWN, "timeout")) == []
    node.now_s += BACKOFF_S
    only(node(ev.Compared(first(node(ev.Tick())), Likeness.ALIKE)), do.NoteArchived)


def test_a_command_that_failed_may_have_stored_the_file_all_the_same() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id, DOWN))
    only(node(ev.Compared(step_id, Likeness.SAME)), do.NoteArchived)


def test_half_a_file_that_a_failed_command_left_is_not_believed() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id, DOWN))
    assert node(ev.Compared(step_id, Likeness.ALIKE)) == []
    assert state_of(node) is StoreState.WAITING
    assert not may_go(node)


def test_transient_failures_are_tried_again_with_growing_pauses() -> None:
    node = driven("/a")
    pauses = []
    for _ in range(3):
        step_id = store(node)
        node(ev.StoreRan(step_id, DOWN))
        node(ev.Compared(step_id, Likeness.ABSENT))
        standing = node.node.stores.standing("/a", node.now_s)
        assert standing is not None
        pauses.append(standing.next_try_s)
        node.now_s += standing.next_try_s
    assert pauses == [60.0, 120.0, 240.0]


def test_a_permanent_failure_is_kept_and_tried_again_when_somebody_says_so() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id, FORBIDDEN))
    done = node(ev.Compared(step_id, Likeness.ABSENT))
    assert do.NoteStore("/a", sent=False, failure="no such pool") in done
    node.now_s += 1e6
    assert node(ev.Tick()) == []
    done = node(ev.StoresOrdered(7, ("/a", "/b")))
    assert do.TellStores(7, ("/a",), (("/b", "not held here"),)) in done
    assert of_kind(done, do.CompareWithArchive)
    assert node.node.load(node.now_s).stores_failed == 0


def test_a_permanent_failure_outlives_a_restart() -> None:
    node = Driven(found=mine("/a"), store_rules=rules())
    node.node.stores.load([StoreFound("/a", 0.0, failure="no such pool")], node.now_s)
    assert node(ev.Tick()) == []
    assert state_of(node) is StoreState.FAILED
    standing = node.node.stores.standing("/a", node.now_s)
    assert standing is not None
    assert (standing.reason, standing.waiting_s) == ("no such pool", node.now_s)


def test_when_the_disk_fails_before_the_command_the_archive_is_asked_all_the_same() -> None:
    node = driven("/a")
    step_id = store(node)
    only(node(ev.StoreStepFailed(step_id, DOWN)), do.CompareWithArchive)
    node(ev.Compared(step_id, Likeness.ABSENT))
    assert node.node.unchangeable("/a") is None


def test_a_file_whose_row_cannot_be_written_does_not_go() -> None:
    node = driven("/a")
    step_id = store(node)
    node(ev.StoreRan(step_id))
    node(ev.Compared(step_id, Likeness.SAME))
    node(ev.StoreStepFailed(step_id, DOWN))
    assert not may_go(node)
    assert state_of(node) is StoreState.WAITING


# --- an archive that is down ---------------------------------------------------------


def test_a_thousand_files_are_not_tried_while_the_archive_is_down_for_a_day() -> None:
    names = [f"/f{number:04}" for number in range(1000)]
    node = driven(*names, slots=4)
    tries = 0
    until_s = node.now_s + 86_400.0
    waiting = [one.step_id for one in of_kind(node(ev.Tick()), do.CompareWithArchive)]
    while node.now_s < until_s:
        tries += len(waiting)
        done: list[Instruction] = []
        for step_id in waiting:
            done += node.node.handle(ev.Compared(step_id, Likeness.UNKNOWN, "down"), node.now_s)
        node.now_s += BACKOFF_S
        done += node.node.handle(ev.Tick(), node.now_s)
        waiting = [one.step_id for one in of_kind(done, do.CompareWithArchive)]
    node.node.check()
    assert tries < 50
    load = node.node.load(node.now_s)
    assert load.stores_waiting == 1000
    assert "the archive has taken nothing for 24 h" in load.stores_trouble
    # The first that goes well lets all the others go.
    for step_id in waiting:
        node(ev.Compared(step_id, Likeness.UNKNOWN, "down"))
    node.now_s += 3600.0
    step_id = first(node(ev.Tick()))
    node(ev.Compared(step_id, Likeness.SAME))
    done = node(ev.ArchivedNoted(step_id))
    assert of_kind(done, do.Tell) == [do.Tell("the archive takes files again")]
    assert len(of_kind(done, do.CompareWithArchive)) == 4
    assert node.node.load(node.now_s).stores_trouble == ""


def test_who_says_that_the_archive_is_well_again_need_not_wait() -> None:
    node = driven("/a", "/b", "/c", slots=3)
    told: list[do.Tell] = []
    for step in of_kind(node(ev.Tick()), do.CompareWithArchive):
        told += of_kind(node(ev.Compared(step.step_id, Likeness.UNKNOWN, "down")), do.Tell)
    # It is said once, however many files wait.
    (one,) = told
    assert one.text.startswith("the archive takes no files, and is tried with one at a time")
    assert node.node.stores.trouble(node.now_s)
    done = node(ev.StoresOrdered(1, ("/b",)))
    assert [one.lfn for one in of_kind(done, do.CompareWithArchive)] == ["/b"]


# --- files that change meanwhile -------------------------------------------------------


def test_what_is_being_stored_is_no_clients_to_change() -> None:
    node = driven("/a")
    store(node)
    told = only(node(ev.RemovalOrdered("c1", "/a")), do.TellChanged)
    assert isinstance(told.error, Refused)
    assert "is being stored in the archive" in told.error.message
    refused = only(node(ev.UploadBegun("u1", "/a", replaces=True)), do.RefuseUpload)
    assert isinstance(refused.error, Refused)
    assert only(node(ev.RenameOrdered("c2", "/a", "/b")), do.TellChanged).error is not None


def test_a_file_that_is_removed_while_the_archive_is_asked_is_not_stored() -> None:
    node = driven("/a")
    step_id = first(node(ev.Tick()))
    done = node(ev.RemovalOrdered("c1", "/a"))
    assert of_kind(done, do.StopStore) == [do.StopStore(step_id)]
    # What came before the word of it is heard no more.
    assert node(ev.Compared(step_id, Likeness.ABSENT)) == []
    assert not node.node.is_idle
    node(ev.StoreStopped(step_id))
    node(ev.Removed(("/a",)))
    assert node.node.is_idle
    assert len(node.node.stores.table) == 0


def test_a_file_that_could_not_be_removed_is_stored_after_all() -> None:
    node = driven("/a")
    step_id = first(node(ev.Tick()))
    node(ev.RemovalOrdered("c1", "/a"))
    node(ev.StoreStopped(step_id))
    node(ev.Removed((), (("/a", "Input/output error"),)))
    node.now_s += DELAY_S
    assert first(node(ev.Tick())) != step_id


def test_a_renamed_file_is_stored_under_its_new_name_only() -> None:
    node = driven("/a")
    node(ev.RenameOrdered("c1", "/a", "/b"))
    node(ev.Claimed("c1"))
    node(ev.Renamed("c1"))
    node.now_s += DELAY_S
    assert only(node(ev.Tick()), do.CompareWithArchive).lfn == "/b"


def test_a_file_that_is_being_renamed_or_replaced_is_not_begun_with() -> None:
    node = driven("/a")
    step_id = first(node(ev.Tick()))
    node(ev.UploadBegun("u1", "/a", replaces=True))
    assert not of_kind(node(ev.Compared(step_id, Likeness.ABSENT)), do.RunStore)
    node.now_s += BUSY_S
    assert node(ev.Tick()) == []
    node(ev.UploadFailed("u1", Refused("gone")))
    node(ev.UploadGone("u1"))
    node.now_s += BUSY_S
    only(node(ev.Tick()), do.CompareWithArchive)


def test_a_replaced_file_is_stored_with_its_new_content_after_the_delay() -> None:
    node = driven("/a")
    step_id = first(node(ev.Tick()))
    node(ev.UploadBegun("u1", "/a", 50, replaces=True))
    node(ev.Claimed("u1"))
    node(ev.UploadWritten("u1", 50))
    done = node(ev.UploadPublished("u1"))
    assert of_kind(done, do.StopStore) == [do.StopStore(step_id)]
    node(ev.StoreStopped(step_id))
    assert node.node.load(node.now_s).stores_waiting_bytes == 50
    assert node(ev.Tick()) == []
    node.now_s += DELAY_S
    only(node(ev.Tick()), do.CompareWithArchive)


def test_a_lost_file_is_stored_no_more() -> None:
    node = driven("/a")
    step_id = store(node)
    done = node(ev.Lost("/a", "vanished", "gone"))
    assert do.StopStore(step_id) in done
    node(ev.StoreStopped(step_id))
    node(ev.Removed(("/a",)))
    assert len(node.node.stores.table) == 0


def test_a_file_found_to_be_archived_is_stored_no_more_unless_it_was_sent() -> None:
    node = driven("/a", "/b", slots=2)
    node.node.stores.table.get("/a")
    asked = of_kind(node(ev.Tick()), do.CompareWithArchive)
    node(ev.Compared(asked[0].step_id, Likeness.ABSENT))
    node(ev.Checked("/a", archived=True))
    done = node(ev.Checked("/b", archived=True))
    assert (may_go(node, "/a"), may_go(node, "/b")) == (False, True)
    assert of_kind(done, do.StopStore) == [do.StopStore(asked[1].step_id)]


# --- stopping ---------------------------------------------------------------------------


def test_a_server_that_stops_ends_what_it_stores_and_begins_no_more() -> None:
    node = driven("/a", "/b")
    step_id = store(node)
    done = node(ev.Closing())
    assert of_kind(done, do.StopStore) == [do.StopStore(step_id)]
    assert not node.node.is_idle
    assert node(ev.StoreStopped(step_id)) == []
    assert node.node.is_idle
    node.now_s += 1e6
    assert node(ev.Tick()) == []


def test_an_illegal_move_tells_the_story() -> None:
    replica = Replica(100, (0.0, 1, "/a"), Standing.HELD, archived=False)
    with pytest.raises(IllegalMove, match="storing /a: no move for 'noted'"):
        Store(replica, 1, 0.0, 0.0).move("noted", 0.0)
