"""Daemons of XRootD's own, for tests: run by an ordinary user, and never left behind.

Each is its own process group and is killed when whoever started it dies. All that they start
bears a mark, the copy commands among it, which have process groups of their own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.patience import eventually
from tests.support.processes import bearing

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT_S: Final = 60.0
#: The variable that marks the processes.
MARK: Final = "PACKHORSE_STOCK_XROOTD"
#: Who runs them if root starts them, which they refuse to run as. XRootD's package makes it.
ORDINARY_USER: Final = "xrootd"


def lacking(*programs: str) -> str:
    """Which of the programs are not installed; empty if all are."""
    return ", ".join(one for one in ("setpriv", *programs) if shutil.which(one) is None)


def give_away(*folders: Path) -> None:
    """Has folders, and all that lies in them, belong to the user who runs the daemons."""
    if os.geteuid() == 0:
        for folder in folders:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, ORDINARY_USER)


def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Daemon:
    """One process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class StockDaemons:
    """Those of one server, or of one cluster."""

    def __init__(self) -> None:
        self.running: list[Daemon] = []
        self._token = secrets.token_hex(3)[:5]

    def start(self, name: str, program: str, config: Path) -> Daemon:
        """Starts one, which is called NAME.PROGRAM; it logs to a file beside its configuration."""
        words = ["setpriv", "--pdeathsig", "KILL"]
        if os.geteuid() == 0:
            words += ["--reuid", ORDINARY_USER, "--regid", ORDINARY_USER, "--clear-groups"]
        log = config.with_name(f"{program}.log")
        # An instance's name is a file's in /tmp, too, which another user's may be already.
        # One of more than some ten letters makes frm_xfrd overrun a buffer.
        instance = f"{name[0]}{name[-1]}{self._token}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*words, program, "-n", instance, "-c", str(config)],
                cwd=config.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, MARK: self._token},
            )
        daemon = Daemon(f"{name}.{program}", process, log)
        self.running.append(daemon)
        return daemon

    def pids(self, *names: str) -> list[int]:
        """The processes of these names, whatever their programs."""
        return [one.process.pid for one in self.running if one.name.split(".")[0] in names]

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for something, as long as all of them live."""

        def holds() -> object:
            ended = [daemon.name for daemon in self.running if daemon.process.poll() is not None]
            assert not ended, f"{ended} ended"
            return condition()

        eventually(holds, START_TIMEOUT_S)

    def alive(self) -> dict[int, str]:
        """The living processes, whatever they have started among them, and what they run."""
        return bearing(f"{MARK}={self._token}")

    def logs(self) -> str:
        """The end of what each has logged."""
        return "\n".join(
            f"--- {one.name}\n{one.log.read_text(errors='replace')[-3000:]}" for one in self.running
        )

    def end(self) -> None:
        """Kills them, and whatever they have started."""
        for daemon in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for left_behind in Path(tempfile.gettempdir()).glob(f"*.??{self._token}.env"):
            left_behind.unlink(missing_ok=True)
