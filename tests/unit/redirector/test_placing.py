"""Which recall goes next, and to which node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from redirector.core import events
from redirector.core.instructions import StartRecall
from redirector.core.model import NodeLoad
from redirector.core.settings import HeadSettings
from redirector.core.states import ErrorClass
from tests.support.redirector_head import GB, Site

if TYPE_CHECKING:
    from redirector.core.instructions import Instruction

RATE = 100e6


def load(**figures: float) -> NodeLoad:
    return NodeLoad(staging_rate=RATE, **figures)  # type: ignore[arg-type]


def nodes_of(site: Site, done: list[Instruction]) -> dict[str, str]:
    return {lfn: node for lfn, (node, _start) in site.starts(done).items()}


# --- the choice -------------------------------------------------------------------


def test_the_idle_node_gets_the_recall_and_the_story_has_the_numbers() -> None:
    site = Site()
    site.join("busy", load=load(cpu_percent=90.0))
    site.join("idle", load=load())
    site.join("full", load=load(used_bytes=90 * GB))
    assert site.node_of(site.stage("/f", sizes={"/f": GB}), "/f") == "idle"
    story = [line.text for line in site.head.explain("/f", site.now_s).story]
    assert story[-1] == (
        "attempt 1 given to idle, 1 GB reserved: "
        "idle costs 1.00 s (1.00 s of staging x 1.00 load, 0% full); "
        "next busy costs 1.90 s (1.00 s of staging x 1.90 load, 0% full)"
    )


def test_unequal_nodes_get_recalls_as_their_costs_say() -> None:
    site = Site()
    site.join("fast", load=NodeLoad(staging_rate=300e6), slots=100)
    site.join("slow", load=NodeLoad(staging_rate=100e6), slots=100)
    lfns = [f"/f{number}" for number in range(40)]
    done = site.stage(*lfns, sizes=dict.fromkeys(lfns, GB))
    given = Counter(nodes_of(site, done).values())
    assert given["fast"] + given["slow"] == 40
    assert 2.5 < given["fast"] / given["slow"] < 3.5


def test_equal_nodes_share_equally() -> None:
    site = Site()
    for name in ("disk1", "disk2", "disk3"):
        site.join(name, load=load())
    lfns = [f"/f{number}" for number in range(12)]
    given = Counter(nodes_of(site, site.stage(*lfns)).values())
    assert set(given.values()) == {4}


def test_a_node_without_a_measured_rate_counts_with_the_sites_median() -> None:
    site = Site()
    site.join("known", load=NodeLoad(staging_rate=10e6))
    site.join("new", load=NodeLoad())
    site.wait(2.0)
    lfns = [f"/f{number}" for number in range(8)]
    given = Counter(nodes_of(site, site.stage(*lfns, sizes=dict.fromkeys(lfns, GB))).values())
    assert given == {"known": 4, "new": 4}


def test_a_node_has_at_most_twice_its_slots() -> None:
    site = Site()
    site.join("disk1", slots=2)
    done = site.stage(*(f"/f{number}" for number in range(10)))
    assert len(site.starts(done)) == 4
    start = site.start_of(done, "/f0")
    assert set(site.starts(site.publish("disk1", start))) == {"/f4"}


def test_a_node_with_a_file_limit_gets_no_more_recalls_than_files_it_may_have() -> None:
    site = Site()
    site.hello("disk1", slots=4, max_files=3)
    site.inventory("disk1")
    assert len(site.starts(site.stage(*(f"/f{number}" for number in range(10))))) == 3


# --- room ---------------------------------------------------------------------------


def test_ten_recalls_at_once_do_not_overshoot_one_pool() -> None:
    site = Site()
    site.join("disk1", quota_bytes=10 * GB, slots=10)
    lfns = [f"/f{number}" for number in range(10)]
    done = site.stage(*lfns, sizes=dict.fromkeys(lfns, 3 * GB))
    assert len(site.starts(done)) == 3
    assert site.head.node("disk1", site.now_s).promised_bytes == 9 * GB
    site.publish("disk1", site.start_of(done, "/f0"), 3 * GB)
    assert site.head.status(site.now_s).recalls_running == 3, "what is published can be purged"


def test_pinned_bytes_are_no_room_and_unpinned_ones_are() -> None:
    site = Site()
    site.join("disk1", quota_bytes=10 * GB, load=load(used_bytes=10 * GB, pinned_bytes=8 * GB))
    assert site.starts(site.stage("/f", sizes={"/f": 3 * GB})) == {}
    done = site.beat("disk1", load(used_bytes=10 * GB, pinned_bytes=7 * GB))
    assert set(site.starts(done)) == {"/f"}


def test_what_was_pinned_since_the_last_heartbeat_is_counted() -> None:
    site = Site()
    site.join("disk1", quota_bytes=10 * GB, slots=1)
    done = site.stage("/a", "/b", "/c", sizes=dict.fromkeys(["/a", "/b", "/c"], 4 * GB), pin_s=60.0)
    assert set(site.starts(done)) == {"/a", "/b"}
    assert site.starts(site.publish("disk1", site.start_of(done, "/a"), 4 * GB)) == {}


def test_unknown_sizes_count_as_assumed_but_no_more_than_a_share_of_a_small_pool() -> None:
    site = Site(HeadSettings(assumed_size_bytes=2 * GB))
    site.join("large", quota_bytes=100 * GB, slots=4)
    assert site.start_of(site.stage("/f"), "/f").reserve_bytes == 2 * GB
    small = Site(HeadSettings(assumed_size_bytes=2 * GB))
    small.join("small", quota_bytes=GB, slots=4)
    done = small.stage(*(f"/f{number}" for number in range(20)))
    reserved = [start.reserve_bytes for _node, start in small.starts(done).values()]
    assert reserved == [GB // 8] * 8


def test_a_file_of_unknown_size_that_found_no_room_gets_more_but_waits_for_no_pin() -> None:
    site = Site(HeadSettings(assumed_size_bytes=GB))
    site.join("disk1", quota_bytes=100 * GB, load=load(pinned_bytes=90 * GB))
    done = site.stage("/f")
    reserved = []
    for _ in range(4):
        start = site.start_of(done, "/f")
        reserved.append(start.reserve_bytes // GB)
        site.end("disk1", start, ErrorClass.NO_SPACE)
        done = site.wait(30.0)
    assert reserved == [1, 4, 10, 10]


def test_one_that_needs_more_after_all_does_not_hold_up_others_of_unknown_size() -> None:
    site = Site(HeadSettings(assumed_size_bytes=GB))
    site.join("disk1", quota_bytes=20 * GB, load=load(pinned_bytes=14 * GB))
    first, *others = (f"/f{number}" for number in range(7))
    start = site.start_of(site.stage(first), first)
    site.stage("/keeps-room", sizes={"/keeps-room": 3 * GB})
    site.end("disk1", start, ErrorClass.NO_SPACE)
    site.wait(3.0)
    assert len(site.starts(site.stage(*others))) == 3, "though the first waits for 4 GB"


def test_a_node_that_had_no_room_gets_only_smaller_ones_for_a_while() -> None:
    site = Site()
    site.join("disk1")
    start = site.start_of(site.stage("/big", sizes={"/big": 5 * GB}), "/big")
    site.end("disk1", start, ErrorClass.NO_SPACE)
    assert site.starts(site.stage("/same", sizes={"/same": 5 * GB})) == {}
    assert set(site.starts(site.stage("/small", sizes={"/small": GB}))) == {"/small"}
    assert "/same" in site.starts(site.wait(3.0))


def test_a_file_of_unknown_size_gets_more_room_when_it_had_too_little() -> None:
    site = Site(HeadSettings(assumed_size_bytes=GB))
    site.join("disk1", quota_bytes=100 * GB)
    start = site.start_of(site.stage("/f"), "/f")
    assert start.reserve_bytes == GB
    site.end("disk1", start, ErrorClass.NO_SPACE, "outgrew the 1 GB reserved for it")
    assert site.start_of(site.wait(4.0), "/f").reserve_bytes == 4 * GB


def test_what_has_come_of_a_file_is_needed_by_it_everywhere() -> None:
    site = Site(HeadSettings(assumed_size_bytes=GB))
    site.join("small", quota_bytes=10 * GB, load=load())
    site.join("large", quota_bytes=100 * GB, load=load(used_bytes=99 * GB))
    site.join("full", quota_bytes=100 * GB, load=load(pinned_bytes=95 * GB, used_bytes=99 * GB))
    node, start = site.starts(site.stage("/f"))["/f"]
    assert node == "small"
    site.end("small", start, ErrorClass.NO_SPACE, "outgrew 10 GB", arrived_bytes=11 * GB)
    node, start = site.starts(site.wait(4.0))["/f"]
    assert (node, start.reserve_bytes) == ("large", 11 * GB)


# --- the queue ------------------------------------------------------------------------


def test_higher_priorities_go_first_and_equals_in_the_order_asked() -> None:
    site = Site()
    site.stage("/first")
    site.stage("/second")
    site.stage("/urgent", priority=5)
    site.stage("/later", priority=-1)
    done = site.join("disk1", slots=1, load=load())
    assert list(site.starts(done)) == ["/urgent", "/first"]
    done = site.publish("disk1", site.start_of(done, "/urgent"))
    assert list(site.starts(done)) == ["/second"]


def test_a_more_urgent_request_raises_the_recall_it_joins() -> None:
    site = Site()
    site.stage("/first")
    site.stage("/second")
    site.stage("/second", priority=1)
    done = site.join("disk1", slots=1)
    assert list(site.starts(done)) == ["/second", "/first"]


def test_a_retried_recall_keeps_its_place() -> None:
    site = Site()
    site.join("disk1", slots=1)
    done = site.stage("/a", "/b", "/c", "/d")
    site.end("disk1", site.start_of(done, "/a"), ErrorClass.TRANSIENT)
    site.wait(3.0)
    done = site.publish("disk1", site.start_of(done, "/b"))
    assert list(site.starts(done)) == ["/a"]


def test_a_large_recall_that_fits_nowhere_does_not_hold_up_small_ones() -> None:
    site = Site()
    site.join("disk1", quota_bytes=10 * GB, load=load(pinned_bytes=5 * GB))
    sizes = {"/large": 8 * GB, "/small": GB}
    done = site.stage("/large", "/small", sizes=sizes)
    assert set(site.starts(done)) == {"/small"}


def test_only_so_many_are_looked_past() -> None:
    site = Site(HeadSettings(look_past=3))
    site.join("disk1", quota_bytes=10 * GB, load=load(pinned_bytes=5 * GB))
    large = [f"/large{number}" for number in range(3)]
    sizes = dict.fromkeys(large, 8 * GB) | {"/small": GB}
    assert site.starts(site.stage(*large, "/small", sizes=sizes)) == {}
    done = site.give(events.CancelAsked("r1", large[:1])) + site.beat("disk1")
    assert set(site.starts(done)) == {"/small"}


def test_a_large_recall_is_not_overtaken_for_ever() -> None:
    site = Site(HeadSettings(overtaken_limit=4))
    site.join("disk1", quota_bytes=10 * GB, slots=2)
    small = [f"/small{number}" for number in range(50)]
    sizes = dict.fromkeys(small, 3 * GB) | {"/large": 9 * GB}
    done = site.stage(*small[:2], "/large", *small[2:], sizes=sizes)
    waiting = list(site.starts(done).items())
    before_large = 0
    while waiting:
        lfn, (_node, start) = waiting.pop(0)
        if lfn == "/large":
            break
        before_large += 1
        waiting += site.starts(site.publish("disk1", start, 3 * GB)).items()
    assert lfn == "/large"
    assert before_large <= 2 + 4 + 4


def test_what_is_kept_free_for_a_large_recall_is_given_back_with_it() -> None:
    site = Site(HeadSettings(overtaken_limit=1))
    site.join("disk1", quota_bytes=10 * GB, slots=2)
    sizes = {"/a": 3 * GB, "/large": 9 * GB, "/b": 3 * GB, "/c": 3 * GB, "/d": 3 * GB}
    done = site.stage("/a", "/large", "/b", "/c", "/d", sizes=sizes)
    assert set(site.starts(done)) == {"/a", "/b", "/c"}
    assert site.starts(site.publish("disk1", site.start_of(done, "/a"), 3 * GB)) == {}
    done = site.give(events.CancelAsked("r1", ["/large"])) + site.beat("disk1")
    assert set(site.starts(done)) == {"/d"}


def test_a_recall_goes_back_to_a_node_it_failed_on_only_if_there_is_no_other() -> None:
    site = Site()
    site.join("disk1")
    start = site.start_of(site.stage("/f"), "/f")
    site.end("disk1", start, ErrorClass.TRANSIENT)
    again = site.start_of(site.wait(3.0), "/f")
    site.end("disk1", again, ErrorClass.TRANSIENT)
    site.join("disk2", slots=1)
    busy = site.stage("/x", "/y", "/z", sizes={})
    assert busy
    assert site.node_of(site.wait(6.0), "/f") == "disk2"


def test_a_recall_waits_for_a_busy_node_rather_than_go_where_it_failed() -> None:
    site = Site(HeadSettings(backoff_max_s=30.0))
    site.join("disk1", slots=1)
    start = site.start_of(site.stage("/f"), "/f")
    site.join("disk2", slots=1)
    site.give(events.DrainAsked("disk1"))
    assert len(site.starts(site.stage("/x", "/y"))) == 2, "both places of disk2"
    site.give(events.DrainAsked("disk1", undo=True))
    site.end("disk1", start, ErrorClass.TRANSIENT)
    assert site.starts(site.wait(20.0)) == {}
    assert site.node_of(site.wait(20.0), "/f") == "disk1", "but not for ever"


def test_a_pass_over_a_long_queue_places_what_fits_and_no_more() -> None:
    site = Site()
    site.stage(*(f"/f{number}" for number in range(5_000)))
    done = site.join("disk1", slots=4)
    assert len(site.starts(done)) == 8
    sent = [one for one in site.sent(done, "disk1") if isinstance(one, StartRecall)]
    assert [one.lfn for one in sent] == [f"/f{number}" for number in range(8)]
