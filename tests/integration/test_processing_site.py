"""Processing at a site of three nodes and a packetizer: real files, bad ones, and kills.

Every entry is counted once or named as missing, whatever happens to whom; each file is
recalled at most once more; nothing is left over.
"""

from __future__ import annotations

import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import psutil
import pyarrow.parquet
import pytest
import uproot

from common.errors import NotFound, UsageError
from packhorse.values import SessionState
from tests.support import site_analyses
from tests.support.cluster import until_joined
from tests.support.patience import eventually
from tests.support.site_analyses import BAD_START, totals_of
from tests.support.staging_site import NODES, StagingSite, staging_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Packet, Result
    from packhorse.values import SessionStatus

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")
PATIENCE_S = 90.0
PACKET = 500
ENTRIES = 4 * PACKET
QUOTA_BYTES = 2_000_000

#: Real files by dataset: their names, their tree, and columns to sum, flat and jagged ones.
REAL = {
    "zmumu": (["uproot-Zmumu.root"], "events", ["E1", "px1", "M", "Run"]),
    "hzz": (["uproot-HZZ.root"], "events", ["MET_px", "Muon_Px", "Jet_E", "NMuon"]),
    "nano": (
        ["nanoAOD_2015_CMS_Open_Data_ttbar.root", "nano_dy.root", "nano_dimuon.root"],
        "Events",
        ["MET_pt", "Muon_pt", "Jet_pt", "nMuon"],
    ),
    "parquet": (["nano_dimuon.parquet"], "", ["MET_pt", "Muon_pt", "nMuon"]),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagingSite]:
    packetizer = {"packet_time": "50ms", "commit": "200ms", "lease": "5s", "locality_wait": "500ms"}
    folder = tmp_path_factory.mktemp("site")
    with staging_site(folder, packetizer=packetizer, suspect_after="3s", lost_after="8s") as made:
        for path in DATA.glob("*") if DATA.is_dir() else ():
            made.cluster.write(f"/store/real/{path.name}", path.read_bytes())
        yield made


@pytest.fixture
def desk(shared: StagingSite) -> Iterator[StagingSite]:
    yield shared
    assert not _workers()
    for role in shared.cluster.roles:
        if role not in shared.cluster.processes:
            shared.cluster.start(role)
    until_joined(shared.site, len(NODES))
    shared.tidy()


def root_file(
    folder: Path, start: int, entries: int = ENTRIES, tree: str = "events", cluster: int = PACKET
) -> bytes:
    """A ROOT file whose entries count up from `start`, cut into clusters."""
    path = folder / "made.root"
    with uproot.recreate(path, compression=None) as file:
        written = file.mktree(tree, {"x": "int64"})
        for first in range(start, start + entries, cluster):
            written.extend({"x": np.arange(first, min(first + cluster, start + entries))})
    return path.read_bytes()


