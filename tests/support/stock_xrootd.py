"""A stock XRootD server over a directory, and a client that keeps a file open there.

The client speaks its few words of root:// by itself: a test of what strangers do to a pool
should not lean on our own idea of the protocol.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.support.cluster import free_port
from tests.support.stock_daemons import StockDaemons, give_away, listens

_LOGIN, _OPEN, _READ, _CLOSE = 3007, 3010, 3013, 3003
_FOR_READING = 0x10

CONFIG: Final = """\
all.export /
oss.localroot {pool}
xrd.port {port}
all.adminpath {folder}/admin
all.pidpath {folder}/admin
{more}
"""
#: Sums of files can be asked for, and nobody's address is looked up.
SUMS: Final = "xrootd.chksum max 2 adler32\nxrd.network nodnr\n"


class StockXrootd:
    """One server. Enter it to wait until it answers; leave it to end it.

    `folder` is a directory of its own, which any user may enter; `more` are more lines of
    its configuration.
    """

    def __init__(self, pool: Path, folder: Path, more: str = "") -> None:
        self.port = free_port()
        config = folder / "xrootd.cfg"
        config.write_text(CONFIG.format(pool=pool, port=self.port, folder=folder, more=more))
        give_away(folder)
        self._daemons = StockDaemons()
        self._daemon = self._daemons.start("pool", "xrootd", config)

    def __enter__(self) -> Self:
        try:
            self._daemons.until(lambda: listens(self.port))
        except BaseException as error:
            error.add_note(self._daemons.logs())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemons.end()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._daemon.process.pid

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


class WritableXrootd:
    """A data server of XRootD whose clients may write to /store, in a folder of its own.

    Enter it to wait until it answers; leave it to end it, and remove the folder.
    """

    def __init__(self, more: str = "") -> None:
        """`more` are more lines of its configuration."""
        # Not in pytest's own folders, which no other user may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="packhorse-xrootd-"))
        self._folder.chmod(0o755)
        self.data = self._folder / "data"
        (self.data / "store").mkdir(parents=True)
        (self._folder / "server").mkdir()
        give_away(self.data)
        self._server = StockXrootd(self.data, self._folder / "server", SUMS + more)
        self.port = self._server.port

    def write(self, lfn: str, content: bytes) -> None:
        """Puts a file where the server finds it."""
        path = self.data / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        give_away(self.data)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
        shutil.rmtree(self._folder)


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
