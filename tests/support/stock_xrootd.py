"""A stock XRootD server over a directory, and a client that keeps a file open there.

The client speaks its few words of root:// by itself: a test of what strangers do to a pool
should not lean on our own idea of the protocol.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.support.cluster import free_port

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT_S = 30.0
_LOGIN, _OPEN, _READ, _CLOSE = 3007, 3010, 3013, 3003
_FOR_READING = 0x10

CONFIG = """\
all.export /
oss.localroot {pool}
xrd.port {port}
all.adminpath {folder}/admin
all.pidpath {folder}/admin
{more}
"""


class StockXrootd:
    """One server. Enter it to wait until it answers; leave it to end it.

    `folder` is a directory of its own, which any user may enter; `more` are more lines of
    its configuration.
    """

    def __init__(self, pool: Path, folder: Path, more: str = "") -> None:
        self.port = free_port()
        config = folder / "xrootd.cfg"
        config.write_text(CONFIG.format(pool=pool, port=self.port, folder=folder, more=more))
        self._log = folder / "xrootd.log"
        program = shutil.which("xrootd")
        assert program is not None
        command = [program, "-c", str(config), "-l", str(self._log), "-n", "pool"]
        if os.geteuid() == 0:
            # It does not run as root; its package has made it a user.
            shutil.chown(folder, "xrootd")
            command += ["-R", "xrootd"]
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, "xrootd has ended"
                assert time.monotonic() < end_s, "xrootd does not answer"
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def open(self, path: str) -> OpenThere:
        """Opens a file, and keeps it open. Raises FileNotFoundError."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(struct.pack(">5i", 0, 0, 0, 4, 2012))
        _answer(connection)
        _ask(connection, _LOGIN, struct.pack(">i8sBBBB", 1, b"test", 0, 0, 5, 0))
        try:
            body = _ask(connection, _OPEN, struct.pack(">HH12x", 0, _FOR_READING), path.encode())
        except FileNotFoundError:
            connection.close()
            raise
        return OpenThere(connection, body[:4])


@dataclass
class OpenThere:
    """A file that the server has open for this client, until it is closed."""

    connection: socket.socket
    handle: bytes

    def read(self, length: int, offset: int) -> bytes:
        """Some of its bytes."""
        return _ask(self.connection, _READ, struct.pack(">4sqi", self.handle, offset, length))

    def close(self) -> None:
        """Has it closed."""
        _ask(self.connection, _CLOSE, struct.pack(">4s12x", self.handle))
        self.connection.close()


def _ask(connection: socket.socket, request: int, body: bytes, data: bytes = b"") -> bytes:
    connection.sendall(struct.pack(">2sH16si", b"\0\1", request, body, len(data)) + data)
    return _answer(connection)


def _answer(connection: socket.socket) -> bytes:
    """The body of an answer in one piece. Raises FileNotFoundError for one that is an error."""
    status, length = struct.unpack(">2xHi", _exactly(connection, 8))
    body = _exactly(connection, length)
    if status != 0:
        raise FileNotFoundError(f"status {status}: {body!r}")
    return body


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        assert more, "the server has hung up"
        received += more
    return received