def numbered(desk: StagingSite, name: str, files: int, entries: int = ENTRIES) -> list[str]:
    """Registers a dataset of files whose entries count up through all of them; its LFNs."""
    lfns = [f"/store/{name}/{number}.root" for number in range(files)]
    for number, lfn in enumerate(lfns):
        made = root_file(
            desk.cluster.folder, number * entries, entries, cluster=max(PACKET, entries // 8)
        )
        desk.cluster.write(lfn, made)
    desk.site.datasets.register(name, lfns, tree="events")
    return lfns


def total_of(entries: int) -> dict[str, int]:
    """What `total_x` makes of the numbers from 0 on."""
    return {"entries": entries, "sum": entries * (entries - 1) // 2}


# --- real files -------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("dataset", REAL)
def test_real_files_give_what_their_own_libraries_give(desk: StagingSite, dataset: str) -> None:
    names, tree, columns = REAL[dataset]
    expected = _sum(_whole(DATA / name, tree, columns) for name in names)
    desk.site.datasets.register(dataset, [f"/store/real/{name}" for name in names], tree=tree)
    verified = desk.site.datasets.verify(dataset, stage=True)
    assert verified.complete
    assert verified.problems == ()
    assert verified.summary.online == len(names)
    assert verified.summary.entries_known == expected["entries"]

    def totals(packet: Packet) -> dict[str, float]:
        return totals_of(packet.arrays(columns), columns)

    result = desk.site.process(dataset, totals, workers=2, packet_entries=16)
    assert result.complete
    assert result.value == pytest.approx(expected, rel=1e-9)
    _check_that_ranges_tile(desk, result, int(expected["entries"]))
    assert len({record.lfn for record in desk.site.sessions.records(_id(result))}) == len(names)


@needs_data
def test_a_file_of_no_known_format_is_processed_as_bytes(desk: StagingSite) -> None:
    content = np.fromfile(DATA / "pylhe-testfile-pr29.lhe", dtype=np.uint8)
    desk.site.datasets.register("lhe", ["/store/real/pylhe-testfile-pr29.lhe"])
    result = desk.site.process("lhe", site_analyses.total_bytes, workers=2, packet_entries=50_000)
    assert result.complete
    assert result.value == {"entries": len(content), "sum": int(content.sum())}
    assert result.report.packets > 5


@needs_data
def test_the_command_line_does_the_same_from_the_list_to_the_result(desk: StagingSite) -> None:
    names, tree, _ = REAL["nano"]
    folder = desk.cluster.folder
    (folder / "list.txt").write_text("".join(f"root://any//store/real/{one}\n" for one in names))
    (folder / "met.py").write_text(
        "def met(packet):\n"
        "    values = packet.arrays(['MET_pt'])['MET_pt']\n"
        "    return {'entries': len(values), 'MET_pt': float(sum(values))}\n"
    )
    for argv in (
        ["dataset", "register", "typed", "--from", "list.txt", "--tree", tree],
        ["dataset", "verify", "typed", "--stage"],
        ["process", "typed", "met:met", "--workers", "2", "--output", "met.json"],
    ):
        done = desk.cluster.run(*argv, timeout_s=PATIENCE_S)
        assert done.returncode == 0, done.stderr
    expected = _sum(_whole(DATA / name, tree, ["MET_pt"]) for name in names)
    assert json.loads((folder / "met.json").read_text()) == pytest.approx(expected, rel=1e-6)


def test_a_dataset_larger_than_the_pools_flows_through_them(desk: StagingSite) -> None:
    entries = 50_000
    lfns = numbered(desk, "large", 24, entries)
    seen: list[SessionStatus] = []
    result = desk.site.process(
        "large",
        site_analyses.total_x,
        workers=3,
        worker_hosts=NODES,
        on_progress=seen.append,
    )
    assert result.complete
    assert result.value == total_of(24 * entries)
    assert {lfn: len(desk.ran_on(lfn)) for lfn in lfns} == dict.fromkeys(lfns, 1)
    for node in desk.site.nodes():
        assert node.load.peak_used_bytes <= QUOTA_BYTES
    assert sum(node.load.files_purged for node in desk.site.nodes()) > 0
    assert result.report.files_recalled_at_first_packet < 12
    assert result.report.local_fraction > 0.5
    eventually(lambda: all(desk.site.explain(lfn).pins == () for lfn in lfns))


# --- bad data ---------------------------------------------------------------------------------


def test_a_dataset_without_files_is_refused(desk: StagingSite) -> None:
    with pytest.raises(UsageError, match="a dataset cannot be empty"):
        desk.site.datasets.register("empty", [], tree="events")
    with pytest.raises(NotFound, match="empty"):
        desk.site.process("empty", site_analyses.total_x, workers=1)


def test_a_file_named_twice_is_counted_once(desk: StagingSite) -> None:
    lfn = "/store/twice/a.root"
    desk.cluster.write(lfn, root_file(desk.cluster.folder, 0))
    registered = desk.site.datasets.register(
        "twice", [lfn, f"root://any/{lfn}", lfn.replace("/", "//")], tree="events"
    )
    assert (registered.files, registered.duplicates) == (1, 2)
    result = desk.site.process("twice", site_analyses.total_x, workers=1)
    assert result.value == total_of(ENTRIES)


def test_bad_files_are_named_by_verify_and_by_the_result_and_stop_nothing(
    desk: StagingSite,
) -> None:
    folder = desk.cluster.folder
    good = root_file(folder, 0)
    bad = {
        "text.root": b"this is no ROOT file at all\n" * 40,
        "truncated.root": good[: len(good) // 2],
        "nothing.root": b"",
        "other-tree.root": root_file(folder, 0, tree="other"),
        "text.parquet": b"PAR1 and then nothing of the kind",
    }
    lfns = {name: f"/store/bad/{name}" for name in bad}
    for name, content in bad.items():
        desk.cluster.write(lfns[name], content)
    for name, content in (
        ("good.root", good),
        ("empty-tree.root", root_file(folder, 0, entries=0)),
    ):
        desk.cluster.write(f"/store/bad/{name}", content)
    fine = ["/store/bad/good.root", "/store/bad/empty-tree.root"]
    gone = "/store/bad/gone.root"
    desk.site.datasets.register("bad", [*lfns.values(), *fine, gone], tree="events")

    verified = desk.site.datasets.verify("bad", stage=True)
    problems = {file.lfn: file for file in verified.problems}
    assert problems.keys() == {*lfns.values(), gone}
    assert all(file.reason for file in problems.values())
    assert problems[gone].state == "failed", "this script cannot tell lost from unmounted"
    assert {file.state for lfn, file in problems.items() if lfn != gone} == {"corrupt"}

    result = desk.site.process("bad", site_analyses.total_x, workers=2)
    assert result.value == total_of(ENTRIES)
    reasons = {part.lfn: part.reason for part in result.missing}
    assert reasons.keys() == {*lfns.values(), gone}
    assert "events" in reasons[lfns["other-tree.root"]]
    assert all("\n" not in reason for reason in reasons.values())


@pytest.mark.parametrize("missing", ["skip", "abort"])
def test_what_is_not_online_may_be_skipped_or_be_a_reason_to_stop(
    desk: StagingSite, missing: Any
) -> None:
    lfns = numbered(desk, f"partly-{missing}", 3)
    desk.site.stage(lfns[:2]).wait(PATIENCE_S)
    if missing == "abort":
        with pytest.raises(Exception, match="not online"):
            desk.site.process("partly-abort", site_analyses.total_x, workers=1, missing="abort")
    else:
        result = desk.site.process("partly-skip", site_analyses.total_x, workers=1, missing="skip")
        assert result.value == total_of(2 * ENTRIES)
        assert [part.lfn for part in result.missing] == [lfns[2]]
    assert desk.ran_on(lfns[2]) == []


# --- bad functions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (site_analyses.raises, "ValueError: a muon of negative mass"),
        (site_analyses.recurses, "RecursionError"),
        (site_analyses.exits, "worker"),
        (site_analyses.quits, "I have seen enough"),
        (site_analyses.crashes, "worker"),
        (site_analyses.hoards, "MemoryError"),
        (site_analyses.does_not_merge, "list"),
        (site_analyses.cannot_be_sent, "lock"),
    ],
)
def test_a_function_that_misbehaves_costs_only_the_packets_it_does_so_on(
    desk: StagingSite, function: Callable[[Packet], Any], reason: str
) -> None:
    name = f"bad-{function.__name__}"
    lfns = numbered(desk, name, 2)
    result = desk.site.process(
        name, function, workers=2, packet_entries=PACKET, memory_bytes=2 << 30
    )
    ranges = {(part.lfn, part.start, part.stop) for part in result.missing}
    assert ranges == {(lfn, BAD_START, BAD_START + PACKET) for lfn in lfns}
    assert result.value == 2 * ENTRIES - 2 * PACKET
    for part in result.missing:
        assert reason in part.reason
        assert "\n" not in part.reason
    if function is site_analyses.raises:
        assert 'raise ValueError("a muon of negative mass")' in result.missing[0].traceback


def test_a_function_that_is_noisy_and_careless_is_served_all_the_same(desk: StagingSite) -> None:
    numbered(desk, "noisy", 2)
    result = desk.site.process("noisy", site_analyses.is_noisy, workers=1, packet_entries=PACKET)
    assert (result.value, result.missing) == (2 * ENTRIES, ())


def test_too_many_bad_packets_end_the_session_if_that_is_wished(desk: StagingSite) -> None:
    numbered(desk, "hopeless", 4)
    with pytest.raises(Exception, match="bad"):
        desk.site.process(
            "hopeless", site_analyses.raises, workers=1, packet_entries=PACKET, max_bad_packets=2
        )


def test_a_function_that_cannot_be_sent_is_told_before_anything_starts(desk: StagingSite) -> None:
    numbered(desk, "unsent", 1)
    lock = __import__("threading").Lock()
    with pytest.raises(UsageError, match="lock"):
        desk.site.process("unsent", lambda packet: lock and packet.entries, workers=1)


# --- kills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "victims",
    [
        ["packetizer"],
        ["redirector"],
        ["n1"],
        ["redirector", "packetizer"],
        ["redirector", *NODES, "packetizer"],
    ],
    ids="+".join,
)
def test_a_session_survives_the_kill_of(desk: StagingSite, victims: list[str]) -> None:
    lfns = numbered(desk, f"killed-{'-'.join(victims)}", 9)
    held = lfns[4:7]
    desk.hold(*held)
    struck: list[str] = []

    def strike(status: SessionStatus) -> None:
        if status.packets_done >= 3 and not struck and all(map(desk.ran_on, held)):
            for victim in victims:
                desk.cluster.kill(victim)
            desk.cluster.start(*victims)
            desk.release()
            struck.extend(victims)

    result = desk.site.process(
        f"killed-{'-'.join(victims)}",
        site_analyses.slowly_total_x,
        workers=2,
        worker_hosts=["n1", "n2"],
        packet_entries=PACKET,
        on_progress=strike,
    )
    assert struck == victims
    assert result.missing == ()
    assert result.value == total_of(9 * ENTRIES)
    _check_that_ranges_tile(desk, result, 9 * ENTRIES)
    assert all(len(desk.ran_on(lfn)) <= 2 for lfn in lfns)
    eventually(lambda: all(desk.site.explain(lfn).pins == () for lfn in lfns))
    eventually(lambda: not desk.cluster.commands())
    assert desk.cluster.incoming() == []


