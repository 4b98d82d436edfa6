"""Servers die while unmodified clients read, or wait: the clients finish by themselves."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.cluster import Cluster, Node, free_port, install, running, until_joined
from tests.support.patience import eventually
from tests.support.staging_site import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("xrdcp") is None, reason="xrdcp is not installed")

LFN = "/store/run/big"
#: More than what a client and the kernel hold while nobody takes it from them.
SIZE_BYTES = 150_000_000
#: The client looks whether a server is there, and has been, this often.
PATIENCE = {"XRD_CONNECTIONRETRY": "20", "XRD_CONNECTIONWINDOW": "1", "XRD_STREAMERRORWINDOW": "1"}
TIMEOUT_S = 90.0


class Reader:
    """An xrdcp that copies to its output, of which a test takes as much as it likes."""

    def __init__(self, port: int, lfn: str, folder: Path) -> None:
        self._errors = (folder / "xrdcp.err").open("w+")
        self.process = subprocess.Popen(
            ["xrdcp", "--silent", f"root://127.0.0.1:{port}/{lfn}", "-"],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **PATIENCE},
        )
        assert self.process.stdout is not None
        self.output: IO[bytes] = self.process.stdout
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Takes some of what it copies."""
        while size_bytes and (data := self.output.read(min(size_bytes, 1 << 20))):
            self.digest.update(data)
            self.size_bytes += len(data)
            size_bytes -= len(data)

    def finish(self) -> None:
        """Takes the rest; it must end well."""
        self.take(SIZE_BYTES * 2)
        code = self.process.wait(TIMEOUT_S)
        self._errors.seek(0)
        assert code == 0, self._errors.read()

    def end(self) -> None:
        """Whatever it does, it ends."""
        self.process.kill()
        self.process.wait()
        self.output.close()
        self._errors.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two data servers; a lost one is given up after a few seconds."""
    port = free_port()
    head = {
        "root_listen": f"127.0.0.1:{port}",
        "heartbeat": "200ms",
        "suspect_after": "1s",
        "lost_after": "4s",
        "backoff": "200ms",
    }
    script = str(install(SCRIPTS, tmp_path) / "xrootd-stage.sh")
    (tmp_path / "gates").mkdir()
    nodes = [Node("n1"), Node("n2")]
    cluster = Cluster(tmp_path, nodes, stagecmd=[script], redirector=head, packetizer=None)
    with running(cluster):
        with cluster.connect() as site:
            until_joined(site, 2)
        yield cluster


def port_of(cluster: Cluster) -> int:
    return int(str(cluster.redirector["root_listen"]).rpartition(":")[2])


def content() -> bytes:
    return random.Random(7).randbytes(SIZE_BYTES)


def test_a_data_server_that_is_killed_and_comes_back_is_read_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    data = content()
    cluster.write(LFN, data)
    reader = Reader(port_of(cluster), LFN, tmp_path)
    try:
        reader.take(20_000_000)
        (holder,) = cluster.holders(LFN)
        cluster.restart(holder)
        reader.finish()
        assert reader.digest.digest() == hashlib.sha256(data).digest()
        assert cluster.holders(LFN) == [holder]
    finally:
        reader.end()


def test_a_data_server_that_stays_away_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    data = content()
    cluster.write(LFN, data)
    reader = Reader(port_of(cluster), LFN, tmp_path)
    try:
        reader.take(20_000_000)
        (holder,) = cluster.holders(LFN)
        cluster.kill(holder)
        reader.finish()
        assert reader.digest.digest() == hashlib.sha256(data).digest()
        assert len(cluster.holders(LFN)) == 2, "the other one has recalled it"
    finally:
        reader.end()
        cluster.start(holder)


def test_a_redirector_that_is_killed_while_clients_wait(cluster: Cluster, tmp_path: Path) -> None:
    lfns = [f"/store/run/cold-{number}" for number in range(5)]
    for lfn in lfns:
        cluster.write(lfn, lfn.encode())
        (tmp_path / "gates" / lfn.rpartition("/")[2]).touch()
    copies = [
        subprocess.Popen(
            [
                "xrdcp",
                "--silent",
                f"root://127.0.0.1:{port_of(cluster)}/{lfn}",
                str(tmp_path / str(n)),
            ],
            env={**os.environ, **PATIENCE},
        )
        for n, lfn in enumerate(lfns)
    ]
    try:
        runs = tmp_path / "runs.log"
        eventually(lambda: runs.exists() and len(runs.read_text().splitlines()) == len(lfns))
        cluster.restart("redirector")
        for gate in (tmp_path / "gates").iterdir():
            gate.unlink()
        for number, (lfn, copy) in enumerate(zip(lfns, copies, strict=True)):
            assert copy.wait(TIMEOUT_S) == 0, lfn
            assert (tmp_path / str(number)).read_bytes() == lfn.encode()
        # What ran when the redirector died was adopted by the next one.
        assert len(runs.read_text().splitlines()) == len(lfns)
    finally:
        for copy in copies:
            copy.kill()
            copy.wait()
