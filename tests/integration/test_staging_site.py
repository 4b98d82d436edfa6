"""Staging at a site of three nodes: who gets a recall, what is purged, what waits and why.

Everything is real: processes, sockets, disks, and a stage script as sites wrote them for
XRootD, with two arguments and no placeholders. The script can be held back, so a test
decides when a file comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from common.errors import StageFailed
from packhorse import aio
from packhorse.values import FileState, NodeLoad, RequestState
from tests.support.patience import eventually
from tests.support.processes import state_of
from tests.support.staging_site import NODES, StagingSite, content_of, staging_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster

CLIENTS = 1000
QUOTA_BYTES = 2_000_000
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagingSite]:
    with staging_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def desk(shared: StagingSite) -> Iterator[StagingSite]:
    yield shared
    shared.tidy()


# --- one recall for everybody ------------------------------------------------------------


def test_a_thousand_clients_that_ask_for_one_cold_file_cause_one_recall(desk: StagingSite) -> None:
    (lfn,) = desk.archived("wanted.root")
    desk.hold(lfn)

    async def everybody() -> None:
        async with AsyncExitStack() as clients:
            sites = [
                await clients.enter_async_context(await aio.connect(desk.cluster.config))
                for _ in range(CLIENTS)
            ]
            stagings = await asyncio.gather(*(site.stage(lfn) for site in sites))
            assert len({staging.request_id for staging in stagings}) == CLIENTS
            waiting = asyncio.gather(*(staging.wait(PATIENCE_S) for staging in stagings))
            status = await sites[0].status()
            assert (status.requests_active, status.recalls_running) == (CLIENTS, 1)
            desk.release()
            assert sum(progress.online for progress in await waiting) == CLIENTS

    asyncio.run(everybody())
    assert len(desk.ran_on(lfn)) == 1
    assert desk.site.status().requests_active == 0
    assert len(desk.cluster.holders(lfn)) == 1


# --- where recalls go ----------------------------------------------------------------------


def test_recalls_are_spread_evenly_over_idle_nodes_of_which_nothing_is_known(
    tmp_path: Path,
) -> None:
    with staging_site(tmp_path) as desk:
        lfns = desk.archived(*(f"even{number}.root" for number in range(9)), size_bytes=50_000)
        desk.hold(*lfns)
        staging = desk.site.stage(lfns)
        desk.until_running(*lfns)
        given = [node for lfn in lfns for node in desk.ran_on(lfn)]
        assert {node: given.count(node) for node in NODES} == dict.fromkeys(NODES, 3)
        desk.release()
        staging.wait(PATIENCE_S)


def test_a_recall_goes_to_the_idle_node_and_not_to_the_busy_or_the_full_one(
    desk: StagingSite,
) -> None:
    slow = desk.archived(*(f"slow{number}.root" for number in range(4)), size_bytes=100_000)
    kept = desk.archived(*(f"kept{number}.root" for number in range(9)), size_bytes=200_000)
    desk.hold(*slow)
    with desk.only_on("n1"):
        desk.site.stage(slow)
        desk.until_running(*slow)
    with desk.only_on("n2"):
        desk.site.stage(kept, pin_s=3600).wait(PATIENCE_S)
    eventually(lambda: _load(desk, "n2").pinned_bytes == 9 * 200_000)

    (large,) = desk.archived("large.root", size_bytes=300_000)
    desk.site.stage(large).wait(PATIENCE_S)
    assert desk.ran_on(large) == ["n3"]
    for lfn in desk.archived(*(f"small{number}.root" for number in range(4)), size_bytes=10_000):
        desk.site.stage(lfn).wait(PATIENCE_S)
        assert desk.ran_on(lfn) == ["n3"]

    (given,) = [line.text for line in desk.site.explain(large).story if "given to" in line.text]
    assert "attempt 1 given to n3, 250 kB reserved: n3 costs" in given
    costs = {node: _cost_s(desk, node) for node in NODES}
    assert costs["n3"] < costs["n2"], "an idle node is cheaper than one that is nearly full"
    assert costs["n3"] < costs["n1"], "an idle node is cheaper than one that is busy"


def test_a_node_with_no_room_left_gets_nothing_even_if_it_is_the_only_idle_one(
    desk: StagingSite,
) -> None:
    kept = desk.archived(*(f"pinned{number}.root" for number in range(9)), size_bytes=200_000)
    with desk.only_on("n2"):
        desk.site.stage(kept, pin_s=3600).wait(PATIENCE_S)
        (lfn,) = desk.archived("no-room.root", size_bytes=300_000)
        staging = desk.site.stage(lfn)
        told = eventually(lambda: desk.site.explain(lfn).next)
        assert told == (
            "needs 250 kB; the most that is neither pinned nor promised is 200 kB on n2"
        )
        assert desk.ran_on(lfn) == []
    staging.wait(PATIENCE_S)
    assert desk.ran_on(lfn)[0] in {"n1", "n3"}


# --- purging -------------------------------------------------------------------------------


def test_more_than_the_pools_hold_is_purged_under_quota_but_not_what_is_open_or_pinned(
    desk: StagingSite,
) -> None:
    opened, pinned = desk.archived("opened.root", "pinned.root", size_bytes=150_000)
    desk.site.stage([opened, pinned]).wait(PATIENCE_S)
    desk.site.pin(pinned, lifetime_s=3600)
    lfns = desk.archived(*(f"flow/{number}.root" for number in range(200)), size_bytes=150_000)
    watch = DiskWatch(desk.cluster)
    with desk.site.open(opened) as file, watch:
        desk.site.stage(lfns).wait(PATIENCE_S)
        assert file.read() == content_of(opened, 150_000)
        assert desk.site.locate(opened)[0].state is FileState.ONLINE
    assert desk.site.locate(pinned)[0].state is FileState.ONLINE
    assert watch.looks > 10
    assert watch.most_bytes <= QUOTA_BYTES
    for node in desk.site.nodes():
        assert node.load.peak_used_bytes <= QUOTA_BYTES
    purged = {lfn for lfn in lfns if not desk.cluster.holders(lfn)}
    assert len(lfns) - len(purged) <= 3 * QUOTA_BYTES // 150_000
    again = min(purged)
    assert "purged" in _story(desk, again)
    desk.site.stage(again).wait(PATIENCE_S)
    assert len(desk.ran_on(again)) == 2


def test_what_was_used_longest_ago_is_purged_first(desk: StagingSite) -> None:
    with desk.only_on("n1"):
        lfns = desk.archived(*(f"lru{number}.root" for number in range(9)), size_bytes=200_000)
        for lfn in lfns:
            desk.site.stage(lfn).wait(PATIENCE_S)
        with desk.site.open(lfns[0]) as file:
            file.read()
        (new,) = desk.archived("new.root", size_bytes=400_000)
        desk.site.stage(new).wait(PATIENCE_S)
    assert desk.cluster.holders(lfns[0]) == ["n1"]
    assert desk.cluster.holders(lfns[1]) == []
    assert desk.cluster.holders(lfns[8]) == ["n1"]


# --- what waits, and what fails ----------------------------------------------------------------


def test_pools_full_of_pinned_files_make_requests_wait_until_unpinned_or_too_late(
    desk: StagingSite,
) -> None:
    kept = [
        desk.archived(*(f"{node}/{number}.root" for number in range(9)), size_bytes=200_000)
        for node in NODES
    ]
    for node, lfns in zip(NODES, kept, strict=True):
        with desk.only_on(node):
            desk.site.stage(lfns, pin_s=3600, owner="hoarder").wait(PATIENCE_S)
    hurried, patient = desk.archived("hurried.root", "patient.root", size_bytes=300_000)
    waiting = desk.site.stage(patient)
    begun_s = time.monotonic()
    with pytest.raises(StageFailed) as failed:
        desk.site.stage(hurried, deadline_s=2).wait(PATIENCE_S)
    assert time.monotonic() - begun_s < 10
    assert re.search(r"not online within 2 s.* needs 250 kB; the most that is", str(failed.value))
    assert "needs 250 kB; the most that is neither pinned" in desk.site.explain(patient).next
    assert desk.site.locate(patient)[0].state is FileState.STAGING

    (pin,) = desk.site.explain(kept[0][0]).pins
    assert desk.site.unpin(kept[0], owner=pin.owner) == 9
    waiting.wait(PATIENCE_S)
    assert desk.ran_on(patient) == ["n1"]
    assert desk.ran_on(hurried) == []


def test_a_file_larger_than_any_pool_is_refused_in_one_line(desk: StagingSite) -> None:
    (lfn,) = desk.archived("larger.root", size_bytes=QUOTA_BYTES + 1)
    done = desk.cluster.run("stage", lfn, "--wait")
    assert done.returncode == 9
    (line,) = done.stderr.splitlines()
    assert line.startswith("packhorse: error: 1 of 1 files could not be staged: /store/larger.root")
    assert "more than any pool can hold" in line
    assert desk.ran_on(lfn) == []


def test_sizes_that_nobody_can_tell_are_found_out_by_staging(tmp_path: Path) -> None:
    with staging_site(tmp_path, quota="1MB", statcmd=None) as desk:
        small = desk.archived(*(f"small{number}.root" for number in range(9)), size_bytes=300_000)
        desk.site.stage(small).wait(PATIENCE_S)
        (large,) = desk.archived("large.root", size_bytes=900_000)
        desk.site.stage(large).wait(PATIENCE_S)
        (larger,) = desk.archived("larger.root", size_bytes=1_000_001)
        with pytest.raises(StageFailed, match="are more than any pool can hold"):
            desk.site.stage(larger).wait(PATIENCE_S)
        assert len(desk.ran_on(larger)) <= 4, "each try is given four times as much room"
        for node in desk.site.nodes():
            assert node.load.peak_used_bytes <= 1_000_000


def test_an_archive_that_is_gone_fails_with_the_script_s_own_words_and_is_back_when_it_is_back(
    desk: StagingSite,
) -> None:
    (lfn,) = desk.archived("unmounted.root")
    store = desk.cluster.archive / "store"
    aside = store.rename(store.with_name("aside"))
    with pytest.raises(StageFailed) as failed:
        desk.site.stage(lfn).wait(PATIENCE_S)
    assert "No such file or directory" in str(failed.value)
    assert len(desk.ran_on(lfn)) == 3, "one day it may be mounted again, so it is tried again"
    aside.rename(store)
    desk.site.stage(lfn).wait(PATIENCE_S)


# --- cancelling ------------------------------------------------------------------------------


def test_cancel_reaches_the_process_group_and_leaves_nothing(desk: StagingSite) -> None:
    (lfn,) = desk.archived("cancelled.root")
    desk.hold(lfn)
    staging = desk.site.stage(lfn)
    desk.until_running(lfn)
    assert desk.cluster.commands()
    assert desk.cluster.incoming()
    assert staging.cancel() == 1
    with pytest.raises(StageFailed, match="1 of 1 files were cancelled"):
        staging.wait(PATIENCE_S)
    assert staging.requests()[0].state is RequestState.CANCELLED
    eventually(lambda: not desk.cluster.commands())
    eventually(lambda: not desk.cluster.incoming())
    assert desk.cluster.holders(lfn) == []
    eventually(lambda: desk.site.status().recalls_running == 0)
    assert desk.site.locate(lfn)[0].state is FileState.NEARLINE
    assert "cancelled" in _story(desk, lfn)


def test_a_recall_goes_on_while_anybody_wants_it(desk: StagingSite) -> None:
    (lfn,) = desk.archived("shared.root")
    desk.hold(lfn)
    first, second = desk.site.stage(lfn), desk.site.stage(lfn)
    desk.until_running(lfn)
    first.cancel()
    desk.release()
    second.wait(PATIENCE_S)
    assert len(desk.ran_on(lfn)) == 1


def test_a_file_asked_for_again_while_its_recall_is_being_cancelled_comes(
    desk: StagingSite,
) -> None:
    (lfn,) = desk.archived("regretted.root")
    desk.hold(lfn)
    first = desk.site.stage(lfn)
    desk.until_running(lfn)
    first.cancel()
    second = desk.site.stage(lfn)
    desk.release()
    second.wait(PATIENCE_S)
    assert len(desk.ran_on(lfn)) == 2


class DiskWatch:
    """Measures what lies in pools, over and over, while it is entered; catalogues do not count.

    A server is stopped while its pool is looked at, or a file that is moved or replaced
    meanwhile would count twice.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.most_bytes = 0
        self.looks = 0
        self._cluster = cluster
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="disk watch")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            for node in NODES:
                server = self._cluster.processes[node]
                server.send_signal(signal.SIGSTOP)
                try:
                    eventually(lambda server=server: state_of(server.pid) == "T")  # type: ignore[misc]
                    size_bytes = _size_bytes(self._cluster.pool(node))
                finally:
                    server.send_signal(signal.SIGCONT)
                self.most_bytes = max(self.most_bytes, size_bytes)
            self.looks += 1


def _size_bytes(pool: Path) -> int:
    """The bytes of all files; its stage commands may still be writing some."""
    size_bytes = 0
    for folder, _, names in os.walk(pool):
        for name in names if ".packhorse" not in folder else ():
            with contextlib.suppress(FileNotFoundError):
                size_bytes += os.lstat(f"{folder}/{name}").st_size
    return size_bytes


def _load(desk: StagingSite, node: str) -> NodeLoad:
    return next(one.load for one in desk.site.nodes() if one.address.node == node)


def _cost_s(desk: StagingSite, node: str) -> float:
    return next(one.cost_s for one in desk.site.nodes() if one.address.node == node)


def _story(desk: StagingSite, lfn: str) -> str:
    return "\n".join(line.text for line in desk.site.explain(lfn).story)
