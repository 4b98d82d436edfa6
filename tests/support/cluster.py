"""A site of real processes on loopback, for tests that kill and restart them.

Every server is started by the command line, as a site would, with one configuration
file. Ports are chosen once and kept over restarts, as a site's would be. All that a
site starts bears its mark, so that nothing of it stays unnoticed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import packhorse
from packhorse.values import NodeState
from tests.support.patience import eventually
from tests.support.processes import bearing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


#: The variable that marks the processes of a site.
MARK = "PACKHORSE_SITE_UNDER_TEST"
#: Below the ports that the kernel gives to outgoing connections: one of those could
#: take a server's port while that server is being restarted.
FIRST_PORT, LAST_PORT = 10_000, 32_000


def free_port() -> int:
    """A loopback port nobody listens on now."""
    while True:
        port = random.randint(FIRST_PORT, LAST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Node:
    """One data server's part of the configuration."""

    name: str
    quota: str = "1GB"
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Cluster:
    """The processes of one site, below `folder`; without a packetizer if that is None."""

    folder: Path
    nodes: list[Node]
    stagecmd: list[str] | str = "builtin"
    statcmd: list[str] | None = None
    mss: Mapping[str, object] = field(default_factory=dict)
    redirector: Mapping[str, object] = field(default_factory=dict)
    root: Mapping[str, object] = field(default_factory=dict)
    packetizer: Mapping[str, object] | None = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.archive = self.folder / "archive"
        self.archive.mkdir(parents=True, exist_ok=True)
        self.redirector_address = f"127.0.0.1:{free_port()}"
        self.packetizer_address = f"127.0.0.1:{free_port()}"
        self.config = self.folder / "site.toml"
        self.config.write_text("\n".join(self._tables()))

    @property
    def roles(self) -> list[str]:
        """What `start` starts: "redirector", the nodes' names, "packetizer"."""
        nodes = [node.name for node in self.nodes]
        return ["redirector", *nodes, *(["packetizer"] if self.packetizer is not None else [])]

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
        if self.root:
            yield "[root]"
            yield from _rows(self.root)
        if self.packetizer is not None:
            yield "[packetizer]"
            own = {"listen": self.packetizer_address, "state": str(self.folder / "packetizer")}
            yield from _rows({**own, **self.packetizer})

    # --- its files ----------------------------------------------------------

    def pool(self, node: str) -> Path:
        """The pool directory of a node."""
        return self.folder / "pools" / node

    def write(self, lfn: str, content: bytes) -> Path:
        """Puts a file into the archive."""
        path = self.archive / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def holders(self, lfn: str) -> list[str]:
        """The nodes in whose pools a file lies, whatever they say themselves."""
        return [one.name for one in self.nodes if (self.pool(one.name) / lfn.lstrip("/")).exists()]

    def incoming(self) -> list[Path]:
        """All that lies in the nodes' incoming directories."""
        return [
            path for node in self.nodes for path in (self.pool(node.name) / ".incoming").glob("*")
        ]

    def log(self, role: str) -> str:
        """What a server has logged, over all its lives."""
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def logs(self) -> str:
        """The end of what every server logged, for the message of a failing test."""
        found = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{self.log(path.stem)[-4000:]}" for path in found)

    # --- its processes ------------------------------------------------------

    def start(self, *roles: str) -> None:
        """Starts roles (all by default), all at a time; returns when they are ready."""
        wanted = roles or self.roles
        for role in wanted:
            argv = (
                [role] if role in {"redirector", "packetizer"} else ["dataserver", "--name", role]
            )
            self.processes[role] = self.spawn(*argv, log=role)
        for role in wanted:
            _wait_until_ready(self.processes[role], partial(self.log, role))

    def spawn(
        self, *argv: str, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Starts `packhorse ARGV --config …` in a process group of its own.

        It holds on to a pipe of ours, so that it ends even if the tests are killed.
        """
        own = {"PACKHORSE_LOG": "INFO", "PACKHORSE_EXIT_WITH_PARENT": "1", MARK: self._mark}
        with (self.folder / f"{log}.log").open("a") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "packhorse", *argv, "--config", str(self.config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
                env={**os.environ, **own, **(env or {})},
            )

    def run(
        self,
        *argv: str | bytes,
        env: Mapping[str, str] | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `packhorse ARGV --config …` to its end, in the site's folder."""
        return subprocess.run(
            [sys.executable, "-m", "packhorse", *argv, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
            env={**os.environ, MARK: self._mark, **(env or {})},
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

    def stop(self, *roles: str) -> None:
        """Ends processes (all by default), politely; raises AssertionError for one that hangs."""
        ending = {role: self.processes.pop(role) for role in roles or list(self.processes)}
        for process in ending.values():
            process.terminate()
        hung = []
        for role, process in ending.items():
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                hung.append(role)
        assert not hung, f"{hung} did not stop in {STOP_TIMEOUT_S} s"

    def commands(self, *nodes: str) -> dict[int, str]:
        """The living processes of the stage and other commands of nodes (all by default)."""
        pools = [self.pool(node) for node in nodes or [node.name for node in self.nodes]]
        ids = [path for pool in pools if (path := pool / ".packhorse" / "pool_id").exists()]
        return bearing(*(f"PACKHORSE_COMMAND_ID=pool-{path.read_text().strip()}/" for path in ids))

    def strays(self) -> dict[int, str]:
        """The living processes that servers of this site started; for when none should be."""
        return {**bearing(f"{MARK}={self._mark}"), **self.commands()}

    @property
    def _mark(self) -> str:
        return f"{self.folder}/"

    def connect(self) -> packhorse.Site:
        """A client of this site."""
        return packhorse.connect(config=self.config)


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Starts the whole site, and ends it whatever happens; nothing of it may stay."""
    try:
        cluster.start()
        yield cluster
        cluster.stop()
        eventually(lambda: not cluster.strays())
        assert cluster.incoming() == []
        assert [role for role in cluster.roles if "Traceback" in cluster.log(role)] == []
    except BaseException:
        print(cluster.logs(), file=sys.stderr)
        raise
    finally:
        cluster.stop()
        for pid in cluster.strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def install(scripts: Path, folder: Path) -> Path:
    """Copies a directory of scripts to where a test may use it up; returns the copy."""
    return Path(shutil.copytree(scripts, folder / "bin"))


def until_joined(site: packhorse.Site, nodes: int) -> None:
    """Waits until so many data servers are up."""
    eventually(lambda: [node.state for node in site.nodes()].count(NodeState.UP) == nodes)


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


def _wait_until_ready(process: subprocess.Popen[str], log: Callable[[], str]) -> None:
    """Reads the server's one line that says it is ready; then lets go of its stdout."""
    stdout = process.stdout
    assert stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(START_TIMEOUT_S)
    if not lines or not lines[0]:
        process.kill()
        process.communicate()
        raise AssertionError(f"not ready: {process.args!r}\n{log()}")
    assert "ready" in json.loads(lines[0])
