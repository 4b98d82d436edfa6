"""The servers that are compared: a stock XRootD, and ours, with the same files.

Each is a context manager that yields once clients can use it, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.root.raw_client import Address
from tests.support.cluster import Cluster, Node, free_port, running, until_joined
from tests.support.stock_staging import STAGE_SCRIPT, StagingCluster, lacking
from tests.support.stock_xrootd import StockXrootd

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

XROOTD: Final = "XRootD"
TUNED: Final = "XRootD, tuned"
OURS: Final = "ours"
#: Who can be asked for on the command line.
SIDES: Final = {"xrootd": (XROOTD, TUNED), "ours": (OURS,)}

DATA_SERVERS: Final = 2
#: Copies that each data server makes at a time.
SLOTS: Final = 4
QUOTA: Final = "20GB"


@dataclass(frozen=True, slots=True)
class Server:
    """One of those compared: where its clients go, and the processes that work for them."""

    name: str
    address: Address
    redirecting: tuple[int, ...] = ()
    serving: tuple[int, ...] = ()
    archive: Path = Path()
    pools: tuple[Path, ...] = ()
    script: Path = Path()


def cpu_s(pids: Collection[int]) -> float:
    """CPU time of processes by themselves, all threads, to 10 ms."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


def wanted(only: str | None, *names: str) -> list[str]:
    """Those of `names` to be measured: all, without what is not installed."""
    chosen = [name for name in names if only is None or name in SIDES[only]]
    if missing := lacking():
        print(f"not compared with XRootD, of which there is no {missing}", flush=True)
        chosen = [name for name in chosen if name == OURS]
    return chosen


@contextlib.contextmanager
def folder_for_all() -> Iterator[Path]:
    """A directory that any user may enter, for XRootD's servers do not run as root."""
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


# --- files that are on disk -----------------------------------------------------


@contextlib.contextmanager
def holding(name: str, lfns: Sequence[str], content: bytes) -> Iterator[Server]:
    """A redirector and two data servers, which hold these files between them."""
    if name == OURS:
        with folder_for_all() as folder, _ours(folder) as (server, cluster):
            for lfn in lfns:
                cluster.write(lfn, content)
            with cluster.connect() as site:
                site.stage(lfns).wait()
            yield server
        return
    stock = StagingCluster(DATA_SERVERS, staging=False)
    for number, lfn in enumerate(lfns):
        stock.write(f"server{number % DATA_SERVERS + 1}", lfn, content)
    with stock:
        yield _stock(name, stock)


@contextlib.contextmanager
def reading(name: str, file: Path, lfn: str) -> Iterator[Server]:
    """A server of one large file."""
    with folder_for_all() as folder:
        if name == OURS:
            with _ours(folder, nodes=1) as (server, cluster):
                cluster.write(lfn, b"").unlink()
                (cluster.archive / lfn.lstrip("/")).hardlink_to(file)
                with cluster.connect() as site:
                    site.stage([lfn]).wait()
                yield server
            return
        pool, admin = folder / "pool", folder / "admin"
        admin.mkdir()
        path = pool / lfn.lstrip("/")
        path.parent.mkdir(parents=True)
        shutil.copyfile(file, path)
        with StockXrootd(pool, admin) as stock:
            address = Address("127.0.0.1", stock.port)
            yield Server(name, address, serving=(stock.pid,), pools=(pool,))


# --- files that are in the archive ----------------------------------------------


@contextlib.contextmanager
def staging(name: str) -> Iterator[Server]:
    """A redirector and two data servers that run a shell script for every file."""
    if name == OURS:
        with folder_for_all() as folder:
            script = folder / "stage.sh"
            # The same, but for what says that there is no such file.
            script.write_text(STAGE_SCRIPT.replace("exit 2", "exit 66"))
            script.chmod(0o755)
            with _ours(folder, [str(script), "{source}", "{target}"]) as (server, _):
                yield replace(server, script=script)
        return
    with StagingCluster(DATA_SERVERS, tuned=name == TUNED, slots=SLOTS) as cluster:
        yield _stock(name, cluster)


def _stock(name: str, cluster: StagingCluster) -> Server:
    return Server(
        name,
        Address("127.0.0.1", cluster.port),
        tuple(cluster.pids("manager")),
        tuple(cluster.pids(*cluster.servers)),
        cluster.archive,
        tuple(cluster.pool(server) for server in cluster.servers),
        cluster.script,
    )


@contextlib.contextmanager
def _ours(
    folder: Path, stagecmd: list[str] | str = "builtin", nodes: int = DATA_SERVERS
) -> Iterator[tuple[Server, Cluster]]:
    port = free_port()
    cluster = Cluster(
        folder / "site",
        [Node(f"disk{number + 1}", QUOTA, {"slots": SLOTS}) for number in range(nodes)],
        stagecmd=stagecmd,
        redirector={"root_listen": f"127.0.0.1:{port}"},
        packetizer=None,
    )
    with running(cluster):
        with cluster.connect() as site:
            until_joined(site, nodes)
        pids = {role: process.pid for role, process in cluster.processes.items()}
        server = Server(
            OURS,
            Address("127.0.0.1", port),
            (pids.pop("redirector"),),
            tuple(pids.values()),
            cluster.archive,
            tuple(cluster.pool(node.name) for node in cluster.nodes),
        )
        yield server, cluster
