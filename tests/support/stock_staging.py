"""A cluster of XRootD's own with an archive behind it: what our site is compared with.

A manager redirects, data servers hold what was brought by `frm_xfrd`, which runs a shell
script for every file.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support import stock_daemons
from tests.support.cluster import free_port
from tests.support.stock_daemons import START_TIMEOUT_S, StockDaemons, give_away, listens
from xroot import requests
from xroot.decoder import ResponseDecoder
from xroot.protocol import Status

if TYPE_CHECKING:
    from xroot.responses import Response

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
    return stock_daemons.lacking("xrootd", "cmsd", "frm_xfrd", "xrdcp", "xrdfs")


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
        self.daemons = StockDaemons()
        self._manager_port = free_port()
        self._staging = staging
        self._tuned = tuned
        self._slots = slots
        self._access = access
        self._more = more
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
        return self.daemons.pids(*names)

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException as error:
            error.add_note(self.daemons.logs())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.daemons.end()
        shutil.rmtree(self.folder)

    # --- inside -----------------------------------------------------------------

    def _start_all(self) -> None:
        (self.folder / "manager").mkdir()
        self._configure("manager", MANAGER, self.port)
        for server, port in self.servers.items():
            self._configure(server, SERVER, port)
        give_away(self.folder)
        # In this order: whoever finds nobody listening comes back ten seconds later.
        self._start("manager", "cmsd")
        self.daemons.until(lambda: listens(self._manager_port))
        for server in self.servers:
            self._start(server, "cmsd")
        for name in ("manager", *self.servers):
            self.daemons.until(partial(self._admin_sockets, name, "olbd.*"))
        for name in ("manager", *self.servers):
            self._start(name, "xrootd")
        for server in self.servers if self._staging else ():
            self._start(server, "frm_xfrd")
            self.daemons.until(partial(self._admin_sockets, server, "xfrd.udp"))
        for server in self.servers:
            self.daemons.until(partial(self._has, BEACON.format(server=server)))

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

    def _start(self, name: str, program: str) -> None:
        self.daemons.start(name, program, self.folder / name / "xrootd.cfg")

    def _admin_sockets(self, name: str, pattern: str) -> list[Path]:
        return list((self.folder / name / "admin").rglob(pattern))

    def _has(self, lfn: str) -> bool:
        """Whether the manager knows where a file is; XRootD's clients sit out every "wait"."""
        if not listens(self.port):
            return False
        return _first_answer(self.port, requests.Stat(lfn)).status == Status.REDIRECT


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