def test_a_worker_killed_in_mid_packet_costs_nothing_but_time(desk: StagingSite) -> None:
    numbered(desk, "murder", 4)
    killed: list[int] = []

    def strike(status: SessionStatus) -> None:
        if status.packets_done and not killed:
            victim = _workers()[0]
            victim.kill()
            killed.append(victim.pid)

    result = desk.site.process(
        "murder",
        site_analyses.slowly_total_x,
        workers=2,
        packet_entries=PACKET,
        on_progress=strike,
    )
    assert killed
    assert result.missing == ()
    assert result.value == total_of(4 * ENTRIES)


def test_a_client_killed_in_mid_session_takes_its_workers_along_and_others_finish(
    desk: StagingSite,
) -> None:
    lfns = numbered(desk, "orphaned", 4)
    desk.hold(lfns[3])
    module = "tests.support.site_analyses:slowly_total_x"
    client = desk.cluster.spawn("process", "orphaned", module, "--workers", "2", log="client")
    (session,) = eventually(
        lambda: [one for one in desk.site.sessions.list() if one.dataset == "orphaned"]
    )
    eventually(lambda: desk.site.sessions.status(session.session_id).packets_done)
    workers = eventually(_workers_of(client.pid))
    client.send_signal(signal.SIGKILL)
    client.communicate(timeout=PATIENCE_S)
    eventually(lambda: not any(worker.is_running() for worker in workers))
    assert desk.site.sessions.status(session.session_id).state is SessionState.RUNNING

    desk.release()
    worker = desk.cluster.spawn(
        "worker", "--workers", "1", "--session", session.session_id, log="worker"
    )
    assert worker.wait(timeout=PATIENCE_S) == 0
    worker.communicate()
    result = desk.site.sessions.result(session.session_id)
    assert result.value == total_of(4 * ENTRIES)


