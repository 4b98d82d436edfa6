"""Workers that were started by themselves: long-lived, stopped, left alone, hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil
import pytest

import packhorse
from packhorse.worker.options import WorkerOptions, to_argument, worker_options
from protos.packhorse.v1 import packetizer_pb2 as pb
from tests.support import analyses
from tests.support.fakes import FakeSite
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[FakeSite]:
    with FakeSite(tmp_path / "pool") as fakes:
        fakes.add("/store/a.bin", bytes(1000), dataset="bytes")
        yield fakes


@pytest.fixture
def site(fakes: FakeSite) -> Iterator[packhorse.Site]:
    with packhorse.connect(redirector=fakes.redirector_address, host="here") as site:
        yield site


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that functions write to, for tests to know that they were called."""
    mark = tmp_path / "mark"
    monkeypatch.setenv("PACKHORSE_TEST_MARK", str(mark))
    return mark


class Workers:
    """A supervisor process with its workers."""

    def __init__(self, options: list[WorkerOptions]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "packhorse.worker", to_argument(options)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )

    def stop(self) -> tuple[int, str]:
        """SIGTERM; returns the exit code and what was said."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Waits without closing its standard input, which would end it."""
        code = self.process.wait(TIMEOUT_S)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT_S)


def test_a_worker_serves_one_session_after_another(fakes: FakeSite, site: packhorse.Site) -> None:
    with Workers(worker_options(fakes.redirector_address, hosts=["here"])):
        for function, value in ((analyses.count, 1000), (analyses.total_of_bytes, 0)):
            result = site.process("bytes", function, workers=0)
            assert result.value == value
    assert len(set(fakes.packetizer.names)) == 1


def test_a_worker_that_is_stopped_commits_what_is_done_and_gives_back_the_rest(
    fakes: FakeSite, site: packhorse.Site
) -> None:
    session_id = site.sessions.open("bytes", packhorse.Work(analyses.slow))
    with Workers(worker_options(fakes.redirector_address)) as workers:
        eventually(lambda: site.sessions.status(session_id).packets_done)
        code, _ = workers.stop()
    assert code == 0
    (session,) = fakes.packetizer.sessions.values()
    eventually(lambda: not fakes.packetizer.workers)
    assert session.leased == 0
    assert {failure.kind for failure in session.failures} <= {pb.PacketFailure.KIND_UNDONE}
    assert len(session.records) + len(session.waiting) == 10
    assert site.process("bytes", analyses.count, workers=1).value == 1000


def test_a_packet_that_is_broken_off_is_given_back_and_not_to_blame(
    fakes: FakeSite, site: packhorse.Site, mark: Path
) -> None:
    session_id = site.sessions.open("bytes", packhorse.Work(analyses.hangs))
    with Workers(worker_options(fakes.redirector_address)) as workers:
        eventually(lambda: mark.exists() and mark.read_text())
        code, _ = workers.stop()
    assert code == 0
    (session,) = fakes.packetizer.sessions.values()
    assert session.session_id == session_id
    eventually(lambda: not fakes.packetizer.workers)
    assert {failure.kind for failure in session.failures} == {pb.PacketFailure.KIND_UNDONE}
    assert len(session.waiting) == 10


def test_a_worker_waits_for_a_packetizer_that_is_not_there_yet(
    fakes: FakeSite, site: packhorse.Site
) -> None:
    addresses, fakes.packetizer_addresses = fakes.packetizer_addresses, []
    with Workers(worker_options(fakes.redirector_address)):
        eventually(lambda: fakes.redirector.status_calls >= 2)
        assert not fakes.packetizer.names
        fakes.packetizer_addresses = addresses
        assert site.process("bytes", analyses.count, workers=0).value == 1000


def test_a_worker_gives_up_when_its_patience_ends(fakes: FakeSite) -> None:
    fakes.packetizer_addresses = []
    options = worker_options(fakes.redirector_address, workers=2, patience_s=0.5)
    with Workers(options) as workers:
        code, said = workers.wait()
    assert code == 11
    assert "no packetizer has announced itself" in said
    assert "giving up" in said


def test_a_function_that_outlives_its_session_is_left_behind(
    fakes: FakeSite, site: packhorse.Site, mark: Path
) -> None:
    options = [
        replace(option, leave_after_s=0.2) for option in worker_options(fakes.redirector_address)
    ]
    session_id = site.sessions.open("bytes", packhorse.Work(analyses.hangs))
    with Workers(options):
        eventually(lambda: mark.exists() and mark.read_text())
        site.sessions.cancel(session_id)
        assert site.process("bytes", analyses.count, workers=0).value == 1000
        assert not psutil.pid_exists(int(mark.read_text()))
    assert len(set(fakes.packetizer.names)) == 2


def test_the_workers_of_a_supervisor_that_is_killed_end_with_it(
    fakes: FakeSite, site: packhorse.Site, mark: Path
) -> None:
    site.sessions.open("bytes", packhorse.Work(analyses.hangs))
    with Workers(worker_options(fakes.redirector_address, workers=2)) as workers:
        eventually(lambda: mark.exists() and mark.read_text())
        children = workers.children()
        assert len(children) == 2
        workers.process.kill()
        _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
        assert not alive


def test_a_function_of_a_script_is_processed(fakes: FakeSite, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, packhorse, helper_beside_the_script\n"
        "FACTOR = 3\n"
        "def f(packet): return FACTOR * helper_beside_the_script.entries_of(packet)\n"
        "with packhorse.connect(redirector=sys.argv[1]) as site:\n"
        "    print(site.process('bytes', f, workers=1).value)\n"
    )
    helper = tmp_path / "helper_beside_the_script.py"
    helper.write_text("def entries_of(packet): return packet.entries\n")
    done = subprocess.run(
        [sys.executable, script, fakes.redirector_address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "3000\n", done.stderr


def test_ctrl_c_ends_a_script_its_session_and_its_workers(
    fakes: FakeSite, site: packhorse.Site, mark: Path
) -> None:
    code = (
        "import packhorse, tests.support.analyses as analyses\n"
        f"with packhorse.connect(redirector={fakes.redirector_address!r}) as site:\n"
        "    site.process('bytes', analyses.hangs, workers=2)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: mark.exists() and mark.read_text())
    children = psutil.Process(client.pid).children(recursive=True)
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=TIMEOUT_S)
    assert "KeyboardInterrupt" in said
    assert not any(child.is_running() for child in children)
    (status,) = site.sessions.list()
    assert status.state == "cancelled"
