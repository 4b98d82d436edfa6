"""The node: events in, instructions out."""

from __future__ import annotations

import pytest

from dataserver.checksum import Checksum
from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.candidates import Advice
from dataserver.core.failure import Failure, FailureKind
from dataserver.core.policies import POLICIES
from dataserver.core.replica import Found, Mark
from tests.support.driven_node import Driven, files, of_kind, only

# --- one recall ---------------------------------------------------------------


def test_a_recall_is_examined_reserved_copied_verified_and_published_in_turn() -> None:
    node = Driven(examines=True)
    node.welcome()
    assert only(node.order("/a", None), do.Examine) == do.Examine("r/a", "/a")
    assert only(node(ev.Examined("r/a", 100)), do.Copy) == do.Copy("r/a", "/a", 100)
    assert node.node.pool.reserved_bytes == 100
    ran = ev.Ran(0.5, 0, "fine")
    assert only(node(ev.Copied("r/a", 100, ran)), do.Verify).size_bytes == 100
    assert node.node.pool.get("/a") is None
    assert only(node(ev.Verified("r/a", 100, None)), do.Publish).lfn == "/a"
    node.now_s += 2.0
    inspect, told = node(ev.Published("r/a"))
    assert inspect == do.Inspect("/a")
    assert isinstance(told, do.TellEnded)
    assert (told.failure, told.size_bytes, told.ran, told.total_s) == (None, 100, ran, 2.0)
    assert node.node.pool.get("/a") is not None
    assert node.node.pool.reserved_bytes == 0


def test_what_is_known_already_is_not_asked_of_the_archive() -> None:
    node = Driven(examines=True)
    node.welcome()
    told = Checksum("adler32", "07a6c902")
    only(node(ev.RecallOrdered("r/a", "/a", 100, told)), do.Copy)


def test_the_archive_is_asked_for_the_checksum_even_of_a_file_of_known_size() -> None:
    node = Driven(examines=True)
    node.welcome()
    only(node.order("/a", 100), do.Examine)
    told = Checksum("adler32", "07a6c902")
    only(node(ev.Examined("r/a", 100, told)), do.Copy)
    assert only(node(ev.Copied("r/a", 100)), do.Verify).checksum == told


def test_a_file_held_already_is_reported_at_once_even_if_all_slots_are_taken() -> None:
    node = Driven(found=[Found("/a", 70, 0.0)], slots=1)
    node.welcome()
    node.order("/b")
    told = only(node.order("/a"), do.TellEnded)
    assert (told.failure, told.size_bytes) == (None, 70)


def test_an_order_that_is_known_changes_nothing() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    assert node.order("/a") == []


def test_a_second_recall_of_one_name_is_refused_while_the_first_lives() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    told = only(node(ev.RecallOrdered("other", "/a", 100)), do.TellEnded)
    assert told.failure == Failure(
        FailureKind.TRANSIENT, "recall r/a of /a is under way on this node"
    )


def test_slots_bound_what_is_copied_at_a_time_and_verifying_takes_none() -> None:
    node = Driven(slots=2)
    node.welcome()
    started = [len(of_kind(node.order(lfn, 10), do.Copy)) for lfn in ("/a", "/b", "/c")]
    assert started == [1, 1, 0]
    done = node(ev.Copied("r/a", 10))
    assert [one.lfn for one in of_kind(done, do.Copy)] == ["/c"]


def test_a_failed_step_ends_the_recall_in_the_commands_words() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    failure = Failure(FailureKind.PERMANENT, "tape X17 is unreadable")
    told = only(node(ev.StepFailed("r/a", failure, ev.Ran(1.0, 3, "..."))), do.TellEnded)
    assert (told.failure, told.ran.exit_code) == (failure, 3)
    assert node.node.pool.reserved_bytes == 0


