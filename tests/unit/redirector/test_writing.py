"""Which node a client is sent to with a new file."""

from __future__ import annotations

from collections import Counter

import pytest

from common.errors import QuotaExceeded, Refused
from redirector.core import events
from redirector.core.model import NodeLoad, NodeRecord
from redirector.core.settings import HeadSettings
from tests.support.redirector_head import GB, Site


@pytest.fixture
def site() -> Site:
    site = Site()
    for name in ("disk1", "disk2", "disk3"):
        site.join(name)
    return site


def chosen(
    site: Site, lfn: str = "/new", size_bytes: int = GB, host: str = "", avoid: tuple[str, ...] = ()
) -> str:
    address = site.head.choose_writer(lfn, size_bytes, host, avoid, now_s=site.now_s)
    site.head.check()
    return address.node


def test_the_least_loaded_node_is_chosen(site: Site) -> None:
    site.beat("disk1", NodeLoad(used_bytes=50 * GB))
    site.beat("disk2", NodeLoad(cpu_percent=90.0))
    assert chosen(site) == "disk3"


def test_the_clients_own_host_is_chosen_if_it_has_room(site: Site) -> None:
    site.beat("disk1", NodeLoad(cpu_percent=90.0, pinned_bytes=90 * GB))
    assert chosen(site, size_bytes=10 * GB, host="host-disk1") == "disk1"
    assert chosen(site, size_bytes=20 * GB, host="host-disk1") != "disk1"


def test_many_at_once_are_spread(site: Site) -> None:
    assert Counter(chosen(site, f"/f{number}") for number in range(30)) == {
        "disk1": 10,
        "disk2": 10,
        "disk3": 10,
    }


def test_files_of_unknown_size_count_as_the_assumed_one(site: Site) -> None:
    assert Counter(chosen(site, f"/f{number}", 0) for number in range(30)) == {
        "disk1": 10,
        "disk2": 10,
        "disk3": 10,
    }


def test_what_was_sent_there_since_the_last_heartbeat_takes_room(site: Site) -> None:
    small = Site()
    small.join("disk1", quota_bytes=10 * GB)
    chosen(small, "/a", 6 * GB)
    with pytest.raises(QuotaExceeded, match=r"/b cannot be written: it needs 6 GB, and the most"):
        chosen(small, "/b", 6 * GB)
    small.beat("disk1", NodeLoad(reserved_bytes=2 * GB))
    assert chosen(small, "/b", 6 * GB) == "disk1"
    with pytest.raises(QuotaExceeded, match="is 2 GB on disk1"):
        chosen(small, "/c", 3 * GB)


def test_what_recalls_have_reserved_is_not_counted_twice() -> None:
    site = Site()
    site.join("disk1", quota_bytes=10 * GB)
    site.stage("/f", sizes={"/f": 4 * GB})
    site.beat("disk1", NodeLoad(reserved_bytes=4 * GB))
    assert chosen(site, size_bytes=6 * GB) == "disk1"


def test_room_kept_free_for_a_recall_is_not_given_away() -> None:
    site = Site(HeadSettings(overtaken_limit=1))
    site.join("disk1", quota_bytes=10 * GB)
    site.stage("/running", sizes={"/running": 4 * GB})
    site.stage("/large", "/small", sizes={"/large": 7 * GB, "/small": GB})
    with pytest.raises(QuotaExceeded):
        chosen(site, size_bytes=2 * GB)


def test_a_file_larger_than_every_pool_is_refused(site: Site) -> None:
    with pytest.raises(QuotaExceeded, match=r"200 GB are more than any pool can hold"):
        chosen(site, size_bytes=200 * GB)


def test_only_usable_nodes_with_a_door_of_their_own_are_chosen(site: Site) -> None:
    site.join("stock", served_by_others=True)
    site.join("doorless", root=False)
    site.give(events.DrainAsked("disk1"))
    site.beat("disk2", NodeLoad(trouble="its disk is read-only"))
    assert chosen(site) == "disk3"
    with pytest.raises(Refused, match="no data server takes new files now"):
        chosen(site, avoid=("disk3",))
    site.lose("disk3")
    with pytest.raises(Refused, match="no data server takes new files now"):
        chosen(site)


def test_the_node_that_has_the_name_is_the_only_choice(site: Site) -> None:
    site.change("disk2", "/held", GB)
    site.claim("disk3", "/claimed")
    assert chosen(site, "/held", host="host-disk1") == "disk2"
    assert chosen(site, "/claimed", host="host-disk1") == "disk3"
    with pytest.raises(Refused, match="/held is online on disk2, where no client can write"):
        chosen(site, "/held", avoid=("disk2",))
    site.lose("disk3")
    with pytest.raises(Refused, match="/claimed is being written on disk3, where no client can"):
        chosen(site, "/claimed")


def test_what_is_being_staged_is_not_written(site: Site) -> None:
    site.stage("/f")
    with pytest.raises(Refused, match="/f is being staged"):
        chosen(site, "/f")


def test_after_a_restart_nothing_is_written_before_all_nodes_have_joined() -> None:
    known = (NodeRecord("disk1", "pool-disk1"), NodeRecord("disk2", "pool-disk2"))
    site = Site(restored=events.Restored(nodes=known))
    site.join("disk1")
    with pytest.raises(Refused, match="disk2 must join the restarted redirector first"):
        chosen(site)
    site.join("disk2")
    assert chosen(site) in ("disk1", "disk2")
