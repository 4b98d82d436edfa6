"""Files of one tape are recalled together and in order, at a site that tells where they lie."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import packhorse
from packhorse.values import RequestState
from tests.support.cluster import Cluster, Node, install, running, until_joined

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTS = Path(__file__).parent / "scripts"
TAPES = ("V1", "V2", "V3")
FILES = 12
PATIENCE_S = 60.0


def site_with(
    folder: Path, redirector: Mapping[str, object] | None = None, **mss: object
) -> Cluster:
    """A site of one node that runs one command at a time, from one drive."""
    stage = install(SCRIPTS, folder) / "xrootd-stage.sh"
    return Cluster(
        folder,
        [Node("disk1", "100GB", extra={"slots": 1})],
        stagecmd=[str(stage)],
        mss={"drives": 1, **mss},
        redirector=redirector or {},
        packetizer=None,
    )


def shuffled(cluster: Cluster) -> list[str]:
    """Puts the tapes' files into the archive; their LFNs in no order."""
    lfns = [f"/store/{tape}/f{number:02}.root" for tape in TAPES for number in range(FILES)]
    for lfn in lfns:
        cluster.write(lfn, lfn.encode())
    random.Random(7).shuffle(lfns)
    return lfns


def recalled(site: packhorse.Site, lfns: list[str]) -> list[str]:
    """The files in the order in which they were first given to the node.

    Of those that were given at the same moment, nothing tells the order.
    """
    given = {}
    for lfn in lfns:
        story = site.explain(lfn).story
        given[lfn] = next(line.unix_s for line in story if line.text.startswith("attempt 1 given"))
    return sorted(lfns, key=lambda lfn: (given[lfn], lfn))


def assert_in_tape_order(order: list[str]) -> None:
    tapes = [lfn.split("/")[2] for lfn in order]
    changes = sum(before != after for before, after in pairwise(tapes))
    assert changes == len(TAPES) - 1, "every tape is mounted once"
    for tape in TAPES:
        places = [lfn for lfn in order if f"/{tape}/" in lfn]
        assert places == sorted(places)


def test_a_hintcmd_is_asked_about_many_and_its_order_is_kept(tmp_path: Path) -> None:
    cluster = site_with(tmp_path, hintcmd=[str(tmp_path / "bin" / "hints.py")])
    lfns = shuffled(cluster)
    with running(cluster), packhorse.connect(cluster.config) as site:
        staging = site.stage(lfns, owner="alice", activity="production")
        assert staging.wait(PATIENCE_S).online == len(lfns)
        (request,) = site.requests(staging.request_ids[0])
        assert (request.state, request.activity) == (RequestState.DONE, "production")
        story = [line.text for line in site.explain(lfns[0]).story]
        tape, name = lfns[0].split("/")[2:]
        assert f"its turn: on volume {tape} at {int(name[1:3])}" in story
        assert_in_tape_order(recalled(site, lfns))
    runs = [int(line) for line in (tmp_path / "hints.log").read_text().split()]
    assert sum(runs) == len(lfns)
    assert len(runs) == 1


def test_a_statcmd_that_tells_tapes_does_as_well(tmp_path: Path) -> None:
    told = 'printf \'{"volume": "%s", "position": %d}\' "$(basename "$(dirname "$1")")" "$n"'
    script = tmp_path / "stat.sh"
    number = 'n=$(basename "$1" .root); n=${n#f}; n=${n#0}\n'
    script.write_text(f"#!/bin/sh\n{number}{told}\n")
    script.chmod(0o755)
    statcmd = [str(script), "{source}"]
    cluster = site_with(tmp_path, hintcmd="statcmd", statcmd=statcmd)
    lfns = shuffled(cluster)
    with running(cluster), packhorse.connect(cluster.config) as site:
        assert site.stage(lfns).wait(PATIENCE_S).online == len(lfns)
        assert_in_tape_order(recalled(site, lfns))


def test_a_broken_hintcmd_holds_nothing_up_for_long(tmp_path: Path) -> None:
    cluster = site_with(tmp_path, {"hint_wait": "1s"}, hintcmd=["false"])
    lfns = shuffled(cluster)
    with running(cluster), packhorse.connect(cluster.config) as site:
        assert site.stage(lfns).wait(PATIENCE_S).online == len(lfns)
    assert "it is not known where 36 files lie on tape" in cluster.log("redirector")


def test_limits_of_parts_of_the_archive_come_from_their_rules(tmp_path: Path) -> None:
    names = [
        {"prefix": "/store/", "archive": f"{tmp_path}/archive/store/"},
        {"prefix": "/store/V1/", "archive": f"{tmp_path}/archive/store/V1/", "limit": 1},
    ]
    cluster = site_with(tmp_path, names=names)
    lfns = shuffled(cluster)
    gates = tmp_path / "gates"
    gates.mkdir()
    for lfn in lfns:
        (gates / Path(lfn).name).touch()
    with running(cluster), packhorse.connect(cluster.config) as site:
        until_joined(site, 1)
        staging = site.stage([lfn for lfn in lfns if "/V1/" in lfn])
        waiting = site.explain(next(lfn for lfn in lfns[::-1] if "/V1/" in lfn)).next
        assert waiting == "as many recalls from /store/V1/ run as may at a time: 1"
        for gate in list(gates.iterdir()):
            gate.unlink()
        assert staging.wait(PATIENCE_S).online == FILES
