"""The Python API against a real site: staging, reading, datasets, processing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import psutil
import pyarrow.parquet
import pytest
import uproot

import packhorse
from common.errors import NotFound, Refused, StageFailed
from tests.support import analyses
from tests.support.cluster import Cluster, Node, running, until_joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse.values import SessionStatus

DATA = Path(__file__).parents[3] / "shared" / "data"
EVENTS = 2000
FILES = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("site")
    cluster = Cluster(folder, [Node("disk1"), Node("disk2")], packetizer={"packet_time": "50ms"})
    for number in range(FILES):
        path = folder / "made.root"
        with uproot.recreate(path) as file:
            tree = file.mktree("events", {"x": "int64"})
            for start in range(0, EVENTS, 500):
                tree.extend({"x": np.arange(start, start + 500) + number * EVENTS})
        cluster.write(f"/store/z/{number}.root", path.read_bytes())
    for name in DATA.glob("*") if DATA.is_dir() else ():
        cluster.write(f"/store/real/{name.name}", name.read_bytes())
    with running(cluster):
        with cluster.connect() as site:
            until_joined(site, len(cluster.nodes))
        yield cluster


@pytest.fixture
def site(cluster: Cluster) -> Iterator[packhorse.Site]:
    with cluster.connect() as site:
        yield site


def workers() -> list[psutil.Process]:
    """Worker processes of ours that still live."""
    children = psutil.Process().children(recursive=True)
    return [
        child for child in children if any("packhorse.worker" in one for one in child.cmdline())
    ]


def z_files() -> list[str]:
    return [f"/store/z/{number}.root" for number in range(FILES)]


def test_a_file_goes_from_the_archive_to_the_user(
    cluster: Cluster, site: packhorse.Site, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 1000
    cluster.write("/store/one.bin", content)
    assert site.locate("/store/one.bin")[0].state == "nearline"
    last = site.stage("/store/one.bin", pin_s=60).wait(timeout_s=30)
    assert (last.online, last.files, last.bytes_online) == (1, 1, len(content))
    assert site.cp("/store/one.bin", tmp_path).read_bytes() == content
    with site.open("/store/one.bin") as file:
        file.seek(1000)
        assert file.read(100) == content[1000:1100]
    (info,) = site.describe("/store/one.bin", wait_for_content=True)
    assert (info.size_bytes, info.content.format) == (len(content), "bytes")
    explained = site.explain("/store/one.bin")
    assert explained.state == "online"
    assert any(site.owner in line.text for line in explained.story)
    assert site.evict("/store/one.bin").refused[0].lfn == "/store/one.bin"


def test_a_file_that_is_not_in_the_archive_is_told_in_its_own_words(site: packhorse.Site) -> None:
    with pytest.raises(StageFailed, match=r"/store/none\.root \(.*No such file"):
        site.stage("/store/none.root").wait(timeout_s=30)
    with pytest.raises(StageFailed):
        site.open("/store/none.root")
    with pytest.raises(NotFound):
        site.open("/store/none.root", stage=False)


def test_a_pinned_file_stays_until_it_is_unpinned(cluster: Cluster, site: packhorse.Site) -> None:
    cluster.write("/store/pinned.bin", b"keep me")
    site.stage("/store/pinned.bin").wait(timeout_s=30)
    site.pin("/store/pinned.bin", lifetime_s=60, reason="tests")
    assert len(site.evict("/store/pinned.bin").refused) == 1
    assert site.unpin("/store/pinned.bin") == 1
    assert site.evict("/store/pinned.bin").evicted == 1


def test_the_site_tells_about_itself(site: packhorse.Site) -> None:
    assert {node.address.node for node in site.nodes()} == {"disk1", "disk2"}
    assert {plan.node for plan in site.purge_plan()} == {"disk1", "disk2"}
    assert site.drain("disk2").recalls_left == 0
    assert {node.address.node: node.draining for node in site.nodes()}["disk2"]
    site.drain("disk2", undo=True)
    assert all(recall.lfn for recall in site.recalls())


# --- processing -------------------------------------------------------------------------


def test_a_dataset_on_tape_gives_what_a_plain_loop_gives(site: packhorse.Site) -> None:
    site.datasets.register("z", z_files(), tree="events")
    steps: list[SessionStatus] = []
    result = site.process(
        "z",
        analyses.sums,
        workers=2,
        worker_hosts=["disk1", "disk2"],
        on_progress=steps.append,
    )
    total = FILES * EVENTS
    assert result.complete
    assert result.value["entries"] == total
    assert result.value["sum"] == total * (total - 1) / 2
    assert result.report.entries == total
    assert result.report.files == FILES
    assert 0 < result.report.local_fraction <= 1
    assert 0 <= result.report.first_lease_s <= result.report.first_packet_s
    assert sum(figures.entries for figures in result.report.workers) == total
    records = site.sessions.records(result.report.session_id)
    ranges = sorted((record.lfn, record.start, record.stop) for record in records)
    assert sum(stop - start for _, start, stop in ranges) == total
    assert steps[-1].state == "done"
    assert not workers()


def test_workers_elsewhere_read_over_the_network(site: packhorse.Site) -> None:
    site.datasets.register("far", z_files(), tree="events")
    result = site.process("far", analyses.sums, workers=2, worker_hosts=["elsewhere"])
    assert result.value["entries"] == FILES * EVENTS
    assert result.report.local_fraction == 0
    assert result.report.bytes_read > 0


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (analyses.raises_at_0, EVENTS * FILES),
        (analyses.exits_at_0, EVENTS * FILES),
        (analyses.text_at_900, None),
    ],
)
def test_a_function_that_misbehaves_costs_the_packets_it_does_so_on(
    site: packhorse.Site, function: Any, value: Any
) -> None:
    name = f"bad-{function.__name__}"
    site.datasets.register(name, z_files()[:2], tree="events")
    result = site.process(name, function, workers=2, packet_entries=500)
    missing = sum(part.stop - part.start for part in result.missing)
    assert result.report.entries + missing == 2 * EVENTS
    assert result.value == result.report.entries
    if value is not None:
        assert {(part.lfn, part.start) for part in result.missing} == {
            (lfn, 0) for lfn in z_files()[:2]
        }


def test_files_that_cannot_be_had_or_read_are_named(cluster: Cluster, site: packhorse.Site) -> None:
    whole = (cluster.archive / "store/z/0.root").read_bytes()
    cluster.write("/store/bad/truncated.root", whole[: len(whole) // 2])
    cluster.write("/store/bad/text.root", b"this is not a ROOT file\n" * 50)
    files = ["/store/bad/truncated.root", "/store/bad/text.root", "/store/bad/gone.root"]
    site.datasets.register("some-bad", [*files, "/store/z/0.root"], tree="events")
    result = site.process("some-bad", analyses.sums, workers=1)
    assert {part.lfn for part in result.missing} == set(files)
    assert all(part.reason for part in result.missing)
    assert result.value["entries"] == EVENTS


def test_a_session_survives_a_killed_packetizer(cluster: Cluster, site: packhorse.Site) -> None:
    site.datasets.register("survivor", z_files(), tree="events")
    restarted: list[float] = []

    def kill_once(status: SessionStatus) -> None:
        if status.packets_done and not restarted:
            restarted.append(time.monotonic())
            cluster.restart("packetizer")

    result = site.process(
        "survivor", analyses.slow, workers=2, packet_entries=500, on_progress=kill_once
    )
    assert restarted
    assert result.value == FILES * EVENTS
    assert result.complete


def test_a_cancelled_session_is_resumed_where_it_was(site: packhorse.Site) -> None:
    site.datasets.register("resumed", z_files()[:1], tree="events")
    session_id = site.sessions.open("resumed", packhorse.Work(analyses.count), packet_entries=500)
    site.sessions.cancel(session_id, "not now")
    assert site.sessions.status(session_id).state == "cancelled"
    site.sessions.resume(session_id)
    with pytest.raises(Refused):
        site.sessions.result(session_id)
    site.sessions.cancel(session_id)
    site.sessions.forget(session_id)
    with pytest.raises(NotFound):
        site.sessions.status(session_id)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")
@pytest.mark.parametrize(
    ("name", "tree", "column"),
    [
        ("uproot-Zmumu.root", "events", "E1"),
        ("uproot-HZZ.root", "events", "MET_px"),
        ("nanoAOD_2015_CMS_Open_Data_ttbar.root", "Events", "MET_pt"),
        ("nano_dimuon.parquet", "", "CaloMET_pt"),
    ],
)
def test_real_files_give_the_totals_of_their_own_libraries(
    site: packhorse.Site, name: str, tree: str, column: str
) -> None:
    if name.endswith(".parquet"):
        expected = ak.from_arrow(pyarrow.parquet.read_table(DATA / name, columns=[column]))[column]
    else:
        with uproot.open(DATA / name) as file:
            expected = file[tree].arrays([column])[column]
    dataset = f"real-{name}"
    site.datasets.register(dataset, [f"/store/real/{name}"], tree=tree)
    verified = site.datasets.verify(dataset, stage=True)
    assert verified.summary.entries_known == len(expected)

    def total(packet: packhorse.Packet) -> dict[str, float]:
        values = packet.arrays([column])[column]
        return {"entries": len(values), "sum": float(ak.sum(values))}

    result = site.process(dataset, total, workers=1)
    assert result.complete
    assert result.value["entries"] == len(expected)
    assert result.value["sum"] == pytest.approx(float(ak.sum(expected)))
