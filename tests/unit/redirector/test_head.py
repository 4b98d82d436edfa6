"""The head's door: queries, wake-ups, time."""

from __future__ import annotations

import pytest

from common.errors import NotFound
from redirector.core import events
from redirector.core.model import NodeLoad
from redirector.core.states import ErrorClass, FileState
from tests.support.redirector_head import GB, Site


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join("disk1", {"/one": 1, "/both": 2}, load=NodeLoad(cpu_percent=80.0))
    site.join("disk2", {"/two": 3, "/both": 2}, load=NodeLoad(cpu_percent=10.0))
    site.join("disk3")
    return site


def test_locate_answers_in_columns_with_the_nodes_that_occur(site: Site) -> None:
    site.stage("/cold")
    columns = site.head.locate(["/two", "/nowhere", "/both", "/cold"], site.now_s)
    assert [address.node for address in columns.nodes] == ["disk1", "disk2"]
    assert columns.holders == [2, 0, 2, 0]
    assert columns.sizes_bytes == [3, 0, 2, 0]
    assert columns.more == [(2, 1)]
    assert columns.offline == [(3, FileState.STAGING, "")]


def test_a_replica_on_the_askers_own_host_is_the_best(site: Site) -> None:
    columns = site.head.locate(["/both"], site.now_s, host="host-disk1")
    assert [address.node for address in columns.nodes] == ["disk1", "disk2"]
    assert columns.holders == [1]
    assert columns.more == [(0, 2)]


def test_a_node_in_touch_is_better_than_a_silent_one(site: Site) -> None:
    site.lose("disk2")
    columns = site.head.locate(["/both", "/two"], site.now_s)
    assert [columns.nodes[one - 1].node for one in columns.holders] == ["disk1", "disk2"]


def test_locating_nothing_answers_nothing(site: Site) -> None:
    columns = site.head.locate([], site.now_s)
    assert (columns.nodes, columns.holders, columns.offline) == ([], [], [])


def test_standing_tells_how_each_file_stands(site: Site) -> None:
    done = site.stage("/cold", "/absent", sizes={"/cold": GB})
    node = site.node_of(done, "/absent")
    site.end(node, site.start_of(done, "/absent"), ErrorClass.NOT_FOUND, "no such file")
    online, cold, absent, unknown = site.head.standing(
        ["/both", "/cold", "/absent", "/unknown"], site.now_s
    )
    assert (online.state, online.node, online.size_bytes) == (FileState.ONLINE, "disk2", 2)
    assert (cold.state, cold.size_bytes) == (FileState.STAGING, GB)
    assert (absent.state, absent.reason) == (FileState.MISSING, "no such file")
    assert unknown.state is FileState.NEARLINE


def test_files_are_grouped_by_the_holder_that_can_be_asked(site: Site) -> None:
    site.lose("disk2")
    groups = site.head.group_by_holder(["/one", "/both", "/two", "/cold"])
    assert groups.by_connection == {site.connections["disk1"]: ["/one", "/both"]}
    assert groups.not_online == ["/two", "/cold"]


def test_evicting_asks_every_holder_but_spares_what_is_pinned(site: Site) -> None:
    site.give(events.PinAsked(["/one"], "session:7", 60.0))
    first, second = site.connections["disk1"], site.connections["disk2"]
    plan = site.head.plan_evict(["/both", "/one", "/cold", "/both"], site.now_s)
    assert plan.by_connection == {first: ["/both"], second: ["/both"]}
    assert plan.refused == [
        ("/one", "pinned by session:7 for another 60 s"),
        ("/cold", "not online"),
    ]
    site.lose("disk2")
    plan = site.head.plan_evict(["/two"], site.now_s)
    assert plan.refused == [("/two", "disk2, which holds it, is out of touch")]


def test_status_counts_what_usable_nodes_can_hold(site: Site) -> None:
    site.beat("disk1", NodeLoad(used_bytes=50 * GB, pinned_bytes=40 * GB))
    site.stage("/f", sizes={"/f": 5 * GB})
    site.give(events.DrainAsked("disk2"))
    status = site.head.status(site.now_s)
    assert status.quota_bytes == 200 * GB
    assert status.available_bytes == 200 * GB - 40 * GB - 5 * GB
    assert status.largest_file_bytes == 100 * GB
    assert (status.replicas, status.requests_active, status.recalls_running) == (4, 1, 1)
    assert (status.recalls_queued, status.recalls_done, status.recalls_failed) == (0, 0, 0)


def test_unknown_nodes_are_not_found(site: Site) -> None:
    with pytest.raises(NotFound, match="disk9"):
        site.head.node("disk9", site.now_s)
    assert [one.address.node for one in site.head.nodes(site.now_s)] == ["disk1", "disk2", "disk3"]


def test_the_head_wants_to_be_woken_at_least_once_a_second_and_when_something_is_due(
    site: Site,
) -> None:
    assert site.now_s < site.head.next_wakeup_s() <= site.now_s + 1.0
    site.give(events.PinAsked(["/one"], "me", 0.25))
    assert site.head.next_wakeup_s() == site.now_s + 0.25
    site.wait(1.0)
    assert site.head.next_wakeup_s() > site.now_s


def test_the_head_wants_to_be_woken_at_once_while_there_is_something_to_sweep() -> None:
    site = Site()
    site.join("disk1", {f"/f{number}": 1 for number in range(5_000)})
    site.lose("disk1")
    while site.head.nodes(site.now_s)[0].state.name != "DROPPED":
        site.now_s += 1.0
        site.give(events.Tick())
    ticks = 0
    while site.head.next_wakeup_s() <= site.now_s:
        site.give(events.Tick())
        ticks += 1
    assert ticks == 2, "the tick that dropped the node swept the first slice"


def test_time_never_goes_back(site: Site) -> None:
    with pytest.raises(AssertionError, match="time went back"):
        site.head.tick(site.now_s - 1.0)
