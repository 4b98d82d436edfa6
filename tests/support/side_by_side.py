"""The same client command against a stock XRootD and against ours, and what may differ.

Everything that is allowed to differ is taken out here, each for the reason that stands
beside it; all the rest must be equal.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.support.cluster import Cluster, Node, free_port, running, until_joined
from tests.support.stock_staging import StagingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Clients that hang are a failure; none of these commands takes long.
TIMEOUT_S: Final = 60.0
#: They look up the name of their own address. Where nobody answers, that need not take long.
IMPATIENT: Final = {"RES_OPTIONS": "timeout:1 attempts:1"}
WRITABLE: Final = "/store/user"
#: What is told to XRootD besides.
MORE: Final = f"all.export {WRITABLE} r/w\nxrootd.chksum max 2 adler32 crc32c\n"


class Outcome(NamedTuple):
    """What a client did: its exit code, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The errors it told of: their codes, for the words are each server's own."""
        return re.findall(r"\[(3\d\d\d|FATAL|ERROR)\]", self.stderr)


@dataclass
class Side:
    """One of the two: where clients go, and the directory they work in."""

    name: str
    port: int
    server_ports: tuple[int, ...]
    folder: Path

    @property
    def host(self) -> str:
        """HOST:PORT, as xrdfs is told it."""
        return f"127.0.0.1:{self.port}"

    def argv(self, words: tuple[str, ...]) -> list[str]:
        """A command with {host} and {url} in it, as this side's clients are given it."""
        return [
            word.replace("{host}", self.host).replace("{url}", f"root://{self.host}/")
            for word in words
        ]

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> Outcome:
        """Runs a client to its end."""
        done = subprocess.run(
            self.argv(words),
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**os.environ, **IMPATIENT, **(env or {})},
        )
        return Outcome(done.returncode, self._told(done.stdout), _text(done.stderr))

    def _told(self, said: bytes) -> str:
        """What a client said, without what may differ."""
        text = _text(said)
        for port in self.server_ports:
            # Which of the servers has a file is up to each redirector.
            text = re.sub(rf"\b{port}\b", "SERVER", text)
        text = re.sub(rf"\b{self.port}\b", "REDIRECTOR", text)
        return _without_what_may_differ(text)


#: What may differ, what is put there instead, and why.
DIFFERENCES: Final[tuple[tuple[str, str, str], ...]] = (
    (r"(?m)^Id:( +)\d+$", r"Id:\1#", "an id is an inode here and there"),
    (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
        "TIME",
        "files came to the two sides at different times",
    ),
    (
        r"(?m)^(Owner|Group):( +)\S+$",
        r"\1:\2#",
        "XRootD runs as its own user here, ours as whoever runs the tests",
    ),
    (
        r"(?m)^(?P<mode>[d-][r-][w-][x-]\S{6}) +\S+ +\S+ +(?P<size>\d+) ",
        r"\g<mode> USER GROUP \g<size> ",
        "the same in listings, whose columns are as wide as the names",
    ),
    (
        r"(?m)^(d\S+ USER GROUP) \d+ ",
        r"\1 0 ",
        "a directory's size means nothing, and is 0 here",
    ),
    (
        r"(?m)^Size:( +)\d+(\n(?:.+\n)*Flags:.*IsDir)",
        r"Size:\g<1>0\2",
        "the same where it is told alone",
    ),
    (
        r"(?m)^(Flags: +)(\d+)( .*)$",
        r"\1\3",
        "flags are told as a number and in words, and the words are compared",
    ),
    (
        r"(?m)^(Flags:.*)\|BackUpExists",
        r"\1",
        "ours has an archive behind it, and says which of its files are there",
    ),
)


def _without_what_may_differ(text: str) -> str:
    for pattern, instead, _reason in DIFFERENCES:
        text = re.sub(pattern, instead, text)
    return text


def _text(said: bytes) -> str:
    return said.decode("utf-8", "surrogateescape")


@dataclass
class SideBySide:
    """XRootD and ours with the same files in them."""

    stock_cluster: StagingCluster
    cluster: Cluster
    stock: Side
    ours: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """XRootD first."""
        return self.stock, self.ours

    def work_in(self, folder: Path) -> None:
        """Gives the clients of each side a directory of their own in this one."""
        for side in self.sides:
            side.folder = folder / side.name
            side.folder.mkdir()

    def put(self, name: str, content: bytes) -> None:
        """Puts a local file where the clients of both sides work."""
        for side in self.sides:
            path = side.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def __call__(
        self,
        *words: str,
        code: int = 0,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        in_order: bool = True,
    ) -> str:
        """Runs one command on both sides, and returns what ours said on stdout.

        XRootD must end with this code, and ours must do and say the same, and leave the
        same local files. `in_order`: the lines they say come in the same order too.
        """
        stock, ours = self.apart(*words, env=env, stdin=stdin)
        shown = f"XRootD: {stock}\nours:   {ours}"
        assert stock.code == code, shown
        assert ours.code == stock.code, shown
        arranged = _as_it_is if in_order else _sorted_lines
        assert arranged(ours.stdout) == arranged(stock.stdout), shown
        assert ours.errors == stock.errors, shown
        assert local_files(self.ours) == local_files(self.stock), shown
        return ours.stdout

    def apart(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> tuple[Outcome, Outcome]:
        """Runs one command on both sides, which may differ: what XRootD did, and ours."""
        # At the same time, for XRootD's redirector has clients wait for whole seconds.
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(side.run, *words, env=env, stdin=stdin) for side in self.sides]
            stock, ours = (one.result() for one in running)
        return stock, ours


def local_files(side: Side) -> dict[str, tuple[int, int]]:
    """What lies where a side's clients work: by name, the size and a checksum."""
    paths = [path for path in side.folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(side.folder)): summed(path.read_bytes()) for path in paths}


def summed(content: bytes) -> tuple[int, int]:
    """How long it is, and a checksum: enough to tell contents apart, and short in messages."""
    return len(content), zlib.crc32(content)


def _as_it_is(text: str) -> str:
    return text


def _sorted_lines(text: str) -> str:
    return "".join(sorted(text.splitlines(keepends=True)))


@contextlib.contextmanager
def side_by_side(folder: Path, files: Mapping[str, bytes]) -> Iterator[SideBySide]:
    """Starts both, with the same files; in ours they are in the archive and on disk."""
    stock_cluster = StagingCluster(staging=False, tuned=True, access="r/o", more=MORE)
    servers = list(stock_cluster.servers)
    port, nodes = free_port(), {name: free_port() for name in ("disk1", "disk2")}
    cluster = Cluster(
        folder / "ours",
        [Node(name, extra={"root_listen": f"127.0.0.1:{at}"}) for name, at in nodes.items()],
        redirector={"root_listen": f"127.0.0.1:{port}"},
        root={"writable": [WRITABLE]},
        packetizer=None,
    )
    for number, (lfn, content) in enumerate(files.items()):
        stock_cluster.write(servers[number % len(servers)], lfn, content)
        cluster.write(lfn, content)
    for server in servers:
        (stock_cluster.pool(server) / WRITABLE.lstrip("/")).mkdir()
    with stock_cluster, running(cluster), cluster.connect() as site:
        until_joined(site, len(nodes))
        site.stage(list(files)).wait()
        yield SideBySide(
            stock_cluster,
            cluster,
            Side("stock", stock_cluster.port, tuple(stock_cluster.servers.values()), folder),
            Side("ours", port, tuple(nodes.values()), folder),
        )
