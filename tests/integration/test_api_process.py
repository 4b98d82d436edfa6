"""Processing with real worker processes, against a packetizer that plays its part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
import uproot

import packhorse
from common.errors import Incomplete, NotFound, Refused, UsageError
from tests.support import analyses
from tests.support.fakes import FakeSite
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse.values import SessionStatus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[FakeSite]:
    with FakeSite(tmp_path / "pool") as site:
        yield site


@pytest.fixture
def site(fakes: FakeSite) -> Iterator[packhorse.Site]:
    with packhorse.connect(redirector=fakes.redirector_address, host="here") as site:
        yield site
    assert not children(), "no process may be left behind"


@pytest.fixture
def bytes_dataset(fakes: FakeSite) -> str:
    """1,000 bytes in packets of 100."""
    fakes.add("/store/a.bin", bytes(range(250)) * 4, dataset="bytes")
    return "bytes"


@pytest.fixture
def root_dataset(fakes: FakeSite, tmp_path: Path) -> str:
    """Two ROOT files of 500 entries each, in packets of 100."""
    for name, offset in (("a", 0), ("b", 1000)):
        path = tmp_path / f"{name}.root"
        with uproot.recreate(path) as file:
            file["events"] = {"x": np.arange(500) + offset, "unused": np.zeros(500)}
        fakes.add(f"/store/{name}.root", path.read_bytes(), entries=500, dataset="root")
    return "root"


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_root_files_give_what_a_plain_loop_gives(
    fakes: FakeSite, root_dataset: str, host: str
) -> None:
    steps: list[SessionStatus] = []
    with packhorse.connect(redirector=fakes.redirector_address, host=host) as site:
        result = site.process(root_dataset, analyses.sums, workers=2, on_progress=steps.append)
        records = site.sessions.records(result.report.session_id)
    expected = np.arange(500).sum() + (np.arange(500) + 1000).sum()
    assert result.value["entries"] == 1000
    assert result.value["sum"] == expected
    assert list(result.value["parts"]) == [10, 1000]
    assert result.complete
    assert result.report.packets == len(records) == 10
    assert result.report.local_fraction == (1.0 if host == "here" else 0.0)
    assert all(record.read_s > 0 for record in records)
    fetched = sum(record.bytes_read for record in records)
    assert fetched > 0
    assert fakes.dataserver.bytes_served == (0 if host == "here" else fetched)
    assert steps[-1].state == "done"
    assert {figures.host for figures in result.report.workers} == {host}


def test_a_file_is_opened_once_by_a_worker_for_all_its_packets(
    fakes: FakeSite, site: packhorse.Site, root_dataset: str
) -> None:
    site.process(root_dataset, analyses.sums, workers=1)
    assert sorted(fakes.dataserver.opened) == ["/store/a.root", "/store/b.root"]
    eventually(lambda: fakes.dataserver.open_now == 0)


@pytest.mark.parametrize("function", [analyses.total_of_bytes, analyses.read_through_file])
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_plain_bytes_are_processed_too(
    fakes: FakeSite, bytes_dataset: str, function: Callable[..., int], host: str
) -> None:
    with packhorse.connect(redirector=fakes.redirector_address, host=host) as site:
        assert site.process(bytes_dataset, function, workers=1).value == sum(range(250)) * 4


def test_a_merge_of_ones_own_is_used_by_workers_and_here(
    site: packhorse.Site, bytes_dataset: str
) -> None:
    result = site.process(
        bytes_dataset, lambda packet: (packet.start, packet.stop), merge=max, workers=2
    )
    assert result.value == (900, 1000)


def test_the_result_of_a_session_can_be_fetched_later(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    result = site.process(bytes_dataset, lambda packet: (packet.stop,), merge=max, workers=1)
    session_id = result.report.session_id
    with packhorse.connect(redirector=fakes.redirector_address) as other:
        assert other.sessions.result(session_id).value == (1000,)
        assert [status.session_id for status in other.sessions.list()] == [session_id]
        other.sessions.forget(session_id)
        with pytest.raises(NotFound):
            other.sessions.result(session_id)


# --- functions that misbehave ---------------------------------------------------------


def test_a_packet_whose_function_raises_is_named_with_its_traceback(
    site: packhorse.Site, bytes_dataset: str
) -> None:
    result = site.process(bytes_dataset, analyses.raises_at_0, workers=2)
    assert result.value == 900
    (missing,) = result.missing
    assert (missing.lfn, missing.start, missing.stop) == ("/store/a.bin", 0, 100)
    assert missing.reason == "IndexError: list index out of range"
    assert "return [1, 2, 3][packet.entries]" in missing.traceback
    assert "running.py" not in missing.traceback


def test_a_function_that_ends_its_process_costs_only_its_packet_in_hand(
    fakes: FakeSite,
    site: packhorse.Site,
    bytes_dataset: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PACKHORSE_TEST_MARK", str(tmp_path / "mark"))
    result = site.process(bytes_dataset, analyses.dies_once, workers=1)
    assert result.value == 1000
    assert len(set(fakes.packetizer.names)) == 2


def test_a_function_that_raises_system_exit_does_not_end_the_worker(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    result = site.process(bytes_dataset, analyses.quits_at_0, workers=1)
    assert result.value == 900
    assert result.missing[0].reason == "SystemExit: enough"
    assert len(fakes.packetizer.names) == 1


def test_what_does_not_merge_is_named(site: packhorse.Site, bytes_dataset: str) -> None:
    result = site.process(bytes_dataset, analyses.text_at_900, workers=1)
    assert result.value == 900
    assert "int and str do not merge" in result.missing[0].reason


def test_what_cannot_be_pickled_is_named(site: packhorse.Site, bytes_dataset: str) -> None:
    result = site.process(bytes_dataset, analyses.unpicklable, workers=1)
    assert result.value is None
    assert len(result.missing) == 10
    assert any("cannot be pickled" in missing.reason for missing in result.missing)


def test_a_result_that_is_too_large_is_named(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    fakes.packetizer.max_result_bytes = 50_000
    result = site.process(bytes_dataset, analyses.large, workers=1)
    assert "is larger than the 50000" in result.missing[0].reason


def test_memory_beyond_the_limit_is_an_error_of_the_packet(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    result = site.process(bytes_dataset, analyses.greedy, workers=1, memory_bytes=2 << 30)
    assert result.value == 900
    assert result.missing[0].reason.startswith("MemoryError")
    assert len(fakes.packetizer.names) == 1


def test_a_column_that_is_not_there_is_the_functions_error(
    fakes: FakeSite, site: packhorse.Site, root_dataset: str
) -> None:
    result = site.process(root_dataset, analyses.asks_for_a_column_that_is_not_there, workers=1)
    assert len(result.missing) == 10
    assert result.missing[0].reason == "KeyError: \"/store/a.root has no field 'y'\""
    (session,) = fakes.packetizer.sessions.values()
    assert {failure.kind for failure in session.failures} == {3}


def test_a_function_that_cannot_be_sent_is_refused_before_anything_starts(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be sent to workers"):
        site.process(bytes_dataset, lambda packet: lock)
    assert not fakes.packetizer.sessions


# --- files that misbehave ----------------------------------------------------------------


def test_a_replica_that_is_gone_is_told_as_such(
    fakes: FakeSite, site: packhorse.Site, root_dataset: str
) -> None:
    fakes.dataserver.refused.add("/store/b.root")
    result = site.process(root_dataset, analyses.sums, workers=1)
    assert result.value["entries"] == 500
    assert {missing.lfn for missing in result.missing} == {"/store/b.root"}
    assert "does not hold /store/b.root" in result.missing[0].reason
    (session,) = fakes.packetizer.sessions.values()
    assert {failure.kind for failure in session.failures} == {1}


def test_a_damaged_file_is_told_as_such(fakes: FakeSite, root_dataset: str) -> None:
    fakes.dataserver.garbled.add("/store/b.root")
    with packhorse.connect(redirector=fakes.redirector_address, host="elsewhere") as site:
        result = site.process(root_dataset, analyses.sums, workers=1)
    assert result.value["entries"] == 500
    assert "/store/b.root cannot be read" in result.missing[0].reason
    (session,) = fakes.packetizer.sessions.values()
    assert {failure.kind for failure in session.failures} == {2}


def test_a_truncated_file_is_told_as_such(
    fakes: FakeSite, site: packhorse.Site, root_dataset: str
) -> None:
    path = fakes.dataserver.path("/store/b.root")
    path.write_bytes(path.read_bytes()[:2000])
    result = site.process(root_dataset, analyses.sums, workers=1)
    assert result.value["entries"] == 500
    assert "/store/b.root cannot be read" in result.missing[0].reason


# --- servers and clients that come and go -------------------------------------------------


def test_a_session_survives_a_restart_of_the_packetizer(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    restarted: list[int] = []

    def restart_once(status: SessionStatus) -> None:
        if status.packets_done >= 2 and not restarted:
            restarted.append(status.packets_done)
            fakes.do(fakes.restart_packetizer())

    result = site.process(bytes_dataset, analyses.slow, workers=1, on_progress=restart_once)
    assert restarted
    assert result.value == 1000
    assert result.complete


def test_refused_commits_and_broken_streams_count_nothing_twice(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    fakes.packetizer.refuse = 2
    broken: list[int] = []

    def break_once(status: SessionStatus) -> None:
        if status.packets_done >= 3 and not broken:
            broken.append(1)
            fakes.do(fakes.packetizer.hang_up())

    result = site.process(bytes_dataset, analyses.slow, workers=2, on_progress=break_once)
    assert fakes.packetizer.refused >= 2
    assert result.value == 1000
    assert result.report.packets == 10


def test_workers_that_end_too_soon_are_started_anew(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    ended: list[int] = []

    def end_the_supervisor(status: SessionStatus) -> None:
        if status.packets_done and not ended:
            (supervisor,) = psutil.Process().children()
            ended.append(supervisor.pid)
            supervisor.kill()

    result = site.process(bytes_dataset, analyses.slow, workers=1, on_progress=end_the_supervisor)
    assert result.value == 1000
    assert len(set(fakes.packetizer.names)) == 2


def test_a_worker_is_alive_while_its_function_runs(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    site.process(bytes_dataset, analyses.slow, workers=1)
    assert len({lease_id for lease_id in fakes.packetizer.heartbeats if lease_id}) >= 5


def test_giving_up_waiting_cancels_the_session_and_ends_the_workers(
    fakes: FakeSite,
    site: packhorse.Site,
    bytes_dataset: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("PACKHORSE_TEST_MARK", str(mark))

    def interrupt_once_it_hangs(status: SessionStatus) -> None:
        if mark.exists() and mark.read_text():
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        site.process(bytes_dataset, analyses.hangs, workers=1, on_progress=interrupt_once_it_hangs)
    (session,) = fakes.packetizer.sessions.values()
    assert session.status(0).state == 5
    assert not psutil.pid_exists(int(mark.read_text()))


def test_a_session_that_others_cancel_is_incomplete(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    def cancel(status: SessionStatus) -> None:
        if status.packets_done and status.state == "running":
            with packhorse.connect(redirector=fakes.redirector_address) as other:
                other.sessions.cancel(status.session_id, "no longer needed")

    with pytest.raises(Incomplete, match="was cancelled: no longer needed"):
        site.process(bytes_dataset, analyses.slow, workers=1, on_progress=cancel)


def test_a_session_that_goes_on_has_no_result_yet(
    fakes: FakeSite, site: packhorse.Site, bytes_dataset: str
) -> None:
    session_id = site.sessions.open(bytes_dataset, packhorse.Work(analyses.count))
    with pytest.raises(Refused, match="is running: it has no result yet"):
        site.sessions.result(session_id)


def test_workers_end_with_a_client_that_is_killed(
    fakes: FakeSite, bytes_dataset: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    code = (
        "import packhorse, tests.support.analyses as analyses\n"
        f"with packhorse.connect(redirector={fakes.redirector_address!r}) as site:\n"
        "    site.process('bytes', analyses.hangs, workers=2)\n"
    )
    environment = {**os.environ, "PACKHORSE_TEST_MARK": str(mark)}
    client = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    try:
        eventually(lambda: mark.exists() and mark.read_text())
        ours = psutil.Process(client.pid).children(recursive=True)
        assert len(ours) >= 2
    finally:
        client.kill()
        client.wait()
    gone, alive = psutil.wait_procs(ours, timeout=15)
    assert not alive
    assert len(gone) == len(ours)
