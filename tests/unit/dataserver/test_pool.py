"""The pool's books: room, uses and pins, and who may go."""

from __future__ import annotations

import pytest

from common.errors import NotFound
from dataserver.core.pins import Pin
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits


def make_pool(quota_bytes: int = 1000, max_files: int = 0) -> Pool:
    return Pool(Limits.of(quota_bytes, max_files, 0.9, 0.8))


def put(pool: Pool, lfn: str, size_bytes: int, now_s: float) -> None:
    assert pool.reserve(lfn, size_bytes)
    pool.publish(lfn, lfn, size_bytes, now_s)
    pool.check()


def idle_names(pool: Pool) -> list[str]:
    return [one.lfn for one in pool.idle()]


def test_a_reservation_beyond_the_quota_is_refused_and_changes_nothing() -> None:
    pool = make_pool()
    put(pool, "/a", 600, 1.0)
    assert pool.reserve("r1", 300)
    assert not pool.reserve("r2", 101)
    assert pool.reserve("r3", 100)
    assert (pool.used_bytes, pool.reserved_bytes) == (600, 400)
    pool.check()


def test_a_reservation_beyond_the_number_of_files_is_refused() -> None:
    pool = make_pool(max_files=2)
    put(pool, "/a", 1, 1.0)
    assert pool.reserve("r1", 1)
    assert not pool.reserve("r2", 0)
    assert pool.shortfall(0, 1) == (0, 1)
    pool.check()


def test_publishing_turns_a_reservation_into_what_was_needed() -> None:
    pool = make_pool()
    assert pool.reserve("r1", 500)
    pool.publish("r1", "/a", 120, 1.0)
    assert (pool.used_bytes, pool.reserved_bytes, pool.peak_bytes) == (120, 0, 500)
    pool.check()


def test_publishing_more_than_was_reserved_is_a_bug() -> None:
    pool = make_pool()
    assert pool.reserve("r1", 10)
    with pytest.raises(AssertionError):
        pool.publish("r1", "/a", 11, 1.0)


def test_an_extension_takes_room_only_if_there_is_some() -> None:
    pool = make_pool()
    assert pool.reserve("r1", 500)
    assert pool.extend("r1", 500)
    assert not pool.extend("r1", 1)
    assert pool.reserved_for("r1") == 1000
    pool.release("r1")
    pool.release("r1")
    assert pool.reserved_bytes == 0
    pool.check()


def test_the_longest_unused_comes_first_and_every_use_counts() -> None:
    pool = make_pool()
    for number, lfn in enumerate(("/a", "/b", "/c")):
        put(pool, lfn, 10, float(number))
    assert idle_names(pool) == ["/a", "/b", "/c"]
    pool.close(pool.open("/a", 10.0), 11.0)
    pool.touch("/b", 12.0)
    assert idle_names(pool) == ["/c", "/a", "/b"]
    pool.check()


def test_uses_at_the_same_moment_keep_their_order() -> None:
    pool = make_pool()
    for lfn in ("/b", "/a", "/c"):
        put(pool, lfn, 10, 5.0)
    pool.touch("/b", 5.0)
    assert idle_names(pool) == ["/a", "/c", "/b"]


def test_an_open_replica_is_not_idle_until_its_last_reader_has_closed() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    first, second = pool.open("/a", 1.0), pool.open("/a", 2.0)
    assert pool.veto("/a", 2.0) == "open 2 times"
    pool.close(first, 3.0)
    assert pool.veto("/a", 3.0) == "open"
    assert (pool.open_files, pool.open_bytes, pool.protected_bytes) == (1, 10, 10)
    pool.close(second, 4.0)
    assert pool.veto("/a", 4.0) is None
    assert pool.protected_bytes == 0
    pool.check()


def test_looking_into_a_file_protects_it_but_is_no_use() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    put(pool, "/b", 10, 1.0)
    replica = pool.open("/a", 5.0, is_use=False)
    assert idle_names(pool) == ["/b"]
    pool.close(replica, 6.0, is_use=False)
    assert idle_names(pool) == ["/a", "/b"]
    pool.check()


def test_a_pin_holds_until_it_runs_out_and_says_whose_it_is() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    pool.set_pins("/a", [Pin("session:7", 100.0), Pin("ann", 50.0)], 0.0)
    assert pool.veto("/a", 40.0) == "pinned by session:7 for another 60 s"
    pool.expire_pins(99.9)
    assert idle_names(pool) == []
    assert pool.pinned_bytes == 10
    pool.expire_pins(100.0)
    assert idle_names(pool) == ["/a"]
    assert pool.pinned_bytes == 0
    pool.check()


def test_a_pin_may_come_before_its_file() -> None:
    pool = make_pool()
    pool.add_pins("/a", [Pin("ann", 50.0)], 0.0)
    put(pool, "/a", 10, 1.0)
    assert idle_names(pool) == []
    pool.set_pins("/a", [], 2.0)
    assert idle_names(pool) == ["/a"]
    pool.check()


def test_a_pin_that_is_over_when_it_arrives_is_none() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    pool.set_pins("/a", [Pin("ann", 5.0)], 5.0)
    assert pool.veto("/a", 5.0) is None
    pool.check()


