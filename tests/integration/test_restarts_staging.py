"""Servers that are killed, stopped, drained and started twice, while they stage.

Everything accepted ends well, every file is recalled at most once more, and neither a
process nor a file is left over. The stage script can be held back, so that a test knows
what runs when it strikes.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from common.errors import Unreachable
from packhorse.values import FileState, NodeState, RequestState
from tests.support.cluster import free_port, until_joined
from tests.support.patience import eventually
from tests.support.staging_site import NODES, StagingSite, content_of, replicas, staging_site

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 60.0
#: The recall lease: long enough for a loaded machine, short enough to wait for in a test.
LOST_AFTER_S = 8.0
SEED = 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagingSite]:
    folder = tmp_path_factory.mktemp("site")
    with staging_site(folder, suspect_after="3s", lost_after=f"{LOST_AFTER_S:g}s") as made:
        yield made


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that last while servers are killed."""
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def desk(shared: StagingSite, background: ThreadPoolExecutor) -> Iterator[StagingSite]:
    """The site, all up and tidy again before what runs in the background is waited for."""
    yield shared
    for role in shared.cluster.roles:
        if role not in shared.cluster.processes:
            shared.cluster.start(role)
    until_joined(shared.site, len(NODES))
    shared.tidy()


# --- kill -9 ---------------------------------------------------------------------------------


def test_a_data_server_killed_in_mid_recall_loses_neither_its_pool_nor_the_request(
    desk: StagingSite,
) -> None:
    old, new = desk.archived("old.root", "new.root")
    with desk.only_on("n1"):
        desk.site.stage(old).wait(PATIENCE_S)
        desk.hold(new)
        staging = desk.site.stage(new)
        desk.until_running(new)
    assert desk.cluster.commands("n1")
    desk.cluster.kill("n1")
    eventually(lambda: not desk.cluster.commands("n1"))

    desk.cluster.start("n1")
    desk.release()
    staging.wait(PATIENCE_S)
    assert len(desk.ran_on(new)) == 2
    until_joined(desk.site, len(NODES))
    assert desk.site.locate(old)[0].state is FileState.ONLINE
    assert desk.ran_on(old) == ["n1"]
    assert desk.cluster.incoming() == []


def test_the_recalls_of_a_data_server_that_stays_away_go_to_others(desk: StagingSite) -> None:
    (lfn,) = desk.archived("abandoned.root")
    desk.hold(lfn)
    with desk.only_on("n1"):
        staging = desk.site.stage(lfn)
        desk.until_running(lfn)
    desk.cluster.kill("n1")
    eventually(lambda: "n1 is out of touch" in desk.site.explain(lfn).next)
    desk.release()
    staging.wait(PATIENCE_S)
    assert len(desk.ran_on(lfn)) == 2
    assert desk.ran_on(lfn)[1] in {"n2", "n3"}
    (node,) = (one for one in desk.site.nodes() if one.address.node == "n1")
    assert node.state is NodeState.DROPPED
    assert any("node n1: dropped" in line for line in desk.site.status().stuck)


def test_a_redirector_killed_in_mid_verify_adopts_what_runs_and_recalls_nothing_twice(
    desk: StagingSite, background: ThreadPoolExecutor
) -> None:
    lfns = desk.archived(*(f"dataset/{number}.bin" for number in range(12)))
    desk.site.datasets.register("killed", lfns)
    held = lfns[3:9]
    desk.hold(*held)
    verifying = background.submit(desk.site.datasets.verify, "killed", stage=True)
    desk.until_running(*lfns)
    scripts = desk.running(*held)
    assert len(scripts) == len(held)

    desk.cluster.kill("redirector")
    assert isinstance(verifying.exception(PATIENCE_S), Unreachable)
    desk.cluster.start("redirector")
    until_joined(desk.site, len(NODES))
    assert desk.running(*held) == scripts
    again = background.submit(desk.site.datasets.verify, "killed", stage=True)
    eventually(lambda: len(desk.site.explain(held[0]).request_ids) == 2)
    desk.release()
    verified = again.result(PATIENCE_S)
    assert verified.complete
    assert verified.problems == ()
    assert (verified.summary.online, verified.summary.bytes_known) == (12, 12_000)
    assert {lfn: len(desk.ran_on(lfn)) for lfn in lfns} == dict.fromkeys(lfns, 1)


