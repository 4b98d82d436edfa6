"""The XRootD cluster that ours is compared with does stage, and leaves nothing behind."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.stock_staging import StagingCluster, lacking

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"not installed: {lacking()}")


def xrdcp(cluster: StagingCluster, lfn: str, target: Path) -> int:
    argv = ["xrdcp", "--silent", f"root://127.0.0.1:{cluster.port}/{lfn}", str(target)]
    return subprocess.run(argv, check=False, timeout=60).returncode


def test_a_file_in_its_archive_comes_to_one_of_its_data_servers(tmp_path: Path) -> None:
    with StagingCluster(tuned=True) as cluster:
        (cluster.archive / "store/cold.dat").write_bytes(b"from tape")
        assert xrdcp(cluster, "/store/cold.dat", tmp_path / "got") == 0
        assert (tmp_path / "got").read_bytes() == b"from tape"
        held = [
            name for name in cluster.servers if (cluster.pool(name) / "store/cold.dat").exists()
        ]
        assert len(held) == 1
        assert xrdcp(cluster, "/store/nowhere.dat", tmp_path / "none") != 0
        assert len(cluster.daemons.alive()) == 8
    assert cluster.daemons.alive() == {}
    assert not cluster.folder.exists()


def test_it_does_without_an_archive(tmp_path: Path) -> None:
    with StagingCluster(1, staging=False, tuned=True) as cluster:
        assert xrdcp(cluster, "/store/beacon-server1", tmp_path / "got") == 0
        (cluster.archive / "store/cold.dat").write_bytes(b"from tape")
        assert xrdcp(cluster, "/store/cold.dat", tmp_path / "none") != 0
