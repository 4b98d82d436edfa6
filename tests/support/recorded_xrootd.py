"""What a server of XRootD and its clients say to each other."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, cast

from tests.support.cluster import free_port
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence


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
