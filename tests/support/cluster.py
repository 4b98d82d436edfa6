"""A site of real processes on loopback, for tests that kill and restart them.

Every server is started by the command line, as a site would, with one configuration
file. Ports are chosen once and kept over restarts, as a site's would be.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import packhorse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Node:
    """One data server's part of the configuration."""

    name: str
    quota: str = "1GB"
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Cluster:
    """The processes of one site, below `folder`."""

    folder: Path
    nodes: list[Node]
    stagecmd: list[str] | str = "builtin"
    statcmd: list[str] | None = None
    mss: Mapping[str, object] = field(default_factory=dict)
    redirector: Mapping[str, object] = field(default_factory=dict)
    packetizer: Mapping[str, object] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.archive = self.folder / "archive"
        self.archive.mkdir(parents=True, exist_ok=True)
        self.redirector_address = f"127.0.0.1:{free_port()}"
        self.packetizer_address = f"127.0.0.1:{free_port()}"
        self.config = self.folder / "site.toml"
        self.config.write_text("\n".join(self._tables()))

    def pool(self, node: str) -> Path:
        """The pool directory of a node."""
        return self.folder / "pools" / node

    def _tables(self) -> Iterator[str]:
        yield "[mss]"
        names = [{"prefix": "/store/", "archive": f"{self.archive}/store/"}]
        yield from _rows({"stagecmd": self.stagecmd, "names": names, **self.mss})
        if self.statcmd is not None:
            yield from _rows({"statcmd": self.statcmd})
        yield "[redirector]"
        own = {"listen": self.redirector_address, "state": str(self.folder / "redirector")}
        yield from _rows({**own, **self.redirector})
        for node in self.nodes:
            self.pool(node.name).mkdir(parents=True, exist_ok=True)
            yield f"[dataserver.{node.name}]"
            own = {"pool": str(self.pool(node.name)), "quota": node.quota, "host": node.name}
            own["listen"] = f"127.0.0.1:{free_port()}"
            yield from _rows({**own, **node.extra})
        yield "[packetizer]"
        own = {"listen": self.packetizer_address, "state": str(self.folder / "packetizer")}
        yield from _rows({**own, **self.packetizer})

    def write(self, lfn: str, content: bytes) -> Path:
        """Puts a file into the archive."""
        path = self.archive / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def start(self, *roles: str) -> None:
        """Starts roles (all by default): "redirector", "packetizer", or a node's name."""
        for role in roles or ("redirector", *(node.name for node in self.nodes), "packetizer"):
            argv = [role] if role in {"redirector", "packetizer"} else ["dataserver", "--name", role]
            self.processes[role] = self.spawn(*argv, log=role)
            _wait_until_ready(self.processes[role], self.folder / f"{role}.log")

    def spawn(self, *argv: str, log: str) -> subprocess.Popen[str]:
        """Starts `packhorse ARGV --config …` in a process group of its own."""
        with (self.folder / f"{log}.log").open("a") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "packhorse", *argv, "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
                env={**os.environ, "PACKHORSE_LOG": "INFO"},
            )

    def kill(self, role: str) -> None:
        """kill -9, and nothing but the one process."""
        process = self.processes.pop(role)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=STOP_TIMEOUT_S)

    def restart(self, role: str) -> None:
        """kill -9, then a new process on the same state."""
        self.kill(role)
        self.start(role)

    def stop(self) -> None:
        """Ends every process, politely first."""
        for process in self.processes.values():
            process.terminate()
        for role, process in self.processes.items():
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise AssertionError(f"{role} did not stop in {STOP_TIMEOUT_S} s") from None
        self.processes.clear()

    def connect(self) -> packhorse.Site:
        """A client of this site."""
        return packhorse.connect(config=self.config)

    def logs(self) -> str:
        """What every server logged, for the message of a failing test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Starts the whole site, and ends it whatever happens."""
    try:
        cluster.start()
        yield cluster
    except BaseException:
        print(cluster.logs(), file=sys.stderr)
        raise
    finally:
        cluster.stop()


def _rows(table: Mapping[str, object]) -> Iterator[str]:
    """The rows of a TOML table; JSON's scalars and lists are TOML's too."""
    for key, value in table.items():
        yield f"{key} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value)


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> None:
    """Reads the server's one line that says it is ready; then lets go of its stdout."""
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)
    reader.start()
    reader.join(START_TIMEOUT_S)
    if not lines or not lines[0]:
        process.kill()
        process.communicate()
        raise AssertionError(f"not ready: {process.args}\n{log.read_text(errors='replace')}")
    assert "ready" in json.loads(lines[0])
