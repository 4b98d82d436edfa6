"""XRootD's own server, one that may be written to, and what it and its clients say."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from tests.support.cluster import free_port
from tests.support.patience import eventually
from tests.support.stock_xrootd import StockXrootd

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Sums of files can be asked for, and nobody's address is looked up.
CONFIGURATION: Final = "xrootd.chksum max 2 adler32\nxrd.network nodnr\n"
#: Who serves files if root starts a server.
ORDINARY_USER: Final = "xrootd"


def is_installed(*programs: str) -> bool:
    """Whether the server and all of these can be run here."""
    return all(shutil.which(program) for program in ("xrootd", *programs))


class WritableXrootd:
    """A data server of XRootD whose clients may write to /store, in a folder of its own.

    Enter it to wait until it answers; leave it to end it, and remove the folder.
    """

    def __init__(self, more: str = "") -> None:
        """`more` are more lines of its configuration."""
        # Not in pytest's own folders, which no other user may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="packhorse-xrootd-"))
        self.data = self._folder / "data"
        (self.data / "store").mkdir(parents=True)
        self._give_away()
        self._server = StockXrootd(self.data, self._folder, CONFIGURATION + more)
        self.port = self._server.port

    def write(self, lfn: str, content: bytes) -> None:
        """Puts a file where the server finds it."""
        path = self.data / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._give_away()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.__exit__()
        shutil.rmtree(self._folder)

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            for path in (self.data, *self.data.rglob("*")):
                shutil.chown(path, ORDINARY_USER)


@dataclass
class Conversation:
    """All that one client and its server have said to each other, on one connection."""

    client: bytes = b""
    server: bytes = b""
    sockets: list[socket.socket] = field(default_factory=list)
    is_over: bool = False


class Recorder:
    """Stands between clients and a server and takes down what they say.

    Where the server tells its own address, clients are told the recorder's, so that they
    stay with it.
    """

    def __init__(self, server_port: int) -> None:
        self.conversations: list[Conversation] = []
        self.port = 0
        self._server_port = server_port
        self._listener: socketserver.ThreadingTCPServer | None = None

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"root://127.0.0.1:{self.port}/"

    def run(self, argv: Sequence[str], stdin: str = "", **environment: str) -> str:
        """Runs a client to its end, and waits for the end of what was said; what it printed."""
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        eventually(lambda: all(said.is_over for said in self.conversations))
        return done.stdout

    def hang_up(self) -> None:
        """Ends every connection without a word."""
        for said in self.conversations:
            for end in said.sockets:
                _shut_down(end)

    def __enter__(self) -> Self:
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                recorder._carry(cast("socket.socket", self.request))

        # With as many digits as the server's port, so that the one can stand for the other.
        while len(str(self.port)) != len(str(self._server_port)):
            self.port = free_port()
        self._listener = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._listener is not None
        self.hang_up()
        self._listener.shutdown()
        self._listener.server_close()

    def _carry(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._server_port)) as server:
            said = Conversation(sockets=[client, server])
            self.conversations.append(said)
            answers = threading.Thread(target=self._carry_answers, args=(said,))
            answers.start()
            while data := _receive(client):
                said.client += data
                _send(server, data)
            _shut_down(server)
            answers.join()
            said.is_over = True

    def _carry_answers(self, said: Conversation) -> None:
        client, server = said.sockets
        theirs, ours = f":{self._server_port}".encode(), f":{self.port}".encode()
        while data := _receive(server):
            data = data.replace(theirs, ours)
            said.server += data
            _send(client, data)
        _shut_down(client)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _send(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data)
    except OSError:
        _shut_down(end)


def _shut_down(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
