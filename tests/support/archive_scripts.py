"""Running the published scripts as a data server does, against archives that are real.

Each kind of archive is a `World`: where files are put behind the script's back, and looked
at, and what the script is told to find them.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from common.command.environment import command_environment
from packhorse.scripts import find_kind
from tests.support.cluster import free_port
from tests.support.patience import eventually

if TYPE_CHECKING:
    from tests.support.stock_xrootd import WritableXrootd
    from tests.support.tape_rest_server import TapeRestServer

TIMEOUT_S: Final = 60.0
SCRIPTS: Final = Path(__file__).parents[1] / "integration" / "scripts"


def run_script(
    kind: str, *words: str, env: dict[str, str] | None = None, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a kind's script to its end, with no more of an environment than commands have."""
    return subprocess.run(
        [sys.executable, str(path or find_kind(kind).path), *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=command_environment(os.environ, env or {}, "test"),
    )


class World(Protocol):
    """An archive of some kind."""

    kind: str
    options: list[str]
    env: dict[str, str]

    def name(self, path: str) -> str:
        """What the script is told, for a path such as "/store/a"."""

    def put(self, path: str, content: bytes) -> None:
        """Puts a file there, behind the script's back."""

    def get(self, path: str) -> bytes | None:
        """What is there, if anything is."""


@dataclass
class Mounted:
    """A directory."""

    folder: Path
    kind: str = "mounted"
    options: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def name(self, path: str) -> str:
        """The path itself."""
        return f"{self.folder}{path}"

    def put(self, path: str, content: bytes) -> None:
        """Writes it."""
        there = Path(f"{self.folder}{path}")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(content)

    def get(self, path: str) -> bytes | None:
        """Reads it."""
        there = Path(f"{self.folder}{path}")
        return there.read_bytes() if there.exists() else None


@dataclass
class Fsspec(Mounted):
    """A directory as a URL."""

    kind: str = "fsspec"
    options: list[str] = field(default_factory=lambda: ["--option", "auto_mkdir=true"])

    def name(self, path: str) -> str:
        """The URL of the path."""
        return f"file://{self.folder}{path}"


@dataclass
class Oss(Mounted):
    """A directory behind scripts that were written for XRootD."""

    kind: str = "oss"
    options: list[str] = field(
        default_factory=lambda: [
            f"--stagecmd={SCRIPTS}/oss-stage.sh",
            f"--rsscmd={SCRIPTS}/oss-mss.sh",
            f"--storecmd={SCRIPTS}/oss-store.sh",
        ]
    )


class Dcache:
    """A directory behind a script that was written for dCache."""

    kind = "dcache"

    def __init__(self, folder: Path) -> None:
        self.tape, self.book = folder / "tape", folder / "book"
        for made in (self.tape, self.book):
            made.mkdir(parents=True)
        # A book that is empty might be a mount that has vanished.
        (self.book / ".packhorse-here").touch()
        script = SCRIPTS / "dcache-hsm.sh"
        self.options = [f"--script={script}", f"--book={self.book}", f"--option=tape={self.tape}"]
        self.env: dict[str, str] = {}
        self._scratch = folder / "scratch"

    def name(self, path: str) -> str:
        """A name that is in the book alone."""
        return f"/tape{path}"

    def put(self, path: str, content: bytes) -> None:
        """There is no other way than the script."""
        self._scratch.write_bytes(content)
        words = ("store", *self.options, str(self._scratch), self.name(path))
        assert run_script(self.kind, *words).returncode == 0

    def get(self, path: str) -> bytes | None:
        """What the script gets."""
        self._scratch.unlink(missing_ok=True)
        words = ("stage", *self.options, self.name(path), str(self._scratch))
        done = run_script(self.kind, *words)
        return self._scratch.read_bytes() if done.returncode == 0 else None


class Xrootd:
    """A stock XRootD server."""

    kind = "xrootd"

    def __init__(self, server: WritableXrootd) -> None:
        self._server = server
        self.options: list[str] = []
        self.env: dict[str, str] = {}

    def name(self, path: str) -> str:
        """Its URL."""
        return f"root://127.0.0.1:{self._server.port}/{path}"

    def put(self, path: str, content: bytes) -> None:
        """Writes it where the server finds it."""
        self._server.write(path, content)

    def get(self, path: str) -> bytes | None:
        """Reads it where the server has it."""
        there = self._server.data / path.lstrip("/")
        return there.read_bytes() if there.exists() else None


class S3:
    """A bucket of moto's server."""

    kind = "s3"

    def __init__(self, server: MotoServer) -> None:
        self.options = ["--endpoint", server.url, "--poll", "0.1"]
        # As for any user: their credentials are in their home.
        self.env = {"HOME": str(server.home)}
        self.client = server.client
        self.bucket = server.new_bucket()

    def name(self, path: str) -> str:
        """Its URL."""
        return f"s3://{self.bucket}{path}"

    def put(self, path: str, content: bytes, **extra: str) -> None:
        """Stores it, by another client."""
        self.client.put_object(Bucket=self.bucket, Key=path[1:], Body=content, **extra)

    def get(self, path: str) -> bytes | None:
        """Reads it, by another client."""
        try:
            found: bytes = self.client.get_object(Bucket=self.bucket, Key=path[1:])["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return found


class TapeRest:
    """A tape storage of one dialect."""

    kind = "tape-rest"

    def __init__(self, server: TapeRestServer, *options: str) -> None:
        self.server = server
        self.options = ["--poll", "0.05", *options]
        self.env: dict[str, str] = {"XDG_RUNTIME_DIR": "/nonexistent"}

    def name(self, path: str) -> str:
        """The URL at its door, not encoded."""
        return f"{self.server.url}{path}"

    def put(self, path: str, content: bytes) -> None:
        """On tape alone."""
        self.server.put(path, content)

    def get(self, path: str) -> bytes | None:
        """From disk or tape."""
        return self.server.files.get(path)


class MotoServer:
    """A process that speaks S3, Glacier and all. Enter it to start it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._buckets = 0
        credentials = folder / ".aws" / "credentials"
        credentials.parent.mkdir(parents=True)
        credentials.write_text(
            "[default]\naws_access_key_id = test\naws_secret_access_key = test\n"
        )

    def __enter__(self) -> Self:
        import boto3

        port = self.url.rpartition(":")[2]
        with (self.home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        eventually(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()

    def new_bucket(self) -> str:
        """An empty one."""
        self._buckets += 1
        name = f"bucket{self._buckets}"
        self.client.create_bucket(Bucket=name)
        return name

    def set_restore_delay(self, asked: int) -> None:
        """A restored object is there after it has been looked at so often."""
        import json
        import urllib.request

        transition = {"progression": "manual", "times": asked}
        body = {"model_name": "s3::keyrestore", "transition": transition}
        request = urllib.request.Request(
            f"{self.url}/moto-api/state-manager/set-transition",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()

    def _answers(self) -> bool:
        import socket

        assert self._process.poll() is None, (self.home / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0


def certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's certificate for localhost, and the authority that clients have to believe."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, path


def is_installed(kind: str) -> bool:
    """Whether what a kind needs is here, so that it can be tested."""
    if kind == "xrootd":
        return all(shutil.which(name) for name in ("xrootd", "xrdcp", "xrdfs"))
    return True