def test_a_file_of_the_wrong_size_is_not_published() -> None:
    node = Driven()
    node.welcome()
    node.order("/a", 100)
    only(node(ev.Copied("r/a", 60)), do.StopStep)
    told = only(node(ev.Stopped("r/a")), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.TRANSIENT
    assert told.failure.reason == "the staged file has 60 bytes where 100 were expected"


def test_a_file_that_grows_past_its_size_is_stopped() -> None:
    node = Driven()
    node.welcome()
    node.order("/a", 100)
    assert node(ev.Grew("r/a", 100)) == []
    only(node(ev.Grew("r/a", 101)), do.StopStep)


def test_what_is_said_of_a_copy_is_told_until_it_goes_on() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    recall = node.node.staging.get("r/a")
    assert recall is not None
    assert recall.phase == "copying"
    assert node(ev.Noted("r/a", "waits for VOL123")) == []
    assert recall.phase == "copying (waits for VOL123)"
    node(ev.Copied("r/a", 100))
    assert recall.phase == "verifying"
    assert node(ev.Noted("r/a", "heard too late")) == []
    assert recall.phase == "verifying"
    assert node(ev.Noted("r/nobody", "heard too late")) == []


# --- cancelling ---------------------------------------------------------------


def test_a_waiting_recall_is_cancelled_at_once() -> None:
    node = Driven(slots=1)
    node.welcome()
    node.order("/a", 10)
    node.order("/b", 10)
    told = only(node(ev.RecallRevoked("r/b", "nobody wants it")), do.TellEnded)
    assert told.failure == Failure(FailureKind.CANCELLED, "nobody wants it")


def test_a_running_recall_keeps_its_room_until_nothing_of_it_is_left() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    # Nobody wants it any more, so the archive need not keep it on order either.
    assert only(node(ev.RecallRevoked("r/a", "enough")), do.StopStep).unwanted
    assert node.node.pool.reserved_bytes == 100
    assert node(ev.RecallRevoked("r/a", "again")) == []
    told = only(node(ev.Stopped("r/a")), do.TellEnded)
    assert told.failure == Failure(FailureKind.CANCELLED, "enough")
    assert node.node.pool.reserved_bytes == 0


def test_a_recall_that_is_being_published_is_published() -> None:
    node = Driven()
    node.welcome()
    node.order("/a")
    node(ev.Copied("r/a", 100))
    node(ev.Verified("r/a", 100, None))
    assert node(ev.RecallRevoked("r/a", "too late")) == []
    (told,) = of_kind(node(ev.Published("r/a")), do.TellEnded)
    assert told.failure is None


def test_revoking_a_recall_nobody_knows_does_nothing() -> None:
    node = Driven()
    assert node(ev.RecallRevoked("r9", "")) == []


def test_out_of_touch_for_most_of_the_lease_a_node_ends_its_own_recalls() -> None:
    node = Driven()
    node.welcome(lease_s=60.0)
    node.order("/a")
    node.now_s += 40.0
    node(ev.InTouch(node.now_s - 1.0))
    node.now_s += 46.9
    assert node(ev.Tick()) == []
    node.now_s += 0.2
    only(node(ev.Tick()), do.StopStep)
    told = only(node(ev.Stopped("r/a")), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.CANCELLED
    assert "out of touch with the redirector for 48.1 s" in told.failure.reason


def test_older_news_of_contact_does_not_shorten_the_lease() -> None:
    node = Driven()
    node.welcome(lease_s=60.0)
    node.order("/a")
    node(ev.InTouch(node.now_s - 30.0))
    node.now_s += 40.0
    assert node(ev.Tick()) == []


# --- room ---------------------------------------------------------------------


def test_nothing_is_purged_before_all_pins_are_known() -> None:
    node = Driven(found=files(10))
    told = only(node.order("/a"), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.NO_SPACE
    assert "nothing is purged before the redirector has told the pins" in told.failure.reason
    node(ev.PinsOrdered((("/old0", (ev.PinOrder("ann", 60.0),)),)))
    assert node(ev.Tick()) == []
    assert of_kind(node(ev.PinsOrdered((), complete=True)), do.RemoveFiles)


def test_a_full_pool_makes_room_from_the_longest_unused() -> None:
    node = Driven(found=files(9))
    node.node.pool.touch("/old0", 50.0)
    node.welcome()
    removal = only(node.order("/a", 200), do.RemoveFiles)
    assert removal.lfns == ("/old1", "/old2", "/old3", "/old4")
    assert node(ev.Removed(("/old1",))) == [do.Copy("r/a", "/a", 200)]
    assert node(ev.Removed(("/old2", "/old3", "/old4"))) == []
    load = node.node.load(node.now_s)
    assert (load.files_purged, load.bytes_purged) == (4, 400)


def test_a_reservation_that_only_lacks_a_file_takes_as_many_as_a_round_for_files() -> None:
    node = Driven(10_000, found=files(5), max_files=5)
    node.welcome()
    assert only(node.order("/a", 10), do.RemoveFiles).lfns == ("/old0", "/old1")
    assert only(node(ev.Removed(("/old0",))), do.Copy).lfn == "/a"


def test_above_the_high_watermark_in_files_the_pool_goes_to_the_low_one() -> None:
    node = Driven(1_000_000, found=files(18), max_files=20)
    node.welcome()
    assert not node.node.purging.in_flight()
    # A nineteenth is one more than nine tenths of what there may be; half of it stays.
    node.stage("/a", 1)
    assert node.node.purging.in_flight() == {f"/old{n}" for n in range(9)}


def test_a_round_for_files_does_not_go_down_to_the_low_watermark_in_bytes() -> None:
    node = Driven(10_000, found=files(19, 350), max_files=20)
    node(ev.Welcomed(60.0, node.now_s))
    removal = only(node(ev.PinsOrdered((), complete=True)), do.RemoveFiles)
    assert len(removal.lfns) == 9
    assert node(ev.Removed(removal.lfns)) == []
    assert (len(node.node.pool), node.node.pool.used_bytes) == (10, 3500)


def test_above_the_high_watermark_the_pool_goes_below_the_low_one() -> None:
    node = Driven(found=files(9))
    node.welcome()
    node.order("/a", 10)
    node(ev.Copied("r/a", 10))
    node(ev.Verified("r/a", 10, None))
    removal = of_kind(node(ev.Published("r/a")), do.RemoveFiles)[0]
    assert removal.lfns == ("/old0", "/old1", "/old2", "/old3", "/old4")


def test_who_has_just_come_is_not_taken_for_the_watermark_alone() -> None:
    node = Driven(found=files(9))
    pins = (ev.PinOrder("ann", 600.0),)
    node(ev.Welcomed(60.0, node.now_s))
    node(ev.PinsOrdered(tuple((f"/old{n}", pins) for n in range(9)), complete=True))
    node.stage("/a", 80)
    assert node.node.is_visible("/a")
    node.now_s += 41.0
    assert only(node(ev.Tick()), do.RemoveFiles).lfns == ("/a",)


def test_who_has_just_come_is_taken_if_room_is_needed() -> None:
    node = Driven(found=files(9))
    pins = (ev.PinOrder("ann", 600.0),)
    node(ev.Welcomed(60.0, node.now_s))
    node(ev.PinsOrdered(tuple((f"/old{n}", pins) for n in range(9)), complete=True))
    node.stage("/a", 80)
    assert only(node.order("/b", 80), do.RemoveFiles).lfns == ("/a",)


def test_no_room_even_after_purging_is_refused_with_the_numbers() -> None:
    node = Driven(found=files(9))
    node.node.pool.open("/old0", 0.0)
    pins = (ev.PinOrder("ann", 60.0),)
    node(ev.PinsOrdered(tuple((f"/old{n}", pins) for n in range(1, 5)), complete=True))
    told = only(node.order("/a", 600), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.NO_SPACE
    assert told.failure.reason == (
        "no room for 600 B: pool holds 900 B of 1 kB in 9 files, 0 B reserved, "
        "400 B pinned, 100 B open"
    )
    assert len(node.node.pool) == 9


def test_a_file_larger_than_the_quota_is_refused_without_purging() -> None:
    node = Driven(found=files(5))
    node.welcome()
    told = only(node.order("/a", 1001), do.TellEnded)
    assert told.failure is not None
    assert "more than this pool's quota" in told.failure.reason


def test_nobody_overtakes_in_the_line_for_room() -> None:
    node = Driven(found=files(9), slots=3)
    node.welcome()
    of_kind(node.order("/big", 500), do.RemoveFiles)
    assert node.order("/small", 50) == []
    removed = node(ev.Removed(("/old0",)))
    assert of_kind(removed, do.Copy) == []
    removed = node(ev.Removed(("/old1", "/old2", "/old3")))
    assert [one.lfn for one in of_kind(removed, do.Copy)] == ["/big"]


def test_those_who_wait_together_cannot_be_promised_the_same_room() -> None:
    node = Driven(found=files(9), slots=3)
    node.welcome()
    node.order("/a", 600)
    told = of_kind(node.order("/b", 600), do.TellEnded)
    assert [one.lfn for one in told] == ["/b"]


def test_a_file_opened_since_one_batch_is_spared_by_the_next() -> None:
    node = Driven(found=files(600, 1), quota_bytes=600)
    node(ev.Welcomed(60.0, node.now_s))
    first = only(node(ev.PinsOrdered((), complete=True)), do.RemoveFiles)
    assert first.lfns == tuple(f"/old{n}" for n in range(256))
    node.node.pool.open("/old256", 5.0)
    second = only(node(ev.Removed(first.lfns)), do.RemoveFiles)
    assert second.lfns == tuple(f"/old{n}" for n in range(257, 301))


def test_what_cannot_be_removed_is_online_again_and_not_tried_twice_in_a_round() -> None:
    node = Driven(found=files(9))
    node.welcome()
    node.node.inventory()
    removal = only(node.order("/a", 600), do.RemoveFiles)
    stuck, *others = removal.lfns
    done = node(ev.Removed(tuple(others), ((stuck, "Input/output error"),)))
    retry = only(of_kind(done, do.RemoveFiles), do.RemoveFiles)
    assert stuck not in retry.lfns
    changes = node.node.changes.take(100)
    assert (changes[-2].lfn, changes[-2].dropped) == (stuck, False)


def test_a_round_that_falls_short_fails_those_who_wait() -> None:
    node = Driven(found=files(9), asks=True)
    node.welcome()
    question = only(node.order("/a", 300), do.AskPurgeCommand)
    assert question.lfns == tuple(f"/old{n}" for n in range(9))
    keep = frozenset(f"/old{n}" for n in range(8))
    removal = only(node(ev.Advised(Advice(keep=keep))), do.RemoveFiles)
    assert removal.lfns == ("/old8",)
    told = only(node(ev.Removed(("/old8",))), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.NO_SPACE


def test_the_purge_command_is_not_asked_again_and_again_for_the_watermark() -> None:
    node = Driven(found=files(10), asks=True)
    node(ev.Welcomed(60.0, node.now_s))
    only(node(ev.PinsOrdered((), complete=True)), do.AskPurgeCommand)
    keep = frozenset(f"/old{n}" for n in range(10))
    assert node(ev.Advised(Advice(keep=keep))) == []
    node.now_s += 1.0
    assert node(ev.Tick()) == []
    node.now_s += 30.0
    only(node(ev.Tick()), do.AskPurgeCommand)


def test_a_purge_command_that_fails_is_reported_and_lru_decides() -> None:
    node = Driven(found=files(10), asks=True)
    node(ev.Welcomed(60.0, node.now_s))
    node(ev.PinsOrdered((), complete=True))
    told, removal = node(ev.Advised(Advice(), "exit code 1"))
    assert told == do.Tell("exit code 1; policy lru decides alone")
    assert isinstance(removal, do.RemoveFiles)
    assert removal.lfns[0] == "/old0"


# --- unknown sizes ------------------------------------------------------------


def test_a_file_of_unknown_size_reserves_what_the_redirector_counts_for_it() -> None:
    node = Driven()
    node.welcome()
    node.order("/a", None, reserve_bytes=300)
    assert node.node.pool.reserved_bytes == 300
    node(ev.Copied("r/a", 20))
    node(ev.Verified("r/a", 20, None))
    node(ev.Published("r/a"))
    assert (node.node.pool.used_bytes, node.node.pool.reserved_bytes) == (20, 0)


def test_a_file_of_unknown_size_takes_no_more_than_its_share_of_a_small_pool() -> None:
    node = Driven(slots=2)
    node.welcome()
    node.order("/a", None)
    assert node.node.pool.reserved_bytes == 250


def test_a_growing_file_is_given_more_ahead_of_its_growth() -> None:
    node = Driven()
    node.welcome()
    node.order("/a", None, reserve_bytes=200)
    node(ev.Grew("r/a", 100))
    assert node.node.pool.reserved_bytes == 200
    node(ev.Grew("r/a", 160))
    assert node.node.pool.reserved_bytes == 300


def test_room_for_a_growing_file_is_purged_ahead_of_need() -> None:
    node = Driven(found=files(8))
    node.welcome()
    node.order("/a", None, reserve_bytes=200)
    removal = only(node(ev.Grew("r/a", 160)), do.RemoveFiles)
    node(ev.Removed(removal.lfns))
    assert node.node.pool.reserved_bytes == 300


def test_a_file_that_outgrows_the_pool_is_stopped() -> None:
    node = Driven(found=files(8))
    node.welcome()
    for number in range(8):
        node.node.pool.open(f"/old{number}", 0.0)
    node.order("/a", None, reserve_bytes=200)
    assert node(ev.Grew("r/a", 180)) == []
    only(node(ev.Grew("r/a", 201)), do.StopStep)
    told = only(node(ev.Stopped("r/a")), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.NO_SPACE
    assert "outgrew the 200 B reserved for it" in told.failure.reason


def test_a_copy_too_large_for_its_reservation_tells_the_size_for_the_next_try() -> None:
    node = Driven(found=files(8))
    node.welcome()
    node.order("/a", None, reserve_bytes=200)
    only(node(ev.Copied("r/a", 900)), do.StopStep)
    told = only(node(ev.Stopped("r/a")), do.TellEnded)
    assert told.failure is not None
    assert told.failure.kind is FailureKind.NO_SPACE
    assert told.size_bytes == 900


# --- replicas -----------------------------------------------------------------


def test_pins_ordered_with_a_recall_are_in_force_from_the_first_moment() -> None:
    node = Driven()
    node.welcome()
    node(ev.RecallOrdered("r/a", "/a", 100, pins=(ev.PinOrder("ann", 60.0),)))
    node(ev.PinsOrdered((), complete=True))
    node(ev.Copied("r/a", 100))
    node(ev.Verified("r/a", 100, None))
    node(ev.Published("r/a"))
    assert node.node.pool.veto("/a", node.now_s) == "pinned by ann for another 60 s"
    node.now_s += 60.0
    node(ev.Tick())
    assert node.node.pool.veto("/a", node.now_s) is None


def test_a_complete_list_of_pins_ends_all_others() -> None:
    node = Driven(found=files(2))
    pin = (ev.PinOrder("ann", 60.0),)
    node(ev.PinsOrdered((("/old0", pin), ("/old1", pin))))
    node(ev.PinsOrdered((("/old1", pin),), complete=True))
    assert node.node.pool.veto("/old0", node.now_s) is None
    assert node.node.pool.veto("/old1", node.now_s) is not None


def test_an_eviction_is_answered_when_the_files_are_gone() -> None:
    node = Driven(found=files(3))
    node.welcome()
    node.node.pool.open("/old1", 0.0)
    order = ev.EvictionOrdered(7, ("/old0", "/old1", "/nowhere", "/old0"))
    assert only(node(order), do.RemoveFiles).lfns == ("/old0",)
    told = only(node(ev.Removed(("/old0",))), do.TellEvicted)
    assert told == do.TellEvicted(7, ("/old0",), (("/old1", "open"), ("/nowhere", "not held here")))


def test_a_soft_eviction_removes_nothing_and_goes_first_when_room_is_needed() -> None:
    node = Driven(found=files(9))
    node.welcome()
    told = only(node(ev.EvictionOrdered(7, ("/old5", "/nowhere"), soft=True)), do.TellEvicted)
    assert told == do.TellEvicted(7, ("/old5",), (("/nowhere", "not held here"),))
    assert node.node.is_visible("/old5")
    assert node.node.pool.take_remarked() == {"/old5": Mark.SOFT}
    assert only(node.order("/a", 200), do.RemoveFiles).lfns[:2] == ("/old5", "/old0")


def test_a_soft_eviction_of_a_pinned_file_counts_once_the_pin_is_gone() -> None:
    node = Driven(found=files(9))
    node.welcome()
    node(ev.PinsOrdered((("/old8", (ev.PinOrder("ann", 5.0, "plots"),)),)))
    told = only(node(ev.EvictionOrdered(7, ("/old8",), soft=True)), do.TellEvicted)
    assert told.evicted == ("/old8",)
    assert node.node.pool.veto("/old8", node.now_s) == "pinned by ann (plots) for another 5 s"
    node.now_s += 6.0
    node(ev.Tick())
    assert only(node.order("/a", 200), do.RemoveFiles).lfns[0] == "/old8"


def test_what_is_done_with_is_marked_and_a_soft_eviction_outranks_it() -> None:
    node = Driven(found=files(3), policy=POLICIES["done-first"])
    node.welcome()
    node(ev.EvictionOrdered(7, ("/old2",), soft=True))
    node(ev.DoneWith(("/old1", "/old2", "/nowhere")))
    assert node.node.pool.take_remarked() == {"/old2": Mark.SOFT, "/old1": Mark.DONE}
    assert only(node.order("/a", 900), do.RemoveFiles).lfns == ("/old2", "/old1")


def test_another_policy_holds_from_the_next_round_on() -> None:
    node = Driven(found=[Found("/small", 10, 1.0), Found("/large", 490, 2.0)])
    node.welcome()
    limits = node.node.pool.limits
    node(ev.LimitsChanged(limits, POLICIES["lru-by-size"]))
    assert only(node.order("/a", 510), do.RemoveFiles).lfns == ("/large",)


def test_whoever_evicts_is_named_in_what_the_redirector_is_told() -> None:
    node = Driven(found=files(3))
    node.welcome()
    node.node.inventory()
    node(ev.EvictionOrdered(7, ("/old2",), owner="ann@desk"))
    assert [one.reason for one in node.node.changes.take(9)] == ["evicted by ann@desk"]


def test_an_eviction_before_the_pins_are_known_is_refused() -> None:
    node = Driven(found=files(1))
    told = only(node(ev.EvictionOrdered(7, ("/old0",))), do.TellEvicted)
    assert told.evicted == ()
    assert "has not been told its pins yet" in told.refused[0][1]


def test_a_damaged_replica_goes_even_if_it_is_open() -> None:
    node = Driven(found=files(1))
    node.node.inventory()
    node.node.pool.open("/old0", 0.0)
    done = node(ev.Lost("/old0", "damaged", "it has 3 bytes instead of 100"))
    assert of_kind(done, do.RemoveFiles) == [do.RemoveFiles(("/old0",), by_force=True)]
    change = node.node.changes.take(9)[0]
    assert (change.dropped, change.reason) == (True, "damaged")
    assert node(ev.Lost("/old0", "damaged", "again")) == []
    node(ev.Removed(("/old0",)))
    assert len(node.node.pool) == 0


def test_a_damaged_replica_that_cannot_be_removed_stays_hidden_and_is_tried_again() -> None:
    node = Driven(found=files(10))
    node.welcome()
    node(ev.Tick())
    node(ev.Removed(tuple(f"/old{n}" for n in range(5))))
    node(ev.Lost("/old9", "damaged", "bad"))
    node(ev.Removed((), (("/old9", "Read-only file system"),)))
    assert [one.lfn for one in node.node.pool.held()] == ["/old5", "/old6", "/old7", "/old8"]
    told = only(node.order("/a", 950), do.TellEnded)
    assert told.failure is not None
    node.now_s += 61.0
    assert only(node(ev.Tick()), do.RemoveFiles).lfns == ("/old9",)
    node(ev.Removed(("/old9",)))
    assert node.node.pool.get("/old9") is None


def test_a_recall_of_a_name_on_its_way_out_waits_until_it_is_gone() -> None:
    node = Driven(found=files(1))
    node.welcome()
    node(ev.EvictionOrdered(1, ("/old0",)))
    assert node.order("/old0") == []
    done = node(ev.Removed(("/old0",)))
    assert [one.lfn for one in of_kind(done, do.Copy)] == ["/old0"]


def test_a_recall_of_a_file_found_at_start_waits_for_its_check() -> None:
    node = Driven(found=[Found("/a", 70, 0.0, checked=False)])
    node.welcome()
    node.node.inventory()
    assert node.order("/a") == []
    told = only(node(ev.Checked("/a", archived=True)), do.TellEnded)
    assert told.failure is None
    assert [one.lfn for one in node.node.changes.take(9)] == ["/a"]


def test_a_heartbeat_has_the_figures_of_the_moment() -> None:
    node = Driven(found=files(2), slots=1)
    node.welcome()
    node.node.pool.open("/old0", 0.0)
    node.order("/a", 300)
    node.order("/b", 50)
    node(ev.Grew("r/a", 120))
    load = node.node.load(node.now_s)
    assert (load.used_bytes, load.reserved_bytes, load.protected_bytes) == (200, 300, 100)
    assert (load.recalls_running, load.recalls_waiting) == (1, 1)
    assert load.staging_bytes_left == 180 + 50
    assert load.open_files == 1


@pytest.mark.parametrize("target_bytes", [0, 500])
def test_a_dry_run_changes_nothing(target_bytes: int) -> None:
    node = Driven(found=files(7))
    assert node.node.purging.plan_question(target_bytes, node.now_s).free_bytes == 200
    dry_run = node.node.purging.plan(target_bytes, 100, Advice(), node.now_s)
    assert [one.lfn for one in dry_run.verdicts if one.goes] == ["/old0", "/old1"]
    assert len(list(node.node.pool.held())) == 7


def test_a_damaged_file_that_is_no_copy_is_set_apart_and_never_removed() -> None:
    node = Driven(found=[Found("/mine", 100, 0.0, archived=False)])
    node.welcome()
    done = node(ev.Lost("/mine", "damaged", "a bit is wrong", apart=True))
    assert of_kind(done, do.SetApart) == [do.SetApart("/mine")]
    assert not of_kind(done, do.RemoveFiles)
    assert not node.node.is_visible("/mine")
    node(ev.Removed((), (("/mine", "Input/output error"),)))
    node.now_s += 100.0
    assert of_kind(node(ev.Tick()), do.SetApart) == [do.SetApart("/mine")]
    node(ev.Removed(("/mine",)))
    assert node.node.pool.used_bytes == 0