def test_everything_killed_at_once_goes_on_with_its_requests(
    desk: StagingSite, background: ThreadPoolExecutor
) -> None:
    done = desk.archived("before.root")
    desk.site.stage(done, pin_s=3600).wait(PATIENCE_S)
    lfns = desk.archived(*(f"all{number}.root" for number in range(8)))
    desk.hold(*lfns)
    staging = desk.site.stage(lfns)
    waiting = background.submit(staging.wait, PATIENCE_S)
    desk.until_running(*lfns)
    for role in desk.cluster.roles:
        desk.cluster.kill(role)
    eventually(lambda: not desk.cluster.strays())
    desk.release()

    desk.cluster.start()
    assert waiting.result(3 * PATIENCE_S).online == len(lfns)
    assert {len(desk.ran_on(lfn)) for lfn in lfns} == {2}
    (request,) = staging.requests()
    assert (request.state, request.done) == (RequestState.DONE, len(lfns))
    assert [one.request_id for one in desk.site.requests(active_only=True)] == []
    assert desk.site.locate(done)[0].state is FileState.ONLINE
    assert desk.site.explain(done[0]).pins, "a pin outlives everybody"
    assert desk.cluster.incoming() == []


def test_why_a_file_has_gone_is_known_after_the_redirector_was_killed(desk: StagingSite) -> None:
    old, evicted, *new = desk.archived(
        "gone.root", "evicted.root", *(f"after{number}.root" for number in range(4)),
        size_bytes=500_000,
    )  # fmt: skip
    with desk.only_on("n1"):
        desk.site.stage([old, evicted]).wait(PATIENCE_S)
        # It stays while it is inspected, for it is open then.
        eventually(lambda: not desk.site.evict(evicted).refused)
        assert not desk.site.evict(old, soft=True).refused
        assert desk.site.locate(old)[0].state is FileState.ONLINE
        desk.site.stage(new).wait(PATIENCE_S)
    purged = "dropped by n1: purged by policy lru to free"
    eventually(lambda: any(purged in line.text for line in desk.site.explain(old).story))
    desk.cluster.kill("redirector")
    desk.cluster.start("redirector")
    (line,) = desk.site.explain(old).story
    assert line.text.startswith(purged)
    assert "evicted softly" in line.text
    (line,) = desk.site.explain(evicted).story
    assert line.text == f"dropped by n1: evicted by {desk.site.owner}"
    assert line.unix_s > 0


def test_servers_killed_over_and_over_lose_nothing_while_more_is_staged_than_fits(
    desk: StagingSite, background: ThreadPoolExecutor
) -> None:
    chance = random.Random(SEED)
    lfns = desk.archived(*(f"storm/{number}.root" for number in range(60)), size_bytes=200_000)
    held = lfns[::3]
    desk.hold(*held)
    staging = desk.site.stage(lfns)
    waiting = background.submit(staging.wait, 3 * PATIENCE_S)
    for number, victim in enumerate(chance.choices(desk.cluster.roles, k=6)):
        desk.cluster.restart(victim)
        desk.release(*held[3 * number : 3 * number + 3])
    desk.release()
    assert waiting.result(3 * PATIENCE_S).online == len(lfns)
    until_joined(desk.site, len(NODES))
    online = {one.lfn for one in desk.site.locate(lfns) if one.state is FileState.ONLINE}
    assert online == {lfn for node in NODES for lfn in replicas(desk.cluster.pool(node))}
    for lfn in online:
        with desk.site.open(lfn) as file:
            assert file.read() == content_of(lfn, 200_000)
    for node in desk.site.nodes():
        assert node.load.peak_used_bytes <= node.load.quota_bytes


# --- orderly ends ------------------------------------------------------------------------------


def test_a_data_server_that_is_stopped_gives_its_recalls_back_at_once(desk: StagingSite) -> None:
    (lfn,) = desk.archived("given-back.root")
    desk.hold(lfn)
    with desk.only_on("n1"):
        staging = desk.site.stage(lfn)
        desk.until_running(lfn)
    desk.cluster.stop("n1")
    assert not desk.cluster.commands("n1")
    assert list((desk.cluster.pool("n1") / ".incoming").iterdir()) == []
    desk.release()
    staging.wait(LOST_AFTER_S - 1)
    assert desk.ran_on(lfn)[1] in {"n2", "n3"}


def test_a_redirector_that_is_stopped_leaves_recalls_running(desk: StagingSite) -> None:
    (lfn,) = desk.archived("undisturbed.root")
    desk.hold(lfn)
    staging = desk.site.stage(lfn)
    desk.until_running(lfn)
    desk.cluster.stop("redirector")
    desk.release()
    eventually(lambda: desk.cluster.holders(lfn))
    desk.cluster.start("redirector")
    staging.wait(PATIENCE_S)
    assert len(desk.ran_on(lfn)) == 1


def test_a_drained_node_finishes_and_serves_but_gets_nothing_new_also_after_a_restart(
    desk: StagingSite,
) -> None:
    first, *others = desk.archived(*(f"drain{number}.root" for number in range(7)))
    desk.hold(first)
    with desk.only_on("n1"):
        staging = desk.site.stage(first)
        desk.until_running(first)
    assert desk.site.drain("n1").recalls_left == 1
    desk.cluster.restart("redirector")
    until_joined(desk.site, len(NODES))
    assert [one.address.node for one in desk.site.nodes() if one.draining] == ["n1"]
    desk.release()
    staging.wait(PATIENCE_S)
    desk.site.stage(others).wait(PATIENCE_S)
    assert {node for lfn in others for node in desk.ran_on(lfn)} == {"n2", "n3"}
    with desk.site.open(first) as file:
        assert file.read() == content_of(first, 1000)
    assert desk.cluster.holders(first) == ["n1"]