def test_a_replica_that_is_not_in_the_archive_never_goes() -> None:
    pool = make_pool()
    pool.load([Found("/a", 10, 0.0, archived=False)])
    assert pool.veto("/a", 1.0) == "not in the archive: this may be the only copy"
    assert idle_names(pool) == []
    pool.check()


def test_a_file_being_checked_counts_but_cannot_be_opened() -> None:
    pool = make_pool()
    pool.load([Found("/a", 10, 0.0, checked=False)])
    assert pool.used_bytes == 10
    assert list(pool.held()) == []
    with pytest.raises(NotFound, match="/a is not on this node"):
        pool.open("/a", 1.0)
    pool.settle("/a", archived=True)
    assert [one.lfn for one in pool.held()] == ["/a"]
    assert idle_names(pool) == ["/a"]
    pool.check()


def test_a_leaving_replica_counts_until_it_is_gone_and_cannot_be_opened() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    pool.evict("/a")
    assert (pool.used_bytes, pool.leaving_bytes, pool.protected_bytes) == (10, 10, 0)
    with pytest.raises(NotFound):
        pool.open("/a", 1.0)
    pool.check()
    pool.drop("/a")
    assert (pool.used_bytes, pool.leaving_bytes, len(pool)) == (0, 0, 0)
    pool.check()


def test_a_replica_that_could_not_be_removed_is_held_again() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    pool.evict("/a")
    pool.spare("/a")
    assert idle_names(pool) == ["/a"]
    pool.check()


def test_an_open_replica_cannot_be_evicted_unless_it_is_damaged() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    reader = pool.open("/a", 1.0)
    with pytest.raises(AssertionError):
        pool.evict("/a")
    pool.evict("/a", by_force=True)
    pool.check()
    pool.drop("/a")
    pool.close(reader, 2.0)
    assert pool.open_files == 0
    pool.check()


def test_closing_a_lost_replica_leaves_its_successor_alone() -> None:
    pool = make_pool()
    put(pool, "/a", 10, 0.0)
    old = pool.open("/a", 1.0)
    pool.evict("/a", by_force=True)
    pool.drop("/a")
    put(pool, "/a", 20, 2.0)
    new = pool.open("/a", 3.0)
    pool.close(old, 4.0)
    assert pool.veto("/a", 4.0) == "open"
    assert pool.open_bytes == 20
    pool.close(new, 5.0)
    pool.check()


def test_a_pool_loaded_over_its_quota_may_only_shrink() -> None:
    pool = make_pool(quota_bytes=100)
    pool.load([Found("/a", 80, 0.0), Found("/b", 80, 1.0), Found("/c", 30, 2.0)])
    assert not pool.reserve("r", 0)
    pool.check()
    pool.evict("/a")
    pool.drop("/a")
    pool.check()
    assert not pool.reserve("r", 1)
    pool.evict("/b")
    pool.drop("/b")
    assert pool.reserve("r", 70)
    pool.check()


def test_a_refusal_can_say_what_fills_the_pool() -> None:
    pool = make_pool(quota_bytes=2_000_000, max_files=10)
    put(pool, "/a", 1_500_000, 0.0)
    pool.set_pins("/a", [Pin("ann", 9.0)], 0.0)
    assert pool.standing_text() == (
        "pool holds 1.5 MB of 2 MB in 1 files, 0 B reserved, 1.5 MB pinned, 0 B open, "
        "1 of 10 files taken"
    )


# --- what is not in the archive ---------------------------------------------------


def test_what_is_not_archived_is_never_idle() -> None:
    pool = make_pool()
    assert pool.reserve("u1", 50)
    pool.publish("u1", "/a", 40, 1.0, archived=False)
    assert idle_names(pool) == []
    assert pool.protected_bytes == 40
    pool.check()


def test_a_replica_takes_the_place_of_one_that_was_never_archived() -> None:
    pool = make_pool(max_files=2)
    pool.load([Found("/a", 400, 0.0, archived=False)])
    assert pool.reserve("u1", 500)
    reader = pool.open("/a", 1.0)
    pool.publish("u1", "/a", 300, 2.0, archived=False)
    assert (pool.used_bytes, pool.reserved_bytes, pool.files) == (300, 0, 1)
    pool.close(reader, 3.0)
    assert (pool.open_files, pool.open_bytes) == (0, 0)
    pool.check()


def test_nothing_takes_the_place_of_what_is_archived() -> None:
    pool = make_pool()
    pool.load([Found("/a", 400, 0.0)])
    assert pool.reserve("u1", 500)
    with pytest.raises(AssertionError):
        pool.publish("u1", "/a", 300, 2.0, archived=False)


def test_a_renamed_replica_keeps_its_readers_and_its_last_use() -> None:
    pool = make_pool()
    pool.load([Found("/a", 400, 5.0, archived=False)])
    pool.set_pins("/a", [Pin("ann", 100.0)], 1.0)
    reader = pool.open("/a", 7.0)
    assert pool.rename("/a", "/b") is reader
    pool.check()
    assert pool.get("/a") is None
    assert (pool.open_files, pool.pinned_files) == (1, 0)
    assert reader.last_use_s == 7.0
    pool.close(reader, 8.0)
    pool.check()
    assert (pool.open_files, reader.last_use_s) == (0, 8.0)
