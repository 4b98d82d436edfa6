"""Every example configuration starts, brings a file from its archive, and stops."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from packhorse.scripts.kinds import PUBLISHED
from tests.support.archive_scripts import SCRIPTS
from tests.support.cluster import free_port
from tests.support.stock_daemons import StockDaemons, give_away, lacking, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 90.0
CONTENT = b"what the detector saw"

#: Every example, and a file that can be had from its archive.
FILES = {
    "smallest.toml": "/store/run7/a.root",
    "several-hosts.toml": "/store/calibration/c.root",
    "xrootd-script.toml": "/store/run7/a.root",
    "groups-and-policies.toml": "/store/raw/run123456/r.root",
    "stock-xrootd.toml": "/store/run7/a.root",
}
ARCHIVED = ("store/run7/a.root", "calib-v2/c.root", "raw/123/456/r.root")


def brought_here(text: str, folder: Path) -> str:
    """An example's text with its directories below `folder` and its addresses on loopback.

    What stands on several hosts there stands on one here, so every table gets
    ports and a pool of its own.
    """
    tables = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    ports = {"1213": free_port(), "1214": free_port()}
    return "".join(_table(table, folder, number, ports) for number, table in enumerate(tables))


def _table(text: str, folder: Path, number: int, ports: dict[str, int]) -> str:
    ports = {**ports, **{port: free_port() for port in ("1215", "1094", "1095")}}
    for port, here in ports.items():
        text = re.sub(rf'"(root://)?[\w.]+:{port}"', rf'"\g<1>127.0.0.1:{here}"', text)
    text = text.replace('"/archive/', f'"{folder}/archive/').replace(
        "'/archive/", f"'{folder}/archive/"
    )
    text = text.replace('"/var/lib/packhorse', f'"{folder}/state')
    text = text.replace("/usr/local/libexec/oss-stage.sh", f"{SCRIPTS}/oss-stage.sh")
    text = text.replace("/usr/local/libexec/packhorse/mounted", f"{PUBLISHED}/mounted")
    text = text.replace("/usr/local/libexec/packhorse", str(EXAMPLES / "scripts"))
    return text.replace('"/data/', f'"{folder}/data{number}/')


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An example configuration, and the directories and archived files it speaks of."""
    path = tmp_path / "site.toml"
    path.write_text(brought_here((EXAMPLES / request.param).read_text(), tmp_path))
    for pool in re.findall(r'pool = "(.*)"', path.read_text()):
        Path(pool).mkdir(parents=True)
    for name in ARCHIVED:
        file = tmp_path / "archive" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(CONTENT)
    return path


@pytest.fixture
def site(config: Path) -> Iterator[Path]:
    """`packhorse up` with that configuration, once every server of it is ready."""
    log = config.with_name("log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "packhorse", "up", "--config", str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PACKHORSE_EXIT_WITH_PARENT": "1"},
        )
    servers = len(
        re.findall(r"^\[(?:redirector|packetizer|dataserver.*)\]", config.read_text(), re.MULTILINE)
    )
    try:
        assert len(_ready_lines(process, servers)) == servers, log.read_text()
        yield config
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.communicate()


def _ready_lines(process: subprocess.Popen[str], count: int) -> list[dict[str, object]]:
    """The first lines of stdout, as many as come in time."""
    lines: list[dict[str, object]] = []

    def read() -> None:
        assert process.stdout is not None
        while len(lines) < count and (line := process.stdout.readline()):
            lines.append(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(TIMEOUT_S)
    return list(lines)


@pytest.mark.parametrize(("config", "lfn"), FILES.items(), indirect=["config"])
def test_an_example_brings_a_file_from_its_archive(site: Path, lfn: str) -> None:
    target = site.with_name("copy")
    done = subprocess.run(
        [sys.executable, "-m", "packhorse", "cp", lfn, str(target), "--config", str(site)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(bool(lacking("xrootd", "xrdcp")), reason="no XRootD here")
@pytest.mark.parametrize("config", ["stock-xrootd.toml"], indirect=True)
def test_a_stock_xrootd_serves_what_is_staged(site: Path) -> None:
    target = site.with_name("copy")
    with stock_xrootd(site):
        head = _found(r'root_listen = "(.*)"', site)
        command = ["xrdcp", f"root://{head}//store/run7/a.root", str(target)]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT


@contextlib.contextmanager
def stock_xrootd(site: Path) -> Iterator[None]:
    """The example's XRootD server over the example's pool."""
    own = Path(tempfile.mkdtemp(prefix="stock-"))
    text = (EXAMPLES / "stock-xrootd.cfg").read_text()
    port = _found(r'serve = "root://127.0.0.1:(\d+)"', site)
    text = text.replace("1095", port).replace("/data/disk1", _found(r'pool = "(.*)"', site))
    text = text.replace("/var/spool/xrootd", f"{own}/spool").replace("/run/xrootd", f"{own}/run")
    (own / "xrootd.cfg").write_text(text)
    for folder in (site.parent, *site.parent.parents):
        # Whoever runs the server must get at the pool.
        mode = folder.stat().st_mode
        if folder.is_relative_to(tempfile.gettempdir()) and mode & 0o055 != 0o055:
            folder.chmod(mode | 0o055)
    give_away(own)
    daemons = StockDaemons()
    daemons.start("pool", "xrootd", own / "xrootd.cfg")
    try:
        daemons.until(lambda: listens(int(port)))
        yield
    finally:
        daemons.end()
        shutil.rmtree(own)


def _found(pattern: str, site: Path) -> str:
    match = re.search(pattern, site.read_text())
    assert match is not None, pattern
    return match[1]


def test_every_example_is_started() -> None:
    assert {path.name for path in EXAMPLES.glob("*.toml")} == set(FILES)
