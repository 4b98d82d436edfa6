"""The demo's site: one configuration file, and the server processes that read it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

HERE = Path(__file__).parent
HOSTS = ("disk1", "disk2", "disk3")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


def write_library(folder: Path, drives: int, mount_s: float, bytes_per_s: float) -> Path:
    """Makes a tape library for `tape.py`; returns its folder."""
    folder.mkdir()
    for number in range(drives):
        (folder / f"drive{number}").touch()
    (folder / "library.json").write_text(
        json.dumps({"mount_s": mount_s, "bytes_per_s": bytes_per_s})
    )
    return folder


def write_config(folder: Path, archive: Path, library: Path, quota_bytes: int) -> Path:
    """Writes the site's TOML file: a redirector, three data servers, a packetizer.

    Each data server bears a host label of its own, so that near and far mean something
    on one machine.
    """
    pools = ""
    for host in HOSTS:
        pool = folder / "pools" / host
        pool.mkdir(parents=True)
        pools += f"""
[dataserver.{host}]
pool = "{pool}"
quota = {quota_bytes}
host = "{host}"
"""
    config = folder / "site.toml"
    config.write_text(f"""
[mss]
stagecmd = ["{sys.executable}", "-S", "-E", "{HERE / "tape.py"}", "{library}", "{{source}}", "{{target}}"]
names = [{{ prefix = "/store/", archive = "{archive}/" }}]

[redirector]
listen = "127.0.0.1:{_free_port()}"
state = "{folder / "redirector"}"
{pools}
[packetizer]
listen = "127.0.0.1:{_free_port()}"
state = "{folder / "packetizer"}"
packet_time = "0.25s"
""")
    return config


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Servers:
    """Five processes, ended together: by leaving the `with` block, or with this process."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start("redirector")
            for host in HOSTS:
                self._start("dataserver", "--name", host)
            self._start("packetizer")
            for process in self._processes:
                self._wait_until_ready(process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self, *role: str) -> None:
        """A server lives only as long as the pipe to its stdin: it never outlives us."""
        with self._log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "packhorse", *role, "--config", str(self._config)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "PACKHORSE_EXIT_WITH_PARENT": "1"},
                    start_new_session=True,
                )
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Every server prints one line when it is ready."""
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], READY_TIMEOUT_S)
        if not readable or not process.stdout.readline():
            raise RuntimeError(f"a server did not start:\n{self._log.read_text()}")

    def _stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
