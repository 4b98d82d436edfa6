"""A cluster of XRootD's own with an archive behind it: what our site is compared with.

A manager redirects, data servers hold what was brought by `frm_xfrd`, which runs a shell
script for every file. Every daemon is its own process group, does not run as root, and is
killed when the cluster is left or its parent dies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.cluster import free_port
from tests.support.patience import eventually
from tests.support.processes import bearing
from tests.support.recorded_xrootd import ORDINARY_USER
from xroot import requests
from xroot.decoder import ResponseDecoder
from xroot.protocol import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from xroot.responses import Response

START_TIMEOUT_S: Final = 60.0
#: The variable that marks the processes of a cluster, its copy commands among them.
MARK: Final = "PACKHORSE_STOCK_CLUSTER"
EXPORT: Final = "/store"
BEACON: Final = f"{EXPORT}/beacon-{{server}}"

#: 90 s between start and service are of no interest to anybody; all else is as it comes.
MANAGER: Final = """\
all.role manager
all.export {export} {stage} {access}
cms.delay startup 1 service 1 {delays}
"""
#: What an administrator can do about the delays: whole seconds are the smallest steps, and
#: 1 ms is the shortest pause between two names of a prepare.
TUNED_DELAYS: Final = "lookup 1 qdl 1"
TUNED_REQUESTS: Final = "cms.request prep 1\n"
SERVER: Final = """\
all.role server
all.export {export} {stage} {access}
oss.localroot {folder}/data
"""
STAGING: Final = """\
oss.remoteroot {archive}
frm.xfr.copycmd in {script} $RFN $PFN
frm.xfr.copymax {slots}
cms.prep
"""
COMMON: Final = """\
all.manager 127.0.0.1:{manager_port}
all.adminpath {folder}/admin
all.pidpath {folder}/run
xrd.port {port}
xrd.network nodnr
if exec cmsd
xrd.port {cmsd_port}
fi
"""
#: cp must not be the last process: XRootD kills the group as soon as its output is closed.
STAGE_SCRIPT: Final = """\
#!/bin/sh
[ -e "$1" ] || exit 2
cp "$1" "$2"
exit $?
"""


def lacking() -> str:
    """Which of the programs are not installed; empty if all are."""
    programs = ("xrootd", "cmsd", "frm_xfrd", "xrdcp", "xrdfs", "setpriv")
    return ", ".join(program for program in programs if shutil.which(program) is None)


@dataclass
class Daemon:
    """One process of the cluster."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class StagingCluster:
    """Exports /store, for reading and writing. Enter it to start it, leave it to end it.

    Unless `tuned`, all delays that clients feel are the default ones: 5 s before a name counts
    as unknown.
    """

    def __init__(
        self,
        data_servers: int = 2,
        *,
        staging: bool = True,
        tuned: bool = False,
        slots: int = 4,
        access: str = "r/w",
        more: str = "",
    ) -> None:
        """`slots` is how many copies each data server makes at a time, `access` how /store is
        exported, `more` are more lines of everybody's configuration.
        """
        # Not in pytest's own folders, which no other user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="packhorse-xrootd-"))
        self.folder.chmod(0o755)
        self.archive = self.folder / "archive"
        self.port = free_port()
        self.servers = {f"server{number + 1}": free_port() for number in range(data_servers)}
        self.daemons: list[Daemon] = []
        self._manager_port = free_port()
        self._staging = staging
        self._tuned = tuned
        self._slots = slots
        self._access = access
        self._more = more
        self._mark = str(self.folder)
        self._token = self.folder.name[-5:]
        self.script = self.folder / "stage.sh"
        self.script.write_text(STAGE_SCRIPT)
        self.script.chmod(0o755)
        (self.archive / EXPORT.lstrip("/")).mkdir(parents=True)
        for server in self.servers:
            self.pool(server).mkdir(parents=True)
            self.write(server, BEACON.format(server=server), b"here")

    def pool(self, server: str) -> Path:
        """The directory of a data server's files."""
        return self.folder / server / "data"

    def write(self, server: str, lfn: str, content: bytes) -> Path:
        """Puts a file where a data server finds it; before it starts."""
        path = self.pool(server) / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def pids(self, *names: str) -> list[int]:
        """The processes of the manager ("manager") or of data servers."""
        return [daemon.process.pid for daemon in self.daemons if daemon.name.split(".")[0] in names]

    def logs(self) -> str:
        """The end of what every daemon has logged."""
        found = sorted(self.folder.glob("*/*.log"))
        return "\n".join(
            f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in found
        )

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException as error:
            error.add_note(self.logs())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for daemon in self.daemons:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
        # Copy commands have process groups of their own.
        for pid in bearing(f"{MARK}={self._mark}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)
        for left_behind in Path(tempfile.gettempdir()).glob(f"*.??{self._token}.env"):
            left_behind.unlink(missing_ok=True)

    # --- inside -----------------------------------------------------------------

    def _start_all(self) -> None:
        (self.folder / "manager").mkdir()
        self._configure("manager", MANAGER, self.port)
        for server, port in self.servers.items():
            self._configure(server, SERVER, port)
        self._give_away()
        # In this order: whoever finds nobody listening comes back ten seconds later.
        self._start("manager", "cmsd")
        self._until(lambda: _listens(self._manager_port))
        for server in self.servers:
            self._start(server, "cmsd")
        for name in ("manager", *self.servers):
            self._until(partial(self._admin_sockets, name, "olbd.*"))
        for name in ("manager", *self.servers):
            self._start(name, "xrootd")
        for server in self.servers if self._staging else ():
            self._start(server, "frm_xfrd")
            self._until(partial(self._admin_sockets, server, "xfrd.udp"))
        for server in self.servers:
            self._until(partial(self._has, BEACON.format(server=server)))

    def _configure(self, name: str, role: str, port: int) -> None:
        values = {
            "export": EXPORT,
            "stage": "stage" if self._staging else "nostage",
            "access": self._access,
            "delays": TUNED_DELAYS if self._tuned else "",
            "folder": self.folder / name,
            "archive": self.archive,
            "script": self.script,
            "slots": self._slots,
            "port": port,
            "manager_port": self._manager_port,
            "cmsd_port": self._manager_port if name == "manager" else free_port(),
        }
        text = (COMMON + role).format(**values) + self._more
        if self._tuned and name == "manager":
            text += TUNED_REQUESTS
        if self._staging and name != "manager":
            text += STAGING.format(**values)
        (self.folder / name / "xrootd.cfg").write_text(text)

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            # It does not run as root; its package has made it a user.
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, ORDINARY_USER)

    def _start(self, name: str, program: str) -> None:
        words = ["setpriv", "--pdeathsig", "KILL"]
        if os.geteuid() == 0:
            words += ["--reuid", ORDINARY_USER, "--regid", ORDINARY_USER, "--clear-groups"]
        folder = self.folder / name
        log = folder / f"{program}.log"
        # An instance's name is a file's in /tmp, too, which another user's may be already.
        # One of more than some ten letters makes frm_xfrd overrun a buffer.
        instance = f"{name[0]}{name[-1]}{self._token}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*words, program, "-n", instance, "-c", str(folder / "xrootd.cfg")],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, MARK: self._mark},
            )
        self.daemons.append(Daemon(f"{name}.{program}", process, log))

    def _admin_sockets(self, name: str, pattern: str) -> list[Path]:
        return list((self.folder / name / "admin").rglob(pattern))

    def _until(self, condition: Callable[[], object]) -> None:
        def holds() -> object:
            ended = [daemon.name for daemon in self.daemons if daemon.process.poll() is not None]
            assert not ended, f"{ended} ended"
            return condition()

        eventually(holds, START_TIMEOUT_S)

    def _has(self, lfn: str) -> bool:
        """Whether the manager knows where a file is; XRootD's clients sit out every "wait"."""
        if not _listens(self.port):
            return False
        return _first_answer(self.port, requests.Stat(lfn)).status == Status.REDIRECT


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _first_answer(port: int, message: requests.Stat) -> Response:
    login = requests.Login(os.getpid(), "test").encode(b"\0\0")
    hello = requests.handshake() + requests.Protocol().encode(b"\0\0") + login
    decoder = ResponseDecoder()
    with socket.create_connection(("127.0.0.1", port), START_TIMEOUT_S) as connection:
        connection.sendall(hello + message.encode(b"\1\0"))
        while received := connection.recv(1 << 16):
            for answer in decoder.feed(received):
                if answer.stream_id == b"\1\0":
                    return answer
    raise ConnectionError("the manager hung up")