def test_an_interrupted_client_cancels_its_session_and_leaves_nothing(desk: StagingSite) -> None:
    lfns = numbered(desk, "interrupted", 3)
    desk.hold(lfns[2])
    module = "tests.support.site_analyses:slowly_total_x"
    client = desk.cluster.spawn("process", "interrupted", module, "--workers", "2", log="client")
    (session,) = eventually(
        lambda: [one for one in desk.site.sessions.list() if one.dataset == "interrupted"]
    )
    eventually(lambda: desk.site.sessions.status(session.session_id).packets_done)
    desk.until_running(lfns[2])
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 130
    assert desk.site.sessions.status(session.session_id).state is SessionState.CANCELLED
    eventually(lambda: not desk.cluster.commands())
    eventually(lambda: all(desk.site.explain(lfn).pins == () for lfn in lfns))


# --- helpers ---------------------------------------------------------------------------------------


def _whole(path: Path, tree: str, columns: list[str]) -> dict[str, float]:
    """The totals of a whole file, by its own library."""
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path, columns=columns)
        return totals_of(ak.from_arrow(table), columns)
    with uproot.open(path) as file:
        return totals_of(file[tree].arrays(columns), columns)


def _sum(totals: Iterator[dict[str, float]]) -> dict[str, float]:
    summed: dict[str, float] = {}
    for one in totals:
        for name, value in one.items():
            summed[name] = summed.get(name, 0.0) + value
    return summed


def _id(result: Result) -> str:
    return result.report.session_id


def _check_that_ranges_tile(desk: StagingSite, result: Result, entries: int) -> None:
    """Every entry is in exactly one range that was committed."""
    records = sorted(
        (record.lfn, record.start, record.stop)
        for record in desk.site.sessions.records(_id(result))
    )
    assert sum(stop - start for _, start, stop in records) == entries
    for (lfn, _, stop), (next_lfn, start, _) in pairwise(records):
        assert start == (stop if next_lfn == lfn else 0)


def _workers() -> list[psutil.Process]:
    """Worker processes below this one that still live."""
    return _workers_of(os.getpid())()


def _workers_of(pid: int) -> Callable[[], list[psutil.Process]]:
    def look() -> list[psutil.Process]:
        found = psutil.Process(pid).children(recursive=True)
        return [one for one in found if _is_worker(one)]

    return look


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("packhorse.worker" in word for word in process.cmdline())
    except psutil.Error:
        return False