# --- pools touched while nobody looks -------------------------------------------------------------


def test_a_start_finds_what_was_changed_in_its_pool(desk: StagingSite) -> None:
    cut, gone, kept, brought = desk.archived("cut.root", "gone.root", "kept.root", "brought.root")
    with desk.only_on("n1"):
        desk.site.stage([cut, gone, kept]).wait(PATIENCE_S)
    desk.cluster.kill("n1")
    pool = desk.cluster.pool("n1")
    (pool / "store" / "cut.root").write_bytes(b"half of it")
    (pool / "store" / "gone.root").unlink()
    (pool / "store" / "brought.root").write_bytes(content_of(brought, 1000))
    (pool / ".incoming" / "left").mkdir()
    (pool / ".incoming" / "left" / "over.root").write_bytes(b"left over")
    desk.cluster.start("n1")
    until_joined(desk.site, len(NODES))
    eventually(lambda: desk.site.locate(brought)[0].state is FileState.ONLINE)
    eventually(lambda: not (pool / "store" / "cut.root").exists())
    states = {one.lfn: one.state for one in desk.site.locate([cut, gone, kept])}
    assert states == {
        cut: FileState.NEARLINE,
        gone: FileState.NEARLINE,
        kept: FileState.ONLINE,
    }
    assert desk.cluster.incoming() == []
    desk.site.stage([cut, gone]).wait(PATIENCE_S)
    for lfn in (cut, gone, kept, brought):
        with desk.site.open(lfn) as file:
            assert file.read() == content_of(lfn, 1000)
    assert desk.ran_on(brought) == []


# --- one of each ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "variable", "complaint"),
    [
        (["redirector"], "PACKHORSE_REDIRECTOR__LISTEN", "redirector.sqlite"),
        (["dataserver", "--name", "n1"], "PACKHORSE_DATASERVER__N1__LISTEN", "catalogue.sqlite"),
    ],
)
def test_a_second_server_on_one_state_is_refused_in_one_line(
    desk: StagingSite, argv: list[str], variable: str, complaint: str
) -> None:
    elsewhere = f"127.0.0.1:{free_port()}"
    refused = desk.cluster.run(*argv, env={variable: elsewhere, "PACKHORSE_LOG": "ERROR"})
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert refused.stderr.startswith("packhorse: error: ")
    assert complaint in refused.stderr
    assert "in use" in refused.stderr
    (lfn,) = desk.archived("unharmed.root")
    desk.site.stage(lfn).wait(PATIENCE_S)


def test_a_second_server_at_one_address_is_refused_in_one_line(desk: StagingSite) -> None:
    other = str(desk.cluster.folder / "other-state")
    refused = desk.cluster.run(
        "redirector", env={"PACKHORSE_REDIRECTOR__STATE": other, "PACKHORSE_LOG": "ERROR"}
    )
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert f"cannot listen on {desk.cluster.redirector_address}: the port is taken" in line


def test_another_pool_under_a_name_that_is_taken_is_not_let_in(desk: StagingSite) -> None:
    pool = desk.cluster.folder / "impostor"
    pool.mkdir()
    (lfn,) = desk.archived("mine.root")
    with desk.only_on("n1"):
        desk.site.stage(lfn).wait(PATIENCE_S)
    env = {
        "PACKHORSE_DATASERVER__N1__POOL": str(pool),
        "PACKHORSE_DATASERVER__N1__LISTEN": "127.0.0.1:0",
    }
    impostor = desk.cluster.spawn("dataserver", "--name", "n1", log="impostor", env=env)
    try:
        line = eventually(lambda: _line_with("not joined", desk.cluster.log("impostor")))
        assert "n1" in line
        assert "another pool" in line
        assert [node.state for node in desk.site.nodes()] == [NodeState.UP] * len(NODES)
        with desk.site.open(lfn) as file:
            assert file.read() == content_of(lfn, 1000)
    finally:
        impostor.terminate()
        impostor.communicate(timeout=PATIENCE_S)
    assert impostor.returncode == 0


def test_two_nodes_of_one_name_in_one_file_are_refused_before_anything_starts(
    desk: StagingSite,
) -> None:
    refused = desk.cluster.run("config", "check", env={"PACKHORSE_DATASERVER__N2__NAME": "n1"})
    assert refused.returncode == 3
    assert '"n1" is the name of [dataserver.n1] already' in refused.stderr


def _line_with(words: str, text: str) -> str:
    return next((line for line in text.splitlines() if words in line), "")
