"""Batches, and archives that take orders, at a site of real processes that are killed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.errors import StageFailed
from packhorse.values import FileState, RequestState
from tests.support.cluster import Cluster, Node, running, until_joined
from tests.support.patience import eventually

if TYPE_CHECKING:
    import packhorse

SCRIPTS = Path(__file__).parent / "scripts"
CONTENT = b"what the detector saw\n" * 300
PATIENCE_S = 60.0
SOON = {"backoff": "50ms", "backoff_max": "200ms", "suspect_after": "2s", "lost_after": "6s"}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def noted(cluster: Cluster, kind: str) -> list[str]:
    """What the site's commands noted of a kind."""
    return lines(cluster.folder / "notes" / kind)


def state_of(site: packhorse.Site, lfn: str) -> FileState:
    return site.locate(lfn)[0].state


def contents(cluster: Cluster, lfn: str) -> list[bytes]:
    """What lies in the pools under a name."""
    return [(cluster.pool(one) / lfn.lstrip("/")).read_bytes() for one in cluster.holders(lfn)]


def site_with(folder: Path, keys: dict[str, object], *, stagecmd: list[str] | str) -> Cluster:
    (folder / "notes").mkdir()
    node = Node("n1", "10MB", {"slots": 1})
    return Cluster(folder, [node], stagecmd=stagecmd, mss=keys, redirector=SOON, packetizer=None)


def test_files_of_a_batch_are_published_one_by_one_and_outlive_a_killed_server(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-S", str(SCRIPTS / "batch-stage.py"), str(tmp_path / "notes")]
    keys: dict[str, object] = {"contract": "batch", "batch_wait": "500ms", "batch_files": 50}
    cluster = site_with(tmp_path, keys, stagecmd=command)
    quick = [f"/store/x/f{number}" for number in range(20)]
    slow, dropped, missing = "/store/waits/a", "/store/waits/b", "/store/missing/a"
    for lfn in (*quick, slow, dropped, missing):
        cluster.write(lfn, CONTENT)
    with running(cluster), cluster.connect() as site:
        until_joined(site, 1)
        asked = site.stage([*quick, slow])
        unwanted, gone = site.stage(dropped), site.stage(missing)
        # The command takes the quick ones first, then the waiting ones from the last.
        eventually(lambda: noted(cluster, "waiting") == ["b"])
        eventually(lambda: all(state_of(site, lfn) is FileState.ONLINE for lfn in quick))
        assert len(noted(cluster, "runs")) == 1
        assert state_of(site, slow) is FileState.STAGING
        eventually(lambda: "copying (waits for b)" in str(site.explain(dropped)))

        # Nobody wants it any more, and the command does not listen: it is dropped all the same.
        unwanted.cancel()
        eventually(lambda: unwanted.requests()[0].state is RequestState.CANCELLED)
        (cluster.folder / "notes" / "go-b").touch()
        eventually(lambda: noted(cluster, "waiting") == ["b", "a"])
        assert cluster.holders(dropped) == []

        cluster.kill("n1")
        eventually(lambda: not cluster.commands("n1"))
        cluster.start("n1")
        (cluster.folder / "notes" / "go-a").touch()
        asked.wait(PATIENCE_S)
        assert contents(cluster, slow) == [CONTENT]
        # It alone was given to the second run.
        eventually(lambda: len(noted(cluster, "runs")) >= 2)
        assert Counter(noted(cluster, "brought"))["f0"] == 1
        with pytest.raises(StageFailed, match="no such file"):
            gone.wait(PATIENCE_S)
        assert state_of(site, missing) is FileState.MISSING
        eventually(lambda: cluster.incoming() == [])


@pytest.mark.parametrize("ending", ["kill -9", "SIGTERM"])
def test_nothing_is_ordered_twice_when_the_data_server_ends(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-S", str(SCRIPTS / "slow-archive.py"), str(tmp_path / "notes")]
    verbs = ("submit", "poll", "cancel", "release")
    keys: dict[str, object] = {f"{verb}cmd": [*command, verb] for verb in verbs}
    keys |= {"poll": "50ms", "poll_max": "200ms"}
    cluster = site_with(tmp_path, keys, stagecmd="builtin")
    lfns = [f"/store/x/f{number}" for number in range(10)]
    for lfn in lfns:
        cluster.write(lfn, CONTENT)

    def orders() -> dict[str, str]:
        """The archive's ids, by file."""
        found = [line.split(" ") for line in noted(cluster, "submit") if line.startswith("req-")]
        assert len({source for _, source in found}) == len(found), "ordered twice"
        return {Path(source).name: order for order, source in found}

    def make_ready(lfn: str) -> None:
        (cluster.folder / "notes" / "orders" / orders()[Path(lfn).name]).write_text("ready")

    with running(cluster), cluster.connect() as site:
        until_joined(site, 1)
        asked, unwanted = site.stage(lfns[:9]), site.stage(lfns[9])
        # All are on order at a time, although the node has one slot for copying.
        eventually(lambda: len(orders()) == 10)
        eventually(lambda: "on its way" in str(site.explain(lfns[0])))
        make_ready(lfns[0])
        eventually(lambda: state_of(site, lfns[0]) is FileState.ONLINE)
        eventually(lambda: orders()["f0"] in noted(cluster, "release"))
        unwanted.cancel()
        eventually(lambda: noted(cluster, "cancel")[1:] == [orders()["f9"]])
        before = orders()

        if ending == "SIGTERM":
            cluster.stop("n1")
        else:
            cluster.kill("n1")
        make_ready(lfns[1])
        cluster.start("n1")
        eventually(lambda: state_of(site, lfns[1]) is FileState.ONLINE, PATIENCE_S)
        for lfn in lfns[2:9]:
            make_ready(lfn)
        asked.wait(PATIENCE_S)
        assert orders() == before
        assert all(contents(cluster, lfn) == [CONTENT] for lfn in lfns[:9])
        given_back = set(before.values()) - {before["f9"]}
        eventually(lambda: given_back <= set(noted(cluster, "release")))
        assert len([one for one in noted(cluster, "cancel") if one.startswith("req-")]) == 1
